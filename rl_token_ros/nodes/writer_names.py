"""Who publishes what on a topic of a live graph, and the sentence about what two publishers bring, with the names of their nodes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rclpy.node import Node

from rl_token_ros.interfaces import measurements
from rl_token_ros.interfaces.measurements import GID_BYTES
from rl_token_ros.nodes.ros_topics import full_name
from rl_token_ros.robot.writers import Writers


class TopicWriters:
    """Who brings what on one topic of a live graph.

    Args:
        node: subscribes.
        topic: our name.
    """

    def __init__(self, node: Node, topic: str) -> None:
        self._node, self._topic, self._writers = node, topic, Writers()

    def hear(self, what: Sequence[str], info: Mapping[str, Any]) -> None:
        """A message came that brings this, with rclpy's info of it."""
        self._writers.hear(what, time.monotonic(), *measurements.writer(info))

    def doubled(self) -> list[str]:
        """The sentence about what two publishers bring, if they do."""
        resolved = self._node.resolve_topic_name(self._topic)
        found = self._writers.doubled(time.monotonic(), self._node.count_publishers(resolved))
        return [told(self._node, self._topic, resolved, found)] if found else []


def told(node: Node, topic: str, resolved: str, doubled: dict[str, tuple[bytes, ...]]) -> str:
    """The sentence.

    Args:
        node: looks at the graph.
        topic: our name.
        resolved: its name there.
        doubled: what is brought twice, by whom, as :meth:`Writers.doubled`.
    """
    infos = node.get_publishers_info_by_topic(resolved)
    names = {bytes(info.endpoint_gid[:GID_BYTES]): full_name(info) for info in infos}
    known = [names[writer] for writers in doubled.values() for writer in writers if writer in names]
    who = " and ".join(dict.fromkeys(known)) if len(set(known)) > 1 or not infos else ", ".join(names.values())
    joints = [one for one in doubled if one != topic]
    more = f" and {len(joints) - 1} more" if len(joints) > 1 else ""
    return f"two publishers bring {joints[0] + more + ' on ' if joints else ''}'{topic}', {who}: which is true is not known; stop one of them"
