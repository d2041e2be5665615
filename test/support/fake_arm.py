"""An arm made of real topics: it measures, takes `command` as the controller named in the parameters would, and moves there."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image, JointState

from rl_token_ros.interfaces import images
from rl_token_ros.nodes.ros_topics import subscription
from rl_token_ros.robot.rotations import exp, inverse, log, times
from rl_token_ros.robot.yaw import turned, yaw_of
from rl_token_ros.settings.control import Control
from rl_token_ros.settings.proprioception_groups import AXES, ROTATION, YAW
from rl_token_ros.settings.vla import Vla

PERIOD = 0.04  # s; slow, so that a busy machine keeps up
SERVO_TIMEOUT = 1.0  # s, incoming_command_timeout of MoveIt Servo


class FakeArm(Node):
    """Semantics of the controllers: a position, once commanded, is held; a twist ends by itself; velocities go on.

    Args:
        control, vla: parameters of the nodes that it serves.
        home: where it begins, by joint or axis.
    """

    def __init__(self, control: Control, vla: Vla, home: dict[str, float], **options: Any) -> None:
        super().__init__("arm", **options)
        self.control, self.vla = control, vla
        turns = [YAW] if control.turns else [] if control.rotation_at is None else ROTATION
        self.names = [*control.joint_names, *([] if control.cartesian is False else AXES), *turns]
        self.position = {name: home.get(name, 0.0) for name in self.names}
        self.velocity = dict.fromkeys(self.names, 0.0)
        self.heard: list[dict[str, float]] = []  # commanded positions or velocities, by name
        self.grips: list[float] = []
        self.silent = False
        self._twisted = 0.0
        sensor = 5
        self.joints = self.create_publisher(JointState, "joint_states", sensor)
        self.pose = self.create_publisher(PoseStamped, "ee_pose", sensor)
        self.wrench = self.create_publisher(WrenchStamped, "wrench", sensor)
        compressed = vla.image_transport == "compressed"
        kind, suffix = (CompressedImage, "/compressed") if compressed else (Image, "")
        self.cameras = [self.create_publisher(kind, f"camera/{name}/image_raw{suffix}", 2) for name in vla.cameras]
        self.picture = _jpeg() if compressed else images.from_rgb(np.full((48, 64, 3), 90, np.uint8), Image())
        subscription(self, "command", self._on_command, interface=control.command_interface)
        if control.gripper_names:
            subscription(self, "gripper/command", self._on_gripper, interface=control.gripper_interface)
        self.create_timer(PERIOD, self._step)
        self.create_timer(0.2, self._look)

    def _on_command(self, message: Any) -> None:
        names = self.control.action_names
        if self.control.command_interface == "forward":
            values = dict(zip(names, message.data, strict=True))
        elif self.control.command_interface == "trajectory":
            (point,) = message.points
            assert (message.header.stamp.sec, message.header.stamp.nanosec) == (0, 0) and not any(point.velocities)
            values = dict(zip(message.joint_names, point.positions, strict=True))
        elif self.control.command_interface == "joint_state":
            values = dict(zip(message.name, message.position, strict=True))
        else:
            vector = message.twist.linear if isinstance(message, TwistStamped) else message.pose.position
            values = {axis: getattr(vector, axis) for axis in names if axis in AXES}
            if self.control.turns:
                q = message.pose.orientation
                values[YAW] = yaw_of((q.x, q.y, q.z, q.w), self.control.tool_orientation)
            elif self.control.rotation_at is not None:
                q = message.pose.orientation
                values |= dict(zip(ROTATION, log(times((q.x, q.y, q.z, q.w), inverse(self.control.tool_orientation)))))
        self.heard.append(values)
        if self.control.commands_velocity:
            self.velocity.update(values)
            self._twisted = self.now()
        else:
            self.position.update(values)

    def _on_gripper(self, message: Any) -> None:
        value = message.data[0] if hasattr(message, "data") else message.points[0].positions[0] if hasattr(message, "points") else message.position[0]
        self.grips.append(value)
        self.position[self.control.gripper_names[0]] = value

    def now(self) -> float:
        """s"""
        return self.get_clock().now().nanoseconds * 1e-9

    def _step(self) -> None:
        if self.control.command_interface == "twist" and self.now() - self._twisted > SERVO_TIMEOUT:
            self.velocity = dict.fromkeys(self.names, 0.0)
        for name, velocity in self.velocity.items():
            self.position[name] += velocity * PERIOD
        if self.silent:
            return
        stamp = self.get_clock().now().to_msg()
        joints = JointState(name=["of_another_arm", *self.control.joint_names])
        joints.position = [9.0, *(self.position[name] for name in self.control.joint_names)]
        joints.velocity = joints.effort = [0.0] * len(joints.name)
        pose, wrench = PoseStamped(), WrenchStamped()
        for axis in AXES:
            setattr(pose.pose.position, axis, self.position.get(axis, 0.0))
        if self.control.tool_orientation:
            q = pose.pose.orientation
            q.x, q.y, q.z, q.w = turned(self.control.tool_orientation, self.position.get(YAW, 0.0))
            if self.control.rotation_at is not None:
                q.x, q.y, q.z, q.w = times(exp([self.position[name] for name in ROTATION]), self.control.tool_orientation)
        for message, publisher in ((joints, self.joints), (pose, self.pose), (wrench, self.wrench)):
            message.header.stamp = stamp
            publisher.publish(message)

    def _look(self) -> None:
        if not self.silent:
            self.picture.header.stamp = self.get_clock().now().to_msg()
            for camera in self.cameras:
                camera.publish(self.picture)


def _jpeg() -> CompressedImage:
    from PIL import Image as Picture

    data = io.BytesIO()
    Picture.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(data, "JPEG")
    return CompressedImage(format="jpeg", data=data.getvalue())
