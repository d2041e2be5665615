"""The safety filter keeps every limit, whatever it is asked for and wherever the arm is measured."""

from __future__ import annotations

import numpy as np
import pytest
from command_limits import within_limits
from hypothesis import given, settings
from hypothesis import strategies as st

from rl_token_ros.control.safety_filter import TOLERANCE, Limits, SafetyFilter
from rl_token_ros.interfaces.codes import Clipped

LIMITS = Limits(
    position_min=np.array([-0.1, 0.0, 0.35]),
    position_max=np.array([0.1, 0.02, 3.5]),
    velocity=np.array([0.12, 0.5, 2.0]),
    acceleration=np.array([2.0, 1.0, 30.0]),
    lead=np.array([0.008, 1.0, 0.2]),
)
WIDE = Limits(np.full(1, -10.0), np.full(1, 10.0), np.full(1, 1.0), np.full(1, 2.0), np.full(1, 20.0))
anything = st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True)
finite = st.floats(allow_nan=False, allow_infinity=False)
inside = st.floats(0.0, 1.0)


def vector(elements):
    return st.tuples(elements, elements, elements).map(np.array)


positive = st.one_of(st.floats(1e-6, 10.0), st.sampled_from([1e-6, 1e-3, 1.0, 100.0]))


@st.composite
def robots(draw) -> tuple[Limits, float]:
    """Any limits that the parameters allow, of one to fourteen joints, and a control period."""
    size = draw(st.integers(1, 14))

    def column(elements) -> np.ndarray:
        return np.array(draw(st.lists(elements, min_size=size, max_size=size)))

    low = column(st.floats(-100.0, 100.0))
    limits = Limits(low, low + column(positive), column(positive), column(st.one_of(positive, st.just(1e4))), column(st.floats(1e-6, 10.0)))
    return limits, draw(st.sampled_from([0.005, 0.01, 0.02, 1.0]))


# What a policy, a human or a driver may send: anything at all, near misses of the limits, and jumps between them.
wild = st.one_of(anything, st.sampled_from([np.nan, np.inf, -np.inf, 1e308, -1e308, 5e-324, -5e-324, 0.0, -0.0]))


@settings(max_examples=100, deadline=None)
@given(data=st.data(), robot=robots())
@pytest.mark.slow
def test_any_input_leaves_commands_within_every_limit(data, robot):
    """Every command inside the limits, every step within velocity and acceleration: for any target and any measured position."""
    limits, period = robot
    size = len(limits.velocity)
    limiter = SafetyFilter(limits, period)
    limiter.seed(np.minimum(limits.position_min + data.draw(inside) * (limits.position_max - limits.position_min), limits.position_max))
    before, velocity = limiter.command, np.zeros(size)
    near = st.floats(-1.5, 1.5).map(lambda share: before[0] + share * limits.lead[0])
    vectors = st.lists(st.one_of(wild, near), min_size=size, max_size=size).map(np.array)
    for _ in range(data.draw(st.integers(1, 25))):
        what = data.draw(st.sampled_from(["step", "step", "step", "halt"]))
        if what == "step":
            target, measured = data.draw(vectors), data.draw(st.one_of(vectors, st.just(before)))
            command, _ = limiter.step(target, measured, stop_at_target=data.draw(st.booleans()))
        else:
            command = limiter.halt()
        velocity = within_limits(before, command, velocity, limits, period)
        before = command


@settings(max_examples=40, deadline=None)
@given(data=st.data(), robot=robots(), stop=st.booleans())
def test_the_command_never_leads_a_blocked_arm_by_more_than_the_limit(data, robot, stop):
    limits, period = robot
    limiter = SafetyFilter(limits, period)
    measured = limits.position_min + data.draw(inside) * 0.999 * (limits.position_max - limits.position_min)
    limiter.seed(measured)
    for _ in range(data.draw(st.integers(1, 60))):
        target = measured + data.draw(st.sampled_from([-1e6, -1.0, -0.9, 0.5, 1.0, 1e6, np.nan])) * limits.lead
        command, _ = limiter.step(target, measured, stop_at_target=stop)
        slack = 1e-9 * limits.velocity * period + 8 * np.spacing(np.abs(measured) + limits.lead)
        assert (np.abs(command - measured) <= limits.lead * (1 + 1e-9) + slack).all()


@settings(max_examples=40, deadline=None)
@given(robot=robots(), way=st.sampled_from([-1.0, 1.0]), ticks=st.integers(0, 30))
def test_a_halt_comes_to_rest_as_soon_as_the_acceleration_allows_and_stays(robot, way, ticks):
    limits, period = robot
    limiter = SafetyFilter(limits, period)
    limiter.seed(0.5 * (limits.position_min + limits.position_max))
    for _ in range(ticks):
        limiter.step(np.full_like(limits.velocity, way * 1e9), limiter.command, stop_at_target=False)
    before, velocity = limiter.command, limiter.velocity
    step, rest = limits.acceleration * period, TOLERANCE * limits.velocity  # what counts as rest may be more than a step
    needed = int(np.ceil(((np.abs(velocity) - rest) / step).max() - 1e-6))
    if needed > 10_000:
        return
    for _ in range(needed):
        assert limiter.moving
        command = limiter.halt()
        velocity = within_limits(before, command, velocity, limits, period)
        before = command
    for _ in range(2):
        limiter.halt()
    assert not limiter.moving
    for _ in range(int(min((rest / step).max(), 10_000)) + 1):
        limiter.halt()
    np.testing.assert_array_equal(limiter.halt(), limiter.command)


@settings(max_examples=30, deadline=None)
@given(seed=vector(inside), pushes=st.lists(vector(st.sampled_from([-1e300, -1.0, 0.0, 1.0, 1e300, np.nan])), min_size=20, max_size=60))
@pytest.mark.slow
def test_full_speed_into_the_position_limits_keeps_every_limit(seed, pushes):
    limiter = SafetyFilter(LIMITS, 0.02)
    limiter.seed(LIMITS.position_min + seed * (LIMITS.position_max - LIMITS.position_min))
    before, velocity = limiter.command, np.zeros(3)
    for push in pushes:
        for _ in range(5):
            command, _ = limiter.step(before + push, before, stop_at_target=False)
            velocity = within_limits(before, command, velocity, LIMITS, 0.02)
            before = command


def test_the_command_reaches_a_position_limit_and_rests_there():
    limiter = SafetyFilter(LIMITS, 0.02)
    limiter.seed(np.array([0.0, 0.01, 1.0]))
    for _ in range(500):
        limiter.step(np.full(3, 1e3), limiter.command, stop_at_target=False)
    np.testing.assert_allclose(limiter.command, LIMITS.position_max, atol=1e-9)
    np.testing.assert_allclose(limiter.velocity, 0.0, atol=1e-6)


@given(goal=st.floats(-9.9, 9.9))
@settings(max_examples=20, deadline=None)
@pytest.mark.slow
def test_a_position_to_stop_at_is_reached_without_passing_it_from_rest(goal):
    limiter = SafetyFilter(WIDE, 0.02)
    limiter.seed(np.zeros(1))
    path = [limiter.step(np.array([goal]), np.zeros(1), stop_at_target=True)[0][0] for _ in range(700)]
    assert path[-1] == pytest.approx(goal, abs=1e-6)
    assert np.max(np.abs(path)) <= abs(goal) + 1e-9


@given(distance=st.floats(1e-9, 5.0))
def test_the_braking_speed_is_the_largest_that_still_comes_to_rest(distance):
    limiter, step = SafetyFilter(WIDE, 0.02), 2.0 * 0.02

    def covered(speed: float) -> float:
        way = 0.0
        while speed > 0.0:
            way += speed * 0.02
            speed -= step
        return way

    up, down, _, _ = limiter._braking_speeds(distance * np.array([[1.0], [-1.0], [1.0], [-1.0]]))
    speed = up[0]
    assert down[0] == -speed
    assert covered(speed) <= distance * (1 + 1e-9)
    assert covered(speed + 1e-3 * step) > distance


def test_no_distance_means_no_speed():
    for wrong in (0.0, -1.0, -1e300):
        np.testing.assert_array_equal(SafetyFilter(WIDE, 0.02)._braking_speeds(wrong * np.array([[1.0], [-1.0], [1.0], [-1.0]])), 0.0)


@pytest.mark.parametrize(
    "target, reason",
    [
        ([np.nan, 0.01, 1.0], Clipped.NOT_FINITE),
        ([0.2, 0.01, 1.0], Clipped.LEAD | Clipped.ACCELERATION),
        ([0.0, 0.03, 1.0], Clipped.POSITION),
        ([0.0, 0.01, 1.5], Clipped.VELOCITY),
        ([0.001, 0.01, 1.0], Clipped.ACCELERATION),
        ([1e-6, 0.01, 1.0], 0),
        ([0.0, 0.01, 1.0], 0),
    ],
)
def test_the_reasons_say_what_was_changed(target, reason):
    limiter = SafetyFilter(LIMITS, 0.02)
    limiter.seed(np.array([0.0, 0.01, 1.0]))
    _, reasons = limiter.step(np.array(target), np.array([0.0, 0.01, 1.0]), stop_at_target=False)
    assert reasons & reason == reason and bool(reasons) == bool(reason)


@pytest.mark.parametrize("way", [1.0, -1.0])
def test_the_command_leads_the_measured_position_by_at_most_the_limit(way):
    limiter = SafetyFilter(LIMITS, 0.02)
    measured = np.array([0.0, 0.01, 1.0])  # an arm that is blocked
    limiter.seed(measured)
    for _ in range(300):
        _, reasons = limiter.step(limiter.command + [way * 0.002, 0.0, 0.0], measured, stop_at_target=False)
    assert reasons & Clipped.LEAD
    assert limiter.command[0] - measured[0] == pytest.approx(way * 0.008, abs=1e-9)


def test_a_partly_finite_target_moves_nothing():
    limiter = SafetyFilter(LIMITS, 0.02)
    limiter.seed(np.array([0.0, 0.01, 1.0]))
    command, _ = limiter.step(np.array([0.05, np.inf, 1.2]), np.array([0.0, 0.01, 1.0]), stop_at_target=False)
    np.testing.assert_array_equal(command, [0.0, 0.01, 1.0])


@pytest.mark.parametrize("measured", [[0.2, 0.01, 1.0], [np.nan, 0.01, 1.0], [0.0, -1e-9, 1.0]])
def test_it_does_not_begin_outside_the_limits(measured):
    with pytest.raises(ValueError, match="outside position_min"):
        SafetyFilter(LIMITS, 0.02).seed(np.array(measured))
