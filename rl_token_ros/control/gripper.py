"""Grippers that are no part of what is learned: the VLA's positions, or the human's, go to `gripper/command` as they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from rl_token_ros.control import chunk
from rl_token_ros.control.proposals import Proposals
from rl_token_ros.interfaces.codes import Source
from rl_token_ros.interfaces.stamps import stamp_to_ns
from rl_token_ros.settings.control import Control


class Gripper:
    """Says where the grippers shall be at each tick, in the order of `gripper_names`.

    Only while the arm acts: when it holds or is stopped nothing is sent, and a gripper keeps its grip.
    """

    def __init__(self, settings: Control) -> None:
        self._settings = settings
        self._low, self._high = np.array(settings.gripper_min), np.array(settings.gripper_max)
        self._proposals = Proposals(settings)

    def propose(self, message: Any, now_ns: int) -> None:
        """A `vla/reference`; one that cannot be used, or is older, changes nothing: the arm's own check reports it."""
        try:
            self._proposals.set_chunk(chunk.from_trajectory(message, self._settings.gripper_names, self._settings.chunk_dt), now_ns)
        except chunk.ChunkError:
            return

    def intervene(self, message: Any, now_ns: int) -> None:
        """An `intervention`; its grippers count where it names them all."""
        sent = dict(zip(message.name, message.position))
        position = np.array([sent.get(name, np.nan) for name in self._settings.gripper_names])
        if np.isfinite(position).all():
            self._proposals.set_human(stamp_to_ns(message.header.stamp) or now_ns, position)

    def position(self, now_ns: int, source: int) -> np.ndarray | None:
        """Where to be [G] while ``source`` (of replay_record) moves the arm; None: leave the grippers as they are."""
        wanted = self._proposals.human(now_ns) if source == Source.HUMAN else self._proposals.base(now_ns)
        return None if wanted is None else np.minimum(np.maximum(wanted, self._low), self._high)
