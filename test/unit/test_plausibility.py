"""Which measurements are believed, and what an arm does about those that are not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import small_robot
from hypothesis import given
from hypothesis import strategies as st

from rl_token_ros.robot.plausibility import AGREEING, IN_A_ROW, LeapError, Plausibility
from rl_token_ros.robot.proprioception import RobotState
from rl_token_ros.settings import parameters
from rl_token_ros.settings.control import Control
from rl_token_ros.settings.parameters import ParameterError

MS = 1_000_000
START = 10**12
LIMITS = {
    "position_min": [-3.0] * 2,
    "position_max": [3.0] * 2,
    "velocity_limit": [0.5, 1.0],
    "acceleration_limit": [5.0] * 2,
    "lead_limit": [0.1] * 2,
}


def settings(**changes) -> Control:
    joints = {"joint_names": ["a", "b", "finger"], "action_names": ["a", "b"], "proprioception": ["joint_position"], "residual_scale": [0.01] * 2}
    return parameters.build(Control, {**joints, **LIMITS, "token_size": 0, **changes})


class Arm:
    """Messages at 100 Hz into a state, as far as they are believed."""

    def __init__(self, **changes) -> None:
        self.settings = settings(**changes)
        self.state = RobotState(self.settings.joint_names, ["joint_position"])
        self.judge = Plausibility(self.settings)
        self.now, self.enabled = START, False
        self.moved_ns: Callable[[int], int] = lambda now: now

    def say(self, position: list[float], names: tuple[str, ...] = ("a", "b", "finger"), after: int = 10 * MS) -> bool:
        """Whether a message is believed."""
        self.now += after
        reading = self.state.reader.joints(self.now, names, position)
        assert reading is not None
        try:
            self.judge.judge(reading, self.state, self.now, self.moved_ns(self.now) if self.enabled else None)
        except LeapError:
            return False
        self.state.accept(reading)
        return True

    def rest(self, messages: int = AGREEING) -> None:
        for _ in range(messages):
            assert self.say([0.0, 0.0, 0.0])


def test_an_arm_at_its_limits_is_believed_whatever_its_stamps_jitter():
    arm, rng = Arm(), np.random.default_rng(0)
    position, at = np.zeros(3), START
    for _ in range(300):
        position += np.array([0.5, 1.0, 5.0]) * 0.01  # a finger is no action: its speed is not known
        at += 10 * MS
        jittered = at + int(rng.integers(-4, 4)) * MS
        assert arm.say(position.tolist(), after=jittered - arm.now)
    assert not arm.judge.leaps


@pytest.mark.parametrize("position", [[0.6, 0.0, 0.0], [0.0, -0.2, 0.0]])
def test_a_leap_is_counted_and_not_used(position):
    arm = Arm()
    arm.rest()
    arm.enabled = True
    assert not arm.say(position)
    assert arm.judge.leaps == {"joint_states": 1}
    np.testing.assert_array_equal(arm.state.values["joint_position"], [0.0] * 3)
    assert not arm.judge.persisting(True)
    arm.rest(50)
    assert not arm.judge.persisting(True)  # one in fifty is borne
    assert arm.judge.disagreements(arm.now) == []


@pytest.mark.parametrize(
    "commanded, moved, gap, reach",
    [
        (False, 0.0, 0.4, 0.4 * 2.0),
        (True, 0.05, 0.05, 0.05 * 2.0),
        (True, 0.4, 0.4, (0.1 + 0.4) * 0.5),
        (True, 0.5, 5.0, (0.1 + 0.5) * 0.5),  # it was stopped then
        (True, -1.0, 0.05, 0.05 * 2.0),  # somebody pushes an arm that holds
        (True, -1.0, 0.4, 0.1 * 0.5),
        (True, -1.0, 5.0, 0.1 * 0.5),
    ],
)
def test_after_a_gap_an_arm_went_no_further_than_it_was_commanded(commanded, moved, gap, reach):
    """A stall of both of two drivers, after which the false one is heard first: 4 times velocity_limit for 0.4 s would be 0.8 rad."""
    for beyond in (-0.01, 0.01):
        arm = Arm()
        arm.rest()
        last = arm.now
        arm.enabled, arm.moved_ns = commanded, lambda now, last=last: last + round(moved * 1000) * MS
        assert arm.say([reach + 0.02 + beyond, 0.0, 0.0], after=round(gap * 1000) * MS) == (beyond < 0.0)


def test_leaps_in_a_row_stop_the_arm_and_are_not_believed_while_it_is_enabled():
    """The driver that spoke true has died, the other goes on: after a while its position could have been reached."""
    arm = Arm()
    arm.rest()
    arm.enabled = True
    for _ in range(IN_A_ROW):
        assert not arm.judge.persisting(True)
        assert not arm.say([0.6, 0.0, 0.0])
    assert "a went from 0.000 to 0.600 rad" in arm.judge.persisting(True)
    assert not any(arm.say([0.6, 0.0, 0.0]) for _ in range(500))
    arm.enabled = False  # the operator has looked
    assert arm.say([0.6, 0.0, 0.0])
    assert arm.judge.disagreements(arm.now)
    assert all(arm.say([0.6, 0.0, 0.0]) for _ in range(150))
    assert not arm.judge.disagreements(arm.now)


@pytest.mark.parametrize("every", [1, 2, 10])
def test_two_drivers_that_take_turns_never_agree(every):
    arm = Arm()
    arm.rest()
    for n in range(100):
        assert arm.say([0.0] * 3)
        if n % every == 0:
            assert not arm.say([0.6] * 3, after=3 * MS)
    assert "messages on 'joint_states' were not believed" in arm.judge.disagreements(arm.now)[0]
    assert arm.judge.persisting(True)


def test_an_arm_is_enabled_after_a_short_series_only():
    arm = Arm()
    assert arm.say([0.0] * 3)
    assert "has brought 1 measurements in a row" in arm.judge.disagreements(arm.now)[0]
    arm.rest(AGREEING - 1)
    assert not arm.judge.disagreements(arm.now)


def test_parts_with_crossing_stamps_are_judged_each_by_its_own():
    arm = Arm()
    for _ in range(20):
        assert arm.say([0.1, 0.0], ("a", "finger"))
        assert arm.say([0.5], ("b",), after=-3 * MS)
    assert not arm.say([0.9], ("b",))


def test_what_was_set_is_the_limit():
    arm = Arm(measured_velocity_limit=[10.0, 10.0], measured_resolution=0.0)
    arm.rest()
    assert arm.say([0.099, 0.0, 0.0]) and not arm.say([0.2, 0.0, 0.0])
    with pytest.raises(ParameterError, match="'measured_velocity_limit' has 1 numbers; write 2"):
        settings(measured_velocity_limit=[1.0])


def test_a_simulation_may_leap_unless_a_limit_is_given():
    """A scene that begins anew, on simulated time."""
    arm = Arm()
    arm.judge = Plausibility(arm.settings, simulated=True)
    arm.rest()
    assert all(arm.say([x, 0.0, 0.0]) for x in (0.6, -0.6, 0.6)) and not arm.judge.persisting(True)
    arm = Arm(measured_velocity_limit=[1.0, 1.0])
    arm.judge = Plausibility(arm.settings, simulated=True)
    arm.rest()
    assert not arm.say([0.6, 0.0, 0.0])


def pose_judge() -> tuple[Plausibility, RobotState]:
    made = small_robot.settings(token_size=0, token_encoder="", vla_model="")
    return Plausibility(made), RobotState(made.joint_names, ["ee_position"])


@given(st.lists(st.booleans(), min_size=2, max_size=20))
def test_a_quaternion_and_its_negative_are_one_orientation(signs):
    judge, state = pose_judge()
    for n, sign in enumerate(signs):
        reading = state.reader.pose(START + n * 10 * MS, small_robot.HOME, np.array(small_robot.DOWN) * (1 if sign else -1))
        judge.judge(reading, state, START + n * 10 * MS, START + n * 10 * MS)
        state.accept(reading)


@pytest.mark.parametrize(
    "position, orientation, says",
    [([0.3, 0.0, 0.0], small_robot.DOWN, "of the tool went from"), ([0.0, 0.0, 0.0], (0.0, 0.0, 0.0, 1.0), "the tool's orientation went from")],
)
def test_a_pose_may_not_leap(position, orientation, says):
    judge, state = pose_judge()
    state.update_pose(START, small_robot.HOME, small_robot.DOWN)
    reading = state.reader.pose(START + 10 * MS, small_robot.HOME + position, orientation)
    with pytest.raises(LeapError, match=says):
        judge.judge(reading, state, START + 10 * MS, START + 10 * MS)
