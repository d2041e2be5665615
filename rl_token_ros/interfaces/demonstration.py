"""What somebody showed: one episode of measurements, pictures and actions, from whatever source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Demonstration:
    """One episode, in the robot's names and units.

    Attributes:
        seconds: float64 [N], of its frames, from 0 on, rising.
        period: what the last frame lasts, s.
        groups: float64 [N, n] of each group of measurements.
        action: float64 [N, A]: the position commanded (absolute), or what was added to it until the next frame (delta).
        command: float64 [N, A], the position commanded just before each frame; None: where actions are deltas, the measured one.
        critical: bool [N].
        ended: code of :class:`codes.Ended`.
        look: pictures of a frame, uint8 [h, w, 3] by camera.
        task: language instruction.
    """

    seconds: np.ndarray
    period: float
    groups: dict[str, np.ndarray]
    action: np.ndarray
    command: np.ndarray | None
    critical: np.ndarray
    ended: int
    look: Callable[[int], dict[str, np.ndarray]]
    task: str
