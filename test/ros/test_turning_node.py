"""A policy that turns the tool about its own x axis, behind a server, through vla_node and control_node on real topics, past half a turn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import small_robot
import turning
from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
from policy_servers import OpenPi, Policy, running
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool
from turning import ASKEW, of_quaternion, turn_between

from rl_token_ros.interfaces import images
from rl_token_ros.nodes.control_node import ControlNode
from rl_token_ros.nodes.vla_node import VlaNode
from rl_token_ros.robot import rotations

SPEED, STEP, DT = 2.0, 0.03, 0.02  # rad/s, rad and s between two actions
NAMES = ["finger", "rx", "ry", "rz", "x", "y", "z"]  # of the policy's numbers


class TurningArm(Node):
    """Where a pose says at once; a twist turns it for as long as it stands, in axes of the base frame."""

    def __init__(self, **options: Any) -> None:
        super().__init__("arm", **options)
        self.place, self.orientation = small_robot.HOME.copy(), ASKEW
        self.heard: list[tuple[float, np.ndarray]] = []  # time in s, and the rotation matrix or the angular velocity
        self.turned = np.zeros(3)
        self._speed, self._sensed_ns = np.zeros(3), 0
        self._pose = self.create_publisher(PoseStamped, "ee_pose", 10)
        self._wrench = self.create_publisher(WrenchStamped, "wrench", 10)
        self._camera = self.create_publisher(Image, "camera/base/image_raw", 2)
        self.enable = self.create_client(SetBool, "control_node/enable")
        self.create_timer(0.01, self._sense)
        self.create_timer(0.05, self._look)

    def listen(self, interface: str) -> None:
        kind, take = {"pose": (PoseStamped, self._on_pose), "twist": (TwistStamped, self._on_twist)}[interface]
        self.create_subscription(kind, "command", take, 10)

    def _on_pose(self, message: PoseStamped) -> None:
        q = message.pose.orientation
        self._turn((q.x, q.y, q.z, q.w))
        self.heard.append((message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec, of_quaternion(self.orientation)))

    def _on_twist(self, message: TwistStamped) -> None:
        w = message.twist.angular
        self._speed = np.array([w.x, w.y, w.z])
        self.heard.append((message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec, self._speed))

    def _turn(self, orientation: tuple[float, ...]) -> None:
        self.turned += turn_between(of_quaternion(orientation), of_quaternion(self.orientation))
        self.orientation = orientation

    def _sense(self) -> None:
        now = self.get_clock().now()
        seconds, self._sensed_ns = min((now.nanoseconds - self._sensed_ns) * 1e-9, 0.5), now.nanoseconds
        self._turn(rotations.times(rotations.exp((seconds * self._speed).tolist()), self.orientation))
        stamp = now.to_msg()
        pose, wrench = PoseStamped(), WrenchStamped()
        pose.header.stamp = wrench.header.stamp = stamp
        p, q = pose.pose.position, pose.pose.orientation
        p.x, p.y, p.z = self.place.tolist()
        q.x, q.y, q.z, q.w = self.orientation
        self._pose.publish(pose)
        self._wrench.publish(wrench)

    def _look(self) -> None:
        picture = images.from_rgb(np.full((small_robot.IMAGE, small_robot.IMAGE, 3), 90, np.uint8), Image())
        picture.header.stamp = self.get_clock().now().to_msg()
        self._camera.publish(picture)


@pytest.mark.parametrize("interface", ["pose", "twist"])
def test_a_policys_turns_about_the_tools_own_axis_become_commands_without_a_jump(graph, models, interface):
    policy = Policy()
    policy.answer["actions"] = np.tile([0.5, STEP, 0.0, 0.0, 0.0, 0.0, 0.0], (60, 1)).astype(np.float32)
    shared = turning.control(
        command_interface=interface, vla_model="", token_encoder=str(models["encoder"]), cameras=["base"], chunk_dt=DT,
        velocity_limit=[0.1] * 3 + [SPEED] * 3, lead_limit=[0.01] * 3 + [1.0] * 3, state_timeout=5.0, chunk_timeout=5.0, realtime_priority=0,
    )  # fmt: skip
    of_robot = {name: shared[name] for name in turning.shared(token_encoder="", chunk_dt=DT)}
    arm = graph.add(TurningArm)
    arm.listen(interface)
    with running(OpenPi(policy)) as server:
        asks = {"backend": "openpi", "server": server.url, "query_timeout": 30.0, "warmup_timeout": 30.0, "vla_proprioception": ["ee_position"]}
        said = {"policy_names": NAMES, "rotation_frame": "tool", "image_timeout": 10.0, "image_height": 0}
        graph.add(VlaNode, values={**of_robot, **asks, **said})
        control = graph.add(ControlNode, values=shared)
        graph.wait_for(lambda: control._command_topic.settled and not control.controller.not_ready(control._now()), "every input")
        assert not arm.heard, "something moved before it was enabled"
        graph.wait_for(lambda: graph.call(arm.enable, SetBool.Request(data=True)).success, "enabled")
        graph.wait_for(lambda: np.linalg.norm(arm.turned) > 1.2 * math.pi or control.controller.stop_reason, "more than half a turn")
        assert control.controller.stop_reason == ""
        assert graph.call(arm.enable, SetBool.Request(data=False)).success
    own = of_quaternion(ASKEW)[:, 0]  # the tool's x axis, in the base frame: it stays where it is
    np.testing.assert_allclose(arm.turned / np.linalg.norm(arm.turned), own, atol=0.02)
    np.testing.assert_allclose(of_quaternion(arm.orientation)[:, 0], own, atol=0.02)
    if interface == "twist":
        assert max(np.linalg.norm(speed) for _, speed in arm.heard) <= SPEED * (1 + 1e-6)
        return
    for (before, one), (now, other) in zip(arm.heard, arm.heard[1:]):
        periods = max(round((now - before) / DT), 1)  # a late control step is skipped
        assert np.linalg.norm(turn_between(other, one)) <= periods * SPEED * DT * (1 + 1e-6) + 1e-6
