"""Every kind of command message carries the same command."""

from __future__ import annotations

import numpy as np
import pytest
import small_robot
from builtin_interfaces.msg import Time

from rl_token_ros.control.command import Command
from rl_token_ros.interfaces.topics import COMMAND_TYPES, GRIPPER_TYPES
from rl_token_ros.nodes.command_writer import CommandWriter
from rl_token_ros.nodes.ros_topics import interface_class
from rl_token_ros.settings import parameters
from rl_token_ros.settings.control import Control

POSE = np.array([0.4, 0.5, 0.6]), np.array([0.0, 0.6, 0.8, 0.0])
COMMAND = Command(np.array([0.1, 0.2]), np.array([1.0, -2.0]), False, POSE)
STAMP = Time(sec=7, nanosec=9)


def writer(interface: str, names=("b", "a"), **changes) -> CommandWriter:
    limits = {key: value[:2] for key, value in small_robot.control().items() if key.endswith(("_min", "_max", "_limit")) and isinstance(value, list)}
    values = small_robot.control(command_interface=interface, action_names=list(names), residual_scale=[0.1, 0.1], joint_names=["a", "b", "c"])
    return CommandWriter(parameters.build(Control, {**values, **limits, **changes}))


@pytest.mark.parametrize("interface", COMMAND_TYPES)
def test_the_message_is_of_the_type_that_is_published(interface):
    made = writer(interface, "xy" if interface in ("pose", "twist") else "ab")
    assert type(made.message(COMMAND, STAMP)) is interface_class(COMMAND_TYPES[interface])


def test_forward_is_the_positions_in_order_of_the_action_names():
    assert list(writer("forward").message(COMMAND, STAMP).data) == [0.1, 0.2]


def test_forward_may_be_velocities():
    made = writer("forward", forward_quantity="velocity")
    assert list(made.message(COMMAND, STAMP).data) == [1.0, -2.0]
    assert made.settings.commands_velocity  # so that the arm is brought to rest by zeros, not by positions
    with pytest.raises(parameters.ParameterError, match="'forward_quantity' is velocity but 'command_interface' is trajectory"):
        writer("trajectory", forward_quantity="velocity")


@pytest.mark.parametrize("interface", ["forward", "joint_state", "trajectory"])
def test_grippers_have_a_message_of_their_own(interface):
    made = writer("forward", gripper_names=["f", "g"], gripper_min=[0.0, 0.0], gripper_max=[0.8, 0.8], gripper_interface=interface)
    message = made.gripper_message(np.array([0.3, 0.7]), STAMP)
    assert type(message) is interface_class(GRIPPER_TYPES[interface])
    if interface == "forward":
        assert list(message.data) == [0.3, 0.7]
    elif interface == "joint_state":
        assert dict(zip(message.name, message.position)) == {"f": 0.3, "g": 0.7} and message.header.stamp == STAMP
    else:
        assert message.joint_names == ["f", "g"] and list(message.points[0].positions) == [0.3, 0.7]
        assert (message.header.stamp.sec, message.points[0].time_from_start.nanosec) == (0, 200_000_000)


def test_joint_state_names_its_positions():
    message = writer("joint_state").message(COMMAND, STAMP)
    assert dict(zip(message.name, message.position)) == {"b": 0.1, "a": 0.2}
    assert message.header.stamp == STAMP


@pytest.mark.parametrize("rate, time", [(50.0, (0, 20_000_000)), (1.0, (1, 0))])
def test_a_trajectory_is_reached_one_period_from_now(rate, time):
    message = writer("trajectory", control_rate=rate).message(COMMAND, STAMP)
    (point,) = message.points
    assert message.joint_names == ["b", "a"]
    assert (list(point.positions), list(point.velocities)) == ([0.1, 0.2], [])  # no speed at the end: it would be refused
    assert (point.time_from_start.sec, point.time_from_start.nanosec) == time
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (0, 0)  # start now


def test_a_twist_moves_only_along_the_action_axes():
    message = writer("twist", "zx").message(COMMAND, STAMP)
    linear, angular = message.twist.linear, message.twist.angular
    assert (linear.x, linear.y, linear.z) == (-2.0, 0.0, 1.0)
    assert (angular.x, angular.y, angular.z) == (0.0, 0.0, 0.0)
    assert message.header.frame_id == "base_link"


def test_a_pose_keeps_what_is_no_action_as_it_was_measured_when_enabled():
    message = writer("pose", "zx").message(COMMAND, STAMP)
    p, q = message.pose.position, message.pose.orientation
    assert (p.x, p.y, p.z) == (0.2, 0.5, 0.1)
    assert (q.x, q.y, q.z, q.w) == tuple(POSE[1])
    np.testing.assert_array_equal(POSE[0], [0.4, 0.5, 0.6])
