"""Chunks are indexed by the age of their observation; a trajectory that does not fit is refused."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl_token_ros.control.chunk import Chunk, ChunkError, from_trajectory

DT = 20_000_000
CHUNK = Chunk(1_000_000_000, DT, np.arange(10.0)[:, None])


def trajectory(positions, names=("x", "y"), dt=0.02, stamp=(5, 7)):
    points = [
        SimpleNamespace(positions=row, time_from_start=SimpleNamespace(sec=round(i * dt * 1e9) // 10**9, nanosec=round(i * dt * 1e9) % 10**9))
        for i, row in enumerate(positions)
    ]
    header = SimpleNamespace(stamp=SimpleNamespace(sec=stamp[0], nanosec=stamp[1]))
    return SimpleNamespace(header=header, joint_names=list(names), points=points)


@pytest.mark.parametrize("age, action", [(-1, None), (0, 0), (DT - 1, 0), (DT, 1), (10 * DT - 1, 9), (10 * DT, None), (10**18, None)])
def test_the_action_is_that_of_the_observations_age(age, action):
    assert CHUNK.at(CHUNK.stamp_ns + age) == (None if action is None else [action])


@given(age=st.integers(-2 * DT, 12 * DT), period=st.sampled_from([DT // 4, DT // 2, DT, DT + 1, 3 * DT]), length=st.integers(1, 6))
def test_a_window_holds_what_would_be_executed_step_by_step(age, period, length):
    now = CHUNK.stamp_ns + age
    window = CHUNK.window(now, period, length)
    singles = [CHUNK.at(now + i * period) for i in range(length)]
    if any(single is None for single in singles):
        assert window is None
    else:
        np.testing.assert_array_equal(window, singles)


def test_columns_are_ordered_by_name():
    chunk = from_trajectory(trajectory([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], "yzx"), ["x", "y"], 0.02)
    np.testing.assert_array_equal(chunk.actions, [[3.0, 1.0], [6.0, 4.0]])
    assert (chunk.stamp_ns, chunk.dt_ns) == (5_000_000_007, DT)


@pytest.mark.parametrize(
    "message, says",
    [
        (trajectory([[1.0]], ["x"]), "has no y"),
        (trajectory([]), "no points"),
        (trajectory([[1.0, 2.0], [1.0]]), "without 2 positions"),
        (trajectory([[], []]), "without 2 positions"),
        (trajectory([[1.0, 2.0, 3.0]]), "without 2 positions"),
        (trajectory([[1.0, float("nan")]]), "not finite"),
        (trajectory([[1.0, 2.0]] * 2, dt=0.05), "point 1 at 0.05 s; parameter 'chunk_dt' is 0.02"),
    ],
)
def test_a_trajectory_that_does_not_fit_is_refused(message, says):
    with pytest.raises(ChunkError, match=says):
        from_trajectory(message, ["x", "y"], 0.02)


def test_steps_that_are_not_evenly_spaced_are_refused():
    message = trajectory([[1.0, 2.0]] * 5)
    message.points[3].time_from_start.nanosec += 15_000_000
    with pytest.raises(ChunkError, match="point 3"):
        from_trajectory(message, ["x", "y"], 0.02)


@given(
    positions=st.lists(st.lists(st.floats(), max_size=4), max_size=5),
    names=st.lists(st.sampled_from("xyz"), max_size=4),
    dt=st.sampled_from([0.02, 0.0, 3.0, -1.0]),
)
def test_no_trajectory_does_harm(positions, names, dt):
    try:
        chunk = from_trajectory(trajectory(positions, names, dt), ["x", "y"], 0.02)
    except ChunkError:
        return
    assert chunk.actions.shape == (len(positions), 2) and np.isfinite(chunk.actions).all()
