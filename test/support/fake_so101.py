"""A fake SO-101 with its drivers and an operator's hand, for walking the path of docs/your_vla.md: `python fake_so101.py --help`.

Joints follow `/forward_position_controller/commands` at up to 1 rad/s; the cameras `front` and `wrist` are compressed pictures on which the arm's
posture shows. With `--episodes` it enables the arm and begins and judges episodes, as the keys e, r, c, s and f of `rl_token operator` do.
"""

from __future__ import annotations

import argparse
import io
import time

import numpy as np
import rclpy
import rclpy.executors
from diagnostic_msgs.msg import DiagnosticArray
from PIL import Image
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, JointState
from std_msgs.msg import Bool, Float64MultiArray
from std_srvs.srv import SetBool, Trigger

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
HOME = np.array([0.0, -0.4, 0.5, 0.3, 0.0, 0.4])  # rad
PERIOD, SPEED = 0.02, 1.0  # s, rad/s


class FakeSo101(Node):
    """Arm, cameras and, if asked for, the operator's hand. Counts commands, and how far one was from the arm."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__("so101")
        self.options, self.position = options, HOME.copy()
        self.command: np.ndarray | None = None
        self.commands, self.farthest, self.episodes = 0, 0.0, 0
        self.said: dict[str, str] = {}
        self._ends = 0.0  # of the episode; 0: none runs
        self._next = time.monotonic()
        self._states = self.create_publisher(JointState, "joint_states", 10)
        self._cameras = [
            self.create_publisher(CompressedImage, f"camera/{c}/image_raw/compressed", qos_profile_sensor_data) for c in ("front", "wrist")
        ]
        self._phase, self._outcome = (self.create_publisher(Bool, topic, 10) for topic in ("critical_phase", "outcome"))
        self._enable = self.create_client(SetBool, "control_node/enable")
        self._reset_stop = self.create_client(Trigger, "control_node/reset_stop")
        self.create_subscription(Float64MultiArray, "/forward_position_controller/commands", self._take, 10)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._hear, 10)
        self.create_timer(PERIOD, self._move)
        self.create_timer(1 / 30, self._look)
        self.create_timer(0.1, self._operate)
        self.create_timer(5.0, self.tell)

    def _take(self, message: Float64MultiArray) -> None:
        self.command = np.array(message.data)
        self.commands += 1
        self.farthest = max(self.farthest, float(np.abs(self.command - self.position).max()))

    def _hear(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.strip("/") == "control_node":
                self.said = {**{value.key: value.value for value in status.values}, "message": status.message}

    def _move(self) -> None:
        if self.command is not None:
            self.position = self.position + np.clip(self.command - self.position, -SPEED * PERIOD, SPEED * PERIOD)
        message = JointState(name=list(JOINTS), position=[float(value) for value in self.position])
        message.header.stamp = self.get_clock().now().to_msg()
        self._states.publish(message)

    def _look(self) -> None:
        picture = np.full((self.options.height, self.options.width, 3), 60, np.uint8)
        for i, value in enumerate(self.position):  # a bar for each joint
            rows = slice(i * self.options.height // 6, (i + 1) * self.options.height // 6)
            picture[rows, : max(1, int((value + 2.0) / 4.0 * self.options.width))] = 40 * i + 20
        packed = io.BytesIO()
        Image.fromarray(picture).save(packed, "JPEG")
        stamp = self.get_clock().now().to_msg()
        for camera in self._cameras:
            message = CompressedImage(format="jpeg", data=packed.getvalue())
            message.header.stamp = stamp
            camera.publish(message)

    def _operate(self) -> None:
        now = time.monotonic()
        if self.episodes >= self.options.episodes or now < self._next or not self._enable.service_is_ready():
            return
        self._next = now + 1.0
        if self.said.get("message", "").startswith("stopped"):
            self._reset_stop.call_async(Trigger.Request())
        elif not self.said.get("message", "").startswith("enabled"):
            self._enable.call_async(SetBool.Request(data=True))
        elif not self._ends:
            self._phase.publish(Bool(data=True))
            self._ends, self._next = now, now + self.options.seconds
        else:
            self.episodes, self._ends = self.episodes + 1, 0.0
            self._outcome.publish(Bool(data=self.episodes % 2 == 0))

    def tell(self) -> None:
        """Prints a line."""
        keys = ("message", "weights_version", "residual_mean")
        said = ", ".join(f"{key} {self.said[key]}" for key in keys if key in self.said)
        print(
            f"{self.commands} commands, farthest {self.farthest:.3f} rad, {self.episodes} episodes; control_node: {said or 'not heard'}", flush=True
        )


def main() -> None:
    """Runs until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=0, help="enable the arm, begin and judge so many (0)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of an episode (2)")
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    options = parser.parse_args()
    rclpy.init()
    try:
        rclpy.spin(FakeSo101(options))
    except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
        pass


if __name__ == "__main__":
    main()
