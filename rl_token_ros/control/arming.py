"""When the arm may be enabled, and when it must not go on: the checks of measurements, before and during motion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rl_token_ros.robot.proprioception import RobotState
from rl_token_ros.robot.yaw import tilt_of
from rl_token_ros.settings.control import Control
from rl_token_ros.settings.proprioception_groups import YAW

TURN_LIMIT = 0.1  # rad, of the first command; orientations do not pass through the filter, but for yaw
YAW_STOP = 3.0  # rad: beyond the limits of yaw (settings.control.YAW_LIMIT), short of pi, where it jumps


class Refused(Exception):
    """An operator's request that cannot be met; the message says what must be done first."""


class Arming:
    """Says what speaks against moving, a sentence each.

    Args:
        settings: parameters of `control_node`.
        state: the newest measurements.
        needed: groups of measurements without which the arm does not move.
    """

    def __init__(self, settings: Control, state: RobotState, needed: list[str]) -> None:
        self._settings, self._state, self._needed = settings, state, needed

    def unsafe(self, now_ns: int) -> str:
        """Why the arm must not move on these measurements, or nothing."""
        state, settings = self._state, self._settings
        if missing := state.why_missing(self._needed):
            return missing
        age = state.age_ns(self._needed, now_ns)
        if age > settings.state_timeout * 1e9:
            return f"the newest measurement of {state.oldest(self._needed)} is {age * 1e-9:.2f} s old; state_timeout is {settings.state_timeout:g} s"
        if settings.workspace_min:
            tool = state.values["ee_position"]
            if (tool < settings.workspace_min).any() or (tool > settings.workspace_max).any():
                return f"the tool at {np.round(tool, 3).tolist()} m is outside the box workspace_min to workspace_max"
        if settings.turns and abs(yaw := float(state.measured([YAW])[0])) > YAW_STOP:
            return f"the tool is turned by {yaw:.2f} rad from tool_orientation; beyond pi it would seem to be turned the other way"
        return ""

    def not_ready(self, now_ns: int, fresh_chunk: bool, stop_reason: str) -> list[str]:
        """What keeps the arm from being enabled; empty when it may be."""
        reasons = [self.unsafe(now_ns)]
        if not fresh_chunk:
            reasons.append("no fresh chunk on 'vla/reference'; is vla_node running and warmed up?")
        if stop_reason:
            reasons.append(f"stopped: {stop_reason}; call ~/reset_stop first")
        return [reason for reason in reasons if reason]

    def turned(self) -> list[str]:
        """A sentence if the first command would turn the tool to `tool_orientation`; the measured orientation is known."""
        if not self._settings.cartesian or not self._settings.tool_orientation or self._settings.rotation_at is not None:
            return []  # where rx, ry, rz are actions the first command is the measured orientation
        wanted, measured = np.array(self._settings.tool_orientation), self._state.values["ee_orientation"]
        if self._settings.turns:  # its yaw may be any that position_min and position_max allow
            tilt = tilt_of(measured.tolist(), wanted.tolist())
            told = f"the tool is tilted by {tilt:.2f} rad from tool_orientation, beside its yaw; bring that to within {TURN_LIMIT:g} rad"
            return [told] if tilt > TURN_LIMIT else []
        cosine = abs(wanted @ measured) / (np.linalg.norm(wanted) * np.linalg.norm(measured))
        turn = 2.0 * float(np.arccos(min(cosine, 1.0)))
        if turn <= TURN_LIMIT:
            return []
        return [f"the tool is turned by {turn:.2f} rad from tool_orientation; turn it to within {TURN_LIMIT:g} rad, or leave that empty"]


def second_publisher(names: Sequence[str]) -> str:
    """The sentence about other nodes that publish `command`, or nothing."""
    return f"'command' is also published by {', '.join(sorted(names))}; stop that first" if names else ""
