"""Grippers that are no part of what is learned: the VLA's positions, or the human's, go to `gripper/command` as they are, within limits."""

from __future__ import annotations

from typing import Any

import numpy as np

from rl_token_ros.control.proposals import Proposals
from rl_token_ros.settings.control import Control


class Gripper:
    """Says where the grippers shall be at each tick, in the order of `gripper_names`.

    Only while the arm acts: when it holds or is stopped nothing is sent, and a gripper keeps its grip.

    Args:
        settings: parameters of `control_node`.
        proposals: what VLA and human want.
    """

    def __init__(self, settings: Control, proposals: Proposals) -> None:
        self._names, self._proposals = settings.gripper_names, proposals
        self._low, self._high = np.array(settings.gripper_min), np.array(settings.gripper_max)

    def of_human(self, message: Any) -> np.ndarray | None:
        """Positions [G] in an `intervention`; they count where it names all grippers."""
        sent = dict(zip(message.name, message.position))
        positions = np.array([sent.get(name, np.nan) for name in self._names])
        return positions if self._names and np.isfinite(positions).all() else None

    def position(self, now_ns: int, source: int) -> np.ndarray | None:
        """Where to be [G] while ``source`` (a code of :class:`Source`) moves the arm; None: leave the grippers as they are."""
        if not self._names:
            return None
        wanted = self._proposals.grippers(now_ns, source)
        return None if wanted is None else np.minimum(np.maximum(wanted, self._low), self._high)
