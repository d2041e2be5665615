"""Subscriptions of the robot's measurements, shared by the nodes that need them."""

from __future__ import annotations

from geometry_msgs.msg import PoseStamped, WrenchStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import JointState

from rl_token_ros.chunk import stamp_to_ns
from rl_token_ros.parameters import ParameterError
from rl_token_ros.proprioception import GROUPS, RobotState, StateError

LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class StateTopics:
    """Feeds a RobotState from `joint_states`, `ee_pose` and `wrench`, as far as the groups need them.

    A message that cannot be used is refused and reported, at most once a second. When the first PATIENCE ones are all refused the
    parameter file does not fit the robot, and ParameterError ends the node; a gripper that publishes its own joints on the same
    topic does not.
    """

    PATIENCE = 20

    def __init__(self, node: Node, state: RobotState, groups: list[str]) -> None:
        self._node = node
        self._state = state
        self.refused = 0
        topics = {GROUPS[group] for group in groups}
        self.subscriptions = []
        if "joint_states" in topics:
            self.subscriptions.append(node.create_subscription(JointState, "joint_states", self._joints, qos_profile_sensor_data))
        if "ee_pose" in topics:
            self.subscriptions.append(node.create_subscription(PoseStamped, "ee_pose", self._pose, qos_profile_sensor_data))
        if "wrench" in topics:
            self.subscriptions.append(node.create_subscription(WrenchStamped, "wrench", self._wrench, qos_profile_sensor_data))

    def _stamp(self, message) -> int:
        """The stamp, or the time of arrival where a driver leaves it zero."""
        return stamp_to_ns(message.header.stamp) or self._node.get_clock().now().nanoseconds

    def _joints(self, message: JointState) -> None:
        self._guard(
            lambda: self._state.update_joints(
                self._stamp(message), list(message.name), message.position, message.velocity, message.effort
            )
        )

    def _pose(self, message: PoseStamped) -> None:
        p, q = message.pose.position, message.pose.orientation
        self._guard(lambda: self._state.update_pose(self._stamp(message), (p.x, p.y, p.z), (q.x, q.y, q.z, q.w)))

    def _wrench(self, message: WrenchStamped) -> None:
        f, t = message.wrench.force, message.wrench.torque
        self._guard(lambda: self._state.update_wrench(self._stamp(message), (f.x, f.y, f.z), (t.x, t.y, t.z)))

    def _guard(self, update) -> None:
        try:
            update()
        except StateError as error:
            self.refused += 1
            if self.refused >= self.PATIENCE and not self._state.stamps:
                raise ParameterError(str(error)) from None
            self._node.get_logger().error(str(error), throttle_duration_sec=1.0)
