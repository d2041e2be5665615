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
from rl_token_ros.robot.readings import StateError
from rl_token_ros.settings.parameters import ParameterError


class StateTopics:
    """Hands `joint_states`, `ee_pose` and `wrench` over, as far as the groups need them: to a function of topic, message and time in ns.

    A message that cannot be used is refused and reported, at most once a second. A topic on which nothing but such messages comes
    for PATIENCE seconds does not fit the parameter file, and ParameterError ends the node. A gripper that publishes its own joints
    on the same topic, be it before the arm, does not.
    """

    PATIENCE = 3.0

    def __init__(self, node: Node, take: Callable[[str, Any, int], None], groups: list[str]) -> None:
        self._node = node
        self._measure = take
        self.refused = 0
        self._fits: set[str] = set()
        self._refused_since: dict[str, float] = {}
        self.subscriptions = [subscription(node, topic, functools.partial(self._take, topic)) for topic in measurements.topics(groups)]

    def _take(self, topic: str, message: Any) -> None:
        try:
            self._measure(topic, message, self._node.get_clock().now().nanoseconds)
            self._fits.add(topic)
        except StampError as error:
            self._refuse(error)
        except StateError as error:
            self._refuse(error)
            since = self._refused_since.setdefault(topic, time.monotonic())
            if topic not in self._fits and time.monotonic() - since > self.PATIENCE:
                raise ParameterError(str(error)) from None

    def _refuse(self, error: Exception) -> None:
        self.refused += 1
        self._node.get_logger().error(str(error), throttle_duration_sec=1.0)
