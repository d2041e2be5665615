"""Keeps the best actor of a run: an average of the actors that acted in the newest good stretch of episodes.

Training is not monotonous: the newest actor may be worse than one of minutes ago, and the robot should be left with the better one. And
each actor alone has its own blind spots, which the next one a second later makes up for; frozen, it keeps them. Their average has
fewer (docs/learning.md).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from rl_token_ros.evaluation.scores import EpisodeScorer, ScoredEpisode, score

AS_GOOD = 0.9  # of the best throughput: less is no luck any more, about two standard errors of 30 episodes of which 95 % succeed


class BestActor:
    """Watches episodes end.

    Args:
        window: episodes of the actor (`ScoredEpisode.practised`) whose throughput is compared, and over about which actors are averaged.
        control_rate: Hz.
    """

    def __init__(self, window: int, control_rate: float) -> None:
        self._window = window
        self._recent: deque[ScoredEpisode] = deque(maxlen=window)
        self._scorer = EpisodeScorer(control_rate)
        self.average: dict[str, np.ndarray] = {}  # of the actors at the end of each episode, with weights that fall exponentially
        self.throughput = 0.0  # successes per 10 minutes, of the best stretch
        self.version = 0  # of the newest weights in `tensors`
        self.tensors: dict[str, np.ndarray] = {}

    def add(self, row: np.ndarray, actor: Callable[[], dict[str, np.ndarray]]) -> bool:
        """One row [1] of `replay`, and how to get the tensors of the actor as it is now. True if a stretch as good as the best has ended."""
        taken = False
        for episode in self._scorer.add(row):
            if episode.practised:
                self._recent.append(episode)
                self._include(actor())
                found = self.recent
                if found is not None and found > 0.0 and found >= AS_GOOD * self.throughput:
                    self.throughput, self.version, self.tensors = max(found, self.throughput), episode.weights_version, self.average
                    taken = True
        return taken

    def _include(self, tensors: dict[str, np.ndarray]) -> None:
        share = np.float32(max(1.0 / len(self._recent), 2.0 / (self._window + 1)))  # the usual share for about that many
        before = self.average or tensors
        self.average = {name: before[name] + share * (tensor - before[name]) for name, tensor in tensors.items()}

    def leave(self) -> None:
        """The rows that follow are another robot's: an episode that is running is not scored."""
        self._scorer.forget()

    @property
    def recent(self) -> float | None:
        """Throughput of the newest `window` episodes of the actor; None while they are fewer."""
        return score(self._recent).successes_per_10min if len(self._recent) == self._window else None

    def numbers(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the tensors. An episode that was running then is not scored."""
        return {"throughput": self.throughput, "version": self.version, "recent": [vars(episode) for episode in self._recent]}

    def restore(self, numbers: dict[str, Any], tensors: dict[str, np.ndarray], average: dict[str, np.ndarray]) -> None:
        """Take back what `numbers` gave, `tensors` and `average`."""
        self.throughput, self.version, self.tensors = numbers["throughput"], numbers["version"], tensors
        self.average = average
        self._recent.extend(ScoredEpisode(**episode) for episode in numbers["recent"])
