"""Rows of the table of topics (:mod:`rl_token_ros.interfaces.topics`) as publishers and subscriptions of rclpy."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from rl_token_ros.interfaces.topics import BY_NAME, Qos


def interface_class(type_name: str) -> type:
    """The class of a type such as sensor_msgs/msg/Image or std_srvs/srv/Trigger.

    Raises:
        ImportError, AttributeError: that type is not installed.
        ValueError: it is none, as an empty name.
    """
    package, kind, name = type_name.split("/")
    return getattr(importlib.import_module(f"{package}.{kind}"), name)


def profile(qos: Qos) -> QoSProfile:
    """As rclpy takes it."""
    return QoSProfile(depth=qos.depth, reliability=ReliabilityPolicy[qos.reliability.upper()], durability=DurabilityPolicy[qos.durability.upper()])


def publisher(node: Node, name: str, *, interface: str = "", camera: str = "", robot: str = "") -> Publisher:
    """A publisher of a row.

    Args:
        node: whose it is. What belongs to one node is published under ``~/``, thus by that node alone.
        name: of the row.
        interface: value of the parameter that chooses the type of `command` and `gripper/command`.
        camera: in place of ``{camera}``.
        robot: namespace of one of several robots; empty: the node's own.
    """
    topic = BY_NAME[name]
    return node.create_publisher(interface_class(topic.type_for(interface)), _name(topic.own_name, camera, robot), profile(topic.offered))


def subscription(
    node: Node, name: str, callback: Callable[..., object], *, interface: str = "", camera: str = "", robot: str = "", raw: bool = False
) -> Subscription:
    """A subscription of a row. ``callback`` takes the message, or it and its info; with ``raw`` it is bytes. The rest as of :func:`publisher`."""
    topic = BY_NAME[name]
    kind = interface_class(topic.type_for(interface))
    given: Any = callback  # rclpy asks for one without a result, and looks at how many arguments it takes
    return node.create_subscription(kind, _name(topic.name, camera, robot), given, profile(topic.asked), raw=raw)


def _name(name: str, camera: str, robot: str) -> str:
    name = name.replace("{camera}", camera)
    return f"{robot}/{name}" if robot else name


def full_name(info: Any) -> str:
    """Name of the node behind a publisher or subscription, with its namespace; ``info`` as rclpy's TopicEndpointInfo."""
    return f"{info.node_namespace.rstrip('/')}/{info.node_name}"
