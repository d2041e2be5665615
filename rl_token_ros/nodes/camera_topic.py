"""The subscription of a camera, with the best reliability that its publishers offer, whenever they come or change it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from rl_token_ros.interfaces import image_cdr
from rl_token_ros.interfaces.camera_stream import BEST_EFFORT, CameraStream, best_reliability
from rl_token_ros.interfaces.images import ImageError
from rl_token_ros.interfaces.topics import IMAGE, PICTURES
from rl_token_ros.nodes.ros_topics import interface_class

LOOK_SECONDS = 0.5  # between two looks at who publishes


class CameraTopic:
    """Hands a camera's messages over and counts them.

    It begins best effort, which hears everybody, and becomes reliable when all publishers are. A reliable subscription would not hear a
    driver that comes back as best effort: it is best effort again within LOOK_SECONDS.

    Args:
        node: subscribes, and logs.
        topic: as the node calls it.
        type_name: Image or CompressedImage, as the table of topics writes them.
        take: is given each message; an Image as bytes, for rclpy would copy them into a message, and they are copied out of it again.
    """

    def __init__(self, node: Node, topic: str, type_name: str, take: Callable[[Any], object]) -> None:
        self._node, self._take, self.topic = node, take, topic
        self._class, self._raw = interface_class(type_name), type_name == IMAGE
        self.stream = CameraStream()
        self.reliability = BEST_EFFORT
        self.publishers = 0
        self._subscription: Subscription | None = None
        self._look()
        node.create_timer(LOOK_SECONDS, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _look(self) -> None:
        offered = [info.qos_profile.reliability == ReliabilityPolicy.RELIABLE for info in self._node.get_publishers_info_by_topic(self.topic)]
        self.publishers = len(offered)
        wanted = best_reliability(offered, self.reliability)
        if self._subscription is not None:
            if wanted == self.reliability:
                return
            self._node.destroy_subscription(self._subscription)
            self._node.get_logger().info(f"'{self.topic}' is {wanted.replace('_', ' ')} from now on, as its publishers are")
            self.stream.begin()
        self.reliability = wanted
        profile = QoSProfile(depth=PICTURES.depth, reliability=ReliabilityPolicy[wanted.upper()])
        hear: Any = self._hear  # rclpy looks at how many arguments it takes
        self._subscription = self._node.create_subscription(self._class, self.topic, hear, profile, raw=self._raw)

    def _hear(self, message: Any, info: dict[str, Any]) -> None:
        sequence, gid = info.get("publication_sequence_number"), info.get("publisher_gid")
        if gid is None and self.publishers != 1:
            sequence = None  # of several publishers it is not said whose number it is (Jazzy)
        size = len(message) if self._raw else len(message.data)
        self.stream.take(time.monotonic(), size, sequence, gid["data"] if gid else b"")
        if was := self.stream.changed(self._kind(message)):
            self._node.get_logger().warning(f"'{self.topic}' is {self.stream.kind} from now on; it was {was}")
        self._take(message)

    def _kind(self, message: Any) -> str:
        if not self._raw:
            return str(message.format)
        try:
            picture = image_cdr.read(message, self.topic)
        except ImageError:
            return self.stream.kind  # who takes it says what is wrong
        return f"{picture.encoding} {picture.width} x {picture.height}"

    def report(self) -> dict[str, str]:
        """For `/diagnostics`: each entry begins with the topic."""
        said = self.stream.report(self.topic, time.monotonic())
        return {**said, f"{self.topic}/reliability": self.reliability, f"{self.topic}/publishers": str(self.publishers)}
