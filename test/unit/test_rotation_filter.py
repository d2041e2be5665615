"""The filter of rotations keeps every limit as an angle, whatever it is asked for and wherever the tool is measured."""

from __future__ import annotations

import math

import numpy as np
import pytest
from turning import AXES, angle_between, matrix, turn_between

from rl_token_ros.control.command_filter import PoseFilter
from rl_token_ros.control.rotation_filter import RotationFilter, RotationLimits
from rl_token_ros.control.safety_filter import Limits
from rl_token_ros.interfaces.codes import Clipped
from rl_token_ros.robot import rotations

PERIOD = 0.02
ROUNDING = 1e-7  # rad/s: what two matrices lose in a difference, over a period
ROBOTS = {
    "wide": RotationLimits(math.pi, 0.8, 10.0, 0.05),
    "cone": RotationLimits(0.6, 0.8, 4.0, 0.3),
    "narrow": RotationLimits(0.02, 1.0, 2.0, 3.2),
    "hardly stops": RotationLimits(2.5, 3.0, 1.0, 1.5),
    "stops at once": RotationLimits(1.2, 0.5, 1000.0, 0.004),
}


def uniform(random, most: float = math.pi) -> np.ndarray:
    """A rotation vector about any axis, up to ``most`` long."""
    axis = random.normal(size=3)
    return axis / np.linalg.norm(axis) * most * random.uniform() ** (1 / 3)


class Tool:
    """Commands of a filter, to be judged by their matrices."""

    def __init__(self, limits: RotationLimits, start: np.ndarray | None = None) -> None:
        self.limits, self.filter = limits, RotationFilter(limits, PERIOD)
        self.command, self.velocity = tuple((np.zeros(3) if start is None else start).tolist()), rotations.ZERO
        self.commands, self.speeds, self.reasons = [self.command], [self.velocity], 0

    def step(self, target, measured, stop: bool) -> None:
        self.command, self.velocity, self.reasons = self.filter.step(
            self.command, self.velocity, tuple(np.asarray(target).tolist()), tuple(np.asarray(measured).tolist()), stop_at_target=stop
        )
        self._note()

    def halt(self) -> None:
        self.command, self.velocity = self.filter.halt(self.command, self.velocity)
        self._note()

    def _note(self) -> None:
        self.commands.append(self.command)
        self.speeds.append(self.velocity)

    def broken(self) -> list[str]:
        """Every limit that a command broke, and a speed that was not said as it was."""
        limits, turned = self.limits, matrix(np.array(self.commands))
        speeds = turn_between(turned[1:], turned[:-1]) / PERIOD
        changes = np.diff(np.vstack([np.zeros(3), speeds]), axis=0)
        figures = {
            "turns otherwise than it says": (np.linalg.norm(speeds - self.speeds[1:], axis=1), ROUNDING),
            "speed": (np.linalg.norm(speeds, axis=1), limits.velocity * (1 + 1e-6) + ROUNDING),
            "acceleration": (np.linalg.norm(changes, axis=1), limits.acceleration * PERIOD * (1 + 1e-6) + ROUNDING),
            "cone": (angle_between(turned, np.eye(3)), limits.angle + 1e-7),
        }
        return [f"{what} {values.max()}, at most {most}" for what, (values, most) in figures.items() if not (values <= most).all()]

    def leads(self, measured) -> np.ndarray:
        """Of every command, rad."""
        return angle_between(matrix(np.array(self.commands)), matrix(np.asarray(measured)))


@pytest.mark.parametrize("robot", ROBOTS)
@pytest.mark.parametrize("stop", [True, False])
@pytest.mark.slow
def test_10000_random_targets_leave_every_command_within_speed_acceleration_lead_and_cone(random, robot, stop):
    """The tool is blocked where it began, or follows late: then it is where the command was a moment ago."""
    limits = ROBOTS[robot]
    told, where = 0, set()
    while told < 10_000:
        start = uniform(random, 0.99 * limits.angle)
        tool, blocked = Tool(limits, start), random.random() < 0.5
        measured, past = start, [start] * 4
        for _ in range(random.integers(20, 200)):
            kind = random.integers(4)
            if kind == 0 or told % 7 == 0:
                target = uniform(random)
            elif kind == 1:
                target = rotations.moved(np.array(tool.command), uniform(random, 3 * limits.velocity * PERIOD))
            elif kind == 2:
                target = np.array(tool.command) * 10.0  # outwards, and beyond pi
            tool.step(target, measured, stop)
            where.add(tool.reasons)
            told += 1
            past.append(np.array(tool.command))
            if not blocked:
                measured = past[-random.integers(2, 4)]
        for _ in range(5):
            tool.halt()
        assert tool.broken() == []
        assert not blocked or tool.leads(start).max() <= limits.lead + 1e-7
    assert len(where) >= 3, "hardly any limit was touched"


@pytest.mark.parametrize("robot", ["cone", "hardly stops"])
def test_a_tool_that_is_pushed_away_is_followed_within_the_other_limits(random, robot):
    limits = ROBOTS[robot]
    tool = Tool(limits)
    tool.step(np.zeros(3), np.zeros(3), True)
    pushed = np.array([0.0, 0.9 * limits.angle, 0.0])
    assert limits.lead < 0.9 * limits.angle
    for _ in range(400):
        tool.step(np.zeros(3), pushed, False)
    assert tool.broken() == [] and tool.leads(pushed)[-1] <= limits.lead + 1e-6
    assert not tool.filter.moving(tool.velocity) and tool.reasons & Clipped.LEAD


@pytest.mark.parametrize("robot", ["wide", "cone", "narrow", "hardly stops"])
def test_it_comes_to_rest_at_a_target_by_the_shortest_way(random, robot):
    limits = ROBOTS[robot]
    for _ in range(5):
        target = uniform(random, min(0.9 * limits.angle, 0.45 * math.pi))
        tool = Tool(limits)
        for _ in range(800):
            tool.step(target, tool.command, True)
        angles = tool.leads(target)
        assert tool.broken() == [] and angles[-1] < 1e-7 and not tool.filter.moving(tool.velocity)
        assert (np.diff(angles) < 1e-7).all(), "it went away from the target"
        assert np.linalg.norm(np.cross(tool.command, target)) < 1e-6


def test_a_target_outside_the_cone_is_met_at_its_rim(random):
    limits = ROBOTS["cone"]
    for _ in range(20):
        target = uniform(random) * 0.2 + 0.0
        target *= (limits.angle + random.uniform(0.1, 2.0)) / np.linalg.norm(target)
        tool = Tool(limits)
        for _ in range(400):
            tool.step(target, tool.command, True)
        assert tool.broken() == [] and tool.reasons & Clipped.POSITION
        np.testing.assert_allclose(tool.command, target * (limits.angle / np.linalg.norm(target)), atol=1e-6)


def test_along_the_rim_of_the_cone_it_goes_on(random):
    """Increments that all lead outwards, and sideways: the command slides."""
    limits = ROBOTS["cone"]
    tool = Tool(limits, np.array([0.59, 0.0, 0.0]))
    for _ in range(600):
        rim = np.array(tool.command)
        sideways = np.cross([0.0, 0.0, 1.0], rim)
        tool.step(rotations.moved(rim, 0.02 * sideways / np.linalg.norm(sideways) + 0.01 * rim), tool.command, False)
    assert tool.broken() == []
    assert np.linalg.norm(tool.command) == pytest.approx(0.6, abs=0.01)
    assert np.arctan2(tool.command[1], tool.command[0]) % (2 * math.pi) > 1.0


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("way", [1.0, -1.0])
def test_there_is_no_jump_at_180_degrees(axis, way):
    limits, turn = ROBOTS["wide"], way * np.array(AXES[axis])
    tool = Tool(limits)
    for _ in range(900):  # two turns and more
        tool.step(rotations.moved(np.array(tool.command), 0.015 * turn), tool.command, False)
    turned = matrix(np.array(tool.commands))
    steps = turn_between(turned[1:], turned[:-1])
    assert tool.broken() == []
    np.testing.assert_allclose(steps[20:], np.tile(0.015 * turn, (880, 1)), atol=1e-9)


@pytest.mark.parametrize("beyond", [0.0, 1e-12, 0.3])
def test_half_a_turn_away_it_turns_one_way_and_arrives(random, beyond):
    limits = RotationLimits(math.pi, 0.8, 10.0, 4.0)
    for axis in AXES.values():
        target = (math.pi + beyond) * np.array(axis)
        tool = Tool(limits)
        for _ in range(300):
            tool.step(target, np.zeros(3), True)
        assert tool.broken() == [] and angle_between(matrix(tool.command), matrix(target)) < 1e-7


def test_half_the_way_back_stays_inside_where_the_shortest_way_would_leave_the_cone():
    limits = RotationLimits(2.9, 0.8, 10.0, 4.0)
    tool = Tool(limits, np.array([0.0, 0.0, 2.7]))
    for _ in range(300):
        tool.step(np.array([0.0, 0.0, -2.7]), tool.command, True)
    assert tool.broken() == [] and not tool.filter.moving(tool.velocity)
    np.testing.assert_allclose(tool.command, [0.0, 0.0, 2.9], atol=1e-3)


class TestPose:
    """Position and rotation together, as control_node has them."""

    LIMITS = Limits(
        np.array([0.3, -0.1, 0.0, -4.0, -4.0, -4.0]), np.array([0.5, 0.1, 0.2, 4.0, 4.0, 4.0]), np.repeat([0.1, 0.8], 3),
        np.repeat([2.0, 10.0], 3), np.repeat([0.01, 0.05], 3),
    )  # fmt: skip

    def make(self, angle: float = 1.0) -> PoseFilter:
        return PoseFilter(self.LIMITS, 3, angle, PERIOD)

    @pytest.mark.parametrize(
        "measured, says",
        [
            ([0.2, 0.0, 0.1, 0.0, 0.0, 0.0], "outside position_min"),
            ([0.4, 0.0, 0.1, 0.0, 1.2, 0.0], "turned by 1.200 rad from tool_orientation; rotation_limit is 1 rad"),
            ([0.4, 0.0, 0.1, np.nan, 0.0, 0.0], "rotation_limit"),
        ],
    )
    def test_it_does_not_begin_outside_the_limits(self, measured, says):
        with pytest.raises(ValueError, match=says):
            self.make().seed(np.array(measured))

    def test_it_begins_at_half_a_turn_where_any_is_allowed(self):
        made = self.make(math.pi)
        made.seed(np.array([0.4, 0.0, 0.1, *rotations.log((0.16, -0.82, 0.55, 0.0))]))
        assert not made.moving

    @pytest.mark.parametrize("place", range(6))
    def test_a_partly_finite_target_moves_nothing(self, place):
        made = self.make()
        made.seed(np.array([0.4, 0.0, 0.1, 0.1, 0.0, 0.0]))
        target = made.command + 0.005
        target[place] = np.nan
        command, reasons = made.step(target, made.command, stop_at_target=False)
        np.testing.assert_allclose(command, [0.4, 0.0, 0.1, 0.1, 0.0, 0.0], atol=1e-12)
        assert reasons & Clipped.NOT_FINITE

    def test_it_goes_on_from_the_command_and_velocity_it_is_given_bit_for_bit(self, random):
        one, other = self.make(), self.make()
        one.seed(np.array([0.4, 0.0, 0.1, 0.5, 0.0, 0.2]))
        for i in range(200):
            target, measured = one.command + random.normal(0.0, [0.002] * 3 + [0.02] * 3), one.command + random.normal(0.0, 1e-4, 6)
            other.command, other.velocity = one.command.copy(), one.velocity.copy()
            mine = one.halt() if i % 9 == 0 else one.step(target, measured, stop_at_target=bool(i % 2))[0]
            theirs = other.halt() if i % 9 == 0 else other.step(target, measured, stop_at_target=bool(i % 2))[0]
            assert mine.tobytes() == theirs.tobytes() and one.velocity.tobytes() == other.velocity.tobytes()
            assert one.moving == other.moving
        while one.moving:
            one.halt()
        np.testing.assert_allclose(one.velocity, 0.0, atol=1e-9)
