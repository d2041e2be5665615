"""The tool's pose from TF, or from the robot's description, published on `ee_pose` as a driver would."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol

from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from rclpy.time import Time

from rl_token_ros.interfaces.stamps import stamp_to_ns
from rl_token_ros.interfaces.tool_pose import DescribedPose, ToolPose
from rl_token_ros.interfaces.topics import BY_NAME
from rl_token_ros.nodes.ros_topics import full_name, profile, publisher, subscription
from rl_token_ros.nodes.writer_names import TopicWriters
from rl_token_ros.settings.control import Control
from rl_token_ros.settings.files import resolve_path
from rl_token_ros.settings.parameters import ParameterError


class Source(Protocol):
    """Knows where the tool is."""

    @property
    def why(self) -> str:
        """A sentence while it does not, or about what it refuses."""

    def pose(self, now_ns: int) -> ToolPose | None:
        """The newest; None: it does not know."""

    def doubled(self) -> list[str]:
        """Sentences about what it is made of and two publishers bring."""


class FromTf:
    """The newest transform from base to tool. Its stamp is the newest moment for which every joint between them is known.

    Raises:
        ParameterError: tf2_ros is not installed.
    """

    def __init__(self, node: Node, settings: Control) -> None:
        try:
            import tf2_ros
        except ImportError:
            raise ParameterError(
                f"parameter 'ee_pose_source' is tf, but there is no tf2_ros here; install ros-{os.environ.get('ROS_DISTRO', '<distro>')}-tf2-ros-py, "
                "or write description"
            ) from None
        self.why = ""
        self._frames = settings.base_frame, settings.tool_frame
        self._unknown = tf2_ros.TransformException
        self._buffer = tf2_ros.Buffer()
        qos = {"qos": profile(BY_NAME["/tf"].asked), "static_qos": profile(BY_NAME["/tf_static"].asked)}
        self._listener = tf2_ros.TransformListener(self._buffer, node, **qos)
        self._now_ns = 0

    def pose(self, now_ns: int) -> ToolPose | None:
        """The newest."""
        if now_ns < self._now_ns:
            self._buffer.clear()  # the clock went back: stamps of before would keep new ones out
        self._now_ns = now_ns
        try:
            found = self._buffer.lookup_transform_core(*self._frames, Time())
        except self._unknown as error:
            self.why = f"no transform from '{self._frames[0]}' to '{self._frames[1]}': {error}"
            return None
        if not (stamp := stamp_to_ns(found.header.stamp)):
            self.why = f"no joint moves '{self._frames[1]}' against '{self._frames[0]}': all transforms between them are static"
            return None
        self.why = ""
        at, turn = found.transform.translation, found.transform.rotation
        return ToolPose(stamp, (at.x, at.y, at.z), (turn.x, turn.y, turn.z, turn.w))

    def doubled(self) -> list[str]:
        """Nothing: of one transform every broadcaster speaks on one topic, and who does is not told. What leaps is not believed."""
        return []


class FromDescription:
    """Forward kinematics of `robot_description`, or of a file, and `joint_states`.

    Raises:
        ParameterError: the file cannot be used.
    """

    def __init__(self, node: Node, settings: Control) -> None:
        self._node = node
        self._pose = DescribedPose(settings.base_frame, settings.tool_frame)
        self._refused = {"robot_description": "", "joint_states": ""}
        if settings.description_file:
            path = resolve_path(settings.description_file)
            try:
                self._pose.describe(path.read_text())
            except (OSError, ValueError) as error:
                raise ParameterError(f"parameter 'description_file' is '{path}': {error}") from None
        else:
            subscription(node, "robot_description", lambda m: self._take("robot_description", lambda now: self._pose.describe(m.data)))
        self._writers = TopicWriters(node, "joint_states")
        subscription(node, "joint_states", self._measure)

    def _measure(self, message: Any, info: dict[str, Any]) -> None:
        self._writers.hear(self._pose.brings(message), info)
        self._take("joint_states", lambda now: self._pose.measure(message, now))

    def _take(self, topic: str, take: Callable[[int], None]) -> None:
        try:
            take(self._node.get_clock().now().nanoseconds)
            self._refused[topic] = ""
        except ValueError as error:
            self._refused[topic] = str(error)

    @property
    def why(self) -> str:
        """What was refused, or has not come."""
        return self._refused["robot_description"] or self._refused["joint_states"] or self._pose.missing()

    def pose(self, now_ns: int) -> ToolPose | None:
        """The newest."""
        return self._pose.pose(now_ns)

    def doubled(self) -> list[str]:
        """Joints between base and tool."""
        return self._writers.doubled()


def source(node: Node, settings: Control) -> Source:
    """What the parameter `ee_pose_source` names, which is not the topic.

    Raises:
        ParameterError: it cannot be had.
    """
    return (FromTf if settings.ee_pose_source == "tf" else FromDescription)(node, settings)


class ToolPoseTopic:
    """Takes the pose from its source and publishes it, so that vla_node, a bag and `check` find it where a driver's would be.

    Args:
        node: whose it is.
        settings: parameters of `control_node`.
        take: what measures with it: topic, message and time in ns; None: only others need it.

    Attributes:
        refused: count of poses that were not taken.
    """

    def __init__(self, node: Node, settings: Control, take: Callable[[str, Any, int], None] | None) -> None:
        self.refused = 0
        self._node, self._take, self._frame = node, take, settings.base_frame
        self._source = source(node, settings)
        self._publisher = publisher(node, "ee_pose")
        self._stamp_ns = 0

    @property
    def why(self) -> str:
        """Why there is none, or nothing."""
        return self._source.why

    def doubled(self) -> list[str]:
        """Sentences about a pose, or joints that it is made of, that two publishers bring."""
        topic = self._publisher.topic_name
        if self._node.count_publishers(topic) < 2:
            return self._source.doubled()
        names = [full_name(info) for info in self._node.get_publishers_info_by_topic(topic)]
        return [f"'ee_pose' has two publishers, {', '.join(names)}; stop the other, or write topic in 'ee_pose_source'", *self._source.doubled()]

    def measure(self, now_ns: int) -> None:
        """Once per tick: the newest, if it is another than the last."""
        found = self._source.pose(now_ns)
        if found is None:
            self._node.get_logger().warning(f"no 'ee_pose': {self.why}", throttle_duration_sec=5.0)
            return
        if found.stamp_ns == self._stamp_ns:
            return
        self._stamp_ns = found.stamp_ns
        message = found.write(PoseStamped(), self._frame)
        try:
            if self._take is not None:
                self._take("ee_pose", message, now_ns)
            self._publisher.publish(message)
        except ValueError as error:
            self.refused += 1
            self._node.get_logger().error(str(error), throttle_duration_sec=1.0)
