"""Collects what `check` judges: who publishes and takes a topic, with which type and QoS, how often and how old."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.action import get_action_server_names_and_types_by_node
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node, NodeNameNonExistentError
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from rl_token_ros.control.measurement_check import MeasurementCheck
from rl_token_ros.interfaces import measurements
from rl_token_ros.interfaces.graph_check import (
    FAIL,
    Endpoint,
    Expected,
    Finding,
    Seen,
    judge,
    judge_action,
    judge_pose,
    needed_groups,
)
from rl_token_ros.interfaces.stamps import stamp_to_ns
from rl_token_ros.interfaces.topics import GRIPPER_ACTIONS
from rl_token_ros.nodes import tool_pose
from rl_token_ros.nodes.camera_inspection import CameraInspection, is_camera
from rl_token_ros.nodes.gripper_command import action_class
from rl_token_ros.nodes.ros_topics import full_name, interface_class
from rl_token_ros.nodes.writer_names import told
from rl_token_ros.settings.control import Control
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.vla import Vla

OURS = {"control_node", "vla_node", "learner_node", "record", "rl_token_check"}
# Matches any publisher: best effort takes from reliable, volatile from transient_local.
ANY = QoSProfile(depth=20, reliability=ReliabilityPolicy.BEST_EFFORT, durability=DurabilityPolicy.VOLATILE)


def look(
    expected: list[Expected],
    control: Control,
    vla: Vla,
    namespace: str = "",
    remaps: dict[str, str] | None = None,
    seconds: float = 3.0,
    context: Any = None,
) -> list[Finding]:
    """Listens for ``seconds`` and returns a finding for each topic. ``context``: where ROS is initialised already."""
    own = context is None
    if own:
        context = rclpy.Context()
        rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
    rules = [word for ours, theirs in (remaps or {}).items() for word in ("-r", f"{ours}:={theirs}")]
    node = rclpy.create_node("rl_token_check", namespace=namespace or None, context=context, cli_args=["--ros-args", *rules] if rules else None)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        seen = {e.topic: Seen() for e in expected}
        names = {e.topic: node.resolve_topic_name(e.topic) for e in expected}
        groups = needed_groups(control, vla)
        checks = {e.topic: MeasurementCheck(control, e.topic, groups) for e in expected if e.topic in measurements.TYPES}
        cameras = {e.topic: CameraInspection(node, e, names[e.topic], seen[e.topic]) for e in expected if is_camera(e)}
        pose = _Pose(node, control)
        for e in expected:
            if e.direction == "in" and e.topic not in cameras:
                node.create_subscription(interface_class(e.kind), names[e.topic], _listener(node, seen[e.topic], checks.get(e.topic)), ANY)
        begun = time.monotonic()
        while (left := begun + seconds - time.monotonic()) > 0:
            executor.spin_once(timeout_sec=left)
            pose.look()
        kinds = {name: types[0] for name, types in node.get_topic_names_and_types() if types}
        findings = []
        for e in expected:
            found = seen[e.topic]
            found.seconds = time.monotonic() - (cameras[e.topic].begun if e.topic in cameras else begun)
            from_us = OURS if e.direction == "out" else {"rl_token_check"}
            found.publishers = _ends(node.get_publishers_info_by_topic(names[e.topic]), from_us)
            found.subscribers = _ends(node.get_subscriptions_info_by_topic(names[e.topic]), from_us)
            if (check := checks.get(e.topic)) is not None and found.messages:
                doubled = check.writers.doubled(time.monotonic(), len(found.publishers))
                found.complaint = told(node, e.topic, names[e.topic], doubled) if doubled else check.complaint
                found.remark = check.remark
            finding = judge(e, found, _same_kind(node, e, names, kinds))
            findings.append(cameras[e.topic].judge(finding) if e.topic in cameras else finding)
        return [*findings, *pose.findings(), *_gripper_actions(node, control)]
    finally:
        executor.shutdown()
        node.destroy_node()
        if own:
            rclpy.shutdown(context=context)


class _Pose:
    """The tool's pose where control_node would make it: found here as it is there."""

    def __init__(self, node: Node, control: Control) -> None:
        self._node, self._control = node, control
        self._source: tool_pose.Source | None = None
        self._why = ""
        self._seen = Seen()
        if control.ee_pose_source != "topic":
            try:
                self._source = tool_pose.source(node, control)
            except ParameterError as error:
                self._why = str(error)

    def look(self) -> None:
        """Something may have come."""
        if self._source is None:
            return
        now = self._node.get_clock().now().nanoseconds
        if (found := self._source.pose(now)) is not None:
            self._seen.aged((now - found.stamp_ns) * 1e-9)
        self._why = self._source.why

    def findings(self) -> list[Finding]:
        """One, or none where it is a driver's topic."""
        if self._control.ee_pose_source == "topic":
            return []
        self.look()
        publishers = _ends(self._node.get_publishers_info_by_topic(self._node.resolve_topic_name("ee_pose")), OURS)
        return [judge_pose(self._control, self._seen.age, self._why, publishers)]


def _gripper_actions(node: Node, control: Control) -> list[Finding]:
    if not control.gripper_names or not control.grips_by_action:
        return []
    try:
        action_class(control)
    except ParameterError as error:
        return [Finding(FAIL, "gripper/command", str(error))]
    servers: dict[str, Endpoint] = {}
    for name, space in node.get_node_names_and_namespaces():
        try:
            served = get_action_server_names_and_types_by_node(node, name, space)
        except NodeNameNonExistentError:
            continue  # it has just gone
        servers |= {action: Endpoint(f"{space.rstrip('/')}/{name}", types[0]) for action, types in served}
    return [judge_action(node.resolve_topic_name(name), GRIPPER_ACTIONS[control.gripper_interface], servers) for name in control.gripper_actions]


def _listener(node: Node, seen: Seen, check: MeasurementCheck | None) -> Callable[[Any, Any], None]:
    def hear(message: Any, info: Any) -> None:
        seen.messages += 1
        now = node.get_clock().now().nanoseconds
        header = getattr(message, "header", None)
        stamp = stamp_to_ns(header.stamp) if header is not None else 0
        if stamp:
            seen.aged((now - stamp) * 1e-9)
        if check is not None:
            check.hear(message, now, time.monotonic(), info)

    return hear


def _ends(infos: Any, left_out: set[str]) -> list[Endpoint]:
    return [
        Endpoint(
            full_name(info),
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
