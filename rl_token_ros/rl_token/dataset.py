"""What a token is trained from: a VLA's embeddings, and the measurements and outcomes that the token is probed with.

Knows neither bags nor torch: messages come in the order in which they were received, from wherever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rl_token_ros.interfaces import measurements
from rl_token_ros.interfaces.codes import Ended
from rl_token_ros.rl_token.shards import Shards, fits
from rl_token_ros.robot.history import StateHistory
from rl_token_ros.robot.readings import Reader, StateError
from rl_token_ros.settings.proprioception_groups import source
from rl_token_ros.settings.robot import Robot

LEAST = 50  # observations below which nothing is trained
NEAR_NS = 50_000_000  # between an observation and the nearest measurement, for it to be probed with
ANSWERED_NS = 30_000_000_000  # after which embeddings are of an observation whose state nobody remembers
DEFAULT_SIZE = 128  # of the token, where nobody says
FIFTHS = 5  # one of them is held out


class NothingToLearn(ValueError):
    """Data without what is needed; the message says what."""


@dataclass
class Observations:
    """One entry per observation, in the order of time.

    Attributes:
        embeddings: [N, M, D], on disk.
        measured: group of proprioception -> values [N, K], NaN where none was near.
        outcome: [N], 1.0 success, 0.0 not, NaN outside an episode with an outcome.
        episode: int [N], -1 outside of one.
        held: bool [N], whether the observation is held out.
        vla_sha256: fingerprint of the VLA, empty where it is not known.
        token_size: Dz that the robot had, 0 where it is not known.
    """

    embeddings: Shards = field(default_factory=Shards)
    measured: dict[str, np.ndarray] = field(default_factory=dict)
    outcome: np.ndarray = field(default_factory=lambda: np.zeros(0))
    episode: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    held: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    vla_sha256: str = ""
    token_size: int = 0

    def append(self, other: Observations, source: str) -> None:
        """Those of another recording behind these.

        Args:
            source: where they are from, for the error.

        Raises:
            NothingToLearn: they are of another VLA, or of another shape.
        """
        for name in ("vla_sha256", "token_size"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine and theirs and mine != theirs:
                raise NothingToLearn(f"'{source}' is of another {name} ({str(theirs)[:12]}, not {str(mine)[:12]}); one encoder is for one VLA")
            setattr(self, name, mine or theirs)
        before, count = len(self.held), len(other.held)
        shape, theirs_shape = self.embeddings.shape[1:], other.embeddings.shape[1:]
        if before and count and shape != theirs_shape:
            raise NothingToLearn(f"'{source}' has embeddings {theirs_shape}, what was before it {shape}")
        for group in {*self.measured, *other.measured}:
            width = (other.measured if group in other.measured else self.measured)[group].shape[1]
            mine_values = self.measured.get(group, np.full((before, width), np.nan))
            self.measured[group] = np.concatenate([mine_values, other.measured.get(group, np.full((count, width), np.nan))])
        self.embeddings = Shards([shard for shard in (*self.embeddings.shards, *other.embeddings.shards) if shard.count])
        self.outcome = np.concatenate([self.outcome, other.outcome])
        following = self.episode.max(initial=-1) + 1
        self.episode = np.concatenate([self.episode, np.where(other.episode < 0, -1, other.episode + following)])
        self.held = np.concatenate([self.held, other.held])

    def width(self, asked: int = 0) -> int:
        """Dz to train: what was asked for, else what the robot had.

        Raises:
            NothingToLearn: too few observations to train on, or to fill a token of that width.
        """
        if (count := len(self.held)) < LEAST:
            raise NothingToLearn(f"the data hold {count} observations with embeddings; at least {LEAST} are needed, and thousands are good")
        _, rows, columns = self.embeddings.shape
        size, shown, values = asked or self.token_size or DEFAULT_SIZE, int((~self.held).sum()), rows * columns
        if size > (most := min(shown - 1, values)):
            raise NothingToLearn(
                f"a token of {size} is wider than what {shown} observations of {values} values can fill; write --size {most} or less, or record more"
            )
        return size


def held_out(episode: np.ndarray) -> np.ndarray:
    """bool [N]: which observations are held out.

    A fifth of every episode, in one piece, another fifth in each, so that every stage of the task is among them; of what is in no
    episode the last fifth.

    Args:
        episode: int [N], -1 outside of one.
    """
    held = np.zeros(len(episode), bool)
    for number in np.unique(episode):
        mine = np.flatnonzero(episode == number)
        which = number % FIFTHS if number >= 0 else FIFTHS - 1
        held[mine[len(mine) * which // FIFTHS : len(mine) * (which + 1) // FIFTHS]] = True
    return held


class Collector:
    """Makes observations of one recording, a part of them held out (:func:`held_out`).

    Args:
        groups: proprioception to probe with; empty: that of the robot.
        keep: takes the embeddings [M, D] of each observation.

    Attributes:
        left_out: observations whose embeddings are not finite, or not within what float16 holds.
    """

    def __init__(self, groups: list[str], keep: Callable[[np.ndarray], None]) -> None:
        self._groups, self._keep = groups, keep
        self._reader: Reader | None = None  # not before the parameters say which joints there are
        self._history = StateHistory(0)
        self._stamps: list[int] = []
        self._measured: list[dict[str, np.ndarray]] = []  # of each observation
        self._episode: list[int] = []  # stamps of the steps of the running one
        self._episodes: list[tuple[int, int, float]] = []  # begin, end, outcome
        self._seen = Observations()
        self._shape: tuple[int, ...] | None = None
        self.left_out = 0

    def settings(self, robot: Robot, vla_sha256: str) -> None:
        """The parameters of the robot, which name its joints."""
        self._seen.vla_sha256, self._seen.token_size = vla_sha256, robot.token_size
        if self._reader is None:
            self._groups = self._groups or [group for group in robot.proprioception if source(group)]
            self._reader = Reader(robot.joint_names, self._groups)
            self._history = StateHistory(len(robot.joint_names), ANSWERED_NS)

    def wants(self, topic: str) -> bool:
        """Whether its messages are probed with, so that others need not be decoded."""
        return self._reader is not None and any(source(group) == topic for group in self._groups)

    def measurement(self, topic: str, message: Any, received_ns: int) -> None:
        """A message of one of `interfaces.measurements.TYPES`; one that nobody could believe is left out, as live."""
        if self._reader is None:
            return
        try:
            reading = measurements.read(self._reader, topic, message, received_ns)
        except (StateError, ValueError):
            return
        if reading is not None:
            self._history.accept(reading)

    def embedding(self, stamp_ns: int, matrix: np.ndarray) -> None:
        """Embeddings float32 [M, D] and the stamp of their observation.

        Raises:
            NothingToLearn: of another shape than those before.
        """
        self._shape = self._shape or matrix.shape
        if matrix.shape != self._shape:
            raise NothingToLearn(f"embeddings of {matrix.shape} follow such of {self._shape}; one encoder is for one shape")
        if not fits(matrix):
            self.left_out += 1
            return
        self._keep(matrix)
        self.observed(stamp_ns)

    def observed(self, stamp_ns: int) -> None:
        """An observation of that stamp, whose embeddings somebody keeps."""
        self._look_up()  # the one before: by now what was measured after it has come, too
        self._stamps.append(stamp_ns)

    def _look_up(self) -> None:
        """What was measured at the stamps of those that it is not known of yet."""
        for stamp in self._stamps[len(self._measured) :]:
            moments = {group: self._history.at(stamp, [group]) for group in self._groups}
            self._measured.append({group: moment.values[group] for group, moment in moments.items() if moment and moment.sample_ns <= NEAR_NS})

    def step(self, stamp_ns: int, ended: int) -> None:
        """A control step of an episode, with the code of its ending."""
        self._episode.append(stamp_ns)
        if ended != Ended.NO:
            if ended in (Ended.SUCCESS, Ended.FAILURE, Ended.TIME_LIMIT):
                self._episodes.append((self._episode[0], self._episode[-1], float(ended == Ended.SUCCESS)))
            self._episode = []

    def observations(self) -> Observations:
        """All that was collected; where the embeddings are is known to who kept them."""
        self._look_up()
        seen, stamps = self._seen, np.array(self._stamps, np.int64)
        seen.outcome, seen.episode = np.full(len(stamps), np.nan), np.full(len(stamps), -1)
        for number, (begin, end, outcome) in enumerate(self._episodes):
            within = (begin <= stamps) & (stamps <= end)
            seen.outcome[within], seen.episode[within] = outcome, number
        seen.held = held_out(seen.episode)
        for group in self._groups:
            nothing = next((np.full_like(values[group], np.nan) for values in self._measured if group in values), None)
            if nothing is not None:
                seen.measured[group] = np.array([values.get(group, nothing) for values in self._measured])
        return seen
