"""Scores of episodes, from rows of `replay`."""

import numpy as np
import pytest

from rl_token_ros.evaluation.demo_report import (
    Run,
    draw,
    status_line,
    table,
    write_summary,
)
from rl_token_ros.evaluation.scores import EpisodeScorer, score
from rl_token_ros.interfaces import replay_table
from rl_token_ros.interfaces.codes import Ended, Source

RATE = 50.0


def episode(number: int, steps: int, ended: int, *, begin: float, source: int = Source.VLA, version: int = 0) -> np.ndarray:
    rows = np.zeros(steps, replay_table.row_dtype(2, 2, 2, 1))
    stamps = np.round((begin + np.arange(steps) / RATE) * 1e9).astype(np.int64)
    rows["stamp_sec"], rows["stamp_nanosec"] = stamps // 10**9, stamps % 10**9
    rows["episode"], rows["step"], rows["source"], rows["weights_version"] = number, np.arange(steps), source, version
    rows["ended"][-1] = ended
    return rows


def scored(*parts: np.ndarray) -> list:
    return EpisodeScorer(RATE).add(np.concatenate(parts))


def test_an_episode_lasts_as_many_periods_as_it_has_steps():
    (found,) = scored(episode(1, 100, Ended.SUCCESS, begin=5.0))
    assert found.seconds == pytest.approx(2.0) and found.success and not found.practised


def test_steps_skipped_at_the_beginning_count():
    rows = episode(1, 100, Ended.SUCCESS, begin=5.0)[25:]
    (found,) = scored(rows)
    assert found.seconds == pytest.approx(2.0)


def test_aborted_episodes_and_those_whose_end_was_lost_are_left_out():
    found = scored(episode(1, 10, Ended.ABORTED, begin=0), episode(2, 10, Ended.NO, begin=1), episode(3, 10, Ended.FAILURE, begin=2))
    assert [e.number for e in found] == [3]


def test_rows_may_come_one_by_one():
    scorer, found = EpisodeScorer(RATE), []
    for row in episode(1, 50, Ended.SUCCESS, begin=0.0):
        found += scorer.add(np.array([row]))
    assert found == scored(episode(1, 50, Ended.SUCCESS, begin=0.0))


def test_throughput_counts_failures_time_and_three_seconds_of_reset_each():
    value = score(scored(episode(1, 350, Ended.SUCCESS, begin=0), episode(2, 350, Ended.TIME_LIMIT, begin=20)))
    assert value.success_rate == 0.5 and value.median_time_s == pytest.approx(7.0)
    assert value.successes_per_10min == pytest.approx(600 / (7 + 3 + 7 + 3))


def test_no_episodes_have_no_rates_rather_than_zero():
    assert score([]).success_rate is None


def practised_run() -> Run:
    run = Run(minutes=5.0, seed=3)
    parts = [episode(i, 300, Ended.FAILURE if i % 2 else Ended.SUCCESS, begin=10.0 * i) for i in range(4)]
    parts += [episode(i, 100, Ended.SUCCESS, begin=10.0 * i, source=Source.ACTOR, version=i) for i in range(4, 14)]
    for found in scored(*parts):
        run.add(found)
    run.control = {"rate_hz": "50", "ticks": "1000", "missed_ticks": "0", "compute_ms_p99": "1.5", "push_to_use_ms_p99": "20"}
    for second, updates in enumerate((1000, 1300, 1400)):
        run.saw_learner(100.0 + second, {"phase": "training", "updates": str(updates), "updates_per_s": "100", "weights_version": "13"})
    return run


def test_the_run_tells_base_from_practised_and_takes_the_practices_last_part():
    run = practised_run()
    assert run.base().episodes == 4 and run.base().success_rate == 0.5
    assert run.practised().episodes == 4 and run.practised().success_rate == 1.0


def test_the_summary_has_the_promised_figures(tmp_path):
    run = practised_run()
    import json

    found = json.loads(write_summary(run, tmp_path).read_text())
    scores = {"episodes", "success_rate", "median_time_s", "successes_per_10min"}
    assert set(found["base"]) == set(found["practised"]) == scores
    assert set(found["control"]) == {"rate_hz", "ticks", "missed_ticks", "compute_p99_ms", "stops"}
    assert set(found["learner"]) == {"updates", "updates_per_s", "weights_version", "push_to_use_p99_ms"}
    assert found["control"]["ticks"] == 1000 and found["learner"]["updates_per_s"] == 200.0


def test_a_run_that_ended_before_anything_happened_still_reports(tmp_path):
    run = Run(minutes=5.0, seed=0)
    assert "base" in table(run) and "left" in status_line(run, 300.0)
    assert write_summary(run, tmp_path).exists()


@pytest.mark.slow
def test_the_learning_curve_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    assert draw(practised_run(), tmp_path).read_bytes().startswith(b"\x89PNG")


def test_without_a_push_there_is_no_time_from_push_to_use():
    run = Run(5.0, 0)
    run.control = {"rate_hz": "50", "push_to_use_ms_p99": "0.000"}
    assert run.summary()["learner"]["push_to_use_p99_ms"] is None
    assert "push to use p99 - ms" in table(run)
    run.control["push_to_use_ms_p99"] = "20.5"
    assert run.summary()["learner"]["push_to_use_p99_ms"] == 20.5
