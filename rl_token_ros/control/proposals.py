"""Where to go next, as others say it: the VLA's newest chunk, its newest token, and the human's newest action. Each counts while it is fresh."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rl_token_ros.control.chunk import Chunk, ChunkError
from rl_token_ros.interfaces.codes import Source
from rl_token_ros.interfaces.stamps import from_future
from rl_token_ros.robot import action_space
from rl_token_ros.settings.control import Control


class _Human(NamedTuple):
    """A human's action [A] and grippers [G]; ``corrects``: it is added to the VLA's action."""

    stamp_ns: int
    action: np.ndarray
    grippers: np.ndarray | None
    corrects: bool


class Proposals:
    """Holds the newest of each.

    Args:
        settings: parameters of `control_node`.

    Attributes:
        unseen: why :meth:`seen` gave nothing the last time: no_token, no_chunk, old_token or short_window.
    """

    def __init__(self, settings: Control) -> None:
        self.unseen = ""
        self._chunk_ns, self._human_ns = settings.chunk_timeout * 1e9, settings.intervention_timeout * 1e9
        self.chunk: Chunk | None = None
        self.token: tuple[int, np.ndarray] | None = None  # stamp of its observation in ns, float32 [Dz]
        self._human: _Human | None = None
        self._bound = np.array(settings.residual_scale, np.float64)
        self._space = action_space.of_actions(settings)

    def set_chunk(self, chunk: Chunk, now_ns: int) -> None:
        """A new chunk replaces the old one unless its observation is older, by a clock that was not set back in between.

        Raises:
            ChunkError: its stamp lies in the future.
        """
        if from_future(chunk.stamp_ns, now_ns):
            raise ChunkError(f"'vla/reference' is stamped {-chunk.age_ns(now_ns) * 1e-9:.2f} s in the future; do the clocks agree?")
        if self.chunk is None or chunk.stamp_ns > self.chunk.stamp_ns or from_future(self.chunk.stamp_ns, now_ns):
            self.chunk = chunk

    def set_token(self, stamp_ns: int, token: np.ndarray, now_ns: int) -> None:
        """The token float32 [Dz] of the observation with this stamp.

        Raises:
            ValueError: the stamp lies in the future.
        """
        if from_future(stamp_ns, now_ns):
            raise ValueError(f"'vla/embedding' is stamped {(stamp_ns - now_ns) * 1e-9:.2f} s in the future; do the clocks agree?")
        if self.token is None or stamp_ns > self.token[0]:
            self.token = (stamp_ns, token)

    def set_human(self, stamp_ns: int, action: np.ndarray, grippers: np.ndarray | None = None, corrects: bool = False) -> None:
        """A human's action [A], in units of the action, and positions [G] of the grippers, None: as they are.

        Args:
            corrects: it is not instead of the VLA's action, but added to it, within `residual_scale`.

        Raises:
            ValueError: it is not finite.
        """
        if not np.isfinite(action).all():
            raise ValueError("'intervention' holds values that are not finite")
        if corrects:
            action = np.clip(action, -self._bound, self._bound)
        self._human = _Human(stamp_ns, action, grippers, corrects)

    def base(self, now_ns: int) -> np.ndarray | None:
        """The VLA's action [A] for this moment; None without a chunk that is young enough and reaches so far."""
        if self.chunk is None or self.chunk.age_ns(now_ns) > self._chunk_ns:
            return None
        return self.chunk.at(now_ns)

    def seen(self, now_ns: int, period_ns: int, length: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Token [Dz] and the reference window [C, A] that starts now, of ``length`` steps; None while one is missing or old: :attr:`unseen`."""
        if self.token is None or self.chunk is None:
            self.unseen = "no_token" if self.token is None else "no_chunk"
            return None
        if now_ns - self.token[0] > self._chunk_ns:
            self.unseen = "old_token"
            return None
        self.unseen = "short_window"
        window = self.chunk.window(now_ns, period_ns, length)
        return None if window is None else (self.token[1], window)

    def human(self, now_ns: int) -> np.ndarray | None:
        """The human's action [A] while it is fresh; of one that corrects, the VLA's with it, as long as there is one."""
        if self._human is None or abs(now_ns - self._human.stamp_ns) > self._human_ns:
            return None
        if not self._human.corrects:
            return self._human.action
        base = self.base(now_ns)
        return None if base is None else self._space.moved(base, self._human.action)

    def grippers(self, now_ns: int, source: int) -> np.ndarray | None:
        """Where the grippers are wanted [G] while ``source`` (a code of :class:`Source`) moves the arm; None: as they are."""
        human = self._human
        if source == Source.HUMAN and (human is None or not human.corrects):
            return None if human is None or self.human(now_ns) is None else human.grippers
        return None if self.chunk is None or self.base(now_ns) is None else self.chunk.grippers_at(now_ns)

    @property
    def stamps(self) -> tuple[int, int, int]:
        """Of the chunk, of the token and of the human's action, ns; 0 for what is not held."""
        return self.chunk.stamp_ns if self.chunk else 0, self.token[0] if self.token else 0, self._human.stamp_ns if self._human else 0

    def forget(self, topic: str = "") -> None:
        """Drop everything, as after a jump of the clock, or what one topic brought."""
        if topic in ("", "vla/reference"):
            self.chunk = None
        if topic in ("", "vla/embedding"):
            self.token = None
        if topic in ("", "intervention"):
            self._human = None
