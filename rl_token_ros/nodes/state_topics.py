"""Subscriptions of the robot's measurements, shared by the nodes that need them."""

from __future__ import annotations

import time
from typing import Callable

from geometry_msgs.msg import PoseStamped, WrenchStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import JointState

from rl_token_ros.chunk import stamp_to_ns
from rl_token_ros.parameters import ParameterError
from rl_token_ros.proprioception import GROUPS, RobotState, StateError
from rl_token_ros.timing import from_future

LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class StampError(ValueError):
    """A stamp that cannot be true."""


class StateTopics:
    """Feeds a RobotState from `joint_states`, `ee_pose` and `wrench`, as far as the groups need them.

    A message that cannot be used is refused and reported, at most once a second. A topic on which nothing but such messages comes
    for PATIENCE seconds does not fit the parameter file, and ParameterError ends the node. A gripper that publishes its own joints
    on the same topic, be it before the arm, does not.
    """

    PATIENCE = 3.0

    def __init__(self, node: Node, state: RobotState, groups: list[str]) -> None:
        self._node = node
        self._state = state
        self.refused = 0
        self._fits: set[str] = set()
        self._refused_since: dict[str, float] = {}
        topics = {GROUPS[group] for group in groups}
        self.subscriptions = []
        if "joint_states" in topics:
            self.subscriptions.append(node.create_subscription(JointState, "joint_states", self._joints, qos_profile_sensor_data))
        if "ee_pose" in topics:
            self.subscriptions.append(node.create_subscription(PoseStamped, "ee_pose", self._pose, qos_profile_sensor_data))
        if "wrench" in topics:
            self.subscriptions.append(node.create_subscription(WrenchStamped, "wrench", self._wrench, qos_profile_sensor_data))

    def _stamp(self, topic: str, message) -> int:
        """The stamp, or the time of arrival where a driver leaves it zero."""
        stamp, now = stamp_to_ns(message.header.stamp), self._node.get_clock().now().nanoseconds
        if from_future(stamp, now):
            raise StampError(f"'{topic}' is stamped {(stamp - now) * 1e-9:.2f} s in the future; do the clocks agree?")
        return stamp or now

    def _joints(self, message: JointState) -> None:
        self._guard(
            "joint_states",
            lambda: self._state.update_joints(
                self._stamp("joint_states", message), list(message.name), message.position, message.velocity, message.effort
            ),
        )

    def _pose(self, message: PoseStamped) -> None:
        p, q = message.pose.position, message.pose.orientation
        self._guard("ee_pose", lambda: self._state.update_pose(self._stamp("ee_pose", message), (p.x, p.y, p.z), (q.x, q.y, q.z, q.w)))

    def _wrench(self, message: WrenchStamped) -> None:
        f, t = message.wrench.force, message.wrench.torque
        self._guard("wrench", lambda: self._state.update_wrench(self._stamp("wrench", message), (f.x, f.y, f.z), (t.x, t.y, t.z)))

    def _guard(self, topic: str, update: Callable[[], None]) -> None:
        try:
            update()
            self._fits.add(topic)
        except StampError as error:
            self._refuse(error)
        except StateError as error:
            self._refuse(error)
            since = self._refused_since.setdefault(topic, time.monotonic())
            if topic not in self._fits and time.monotonic() - since > self.PATIENCE:
                raise ParameterError(str(error)) from None

    def _refuse(self, error: Exception) -> None:
        self.refused += 1
        self._node.get_logger().error(str(error), throttle_duration_sec=1.0)
