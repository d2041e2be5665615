"""Subscriptions of the robot's measurements, shared by the nodes that need them."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node

from rl_token_ros.interfaces import measurements
from rl_token_ros.interfaces.measurements import StampError
from rl_token_ros.nodes.ros_topics import subscription
from rl_token_ros.nodes.writer_names import TopicWriters
from rl_token_ros.robot.proprioception import RobotState
from rl_token_ros.robot.readings import StateError

PATIENCE = 3.0  # s from the first message of a topic on, after which what nobody brings is said


class StateTopics:
    """Hands `joint_states`, `ee_pose` and `wrench` over, as far as the groups need them: to a function of topic, message and time in ns.

    A message that cannot be used, or not be believed, is refused and reported, at most once a second. So is a joint that nobody brings. The
    node goes on: its driver may start later. Who publishes what is looked at, since two drivers may bring the same.

    Args:
        node: whose they are.
        take: the function.
        state: into which it takes them.
        groups: of proprioception that are needed.
    """

    def __init__(self, node: Node, take: Callable[[str, Any, int], None], state: RobotState, groups: list[str]) -> None:
        self._node, self._measure, self._state, self._groups = node, take, state, groups
        self.refused = 0
        self._writers = {topic: TopicWriters(node, topic) for topic in measurements.topics(groups)}
        self._first: dict[str, float] = {}
        self.subscriptions = [subscription(node, topic, functools.partial(self._take, topic)) for topic in self._writers]

    def doubled(self) -> list[str]:
        """Sentences about what two publishers bring, naming them."""
        return [sentence for writers in self._writers.values() for sentence in writers.doubled()]

    def _take(self, topic: str, message: Any, info: dict[str, Any]) -> None:
        now = time.monotonic()
        self._writers[topic].hear(measurements.brings(self._state.reader, topic, message), info)
        try:
            self._measure(topic, message, self._node.get_clock().now().nanoseconds)
        except (StampError, StateError) as error:
            self.refused += 1
            self._node.get_logger().error(str(error), throttle_duration_sec=1.0)
        if now - self._first.setdefault(topic, now) > PATIENCE and (missing := self._state.why_missing(self._groups)):
            self._node.get_logger().error(missing, throttle_duration_sec=PATIENCE)
