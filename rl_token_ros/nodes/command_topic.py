"""Who is on `command`: other publishers, and whether the arm's side has received what was said; and who measures."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import ReliabilityPolicy

from rl_token_ros.nodes.ros_topics import full_name

AT_ONCE = Duration(nanoseconds=0)
DISCOVERY_SECONDS = 1.0  # until who else publishes is known; mostly 0.1, on a busy machine 0.4 (another control_node announces itself as often)


class CommandTopic:
    """Looks at the graph around a publisher: the :class:`CommandSide` of a live arm.

    Args:
        node: whose it is.
        publisher: of `command`.
        doubled: gives sentences about measurements that two publishers bring.
    """

    live = True

    def __init__(self, node: Node, publisher: Publisher, doubled: Callable[[], Sequence[str]]) -> None:
        self._node, self._publisher = node, publisher
        self.doubled = doubled
        self._begun = time.monotonic()

    def others(self) -> list[str]:
        """Full names of the nodes that publish it beside this one."""
        topic = self._publisher.topic_name
        if self._node.count_publishers(topic) < 2:
            return []
        names = [full_name(found) for found in self._node.get_publishers_info_by_topic(topic)]
        if (mine := self._node.get_fully_qualified_name()) in names:
            names.remove(mine)  # once: another node may have the same name
        return names

    @property
    def settled(self) -> bool:
        """Whether a publisher that was there before this one would be known by now."""
        return time.monotonic() - self._begun >= DISCOVERY_SECONDS

    @property
    def taken(self) -> bool:
        """Whether anyone listens."""
        return self._publisher.get_subscription_count() > 0

    @property
    def acknowledged(self) -> bool:
        """Whether everyone who acknowledges at all has received everything. Does not wait."""
        return self._publisher.wait_for_all_acked(AT_ONCE)

    @property
    def silent(self) -> bool:
        """Whether someone listens who does not acknowledge."""
        found = self._node.get_subscriptions_info_by_topic(self._publisher.topic_name)
        return any(one.qos_profile.reliability != ReliabilityPolicy.RELIABLE for one in found)
