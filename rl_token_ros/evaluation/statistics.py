"""Scores of groups of episodes with 95 % intervals, and the sentence on whether practice is working."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rl_token_ros.evaluation.scores import RESET_SECONDS, ScoredEpisode

RESAMPLES = 4000
LEAST = 10  # episodes of a group below which nothing is said: chance alone does as much
LATEST_SHARE = 0.4  # of the practice, at its end: what counts as practised, as in the demo
WINDOW = 15  # episodes of a moving figure


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval; NaN where there is too little for one."""

    value: float
    low: float = float("nan")
    high: float = float("nan")

    def text(self, form: str = "{:.3g}") -> str:
        """``value [low, high]``, or a dash."""
        if np.isnan(self.value):
            return "–"
        if np.isnan(self.low):
            return form.format(self.value)
        return f"{form.format(self.value)} [{form.format(self.low)}, {form.format(self.high)}]"


@dataclass(frozen=True)
class Group:
    """Scores of some episodes."""

    name: str
    episodes: int
    success: Estimate  # percent
    time: Estimate  # s, median of the successes
    throughput: Estimate  # successes per 10 min, RESET_SECONDS counted with each episode


def group(name: str, episodes: Sequence[ScoredEpisode]) -> Group:
    """Scores of these episodes."""
    won = np.array([episode.success for episode in episodes], bool)
    seconds = np.array([episode.seconds for episode in episodes], float)
    successes = success_rate(int(won.sum()), len(won))
    rate = throughput(won, seconds)
    if won.any() and not won.all():
        low, high = np.percentile(_throughputs(episodes), [2.5, 97.5])
    else:  # drawn again, all or none of them would succeed always; so much is not known
        every = throughput(np.ones_like(won), seconds)
        low, high = 0.01 * successes.low * every, 0.01 * successes.high * every
    return Group(name, len(won), successes, median(seconds[won]), Estimate(rate, low, high))


def throughput(won: np.ndarray, seconds: np.ndarray) -> float:
    """Successes per 10 min of critical phases plus RESET_SECONDS each."""
    return 600.0 * float(won.sum()) / float((seconds + RESET_SECONDS).sum()) if len(won) else float("nan")


def success_rate(successes: int, episodes: int) -> Estimate:
    """In percent, with Wilson's interval: a bootstrap of successes alone would be sure of 100 %."""
    if not episodes:
        return Estimate(float("nan"))
    p, z2 = successes / episodes, 1.96**2
    middle = (p + z2 / (2 * episodes)) / (1 + z2 / episodes)
    half = (z2 * (p * (1 - p) + z2 / (4 * episodes)) / episodes) ** 0.5 / (1 + z2 / episodes)
    return Estimate(100.0 * p, 100.0 * max(middle - half, 0.0), 100.0 * min(middle + half, 1.0))


def median(values: np.ndarray) -> Estimate:
    """With a bootstrap interval."""
    if len(values) < 2:
        return Estimate(float(values[0]) if len(values) else float("nan"))
    drawn = np.median(np.random.default_rng(0).choice(values, (RESAMPLES, len(values))), axis=1)
    return Estimate(float(np.median(values)), *np.percentile(drawn, [2.5, 97.5]))


def ratio(mine: Sequence[ScoredEpisode], base: Sequence[ScoredEpisode]) -> Estimate:
    """Of the throughputs, with a bootstrap interval; NaN where the base has none."""
    one, other = group("", mine).throughput.value, group("", base).throughput.value
    if not (mine and base and other > 0.0):
        return Estimate(float("nan"))
    drawn = _throughputs(mine, 1) / np.maximum(_throughputs(base, 2), 1e-9)
    return Estimate(one / other, *map(float, np.percentile(drawn, [2.5, 97.5])))


def base_of(episodes: Sequence[ScoredEpisode]) -> list[ScoredEpisode]:
    """Those in which the VLA acted alone."""
    return [episode for episode in episodes if not episode.practised and not episode.human]


def latest_of(episodes: Sequence[ScoredEpisode]) -> list[ScoredEpisode]:
    """Those of the actor alone in the last part of the practice."""
    mine = [episode for episode in episodes if episode.practised and not episode.human]
    if not mine:
        return []
    begin, end = mine[0].end - mine[0].seconds, mine[-1].end
    return [episode for episode in mine if episode.end >= end - LATEST_SHARE * (end - begin)]


def verdict(episodes: Sequence[ScoredEpisode]) -> tuple[str, str]:
    """Whether practice is working: good, bad or open, and the sentence that says so."""
    base, latest = base_of(episodes), latest_of(episodes)
    if not latest:
        return "open", "The actor has not acted yet: this shows the base alone."
    if min(len(base), len(latest)) < LEAST:
        return "open", (
            f"Too few episodes to tell: {len(base)} of the base and {len(latest)} of the practised policy; from {LEAST} of each on this says more."
        )
    one, other = group("", base).throughput.value, group("", latest).throughput.value
    low, high = np.percentile(_throughputs(latest, 1) - _throughputs(base, 2), [2.5, 97.5])
    figures = f"{other:.3g} successes per 10 min in the last {len(latest)} practised episodes, {one:.3g} in {len(base)} of the base"
    if low > 0.0:
        return "good", f"Practice is working: {figures} (difference {other - one:+.3g} [{low:.3g}, {high:.3g}])."
    if high < 0.0:
        return "bad", f"Practice has made it worse: {figures} (difference {other - one:+.3g} [{low:.3g}, {high:.3g}])."
    return "open", f"No difference that chance could not make: {figures} (difference {other - one:+.3g} [{low:.3g}, {high:.3g}])."


def moving(episodes: Sequence[ScoredEpisode]) -> tuple[np.ndarray, np.ndarray]:
    """Times of the ends, s, and throughput of the newest WINDOW episodes at each [n, 3]: value, low and high."""
    times, values = [], []
    for i in range(min(4, len(episodes)), len(episodes)):
        part = episodes[max(0, i + 1 - WINDOW) : i + 1]
        found = group("", part).throughput
        times.append(episodes[i].end)
        values.append((found.value, found.low, found.high))
    return np.array(times), np.array(values).reshape(-1, 3)


def _throughputs(episodes: Sequence[ScoredEpisode], seed: int = 0) -> np.ndarray:
    """Of RESAMPLES draws of as many episodes, with replacement."""
    won = np.array([episode.success for episode in episodes], float)
    seconds = np.array([episode.seconds for episode in episodes], float)
    drawn = np.random.default_rng(seed).integers(0, max(len(won), 1), (RESAMPLES, len(won)))
    return 600.0 * won[drawn].sum(1) / np.maximum((seconds[drawn] + RESET_SECONDS).sum(1), 1e-9)
