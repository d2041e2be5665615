"""Staying where the arm is: the position that is held, since when, and how a disabled arm comes to rest there."""

from __future__ import annotations

import numpy as np

from rl_token_ros.control.command_filter import CommandFilter
from rl_token_ros.settings.control import Control

LEAVING_SECONDS = 1.0  # beyond the time to brake, to come to rest where the arm was measured


class Holding:
    """Leads the command to rest.

    Args:
        settings: parameters of `control_node`.
        safety: makes the commands.
    """

    def __init__(self, settings: Control, safety: CommandFilter) -> None:
        self._settings, self._filter = settings, safety
        self.position: np.ndarray | None = None  # [A] that is held
        self.since_ns = 0
        self.leaving = 0  # control steps in which a disabled arm may still come to rest
        self._nowhere = [np.nan] * settings.action_size

    @property
    def values(self) -> list[float]:
        """The position held, NaN where none is."""
        return self._nowhere if self.position is None else self.position.tolist()

    def resume(self, position: np.ndarray) -> None:
        """Hold this position [A] again; NaN: none was held."""
        self.position = None if np.isnan(position).any() else position

    def begin(self, measured: np.ndarray, now_ns: int) -> None:
        """Hold this position [A] from now on."""
        self.position, self.since_ns = measured.copy(), now_ns

    def release(self) -> None:
        """The arm moves."""
        self.position, self.leaving = None, 0

    def overdue(self, now_ns: int) -> bool:
        """Whether it is held for longer than `hold_timeout`."""
        return now_ns - self.since_ns > self._settings.hold_timeout * 1e9

    def rest(self, measured: np.ndarray) -> tuple[np.ndarray, int]:
        """One command [A] towards rest, and why the filter changed it: at the position held, or, where the command is a speed, wherever it ends.

        A speed that led back to a position would do so by the filter's count of positions, not by the arm's.
        """
        if self._settings.commands_velocity:
            return self._filter.halt(), 0
        assert self.position is not None  # held before it is asked for
        return self._filter.step(self.position, measured, stop_at_target=True)

    def leave(self, measured: np.ndarray) -> None:
        """The arm is disabled: the steps that follow bring it to rest where it is measured now [A]."""
        limits = self._filter.limits
        seconds = LEAVING_SECONDS + float((limits.velocity / limits.acceleration).max())
        self.position, self.leaving = measured.copy(), int(seconds * self._settings.control_rate)

    def last(self, measured: np.ndarray) -> tuple[np.ndarray, int]:
        """A disabled arm's next command, as :meth:`rest`; the very last one is at rest, and not only where it turns back."""
        was_moving = self._filter.moving
        command, clipped = self.rest(measured)
        self.leaving = self.leaving - 1 if was_moving or self._filter.moving else 0
        return command, clipped
