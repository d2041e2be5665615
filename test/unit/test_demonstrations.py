"""Demonstrations of other robots' data sets: absolute positions, rates, units, and what nobody said."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import small_robot
import small_run

pytest.importorskip("rosbags")

from small_robot import HOME

from rl_token_ros.interfaces.codes import Clipped, Ended, Source
from rl_token_ros.interfaces.demonstration import Demonstration
from rl_token_ros.resimulation.demonstrations import Demonstrator
from rl_token_ros.vla.make_backend import make_backend

FRAMES, RATE = 30, 15.0  # neither a multiple of the other: 50 Hz control


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    return small_run.models(tmp_path_factory.mktemp("models"))


def demonstration(action: np.ndarray, position: np.ndarray, rate: float = RATE, **changes) -> Demonstration:
    """Pictures are as bright as the number of their frame."""
    frames = len(action)
    groups = {"ee_position": position, "wrench_force": np.arange(3.0 * frames).reshape(frames, 3)}
    look = lambda i: {"base": np.full((8, 8, 3), i, np.uint8)}  # noqa: E731
    values = {"command": None, "critical": np.ones(frames, bool), "ended": int(Ended.SUCCESS), "look": look, "task": ""}
    return Demonstration(np.arange(frames) / rate, 1.0 / rate, groups, action, **{**values, **changes})


def lived(named, shown: Demonstration, **changes):
    control, vla = small_robot.settings(**named, **changes), small_run.vla_settings(**named)
    demonstrator = Demonstrator(control, vla, make_backend(vla), 0.02)
    return demonstrator.live(shown), demonstrator.figures


def path(speed: float) -> np.ndarray:
    """Back and forth along x, float64 [FRAMES, 3], m."""
    return HOME + np.array([[speed * np.sin(t), 0.0, 0.0] for t in np.arange(FRAMES) / RATE])


def test_positions_that_were_commanded_are_the_actions_by_time(named):
    """Slow enough for the filter to come to rest within a step, which a position to be in asks for."""
    shown = demonstration(path(0.02), path(0.02) - [0.001, 0.0, 0.0])
    rows, figures = lived(named, shown, action_type="absolute")
    assert len(rows) == FRAMES / RATE * 50 and (rows["source"] == Source.HUMAN).all() and figures.clipped == 0
    wanted = np.interp(np.arange(len(rows)) / 50, shown.seconds, shown.action[:, 0])
    np.testing.assert_allclose(rows["action"][:, 0], wanted, atol=1e-6)
    measured = np.interp(np.arange(len(rows)) / 50, shown.seconds, shown.groups["ee_position"][:, 0])
    np.testing.assert_allclose(rows["proprio"][:, 0], measured, atol=1e-6)
    np.testing.assert_allclose(rows["proprio"][1:, 3], wanted[:-1] - measured[1:], atol=1e-6)  # lead of the command before
    assert rows["reward"].tolist() == [0.0] * (len(rows) - 1) + [1.0]


def test_a_quick_demonstration_lags_by_less_than_a_step(named):
    shown = demonstration(path(0.09), path(0.09))
    rows, _ = lived(named, shown, action_type="absolute")
    wanted = np.interp(np.arange(len(rows)) / 50, shown.seconds, shown.action[:, 0])
    assert np.abs(rows["action"][:, 0] - wanted).max() < 0.09 / 50


def test_increments_of_a_frame_are_spread_over_its_control_steps(named):
    """Without the position commanded they start from what is measured: nothing is known of a lead."""
    steps = np.diff(path(0.02), axis=0, append=path(0.02)[-1:])
    rows, figures = lived(named, demonstration(steps, path(0.02)))
    assert figures.clipped == 0 and np.abs(rows["proprio"][:, 3:6]).max() < 1e-7
    np.testing.assert_allclose(rows["action"][:, 0].sum(), steps[:, 0].sum(), atol=2e-5)
    np.testing.assert_allclose(rows["action"][:3, 0].mean() * 50, steps[0, 0] * RATE, rtol=1e-4)


def test_the_token_is_of_the_newest_answer_then(named):
    still = np.tile(HOME, (FRAMES, 1))
    rows, figures = lived(named, demonstration(np.zeros((FRAMES, 3)), still))
    tokens = np.unique(rows["token"], axis=0, return_index=True)[1]
    assert figures.queries == FRAMES == len(tokens)
    # Frame 1 is of 67 ms, its answer of 87: the sixth control step, at 100 ms, is the first with it.
    assert np.flatnonzero((np.diff(rows["token"], axis=0) != 0).any(axis=1))[0] + 1 == 5


def test_the_critical_phase_begins_where_it_did_and_the_time_may_be_up(named):
    critical = np.arange(FRAMES) >= 15
    shown = demonstration(np.zeros((FRAMES, 3)), np.tile(HOME, (FRAMES, 1)), critical=critical, ended=int(Ended.TIME_LIMIT))
    rows, _ = lived(named, shown)
    assert len(rows) == 50 and rows["ended"][-1] == Ended.TIME_LIMIT and rows["reward"].sum() == 0


def test_what_the_arm_cannot_do_is_cut_off_and_counted(named):
    """30 cm in a frame."""
    steps = np.zeros((FRAMES, 3))
    steps[10] = [0.3, 0.0, 0.0]
    rows, figures = lived(named, demonstration(steps, np.tile(HOME, (FRAMES, 1))))
    assert 0 < figures.clipped <= 6 and np.abs(rows["action"]).max() <= 0.1 / 50 + 1e-9 and figures.changed[0] > 0.05
    assert np.bitwise_or.reduce(rows["clipped"]) & (Clipped.LEAD | Clipped.VELOCITY)
    assert figures.beyond[0] > 0 and figures.farthest[0] > 1.0


def test_demonstrations_one_after_the_other_know_nothing_of_each_other(named):
    control, vla = small_robot.settings(**named), small_run.vla_settings(**named)
    demonstrator = Demonstrator(control, vla, make_backend(vla), 0.02)
    shown = demonstration(np.zeros((FRAMES, 3)), np.tile(HOME, (FRAMES, 1)))
    moved = dataclasses.replace(shown, groups={**shown.groups, "ee_position": shown.groups["ee_position"] + 0.05})
    one, other, again = (demonstrator.live(each) for each in (shown, moved, shown))
    for name in ("token", "proprio", "reference", "action", "step", "ended"):
        np.testing.assert_array_equal(one[name], again[name])
    assert [rows["episode"][0] for rows in (one, other, again)] == [1, 2, 3]
    assert np.concatenate([one, other, again])["seq"].tolist() == list(range(300))
