"""Collects what `check` judges: who publishes and takes a topic, with which type and QoS, how often and how old."""

from __future__ import annotations

import time
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from rl_token_ros.interfaces.graph_check import (
    Endpoint,
    Expected,
    Finding,
    Seen,
    describe_joints,
    judge,
)
from rl_token_ros.interfaces.stamps import stamp_to_ns
from rl_token_ros.nodes.camera_inspection import CameraInspection, is_camera
from rl_token_ros.nodes.ros_topics import interface_class
from rl_token_ros.settings.control import Control

OURS = {"control_node", "vla_node", "learner_node", "record", "rl_token_check"}
# Matches any publisher: best effort takes from reliable, volatile from transient_local.
ANY = QoSProfile(depth=20, reliability=ReliabilityPolicy.BEST_EFFORT, durability=DurabilityPolicy.VOLATILE)


def look(
    expected: list[Expected], control: Control, namespace: str = "", remaps: dict[str, str] | None = None, seconds: float = 3.0, context: Any = None
) -> list[Finding]:
    """Listens for ``seconds`` and returns a finding for each topic. ``context``: where ROS is initialised already."""
    own = context is None
    if own:
        context = rclpy.Context()
        rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("rl_token_check", namespace=namespace or None, context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        seen = {e.topic: Seen() for e in expected}
        names = {e.topic: node.resolve_topic_name((remaps or {}).get(e.topic, e.topic)) for e in expected}
        cameras = {e.topic: CameraInspection(node, e, names[e.topic], seen[e.topic]) for e in expected if is_camera(e)}
        for e in expected:
            if e.direction == "in" and e.topic not in cameras:
                node.create_subscription(interface_class(e.kind), names[e.topic], _listener(node, e, seen[e.topic], control), ANY)
        begun = time.monotonic()
        while (left := begun + seconds - time.monotonic()) > 0:
            executor.spin_once(timeout_sec=left)
        kinds = {name: types[0] for name, types in node.get_topic_names_and_types() if types}
        findings = []
        for e in expected:
            found = seen[e.topic]
            found.seconds = time.monotonic() - (cameras[e.topic].begun if e.topic in cameras else begun)
            from_us = OURS if e.direction == "out" else {"rl_token_check"}
            found.publishers = _ends(node.get_publishers_info_by_topic(names[e.topic]), from_us)
            found.subscribers = _ends(node.get_subscriptions_info_by_topic(names[e.topic]), from_us)
            finding = judge(e, found, _same_kind(node, e, names, kinds))
            findings.append(cameras[e.topic].judge(finding) if e.topic in cameras else finding)
        return findings
    finally:
        executor.shutdown()
        node.destroy_node()
        if own:
            rclpy.shutdown(context=context)


def _listener(node: Node, expected: Expected, seen: Seen, control: Control):
    def hear(message: Any) -> None:
        seen.messages += 1
        header = getattr(message, "header", None)
        stamp = stamp_to_ns(header.stamp) if header is not None else 0
        if stamp:
            age = (node.get_clock().now().nanoseconds - stamp) * 1e-9
            seen.age = age if seen.age is None else max(age, seen.age, key=abs)
        if expected.topic == "joint_states":
            # Of several publishers one must bring all joints: a gripper's own do not count against the arm's.
            complaint = describe_joints(control, message)
            seen.complaint = complaint if seen.messages == 1 or not complaint else seen.complaint

    return hear


def _ends(infos: Any, left_out: set[str]) -> list[Endpoint]:
    return [
        Endpoint(
            f"{info.node_namespace.rstrip('/')}/{info.node_name}",
            info.topic_type,
            info.qos_profile.reliability != ReliabilityPolicy.BEST_EFFORT,
            info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL,
        )
        for info in infos
        if info.node_name not in left_out
    ]


def _same_kind(node: Node, expected: Expected, names: dict[str, str], kinds: dict[str, str]) -> list[str]:
    """Topics of the expected type that somebody publishes (or takes, for what we send) and that no other entry speaks of."""
    count = node.count_publishers if expected.direction == "in" else node.count_subscribers
    return sorted(name for name, kind in kinds.items() if kind == expected.kind and name not in names.values() and count(name))
