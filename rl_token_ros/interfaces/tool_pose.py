"""The tool's pose where no driver publishes it: from the robot's description and `joint_states`; and as the fields of an `ee_pose`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rl_token_ros.interfaces import measurements
from rl_token_ros.robot.kinematics import Chain, Quaternion, Vector
from rl_token_ros.robot.proprioception import RobotState

GROUPS = ["joint_position"]


@dataclass(frozen=True)
class ToolPose:
    """Position x, y, z (m) and orientation x, y, z, w of the tool in the base frame at a time."""

    stamp_ns: int
    position: Vector
    orientation: Quaternion

    def write(self, message: Any, frame: str) -> Any:
        """Fill a geometry_msgs/PoseStamped and give it back."""
        message.header.frame_id = frame
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(self.stamp_ns, 1_000_000_000)
        p, q = message.pose.position, message.pose.orientation
        p.x, p.y, p.z = self.position
        q.x, q.y, q.z, q.w = self.orientation
        return message


class DescribedPose:
    """Forward kinematics of the newest joints; its pose is as old as the oldest joint between base and tool.

    Args:
        base, tool: frames of the description.
    """

    def __init__(self, base: str, tool: str) -> None:
        self._base, self._tool = base, tool
        self._chain: Chain | None = None
        self._joints = RobotState([], GROUPS)
        self._now_ns = 0

    def describe(self, description: str) -> None:
        """The robot's URDF; the newest counts.

        Raises:
            DescriptionError: it does not say where the tool is. What was known before is forgotten: the robot is another one.
        """
        self._chain = None
        self._chain = Chain(description, self._base, self._tool)
        self._joints = RobotState(self._chain.joint_names, GROUPS)

    def brings(self, message: Any) -> list[str]:
        """Joints between base and tool in a `joint_states`."""
        return measurements.brings(self._joints.reader, "joint_states", message)

    def measure(self, message: Any, now_ns: int) -> None:
        """A `joint_states`.

        Raises:
            StateError: it cannot be used.
        """
        if self._chain is None:
            return
        if now_ns < self._now_ns:
            self._joints.forget()  # the clock went back: stamps of before would keep new ones out
        self._now_ns = now_ns
        measurements.take(self._joints, "joint_states", message, now_ns)

    def pose(self, now_ns: int) -> ToolPose | None:
        """The newest, None: not known, :meth:`missing` says why."""
        if self._chain is None or self.missing():
            return None
        stamp = now_ns - self._joints.age_ns(GROUPS, now_ns)
        return ToolPose(stamp, *self._chain.pose(self._joints.values["joint_position"].tolist()))

    def missing(self) -> str:
        """What has not come yet, or nothing."""
        if self._chain is None:
            return "no 'robot_description' yet"
        return self._joints.why_missing(GROUPS)
