"""Keeps the best actor of a practice: the one at the end of the stretch of episodes with the highest throughput.

Practice is not monotonous; the newest actor may be worse than one of minutes ago, and the robot should be left with the better one.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Callable

import numpy as np

from rl_token_ros.scoring import EpisodeScorer, ScoredEpisode, score


class BestActor:
    """Watches episodes end.

    Args:
        window: practised episodes whose throughput is compared; a few more or less lucky ones should not decide.
        control_rate: Hz.
    """

    def __init__(self, window: int, control_rate: float) -> None:
        self._recent: deque[ScoredEpisode] = deque(maxlen=window)
        self._scorer = EpisodeScorer(control_rate)
        self.throughput = 0.0  # successes per 10 minutes, of the best stretch
        self.version = 0  # of the newest weights that acted in it
        self.tensors: dict[str, np.ndarray] = {}

    def add(self, row: np.ndarray, actor: Callable[[], dict[str, np.ndarray]]) -> bool:
        """One row [1] of `replay`, and how to get the tensors of the actor as it is now. True if that is the best so far."""
        for episode in self._scorer.add(row):
            if episode.practised:
                self._recent.append(episode)
                found = self.recent
                if found is not None and found > self.throughput:
                    self.throughput, self.version, self.tensors = found, episode.weights_version, actor()
                    return True
        return False

    def leave(self) -> None:
        """The rows that follow are another robot's: an episode that is running is not scored."""
        self._scorer.forget()

    @property
    def recent(self) -> float | None:
        """Throughput of the newest `window` practised episodes; None while they are fewer."""
        return score(self._recent).successes_per_10min if len(self._recent) == self._recent.maxlen else None

    def numbers(self) -> dict[str, Any]:
        """What a checkpoint keeps beside `tensors`. An episode that was running then is not scored."""
        return {"throughput": self.throughput, "version": self.version, "recent": [vars(episode) for episode in self._recent]}

    def restore(self, numbers: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        """Take back what `numbers` gave."""
        self.throughput, self.version, self.tensors = numbers["throughput"], numbers["version"], tensors
        self._recent.extend(ScoredEpisode(**episode) for episode in numbers["recent"])
