"""Beside an arm: hears what it is told, audits that, hears what the nodes report, and can do what an operator does."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from audit import CommandAudit
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_srvs.srv import SetBool, Trigger

from rl_token_ros.interfaces.stamps import stamp_to_ns

DEEP = QoSProfile(depth=1000)


class Onlooker(Node):
    """Subscribes to `command` and `/diagnostics`.

    Args:
        name: of the node.
        audit: takes every command.
        command_type: ROS type of `command`.
        position: of a command, float64 [A].

    Attributes:
        reports: newest figures of each node by name, its sentence as ``message``, system time as ``at``.
    """

    def __init__(self, name: str, audit: CommandAudit, command_type: type, position: Callable[[Any], np.ndarray], **options: Any) -> None:
        super().__init__(name, **options)
        self.audit = audit
        self.reports: dict[str, dict[str, str]] = {}
        self.operator = Operator(self)
        self._position_of = position
        self.create_subscription(command_type, "command", self._on_command, DEEP)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, DEEP)

    def _on_command(self, message: Any, info: Any) -> None:
        self.audit.take(stamp_to_ns(message.header.stamp), self._position_of(message), info["source_timestamp"])

    def _on_diagnostics(self, message: DiagnosticArray, info: Any) -> None:
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            self.reports[status.name.strip("/")] = {**values, "message": status.message, "at": str(info["source_timestamp"] * 1e-9)}


class Operator:
    """Resets a stop and enables, one call after the other, as people do: of two that wait side by side control_node answers either first.

    Args:
        node: that calls.
        name: of control_node.
    """

    PATIENCE = 3.0  # s for an answer; a call may go to a node that was killed

    def __init__(self, node: Node, name: str = "control_node") -> None:
        self._reset = node.create_client(Trigger, f"{name}/reset_stop")
        self._enable = node.create_client(SetBool, f"{name}/enable")
        self._next: deque[Callable[[], Any]] = deque()  # calls to be made
        self._call: Any = None  # under way
        self._called_at = 0.0
        self.changed_at = 0.0  # system time; what was reported before it is no longer so

    @property
    def busy(self) -> bool:
        """Whether a stop is being reset: what the arm was told before it says nothing of what comes."""
        return self._call is not None or bool(self._next)

    def operate(self, message: str) -> None:
        """Do what is due after control_node has reported this sentence; now and then, until the arm moves."""
        if self._call is not None:
            if not self._call.done() and time.monotonic() - self._called_at < self.PATIENCE:
                return
            self._call, self.changed_at = None, time.time()
        if not self._next and message.startswith(("stopped", "disabled")) and self._enable.service_is_ready() and self._reset.service_is_ready():
            self._next.append(lambda: self._enable.call_async(SetBool.Request(data=True)))
            if message.startswith("stopped"):
                self._next.appendleft(lambda: self._reset.call_async(Trigger.Request()))
        if self._next:
            self._call, self._called_at = self._next.popleft()(), time.monotonic()
            self.changed_at = time.time()

    def reset(self) -> bool:
        """Reset a stop, and only that; whether it is done. To be called until it is."""
        if self._call is None:
            self._call, self._called_at = self._reset.call_async(Trigger.Request()), time.monotonic()
        if not self._call.done():
            return False
        self._call, self.changed_at = None, time.time()
        return True

    def forget(self) -> None:
        """control_node begins anew: what it was asked before it will not answer."""
        self._call = None
        self._next.clear()
