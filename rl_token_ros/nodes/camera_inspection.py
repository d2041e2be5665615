"""Listens to a camera for `check`, as vla_node does: the same profile, the same reliability."""

from __future__ import annotations

import time
from typing import Any

from rclpy.node import Node

from rl_token_ros.interfaces import camera_check, image_cdr, images
from rl_token_ros.interfaces.graph_check import Expected, Finding, Seen
from rl_token_ros.interfaces.stamps import stamp_to_ns
from rl_token_ros.interfaces.topics import CAMERA, IMAGE, row
from rl_token_ros.nodes import camera_transport, discovery
from rl_token_ros.nodes.camera_topic import CameraTopic


def is_camera(expected: Expected) -> bool:
    """Whether a topic is that of a camera."""
    found = row(expected.topic)
    return found is not None and found.name in CAMERA.values()


class CameraInspection:
    """Fills in what was seen of a camera's topic, and says what its pictures say.

    Args:
        node: subscribes.
        expected: the camera.
        name: its topic, remapped.
        seen: is filled.
    """

    def __init__(self, node: Node, expected: Expected, name: str, seen: Seen) -> None:
        self._node, self._expected, self._seen = node, expected, seen
        self.begun = time.monotonic()  # of the first picture: until the driver is found, its rate is nobody's
        self.topic = CameraTopic(node, name, expected.kind, self._hear)

    def _hear(self, message: Any) -> None:
        seen, topic = self._seen, self._expected.topic
        if not seen.messages:
            self.begun = time.monotonic()
        seen.messages += 1
        try:
            if self._expected.kind == IMAGE:
                message = image_cdr.read(message, topic)
                images.check(message, topic)
            elif seen.messages == 1:
                images.decompress(message, topic)  # one is enough: it takes ms
        except images.ImageError as error:
            seen.complaint = str(error)
            return
        if stamp := stamp_to_ns(message.header.stamp):
            seen.aged((self._node.get_clock().now().nanoseconds - stamp) * 1e-9)

    def judge(self, finding: Finding) -> Finding:
        """The finding with what is known of the pictures."""
        return camera_check.judge(finding, self.topic.stream, self._expected.oldest, discovery.driver_setting(), camera_transport.remedy())
