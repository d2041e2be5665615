"""The best actor of a practice is the one that is kept, sent and found again."""

from __future__ import annotations

import numpy as np
from learning_helpers import PROPRIO, SHA, make_rows, small_settings

from rl_token_ros.interfaces.codes import Ended, Source
from rl_token_ros.learning.best_actor import BestActor
from rl_token_ros.learning.learner import Learner


def practised(settings, number, length, ended, version):
    rows = make_rows(settings, np.random.default_rng(number), length, ended, number, 1000 * number)
    rows["source"], rows["weights_version"] = Source.ACTOR, version
    return rows


def feed(best, rows, tag):
    return any(best.add(rows[i : i + 1], lambda: {"b0": np.full(2, tag)}) for i in range(len(rows)))


def test_the_average_of_the_newest_good_stretch_is_kept():
    settings, best = small_settings(), BestActor(2, 50.0)
    assert not feed(best, make_rows(settings, np.random.default_rng(0), 9, Ended.SUCCESS, 0, 0), 0)  # the base's episodes do not count
    assert not feed(best, practised(settings, 1, 50, Ended.SUCCESS, 1), 1)
    assert best.recent is None  # one episode is not yet a stretch
    assert feed(best, practised(settings, 2, 50, Ended.FAILURE, 2), 2)
    np.testing.assert_allclose(best.throughput, 600.0 / 8.0)  # one success in two episodes of 1 s and 3 s of reset
    np.testing.assert_allclose(best.tensors["b0"], (1 + 2 * 2) / 3)  # a share of 2 / (window + 1) for each new one
    assert feed(best, practised(settings, 3, 50, Ended.SUCCESS, 3), 3)  # as good, but newer
    assert feed(best, practised(settings, 4, 50, Ended.SUCCESS, 4), 4)
    assert feed(best, practised(settings, 5, 55, Ended.SUCCESS, 5), 5)  # a tenth of a second more is no worse
    kept = best.tensors["b0"].copy()
    for number in (6, 7, 8):
        assert not feed(best, practised(settings, number, 50, Ended.FAILURE, number), number)
    assert best.version == 5 and best.recent == 0.0
    np.testing.assert_allclose(best.throughput, 150.0)
    np.testing.assert_array_equal(best.tensors["b0"], kept)


def test_no_actor_is_the_best_without_a_success():
    best = BestActor(2, 50.0)
    assert not any(feed(best, practised(small_settings(), number, 50, Ended.FAILURE, number), number) for number in range(5))
    assert not best.tensors


def test_best_actor_outlives_a_restart_and_is_what_a_learner_that_learns_no_more_sends(tmp_path):
    settings = small_settings(best_window=1)
    learner = Learner(settings, PROPRIO, **SHA)
    for number in range(8):
        learner.add(make_rows(settings, np.random.default_rng(number), 12, Ended.SUCCESS, number, 1000 * number))
    learner.update(40)
    learner.add(practised(settings, 10, 50, Ended.SUCCESS, 1))
    best = {name: value.copy() for name, value in learner.best.tensors.items()}
    learner.update(60)
    assert not np.array_equal(best["w1"], learner.algorithm.actor_tensors()["w1"])
    learner.add(practised(settings, 11, 50, Ended.FAILURE, 2))
    learner.save(tmp_path)

    again = Learner(small_settings(best_window=1, learn=False), PROPRIO, **SHA)
    assert again.restore(tmp_path)
    for name, value in learner.best.average.items():
        np.testing.assert_array_equal(again.best.average[name], value)
    again.add(practised(settings, 12, 50, Ended.FAILURE, 2))
    assert again.update(again.updates_owed) == 0
    assert again.push_due
    sent = again.weights()
    assert sent.version > learner.version
    for name, value in best.items():
        np.testing.assert_array_equal(sent.tensors[name], value)
    assert not again.push_due  # once is enough: it is repeated for late joiners


def test_a_run_too_short_for_a_best_stretch_sends_its_newest_actor(tmp_path):
    learner = Learner(small_settings(), PROPRIO, **SHA)
    settings = learner.settings
    for number in range(8):
        learner.add(make_rows(settings, np.random.default_rng(number), 12, Ended.SUCCESS, number, 1000 * number))
    nothing = Learner(small_settings(learn=False), PROPRIO, **SHA)
    learner.save(tmp_path / "warmup")
    assert nothing.restore(tmp_path / "warmup") and not nothing.push_due  # it has learned nothing
    learner.update(learner.updates_owed)
    learner.add(practised(settings, 10, 50, Ended.SUCCESS, 1))
    learner.save(tmp_path / "practice")
    short = Learner(small_settings(learn=False), PROPRIO, **SHA)
    assert short.restore(tmp_path / "practice") and short.push_due
    np.testing.assert_array_equal(short.weights().tensors["w1"], learner.algorithm.actor_tensors()["w1"])
    assert not short.push_due
