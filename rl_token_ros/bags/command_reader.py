"""What a recorded `command` says, for each kind of controller that listened to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rl_token_ros.interfaces.stamps import stamp_to_ns
from rl_token_ros.robot.rotations import exp, times, turn_from
from rl_token_ros.robot.yaw import turned, yaw_of
from rl_token_ros.settings.control import Control
from rl_token_ros.settings.gym import Gym
from rl_token_ros.settings.proprioception_groups import ROTATION, YAW


class CommandReader:
    """The counterpart of nodes.command_writer.CommandWriter.

    Args:
        settings: parameters of the control_node that wrote, or of the node that listens to it.
        decode: from what :meth:`read` is given, CDR mostly, to the message.
    """

    def __init__(self, settings: Control | Gym, decode: Callable[[Any], Any]) -> None:
        self._interface, self._names, self._decode = settings.command_interface, settings.action_names, decode
        self.speeds = settings.command_interface == "twist"
        self._turns, self._zero, self._rotation = settings.turns, settings.tool_orientation, settings.rotation_at

    def read(self, cdr: Any) -> tuple[int, np.ndarray | None]:
        """Stamp in ns (0: it has none) and position [A] of each action, for twist: None.

        A message for other joints has no position.
        """
        message = self._decode(cdr)
        stamp, values = getattr(self, "_" + self._interface)(message)
        if values is None or len(values) != len(self._names) or self.speeds:
            return stamp, None
        return stamp, np.array(values, np.float64)

    def as_read(self, position: np.ndarray) -> np.ndarray:
        """A commanded position [A] as :meth:`read` finds it: yaw, or a rotation, went through a quaternion, which costs its last bits."""
        if self._interface != "pose" or not (self._turns or self._rotation is not None):
            return position
        found = position.copy()
        if (at := self._rotation) is not None:
            found[at : at + 3] = turn_from(self._zero, times(exp(position[at : at + 3].tolist()), self._zero))
        else:
            at = self._names.index(YAW)
            found[at] = yaw_of(turned(self._zero, float(position[at])), self._zero)
        return found

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
        linear, angular = message.twist.linear, message.twist.angular
        turns = {YAW: angular.z} if self._turns else {} if self._rotation is None else dict(zip(ROTATION, (angular.x, angular.y, angular.z)))
        return stamp_to_ns(message.header.stamp), [turns[name] if name in turns else getattr(linear, name) for name in self._names]

    def _pose(self, message: Any) -> tuple[int, Any]:
        position, q = message.pose.position, message.pose.orientation
        turns: dict[str, float] = {}
        if self._turns:
            turns = {YAW: yaw_of((q.x, q.y, q.z, q.w), self._zero)}
        elif self._rotation is not None:
            turns = dict(zip(ROTATION, turn_from(self._zero, (q.x, q.y, q.z, q.w))))
        return stamp_to_ns(message.header.stamp), [turns[name] if name in turns else getattr(position, name) for name in self._names]

    def _named(self, names: list[str], values: Any) -> list[float] | None:
        given = dict(zip(names, values))
        return [given[name] for name in self._names] if set(self._names) <= set(given) else None
