"""The study of training: its arms differ in what they say, results survive a stop, the scripted controller is what it claims."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("torch")

from rl_token_ros.evaluation.scores import ScoredEpisode
from rl_token_ros.interfaces.codes import Ended
from rl_token_ros.learning.batch import Batch
from rl_token_ros.learning.learner import Learner
from rl_token_ros.policy import actor_weights
from rl_token_ros.settings import node_settings
from rl_token_ros.settings.files import config_file
from rl_token_ros.sim import training
from rl_token_ros.sim.training import best_of_run, train
from study import scripted, study
from study.variants import VARIANTS, pooled, projected

CONFIG = config_file("sim")
FAST = {"sim_node": {"render_backend": "raycast", "start_height": 0.03, "start_range": 0.0, "hole_range": 0.0}}
SOON = {"warmup_episodes": 1, "pretrain_updates": 20, "push_updates": 20, "updates_per_step": 0.5}


def learner_of(variant):
    found = node_settings.load("learner_node", CONFIG, **variant.overrides()["learner_node"])
    return Learner(found, 9, "", "", variant.algorithm)


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters_of_every_arm_are_accepted(name):
    assert (
        learner_of(VARIANTS[name]).architecture.token
        == node_settings.load("control_node", CONFIG, **VARIANTS[name].overrides()["control_node"]).token_size
    )


@pytest.mark.parametrize("name", ["none", "pooled", "chunk1", "direct"])
@pytest.mark.slow
def test_arms_of_other_shape_or_code_act_and_learn(name):
    variant = VARIANTS[name]
    overrides = {**FAST, "learner_node": SOON, "control_node": {"episode_time_limit": 1.5, "rollout_ramp": 0.0}}
    done = train(CONFIG, 0, 17.0, overrides, variant=variant)
    acting = [episode for episode in done.episodes if episode.practised]
    assert acting and done.stats["updates"] > 20
    sent = actor_weights.decode(done.blob).architecture
    widths = {"none": 0, "pooled": 128}
    assert sent.token == widths.get(name, 48) and sent.chunk_length == (1 if name == "chunk1" else 10)


@pytest.mark.slow
def test_a_hand_corrects_the_episodes_after_those_of_the_base_alone_and_its_time_is_counted():
    overrides = {**FAST, "learner_node": {**SOON, "base_episodes": 1, "warmup_episodes": 4}, "control_node": {"episode_time_limit": 1.0}}
    done = train(CONFIG, 0, 32.0, overrides, variant=VARIANTS["hand3"])
    assert len(done.episodes) > 4
    assert [episode.human for episode in done.episodes] == [False, True, True, True] + [False] * (len(done.episodes) - 4)
    by_hand = sum(episode.seconds for episode in done.episodes if episode.human)
    assert 0.8 * by_hand < done.hand_seconds < by_hand + 0.01


def test_representations_stand_in_for_the_token():
    embeddings = np.random.default_rng(0).normal(size=(98, 128)).astype(np.float32)
    other = embeddings.copy()
    other[:49] += 1.0  # the base camera's
    for make, size in ((pooled, 128), (projected, 48)):
        assert make("a" * 64).run(embeddings).shape == (size,)
        np.testing.assert_array_equal(make("a" * 64).run(embeddings), make("a" * 64).run(other))
    np.testing.assert_allclose(pooled("").run(embeddings), embeddings[49:].mean(0))
    assert pooled("").sha256 != projected("").sha256 and pooled("b" * 64).vla_sha256 == "b" * 64


def test_an_actor_without_reference_never_sees_it():
    learner = learner_of(VARIANTS["no_reference"])
    block = Batch.empty(64, 48, 9, 10, 3)
    random = np.random.default_rng(0)
    for name in ("token", "reference", "residual", "next_reference", "reward"):
        getattr(block, name)[:] = random.normal(size=getattr(block, name).shape)
    learner.algorithm.load(block)
    for _ in range(8):
        learner.algorithm.update(0, 0.1)
    first = learner.algorithm.actor_tensors()["w0"]
    assert np.abs(first[57:]).max() == 0.0 < np.abs(first[:57]).max()


def test_a_direct_actor_is_pulled_to_the_reference_and_learns_from_whole_actions():
    learner = learner_of(VARIANTS["direct"])
    block = Batch.empty(64, 48, 9, 10, 3)
    block.reference[:], block.residual[:] = 0.00015, 0.25  # half of the bound, and a quarter of it more was executed
    learner.algorithm.load(block)
    np.testing.assert_allclose(learner.algorithm.now[:64, learner.algorithm.architecture.inputs :], 0.75, rtol=1e-5)
    np.testing.assert_allclose(learner.algorithm.bc_target, 0.5, rtol=1e-5)


def test_a_stopped_study_goes_on_and_refuses_another_protocol(tmp_path):
    protocol = study.Protocol(CONFIG, 900.0, 100)
    folder = study.Folder(tmp_path / "study", protocol)
    jobs = folder.missing(["token", "none"], [0, 1])
    assert len(jobs) == 11 and ("token", 0) in jobs
    folder.save("token", 0, {"success_rate": 1.0})
    again = study.Folder(tmp_path / "study", study.Protocol(CONFIG, 900.0, 100))
    assert set(jobs) - set(again.missing(["token", "none"], [0, 1])) == {("token", 0)}
    assert again.load("token", 0) == {"success_rate": 1.0}
    other = study.Folder(tmp_path / "study", study.Protocol(CONFIG, 300.0, 100))
    with pytest.raises(study.StudyError, match="measured with robot_seconds 900.0, not 300.0; write another --out"):
        other.missing(["token"], [0])
    (tmp_path / "study" / "none-0.json").write_text(json.dumps([]))
    with pytest.raises(study.StudyError, match="is no result of this study"):
        again.load("none", 0)


def test_the_table_compares_each_seed_with_itself(tmp_path):
    folder = study.Folder(tmp_path, study.Protocol(CONFIG, 900.0, 100))
    for seed, per_10min in enumerate((20.0, 40.0)):
        score = {"success_rate": 0.5, "median_time_s": 2.0, "successes_per_10min": per_10min}
        folder.save("base", seed, {**score, "reached": 1.0})
        folder.save("token", seed, {**score, "successes_per_10min": 3 * per_10min, "worst_window": 0.5 * per_10min, "wall_seconds": 200.0})
        folder.save("scripted", seed, {**score, "successes_per_10min": 6 * per_10min})
    folder.save("demonstrations", 0, {"seconds": [3.0, 4.0, 5.0]})
    text = study.table(folder, ["token", "none"], [0, 1, 2])
    row = next(line for line in text.splitlines() if line.startswith("| token"))
    assert [cell.strip() for cell in row.split("|")[2:-1]] == [
        "2", "50 [50, 50]", "2 [2, 2]", "90 [60, 120]", "3 [3, 3]", "1", "0.5 [0.5, 0.5]", "0.5 [0.5, 0.5]",
    ]  # fmt: skip
    assert "| none" not in text and "demonstrations: 4.00 s" in text


def test_the_best_actor_of_a_run_is_taken_from_its_checkpoint(tmp_path):
    loop = VARIANTS["token"].loop(CONFIG, FAST)
    encoder, proprio = loop.pipeline.encoder, loop.controller.row_dtype["proprio"].shape[0]
    learner = Learner(node_settings.load("learner_node", CONFIG), proprio, encoder.sha256, encoder.vla_sha256)
    learner.best.tensors = {name: tensor + 0.5 for name, tensor in learner.algorithm.actor_tensors().items()}
    learner.save(str(tmp_path))
    taken = actor_weights.decode(best_of_run(CONFIG, tmp_path))
    for name, tensor in learner.best.tensors.items():
        np.testing.assert_array_equal(taken.tensors[name], tensor)
    loop.simulation.close()
    loop.pipeline.admit(actor_weights.encode(taken))  # refused if it were of another encoder
    with pytest.raises(FileNotFoundError, match="no checkpoint in .*; write the run_directory of a learner_node"):
        best_of_run(CONFIG, tmp_path / "other")


def test_a_run_is_compared_with_the_interval_of_the_seeds(tmp_path, monkeypatch):
    learner = learner_of(VARIANTS["token"])
    monkeypatch.setattr(training, "best_of_run", lambda *_: actor_weights.encode(learner.best_weights()))
    monkeypatch.setattr(training, "evaluate", lambda *_: ([ScoredEpisode(i, Ended.SUCCESS, 2.0, 5.0 * i, True, 1) for i in range(4)], 1.0))
    folder = study.Folder(tmp_path, study.Protocol(CONFIG, 900.0, 4))
    for seed in range(3):
        folder.save("token", seed, {"success_rate": 1.0, "successes_per_10min": 130.0 + seed})
    told = study.compare_run(folder, study.Protocol(CONFIG, 900.0, 4), tmp_path, [0, 1, 2])
    assert "success 100 %, 120 per 10 min" in told
    assert "success_rate is inside [100, 100]; successes_per_10min is below [130, 132]" in told


def test_a_curve_counts_the_episodes_of_its_window_as_the_score_does():
    pytest.importorskip("matplotlib")
    from study import plot

    slow = [[10.0 * (i + 1), Ended.SUCCESS if i % 2 else Ended.TIME_LIMIT, 7.0, 0] for i in range(20)]  # one end in 10 s
    times, throughput = plot.curves([slow, [[200.0, Ended.SUCCESS, 2.0, 1]]])
    assert times.tolist() == [100.0 + 10.0 * i for i in range(11)]
    np.testing.assert_allclose(throughput[0], 600.0 * 5 / 100)
    np.testing.assert_allclose(throughput[1], [0.0] * 10 + [600.0 / 5.0])


def test_a_study_is_drawn_with_what_has_finished(tmp_path):
    pytest.importorskip("matplotlib")
    from study import plot

    folder = study.Folder(tmp_path, study.Protocol(CONFIG, 900.0, 100))
    score = {"success_rate": 0.5, "median_time_s": 2.0, "successes_per_10min": 20.0}
    folder.save("base", 0, score)
    folder.save("token", 0, {**score, "practice": [(90.0, Ended.SUCCESS, 2.0, 0), (300.0, Ended.SUCCESS, 2.0, 1)]})
    path = tmp_path / "made" / "picture.png"
    plot.draw(folder, ["token", "none"], [0, 1], path)
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("bounded", "most"), [(False, 1.0), (True, 3.0)])  # s of simulated time
@pytest.mark.slow
def test_scripted_controllers_insert_whatever_the_slip(bounded, most):
    episodes = scripted.perform(CONFIG, 0, 4, FAST, bounded=bounded)
    assert [episode.success for episode in episodes] == [True] * 4
    assert max(episode.seconds for episode in episodes) < most


def test_a_bounded_controller_stays_within_the_residual():
    for side in ([0.01, -0.01], [0.0001, 0.0], [0.0, 0.0]):
        assert np.abs(scripted.residual(np.array(side))).max() <= 1.0
    np.testing.assert_allclose(scripted.residual(np.array([0.01, -0.0001])), [1.0, -0.5, 0.0])
    assert scripted.residual(np.zeros(2))[2] == -1.0
