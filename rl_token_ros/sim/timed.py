"""An environment in robot time: its clock, and the time that resets take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rl_token_ros.sim.environment import Environment

FIRST_STAMP_NS = 1_000_000_000  # a stamp of zero would mean "none"


class Timed:
    """Counts the robot time of an environment, and holds commands back while it is reset.

    Args:
        environment: its first episode begins at once.
        seed: of all that is random in it.
        reset_time: s that pass between two episodes.

    Attributes:
        time_ns: since it began.
    """

    def __init__(self, environment: Environment, seed: int, reset_time: float) -> None:
        self.environment, self.time_ns = environment, 0
        self._reset_ns = round(reset_time * 1e9)
        self._begins_ns = -1  # the episode, after a reset
        environment.reset(seed)

    @property
    def stamp_ns(self) -> int:
        """Stamp of this moment where simulated time is all there is."""
        return self.time_ns + FIRST_STAMP_NS

    @property
    def resetting(self) -> bool:
        """Whether commands do not count: the next episode has not begun."""
        return self.time_ns <= self._begins_ns

    def step(self, command: np.ndarray | None, dt_ns: int) -> None:
        """Advance by so many ns; see :meth:`Environment.step`."""
        self.environment.step(None if self.resetting else command, dt_ns * 1e-9)
        self.time_ns += dt_ns

    def reset(self) -> None:
        """The episode is over; the next one begins when `reset_time` has passed."""
        self.environment.reset()
        self._begins_ns = self.time_ns + self._reset_ns


def joined(position: np.ndarray | None, grippers: np.ndarray | None, gripper_names: Sequence[str]) -> np.ndarray | None:
    """A command [A + G] of positions [A] and of those of the grippers [G]. None, to stay: nothing, or no gripper's position, has come yet."""
    if position is None or not gripper_names:
        return position
    return None if grippers is None else np.append(position, grippers)
