"""Noise on the residual, correlated from chunk to chunk, of another strength each episode; before there is an actor, more of the base's motion.

Independent noise averages out and moves nothing, and a base that watches what it does undoes a single push. Some episodes should show what
the policy itself is worth, others how it could be better. An arm that is stuck is stuck for good under noise that is too small to free it:
nothing changes, and the critic never sees what would have helped (docs/learning.md, "Stuck").

Noise alone seldom finds successes where few come by themselves. But a base that was cloned from slow, hesitant demonstrations is right more often
than it is quick, so what is worth trying first is the base, quicker (docs/learning.md, "More of the base").
"""

from __future__ import annotations

import numpy as np

from rl_token_ros.settings.control import Control

CALM_SHARE = 1.0 / 3.0  # of `episode_time_limit`, in which noise does not grow: most episodes that succeed have ended by then
QUICKER = 0.5  # share of the episodes, in each dimension apart, so that the critic can tell which of them it was


class Exploration:
    """Noise as a share of the residual's bound, one value for each dimension of an action; a first-order autoregressive process.

    That of an episode depends on the seed and on when the episode began, on nothing before: a bag replays from there.

    Args:
        settings: parameters of `control_node`; `exploration_sigma`, `exploration_correlation`, `exploration_late`, `exploration_gain` and
            `replan_interval` may change (:meth:`change`).

    Attributes:
        begun_ns: when the episode began, -1 before the first.
        drawn: chunks of this episode's noise.
    """

    def __init__(self, settings: Control) -> None:
        self.change(settings)
        self._size, self._seed = settings.action_size, settings.seed
        self._random = np.random.default_rng(settings.seed)
        self._noise, self._strength = np.zeros(self._size), 1.0
        self._quicker = np.zeros(self._size, bool)
        self.begun_ns = -1
        self.drawn = 0

    def change(self, settings: Control) -> None:
        """Take over changed parameters."""
        self._sigma, self._correlation, self._late = settings.exploration_sigma, settings.exploration_correlation, settings.exploration_late
        self._gain = settings.exploration_gain
        self._chunks = settings.episode_time_limit * settings.control_rate / settings.replan_interval  # in an episode that ends at its limit

    def begin(self, now_ns: int) -> None:
        """A new episode: its noise owes nothing to the last, and has a strength of its own."""
        self.begun_ns = now_ns
        self._random = np.random.default_rng([self._seed, now_ns])
        self._strength = self._random.uniform()
        self._noise = self._random.normal(0.0, 1.0, self._size)
        # Of a series of its own: the noise of bags from before there were gains stays what it was.
        self._quicker = np.random.default_rng([self._seed, now_ns, 1]).uniform(size=self._size) < QUICKER
        self.drawn = 0

    def draw(self) -> np.ndarray:
        """The noise [A] of the next chunk."""
        fresh = np.sqrt(1.0 - self._correlation**2) * self._random.normal(0.0, 1.0, self._size)
        self._noise = self._correlation * self._noise + fresh
        self.drawn += 1
        waited = max(self.drawn / self._chunks - CALM_SHARE, 0.0) / (1.0 - CALM_SHARE)
        return self._sigma * (self._strength + self._late * waited) * self._noise

    def more_of(self, motion: np.ndarray) -> np.ndarray:
        """What is added of the base's motion [A] before there is an actor: `exploration_gain` times it in this episode's dimensions, else nothing."""
        found: np.ndarray = self._gain * self._quicker * motion
        return found

    def resume(self, begun_ns: int, drawn: int) -> None:
        """Be as in an episode that began then and has drawn so often."""
        if (begun_ns, drawn) != (self.begun_ns, self.drawn):
            self.begin(begun_ns)
            for _ in range(drawn):
                self.draw()
