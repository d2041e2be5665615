"""What a recorded `command` says, for each kind of controller that listened to it."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from rl_token_ros.chunk import stamp_to_ns
from rl_token_ros.settings import Control


class CommandReader:
    """The counterpart of command_message.CommandWriter.

    Args:
        settings: parameters of the control_node that wrote.
        decode: from CDR to the message.
    """

    def __init__(self, settings: Control, decode: Callable[[bytes], Any]) -> None:
        self._interface, self._names, self._decode = settings.command_interface, settings.action_names, decode
        self.speeds = settings.command_interface == "twist"

    def read(self, cdr: bytes) -> tuple[int, np.ndarray | None]:
        """Stamp in ns (0: it has none) and position [A] of each action, for twist: None.

        A message for other joints has no position.
        """
        message = self._decode(cdr)
        stamp, values = getattr(self, "_" + self._interface)(message)
        if values is None or len(values) != len(self._names) or self.speeds:
            return stamp, None
        return stamp, np.array(values, np.float64)

    def speed(self, cdr: bytes) -> tuple[int, np.ndarray]:
        """Stamp in ns and velocity [A] of a twist."""
        stamp, values = self._twist(self._decode(cdr))
        return stamp, np.array(values, np.float64)

    def _forward(self, message: Any) -> tuple[int, Any]:
        return 0, message.data

    def _trajectory(self, message: Any) -> tuple[int, Any]:
        if not message.points:
            return 0, None
        return 0, self._named(message.joint_names, message.points[0].positions)

    def _joint_state(self, message: Any) -> tuple[int, Any]:
        return stamp_to_ns(message.header.stamp), self._named(message.name, message.position)

    def _twist(self, message: Any) -> tuple[int, Any]:
        linear = message.twist.linear
        return stamp_to_ns(message.header.stamp), [getattr(linear, name) for name in self._names]

    def _pose(self, message: Any) -> tuple[int, Any]:
        position = message.pose.position
        return stamp_to_ns(message.header.stamp), [getattr(position, name) for name in self._names]

    def _named(self, names: list[str], values: Any) -> list[float] | None:
        given = dict(zip(names, values))
        return [given[name] for name in self._names] if set(self._names) <= set(given) else None
