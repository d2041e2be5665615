"""What a node does about measurements that do not fit, and about drivers that bring a part each, or the same."""

from __future__ import annotations

import functools
import time

import numpy as np
import pytest
import small_robot
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import JointState

from rl_token_ros.interfaces import measurements
from rl_token_ros.nodes import measurement_topics
from rl_token_ros.nodes.measurement_topics import StateTopics
from rl_token_ros.robot.proprioception import RobotState

GROUPS = ["joint_position", "ee_position"]


@pytest.fixture
def node(graph) -> Node:
    return graph.add(lambda **options: Node("listener", **options))


@pytest.fixture
def state() -> RobotState:
    return RobotState(["a"], GROUPS)


@pytest.fixture
def topics(node, state, monkeypatch) -> StateTopics:
    monkeypatch.setattr(measurement_topics, "PATIENCE", -1.0)
    return StateTopics(node, functools.partial(measurements.take, state), state, GROUPS)


@pytest.fixture
def said(node, monkeypatch) -> list[str]:
    """What the node logs as an error."""
    lines: list[str] = []
    logger = node.get_logger()
    monkeypatch.setattr(logger, "error", lambda text, **_: lines.append(text))
    monkeypatch.setattr(node, "get_logger", lambda: logger)
    return lines


def joints(node: Node, *names: str, ahead: int = 0) -> JointState:
    message = JointState(name=list(names), position=[1.0] * len(names))
    message.header.stamp = node.get_clock().now().to_msg()
    message.header.stamp.sec += ahead
    return message


def pose(node: Node) -> PoseStamped:
    message = PoseStamped()
    message.header.stamp = node.get_clock().now().to_msg()
    message.pose.position.x = small_robot.HOME[0]
    return message


def take(topics: StateTopics, topic: str, message, gid: bytes = b"one") -> None:
    topics._take(topic, message, {"publisher_gid": {"data": gid}})


def test_a_gripper_with_a_driver_of_its_own_is_nothing_to_speak_of(node, topics, state):
    take(topics, "joint_states", joints(node, "a"))
    for _ in range(100):
        take(topics, "joint_states", joints(node, "finger"), b"two")
    assert topics.refused == 0 and not topics.doubled()
    np.testing.assert_array_equal(state.values["joint_position"], [1.0])


def test_a_joint_that_nobody_brings_is_named_and_ends_nothing(node, topics, state, said):
    """Its driver may start later."""
    take(topics, "ee_pose", pose(node))
    for _ in range(3):
        take(topics, "joint_states", joints(node, "finger"))
    assert "'joint_states' brings a; there is finger: start the driver that publishes it" in said[-1]
    take(topics, "joint_states", joints(node, "a"))
    assert not state.missing(GROUPS)


def test_two_publishers_of_one_joint_are_named(node, topics):
    writers = [node.create_publisher(JointState, "joint_states", 1) for _ in range(2)]
    deadline = time.monotonic() + 30
    while len(infos := node.get_publishers_info_by_topic("joint_states")) < len(writers):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    one, other = (bytes(info.endpoint_gid) for info in infos)
    take(topics, "joint_states", joints(node, "a"), one)
    take(topics, "joint_states", joints(node, "a"), other)
    assert not topics.doubled()  # so does a driver that was restarted
    take(topics, "joint_states", joints(node, "a"), one)
    assert topics.doubled() == ["two publishers bring a on 'joint_states', /listener, /listener: which is true is not known; stop one of them"]
    take(topics, "ee_pose", pose(node), one)
    take(topics, "ee_pose", pose(node), other)
    take(topics, "ee_pose", pose(node), one)
    assert len(topics.doubled()) == 2


def test_a_stamp_from_the_future_is_refused_and_does_not_keep_true_ones_out(node, topics, state):
    for _ in range(100):
        take(topics, "joint_states", joints(node, "a", ahead=10))
    assert state.values == {} and topics.refused == 100
    take(topics, "joint_states", joints(node, "a"))
    assert "joint_position" in state.values


def test_a_stamp_left_out_is_the_time_of_arrival(node, topics, state):
    before = node.get_clock().now().nanoseconds
    take(topics, "joint_states", JointState(name=["a"], position=[1.0]))
    assert before <= state.stamps["joint_states"] <= node.get_clock().now().nanoseconds
