"""Yaw as an action: measured, limited, commanded and read back from a bag, and refused where it would be ambiguous."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import small_robot
from builtin_interfaces.msg import Time

from rl_token_ros.bags.command_reader import CommandReader
from rl_token_ros.control.arming import Refused
from rl_token_ros.control.chunk import Chunk
from rl_token_ros.control.controller import Command, Controller
from rl_token_ros.nodes.command_writer import CommandWriter
from rl_token_ros.policy.actor import ResidualActor
from rl_token_ros.resimulation.compare import Wire
from rl_token_ros.robot.proprioception import RobotState
from rl_token_ros.robot.yaw import tilt_of, turned, yaw_of
from rl_token_ros.settings.parameters import ParameterError

PERIOD, START = 20_000_000, 10**12
ASKEW = (0.1, 0.7, 0.3, 0.6403124237432849)  # a tool that points nowhere in particular
LIMITS = {
    "position_min": [0.3, -0.1, 0.0, -2.0],
    "position_max": [0.5, 0.1, 0.2, 2.0],
    "velocity_limit": [0.1, 0.1, 0.1, 0.8],
    "acceleration_limit": [2.0, 2.0, 2.0, 10.0],
    "lead_limit": [0.01, 0.01, 0.01, 0.03],
}


def settings(**changes):
    own = {"action_names": ["x", "y", "z", "yaw"], "residual_scale": [0.001] * 4, "tool_orientation": list(small_robot.DOWN), **LIMITS}
    return small_robot.settings(**{**own, **changes})


def matrix(q) -> np.ndarray:
    """Rotation matrix of x, y, z, w."""
    v, w = np.array(q[:3]), q[3]
    cross = np.array([[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]])
    return np.eye(3) + 2.0 * w * cross + 2.0 * cross @ cross


def test_turned_turns_about_z_of_the_base_frame_and_yaw_is_read_back_whatever_the_sign(random):
    for _ in range(200):
        zero, yaw = random.normal(size=4), random.uniform(-3.1, 3.1)
        zero /= np.linalg.norm(zero)
        about_z = np.array([[np.cos(yaw), -np.sin(yaw), 0.0], [np.sin(yaw), np.cos(yaw), 0.0], [0.0, 0.0, 1.0]])
        found = turned(zero, yaw)
        np.testing.assert_allclose(matrix(found), about_z @ matrix(zero), atol=1e-12)
        assert yaw_of(found, zero) == pytest.approx(yaw) == yaw_of([-value for value in found], zero)
        assert tilt_of(found, zero) < 1e-6


def test_a_tilt_is_no_yaw():
    tilted = (1.0 - 1e-3, 0.0, np.sqrt(1.0 - (1.0 - 1e-3) ** 2), 0.0)
    assert yaw_of(tilted, small_robot.DOWN) == pytest.approx(0.0, abs=1e-9)
    assert tilt_of(tilted, small_robot.DOWN) == pytest.approx(2.0 * np.arccos(1.0 - 1e-3))


@pytest.mark.parametrize(
    "change, says",
    [
        ({"tool_orientation": []}, "'tool_orientation' is empty but action_names has yaw; write the orientation"),
        ({"position_max": [0.5, 0.1, 0.2, 3.1]}, "'position_max' of yaw is 3.1; write -2.8 to 2.8 rad"),
        ({"position_min": [0.3, -0.1, 0.0, -4.0]}, "'position_min' of yaw is -4"),
        ({"command_interface": "forward"}, "write pose or twist for x, y, z and yaw"),
        ({"action_names": ["x", "y", "z", "roll"]}, "write joint names, or some of x, y, z, yaw for the tool"),
    ],
)
def test_what_would_be_ambiguous_is_refused_with_what_to_write(change, says):
    with pytest.raises(ParameterError, match=says):
        settings(**change)


def test_a_joint_called_yaw_is_that_joint():
    two = {name: values[2:] for name, values in LIMITS.items()}
    made = settings(**two, action_names=["lift", "yaw"], joint_names=["yaw", "lift"], residual_scale=[0.1, 0.1], command_interface="forward")
    assert not made.cartesian and not made.turns
    state = RobotState(["yaw", "lift"], ["joint_position"])
    state.update_joints(1, ["yaw", "lift"], [0.4, 0.2])
    np.testing.assert_array_equal(state.measured(["lift", "yaw"]), [0.2, 0.4])


def test_every_action_has_its_unit():
    made = settings()
    assert [made.unit(name) for name in made.action_names] == ["m", "m", "m", "rad"] and made.action_units == "m or rad"
    assert small_robot.settings().action_units == "m"


def test_the_workspace_box_leaves_yaw_alone():
    low, high = settings(workspace_min=[0.35, -0.05, 0.01], workspace_max=[0.45, 0.05, 0.1]).command_range
    assert (low, high) == ([0.35, -0.05, 0.01, -2.0], [0.45, 0.05, 0.1, 2.0])


def test_yaw_is_measured_from_the_tool_orientation():
    state = RobotState([], ["ee_position"], list(ASKEW))
    state.update_pose(1, (0.4, 0.1, 0.2), turned(ASKEW, -0.7))
    np.testing.assert_allclose(state.measured(["yaw", "z"]), [-0.7, 0.2])


@pytest.mark.parametrize("names", [["x", "y", "z", "yaw"], ["yaw", "z", "x", "y"], ["yaw"]])
def test_a_pose_is_read_back_as_the_command_that_it_was(random, names):
    sized = {name: [dict(zip(["x", "y", "z", "yaw"], values))[axis] for axis in names] for name, values in LIMITS.items()}
    made = settings(**sized, action_names=names, residual_scale=[0.001] * len(names), tool_orientation=list(ASKEW))
    writer, reader = CommandWriter(made), CommandReader(made, lambda message: message)
    pose = np.array([0.4, 0.0, 0.1]), np.array(made.tool_orientation)
    wire = Wire(reader)
    for number in range(1, 101):
        position = random.uniform(-2.5, 2.5, len(names))
        message = writer.message(Command(position, np.zeros(len(names)), False, pose), Time(sec=number))
        q = message.pose.orientation
        np.testing.assert_allclose((q.x, q.y, q.z, q.w), turned(ASKEW, position[names.index("yaw")]), atol=1e-12)
        stamp, read = reader.read(message)
        assert stamp == number * 10**9
        np.testing.assert_allclose(read, position, atol=1e-12)
        wire.take(SimpleNamespace(data=message))
        wire.add(SimpleNamespace(commands=True, now_ns=stamp, command=position))
    assert (wire.equal, wire.unequal) == (100, 0)  # bit for bit


def test_a_twist_turns_about_z_and_is_read_back():
    made = settings(command_interface="twist")
    writer, reader = CommandWriter(made), CommandReader(made, lambda message: message)
    velocity = np.array([0.1, -0.2, 0.3, -0.4])
    message = writer.message(Command(np.zeros(4), velocity, False), Time(sec=1))
    assert (message.twist.linear.y, message.twist.angular.z, message.twist.angular.x) == (-0.2, -0.4, 0.0)
    np.testing.assert_array_equal(reader.speed(message)[1], velocity)


class Turning:
    """A controller whose VLA turns the tool, of an arm that does as told, or is held at ``held`` (rad)."""

    def __init__(self, yaw: float, step: float, held: float | None = None, tilt: float = 0.0) -> None:
        self.settings = settings()
        self.controller = Controller(self.settings, ResidualActor(small_robot.TOKEN, 10, small_robot.CHUNK, 4, layers=2))
        self.now, self.yaw, self.step, self.held, self.tilt = START, yaw, step, held, tilt
        self.sense()

    def sense(self) -> None:
        self.now += PERIOD
        orientation = turned((np.cos(self.tilt / 2), 0.0, np.sin(self.tilt / 2), 0.0), self.yaw)
        self.controller.state.update_pose(self.now, small_robot.HOME, orientation)
        self.controller.state.update_wrench(self.now, (0, 0, 0), (0, 0, 0))
        steps = np.tile([0.0, 0.0, 0.0, self.step], (small_robot.HORIZON, 1))
        self.controller.proposals.set_chunk(Chunk(self.now, PERIOD, steps), self.now)

    def tick(self, count: int) -> np.ndarray:
        yaws = []
        for _ in range(count):
            self.sense()
            command = self.controller.tick(self.now)
            yaws.append(command.position[3])
            self.yaw = command.position[3] if self.held is None else self.held
        return np.array(yaws)


def test_the_filter_limits_yaw_in_rad():
    free = Turning(yaw=-0.5, step=0.1)
    free.controller.enable(free.now)
    yaws = free.tick(400)
    assert np.diff(yaws).max() <= 0.8 * 0.02 + 1e-9 and np.diff(yaws, 2).max() <= 10.0 * 0.02**2 + 1e-9
    assert yaws[0] > -0.5 and yaws[-1] == pytest.approx(2.0, abs=1e-6)
    held = Turning(yaw=0.2, step=0.01, held=0.2)
    held.controller.enable(held.now)
    assert held.tick(100)[-1] == pytest.approx(0.23)


def test_a_turned_tool_may_be_enabled_and_a_tilted_one_may_not():
    Turning(yaw=1.5, step=0.0).controller.enable(START + PERIOD)
    tilted = Turning(yaw=0.5, step=0.0, tilt=0.3)
    with pytest.raises(Refused, match="tilted by 0.30 rad from tool_orientation"):
        tilted.controller.enable(tilted.now)
    outside = Turning(yaw=2.5, step=0.0)
    with pytest.raises(Refused, match="outside position_min and position_max"):
        outside.controller.enable(outside.now)


def test_an_arm_that_is_turned_to_where_yaw_jumps_is_stopped():
    arm = Turning(yaw=1.9, step=0.0)
    arm.controller.enable(arm.now)
    arm.tick(5)
    arm.held = 3.05
    arm.tick(3)
    assert "turned by 3.05 rad from tool_orientation" in arm.controller.stop_reason
