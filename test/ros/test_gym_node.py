"""gym_node on real topics, in this process: an environment of one class, moved by commands of any kind, that is seen during resets, too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import small_robot
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from reach import Jaws
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Bool, Float64MultiArray, UInt8
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from rl_token_ros.interfaces import images
from rl_token_ros.interfaces.codes import Ended
from rl_token_ros.nodes.gym_node import GymNode
from rl_token_ros.settings.parameters import ParameterError

TOPICS = {
    "ee_pose": PoseStamped,
    "joint_states": JointState,
    "extra": JointState,
    "camera/base/image_raw": Image,
    "critical_phase": Bool,
    "outcome": Bool,
}
FAST = {"use_sim_time": True, "real_time_factor": 5.0, "reset_time": 1.0}


class Joints(Jaws):
    """Three joints and a gripper in place of a tool."""

    def __init__(self) -> None:
        super().__init__()
        self.action_names = ("a", "b", "c", "jaw")

    def measured(self) -> dict[str, np.ndarray]:
        return {"joint_position": self.observation, "extra/gap": self.observation[2:]}


class Listener(Node):
    """Keeps what comes; moves the robot."""

    def __init__(self, command_type: type, gripper_type: type = Float64MultiArray, **options: Any) -> None:
        super().__init__("listener", **options)
        self.came: dict[str, list] = {topic: [] for topic in TOPICS}
        for topic, kind in TOPICS.items():
            self.create_subscription(kind, topic, self.came[topic].append, 10)
        self.command = self.create_publisher(command_type, "command", 1)
        self.gripper = self.create_publisher(gripper_type, "gripper/command", 1)
        self.ended = self.create_publisher(UInt8, "episode_ended", 10)


def start(graph, env: str = "reach:Reach", interface: str = "pose", **changes: Any) -> GymNode:
    names = small_robot.shared(proprioception=[], tool_orientation=list(small_robot.DOWN), command_interface=interface)
    return graph.add(GymNode, values={**names, **FAST, "env": env, **changes})


def pose(position: np.ndarray, frame: str = "base_link") -> PoseStamped:
    message = PoseStamped()
    message.header.frame_id = frame
    message.pose.position.x, message.pose.position.y, message.pose.position.z = map(float, position)
    return message


def test_an_episode_on_topics_and_measurements_during_the_reset(graph):
    node = start(graph)
    listener = graph.add(Listener, PoseStamped)
    env, came = node.environment.env, listener.came
    graph.wait_for(lambda: came["ee_pose"] and came["camera/base/image_raw"], "measurements and pictures")
    assert came["ee_pose"][-1].header.frame_id == "base_link" and not came["joint_states"]
    assert images.to_rgb(came["camera/base/image_raw"][-1]).shape == (small_robot.IMAGE, small_robot.IMAGE, 3)
    assert env.steps == 0  # nobody commands

    listener.command.publish(pose(small_robot.HOME - 1.0, "world"))
    graph.wait_for(lambda: node.refused == 1, "the refusal")
    assert env.steps == 0

    def done() -> bool:
        listener.command.publish(pose(small_robot.HOME - [0.0, 0.0, 0.01]))
        return bool(came["outcome"])

    graph.wait_for(done, "the task done")
    assert came["outcome"][-1].data is True and came["critical_phase"][0].data is True
    before = env.random.bit_generator.state
    listener.ended.publish(UInt8(data=int(Ended.SUCCESS)))
    graph.wait_for(lambda: node.timed.resetting, "the reset")
    assert env.random.bit_generator.state != before and node.episodes == 1
    poses, pictures = len(came["ee_pose"]), len(came["camera/base/image_raw"])
    graph.wait_for(lambda: len(came["ee_pose"]) > poses + 10 and len(came["camera/base/image_raw"]) > pictures + 3, "state during the reset")
    graph.wait_for(lambda: not node.timed.resetting, "the end of the reset")
    assert env.steps == 0
    graph.wait_for(lambda: not came["critical_phase"][-1].data, "the end of the critical phase")


def test_an_episode_that_is_critical_from_the_start_begins_with_the_first_command(graph):
    """control_node begins none before it is enabled, and would not be told again."""
    node = start(graph, "reach:Whole")
    listener = graph.add(Listener, PoseStamped)
    came = listener.came
    graph.wait_for(lambda: len(came["ee_pose"]) > 10, "measurements")
    assert node.environment.critical and not came["critical_phase"]

    def begun() -> bool:
        listener.command.publish(pose(small_robot.HOME))
        return bool(came["critical_phase"])

    graph.wait_for(begun, "the critical phase")
    assert came["critical_phase"][0].data is True


def joint_state(names: list[str], positions: list[float]) -> JointState:
    return JointState(name=names, position=positions)


def trajectory(names: list[str], positions: list[float]) -> JointTrajectory:
    return JointTrajectory(joint_names=names, points=[JointTrajectoryPoint(positions=positions)])


def forward(names: list[str], positions: list[float]) -> Float64MultiArray:
    return Float64MultiArray(data=positions)


@pytest.mark.parametrize("interface, write", [("forward", forward), ("joint_state", joint_state), ("trajectory", trajectory)])
def test_joints_and_a_gripper_are_commanded_by_any_interface(graph, interface, write):
    arm = ["a", "b", "c"]
    node = start(
        graph, "test_gym_node:Joints", interface, joint_names=arm, action_names=arm, gripper_names=["jaw"], gripper_interface=interface,
        tool_orientation=[1.0, 0.0, 0.0, 0.0],
    )  # fmt: skip
    kind = type(write([], []))
    listener = graph.add(Listener, kind, kind)
    graph.wait_for(lambda: listener.came["joint_states"], "joints")
    assert listener.came["joint_states"][-1].name == arm
    goal = (small_robot.HOME - [0.0, 0.0, 0.002]).tolist()
    graph.wait_for(lambda: listener.command.get_subscription_count() and listener.gripper.get_subscription_count(), "the node")
    listener.command.publish(write(arm, goal))
    graph.wait_for(lambda: node._target is not None, "the command")
    assert node.environment.jaw == []  # without a gripper's position it stays
    listener.gripper.publish(write(["jaw"], [float("nan")]))
    graph.wait_for(lambda: node.refused == 1, "the refusal")

    def there() -> bool:
        listener.command.publish(write(arm, goal))
        listener.gripper.publish(write(["jaw"], [0.3]))
        return bool(listener.came["joint_states"]) and np.allclose(listener.came["joint_states"][-1].position, goal, atol=1e-6)

    graph.wait_for(there, "the joints at their goal")
    assert set(node.environment.jaw) == {0.3}
    extra = listener.came["extra"][-1]
    assert extra.name == ["gap"] and extra.position[0] < small_robot.HOME[2] - 0.001


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"env": ""}, "parameter 'env' is empty; write the class of your environment"),
        ({"use_sim_time": False, "real_time_factor": 1.0}, "gym_node needs use_sim_time: true"),
        ({"cameras": ["front"]}, r"images\(\) has no front"),
        ({"env": "reach:Silent"}, r"has no step\(\)"),
        ({"proprioception": ["wrench_force"]}, r"measured\(\) has no wrench_force"),
    ],
)
def test_what_cannot_run_is_refused_with_what_to_write(graph, changes, sentence):
    with pytest.raises(ParameterError, match=sentence):
        start(graph, **changes)
