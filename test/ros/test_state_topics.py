"""What a node does about measurements that do not fit: refuse them, and end only when nothing else ever comes."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import small_robot
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import JointState

from rl_token_ros.interfaces import measurements
from rl_token_ros.nodes.measurement_topics import StateTopics
from rl_token_ros.robot.proprioception import RobotState
from rl_token_ros.settings.parameters import ParameterError

GROUPS = ["joint_position", "ee_position"]


@pytest.fixture
def node(graph) -> Node:
    return graph.add(lambda **options: Node("listener", **options))


@pytest.fixture
def state() -> RobotState:
    return RobotState(["a"], GROUPS)


@pytest.fixture
def topics(node, state, monkeypatch) -> StateTopics:
    monkeypatch.setattr(StateTopics, "PATIENCE", 0.0)
    return StateTopics(node, functools.partial(measurements.take, state), GROUPS)


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


def test_a_gripper_beside_the_arm_is_refused_and_ends_nothing(node, topics, state):
    topics._take("joint_states", joints(node, "a"))
    for _ in range(100):
        topics._take("joint_states", joints(node, "finger"))
    assert topics.refused == 100
    np.testing.assert_array_equal(state.values["joint_position"], [1.0])


def test_a_clock_jump_does_not_make_a_gripper_end_the_node(node, topics, state):
    topics._take("joint_states", joints(node, "a"))
    state.forget()
    for _ in range(3):
        topics._take("joint_states", joints(node, "finger"))


def test_a_topic_that_never_fits_ends_the_node_although_others_do(node, topics):
    topics._take("ee_pose", pose(node))
    with pytest.raises(ParameterError, match="'joint_states' has no a; it has finger: write its names in 'joint_names'"):
        for _ in range(100):
            topics._take("joint_states", joints(node, "finger"))


def test_a_stamp_from_the_future_is_refused_and_does_not_keep_true_ones_out(node, topics, state):
    for _ in range(100):
        topics._take("joint_states", joints(node, "a", ahead=10))
    assert state.values == {} and topics.refused == 100
    topics._take("joint_states", joints(node, "a"))
    assert "joint_position" in state.values


def test_a_stamp_left_out_is_the_time_of_arrival(node, topics, state):
    before = node.get_clock().now().nanoseconds
    topics._take("joint_states", JointState(name=["a"], position=[1.0]))
    assert before <= state.stamps["joint_states"] <= node.get_clock().now().nanoseconds
