"""Frames at a steady rate, as data sets have them: each one observation, what was commanded from then to the next, and how the episode went.

Nothing is aligned here: observations are those that vla_node would have made (:class:`MessageObservations`). Each is one frame; where cameras
jitter or drop a picture, the nearest is taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rl_token_ros.bags.episodes import Commands, Episode
from rl_token_ros.interfaces.codes import Ended
from rl_token_ros.settings.control import Control
from rl_token_ros.vla.backend import Observation

SECOND_NS = 1_000_000_000


class LeftOut(Exception):
    """An episode of which no frames can be made; the message says why."""


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        observation: pictures not decoded; the state is that of its stamp.
        action: float32 [A + G], in units of the action per frame: what was added to the command until the next frame (delta), or the position
            commanded now (absolute), and the positions of the grippers.
        command: float32 [A], the position commanded just before.
        source: code of :class:`Source` of who commanded.
        critical: whether the critical phase had begun.
        reward: 1 in the last frame of a success, else 0.
        ended: code of :class:`Ended` in the last frame, else 0.
    """

    observation: Observation
    action: np.ndarray
    command: np.ndarray
    source: int
    critical: bool
    reward: float
    ended: int


class EpisodeFrames:
    """Frames of one episode, from observations in the order of their stamps.

    The first is the observation nearest to the beginning; the others are the nearest to whole periods from its stamp on.

    Args:
        episode: what is to be cut out.
        commands: of its run.
        settings: of its run.
        rate: frames per second.
        gap: largest distance of an observation from the time of its frame, s.
        before: seconds to begin before the critical phase, as far as commands reach back without a break.
    """

    def __init__(self, episode: Episode, commands: Commands, settings: Control, rate: float, gap: float, before: float = 0.0) -> None:
        self.episode, self._commands, self._delta = episode, commands, settings.action_type == "delta"
        self._grippers = len(settings.gripper_names)
        self._period_ns, self._gap_ns = SECOND_NS / rate, gap * SECOND_NS
        # A frame before the first command would have nothing to do; an old command is none.
        self.begin_ns = max(episode.begin_ns - round(before * SECOND_NS), commands.since(episode.begin_ns) + round(self._period_ns))
        self._first_ns: int | None = None
        self._last: Observation | None = None  # not newer than the frame that is due
        self._seen: list[int] = []  # stamps
        self._used: list[int] = []  # of the frames

    @property
    def reach_ns(self) -> int:
        """Stamp from which on an observation may be one of its frames."""
        return self.begin_ns - round(self._gap_ns)

    @property
    def whole(self) -> bool:
        """Whether the last frame has been made."""
        return self._due_ns() is None

    @property
    def counts(self) -> Counter[str]:
        """Frames with the picture of the frame before (``repeated``), and observations in no frame (``unused``)."""
        used = set(self._used)
        unused = {stamp for stamp in self._seen if min(used) <= stamp < self.episode.end_ns} - used
        return Counter(frames=len(self._used), repeated=len(self._used) - len(used), unused=len(unused))

    def take(self, observation: Observation) -> Iterator[Frame]:
        """The frames that are known with this observation.

        Raises:
            LeftOut: there are none.
        """
        while (due := self._due_ns()) is not None and observation.stamp_ns >= due:
            before = self._last
            older = before is not None and due - before.stamp_ns <= observation.stamp_ns - due
            yield self._frame(due, before if older and before is not None else observation)
        self._last = observation
        self._seen.append(observation.stamp_ns)

    def finish(self) -> Iterator[Frame]:
        """The frames for which nothing newer has come.

        Raises:
            LeftOut: there are none.
        """
        while (due := self._due_ns()) is not None:
            if self._last is None:
                raise LeftOut("no observation in it")
            yield self._frame(due, self._last)

    def _due_ns(self) -> int | None:
        """Time of the next frame; None after the last."""
        if self._first_ns is None:
            return self.begin_ns
        due = self._first_ns + round(len(self._used) * self._period_ns)
        return due if due < self.episode.end_ns else None

    def _frame(self, due: int, observation: Observation) -> Frame:
        if abs(observation.stamp_ns - due) > self._gap_ns:
            raise LeftOut(f"no observation within {self._gap_ns * 1e-9:g} s of a frame")
        if self._first_ns is None:
            self._first_ns = due = observation.stamp_ns
        self._used.append(observation.stamp_ns)
        following = self._due_ns()
        next_ns, ended = (self.episode.end_ns, self.episode.ended) if following is None else (following, int(Ended.NO))
        at, before, after = self._commands.index(due), self._commands.before(due), self._commands.before(next_ns)
        if at is None or before is None or after is None:
            raise LeftOut("nothing was commanded at a frame")
        action = after - before if self._delta else self._commands.position[at]
        if self._grippers:
            if (grip := self._commands.gripper(at)) is None:
                raise LeftOut("the grippers had not been commanded")
            action = np.concatenate([action, grip])
        critical = next_ns > self.episode.begin_ns
        source, reward = int(self._commands.source[at]), float(ended == Ended.SUCCESS)
        return Frame(observation, action.astype(np.float32), before.astype(np.float32), source, critical, reward, ended)
