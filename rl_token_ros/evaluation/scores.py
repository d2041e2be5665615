"""Scores of episodes: success rate, time to success, throughput. Read off `replay` rows, so live runs and bags score alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from rl_token_ros.interfaces.codes import Ended, Source

RESET_SECONDS = 3.0  # counted with every episode, whatever the scene's own reset took: throughput must not depend on it


@dataclass(frozen=True)
class ScoredEpisode:
    """One critical phase that came to an end.

    Attributes:
        number: as in `replay`.
        ended: code of :class:`Ended`, never Ended.ABORTED.
        seconds: its length in robot time.
        end: robot time at its end, s.
        practised: whether the residual actor acted in it.
        weights_version: the newest that acted; 0 for the base.
        human: whether a human acted in it.
        changed: share of its steps whose command the filter changed.
    """

    number: int
    ended: int
    seconds: float
    end: float
    practised: bool
    weights_version: int
    human: bool = False
    changed: float = 0.0

    @property
    def success(self) -> bool:
        """Whether the task was done."""
        return self.ended == Ended.SUCCESS


class EpisodeScorer:
    """Collects rows of `replay` and gives out scored episodes. Aborted ones say nothing about the policy and are left out."""

    def __init__(self, control_rate: float) -> None:
        self._period = 1.0 / control_rate
        self._rows: list[np.ndarray] = []

    def add(self, rows: np.ndarray) -> list[ScoredEpisode]:
        """Rows [n] in order of arrival; returns the episodes they complete."""
        done = []
        for row in rows:
            if self._rows and self._rows[0]["episode"] != row["episode"]:
                self._rows = []  # its end was lost
            self._rows.append(row)
            if row["ended"] != Ended.NO:
                if row["ended"] != Ended.ABORTED:
                    done.append(self._score())
                self._rows = []
        return done

    def forget(self) -> None:
        """Leave out the episode that is running."""
        self._rows = []

    def _score(self) -> ScoredEpisode:
        first, last = self._rows[0], self._rows[-1]
        return ScoredEpisode(
            number=int(last["episode"]),
            ended=int(last["ended"]),
            seconds=_seconds(last) - _seconds(first) + self._period * (1 + int(first["step"])),
            end=_seconds(last),
            practised=any(row["source"] == Source.ACTOR for row in self._rows),
            weights_version=max(int(row["weights_version"]) for row in self._rows),
            human=any(row["source"] == Source.HUMAN for row in self._rows),
            changed=sum(bool(row["clipped"]) for row in self._rows) / len(self._rows),
        )


@dataclass(frozen=True)
class Score:
    """Of several episodes. Without any, rates are None."""

    episodes: int
    success_rate: float | None
    median_time_s: float | None
    successes_per_10min: float | None


def score(episodes: Iterable[ScoredEpisode]) -> Score:
    """Throughput is successes per 600 s of critical phases plus RESET_SECONDS each; the median time is that of successes."""
    episodes = list(episodes)
    if not episodes:
        return Score(0, None, None, None)
    times = [episode.seconds for episode in episodes if episode.success]
    spent = sum(episode.seconds + RESET_SECONDS for episode in episodes)
    return Score(
        len(episodes),
        len(times) / len(episodes),
        float(np.median(times)) if times else None,
        600.0 * len(times) / spent,
    )


def _seconds(row: np.ndarray) -> float:
    return int(row["stamp_sec"]) + int(row["stamp_nanosec"]) * 1e-9
