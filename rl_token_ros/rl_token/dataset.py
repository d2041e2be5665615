"""What a token is trained from: a VLA's embeddings, and the measurements and outcomes that the token is probed with.

Knows neither bags nor torch: messages come in the order in which they were received, from wherever.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rl_token_ros.interfaces import measurements
from rl_token_ros.interfaces.codes import Ended
from rl_token_ros.robot.history import StateHistory
from rl_token_ros.robot.readings import Reader, StateError
from rl_token_ros.settings.control import Control
from rl_token_ros.settings.proprioception_groups import GROUPS

LEAST = 50  # observations below which nothing is trained
NEAR_NS = 50_000_000  # between an observation and the nearest measurement, for it to be probed with
ANSWERED_NS = 30_000_000_000  # after which embeddings are of an observation whose state nobody remembers
DEFAULT_SIZE = 128  # of the token, where nobody says


class NothingToLearn(ValueError):
    """Data without what is needed; the message says what."""


@dataclass
class Observations:
    """One entry per observation, in the order of time.

    Attributes:
        embeddings: float32 [M, D] each.
        measured: group of proprioception -> values [K] each, NaN where none was near.
        outcome: 1.0 success, 0.0 not, NaN outside an episode with an outcome.
        held: whether the observation is held out.
        vla_sha256: fingerprint of the VLA, empty where it is not known.
        token_size: Dz that the robot had, 0 where it is not known.
    """

    embeddings: list[np.ndarray] = field(default_factory=list)
    measured: dict[str, list[np.ndarray]] = field(default_factory=dict)
    outcome: list[float] = field(default_factory=list)
    held: list[bool] = field(default_factory=list)
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
                raise NothingToLearn(
                    f"'{source}' was recorded with another {name} ({str(theirs)[:12]}, not {str(mine)[:12]}); one encoder is for one VLA"
                )
            setattr(self, name, mine or theirs)
        if self.embeddings and other.embeddings and self.embeddings[0].shape != other.embeddings[0].shape:
            raise NothingToLearn(f"'{source}' has embeddings {other.embeddings[0].shape}, the bags before it {self.embeddings[0].shape}")
        before, count = len(self.embeddings), len(other.embeddings)
        for group in {*self.measured, *other.measured}:
            nothing = np.full_like((other.measured.get(group) or self.measured[group])[0], np.nan)
            self.measured[group] = self.measured.get(group, [nothing] * before) + other.measured.get(group, [nothing] * count)
        self.embeddings += other.embeddings
        self.outcome += other.outcome
        self.held += other.held

    def width(self, asked: int = 0) -> int:
        """Dz to train: what was asked for, else what the robot had.

        Raises:
            NothingToLearn: too few observations to train on, or to fill a token of that width.
        """
        if len(self.embeddings) < LEAST:
            raise NothingToLearn(
                f"the bags hold {len(self.embeddings)} observations on 'vla/embedding'; at least {LEAST} are needed, and thousands are good"
            )
        size, shown, values = asked or self.token_size or DEFAULT_SIZE, self.held.count(False), self.embeddings[0].size
        if size > (most := min(shown - 1, values)):
            raise NothingToLearn(
                f"a token of {size} is wider than what {shown} observations of {values} values can fill; write --size {most} or less, or record more"
            )
        return size


class Collector:
    """Makes observations of one recording, the last fifth of them held out.

    Args:
        groups: proprioception to probe with; empty: that of the robot.
        most_bytes: for embeddings; where there are more every second one is dropped, and again, until what is kept fits.
    """

    def __init__(self, groups: list[str], most_bytes: float) -> None:
        self._groups, self._most_bytes = groups, most_bytes
        self._reader: Reader | None = None  # not before the parameters say which joints there are
        self._history = StateHistory(0)
        self._stamps: list[int] = []
        self._measured: list[dict[str, np.ndarray]] = []  # of each observation
        self._stride = self._count = 0
        self._episode: list[int] = []  # stamps of the steps of the running one
        self._episodes: list[tuple[int, int, float]] = []  # begin, end, outcome
        self._seen = Observations()

    def settings(self, control: Control, vla_sha256: str) -> None:
        """The parameters of the robot, which name its joints."""
        self._seen.vla_sha256, self._seen.token_size = vla_sha256, control.token_size
        if self._reader is None:
            self._groups = self._groups or [group for group in control.proprioception if GROUPS[group]]
            self._reader = Reader(control.joint_names, self._groups)
            self._history = StateHistory(len(control.joint_names), ANSWERED_NS)

    def wants(self, topic: str) -> bool:
        """Whether its messages are probed with, so that others need not be decoded."""
        return self._reader is not None and any(GROUPS[group] == topic for group in self._groups)

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

    def passes(self) -> bool:
        """Whether the next embeddings are left out, which spares decoding them. To be asked once for each."""
        self._count += 1
        return bool(self._stride and self._count % self._stride)

    def embedding(self, stamp_ns: int, matrix: np.ndarray) -> None:
        """Embeddings float32 [M, D] and the stamp of their observation."""
        self._seen.embeddings.append(np.array(matrix, np.float32))
        self._look_up()  # the one before: by now what was measured after it has come, too
        self._stamps.append(stamp_ns)
        if len(self._seen.embeddings) * self._seen.embeddings[0].nbytes > self._most_bytes:
            self._stride = 2 * max(self._stride, 1)
            del self._seen.embeddings[::2], self._stamps[::2], self._measured[::2]

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
        """All that was collected."""
        self._look_up()
        seen, count = self._seen, len(self._seen.embeddings)
        seen.held = [i >= count * 4 // 5 for i in range(count)]
        seen.outcome = [self._outcome(stamp) for stamp in self._stamps]
        for group in self._groups:
            nothing = next((np.full_like(values[group], np.nan) for values in self._measured if group in values), None)
            if nothing is not None:
                seen.measured[group] = [values.get(group, nothing) for values in self._measured]
        return seen

    def _outcome(self, stamp: int) -> float:
        return next((outcome for begin, end, outcome in self._episodes if begin <= stamp <= end), float("nan"))
