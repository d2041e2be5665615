"""Three sliding axes that carry a tool, and say where it is as real arms do: by joints and a description, or by TF; `ee_pose` is nobody's."""

from __future__ import annotations

from typing import Any

import numpy as np
import small_robot
from geometry_msgs.msg import PoseStamped, TransformStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String

from rl_token_ros.interfaces import images

JOINTS = ["slide_x", "slide_y", "slide_z"]
TOOL = 0.05  # m, from the last axis to the tip along x; the tool points down

_AXES = "".join(
    f'<link name="link_{axis}"/><joint name="slide_{axis}" type="prismatic"><parent link="{parent}"/><child link="link_{axis}"/>'
    f'<axis xyz="{direction}"/></joint>'
    for axis, parent, direction in (("x", "base_link", "1 0 0"), ("y", "link_x", "0 1 0"), ("z", "link_y", "0 0 1"))
)
DESCRIPTION = (
    f'<robot name="gantry"><link name="base_link"/>{_AXES}<link name="tool0"/><joint name="flange" type="fixed"><parent link="link_z"/>'
    f'<child link="tool0"/><origin xyz="{TOOL} 0 0" rpy="3.141592653589793 0 0"/></joint></robot>'
)


class Gantry(Node):
    """It is at once where `command` says. ``describes``: publishes its description; ``transforms``: its transforms."""

    def __init__(self, describes: bool = True, transforms: bool = False, **options: Any) -> None:
        super().__init__("gantry", **options)
        self.position = small_robot.HOME.copy()  # of the tool
        self.commands: list[PoseStamped] = []
        self.stamps: set[tuple[int, int]] = set()  # at which it measured
        self.poses: list[PoseStamped] = []  # that somebody published
        self.joints = self.create_publisher(JointState, "joint_states", 10)
        self.image = self.create_publisher(Image, "camera/base/image_raw", 2)
        self.create_subscription(PoseStamped, "command", self._on_command, 10)
        self.create_subscription(PoseStamped, "ee_pose", self.poses.append, 10)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.description = self.create_publisher(String, "robot_description", latched)
        if describes:
            self.description.publish(String(data=DESCRIPTION))
        self._broadcaster = None
        if transforms:
            import tf2_ros

            self._broadcaster = tf2_ros.TransformBroadcaster(self)
            self._static = tf2_ros.StaticTransformBroadcaster(self)
            self._static.sendTransform(transform("link_z", "tool0", (TOOL, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0)))
        self.create_timer(0.01, self._sense)
        self.create_timer(0.05, self._look)

    def _on_command(self, message: PoseStamped) -> None:
        p = message.pose.position
        self.commands.append(message)
        self.position = np.array([p.x, p.y, p.z])

    def _sense(self) -> None:
        stamp = self.get_clock().now().to_msg()
        self.stamps.add((stamp.sec, stamp.nanosec))
        x, y, z = (self.position - [TOOL, 0.0, 0.0]).tolist()
        message = JointState(name=["of_another", *JOINTS], position=[9.0, x, y, z])
        message.header.stamp = stamp
        self.joints.publish(message)
        if self._broadcaster is not None:
            slides = (("base_link", "link_x", (x, 0.0, 0.0)), ("link_x", "link_y", (0.0, y, 0.0)), ("link_y", "link_z", (0.0, 0.0, z)))
            self._broadcaster.sendTransform([transform(*slide, stamp=stamp) for slide in slides])

    def _look(self) -> None:
        picture = images.from_rgb(np.full((small_robot.IMAGE, small_robot.IMAGE, 3), 90, np.uint8), Image())
        picture.header.stamp = self.get_clock().now().to_msg()
        self.image.publish(picture)


def transform(parent: str, child: str, at: tuple[float, ...], turn: tuple[float, ...] = (0.0, 0.0, 0.0, 1.0), stamp: Any = None) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    if stamp is not None:
        message.header.stamp = stamp
    t, r = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = at
    r.x, r.y, r.z, r.w = turn
    return message
