"""Learns the switch of `phase_switch` from an operator's, and judges it on approaches that it was not fitted on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rl_token_ros.control.phase_switch import CONFIRM, PhaseModel, PhaseSwitch, fit

SECOND = 1_000_000_000
AFTER_SECONDS = 3.0  # after a phase, for which its scene may still stand: neither this nor that
FOLDS = 5
ENTERS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)  # thresholds that are tried
LATE_SECONDS = 2.0  # what a phase that is missed counts as


@dataclass
class Samples:
    """What was seen in one bag, token by token.

    Attributes:
        stamps: ns, of the tokens, ascending.
        values: features [F] of each.
        ticks: (ns, whether the phase ran, whether the arm was enabled) of each control step.
    """

    stamps: list[int] = field(default_factory=list)
    values: list[np.ndarray] = field(default_factory=list)
    ticks: list[tuple[int, bool, bool]] = field(default_factory=list)


@dataclass(frozen=True)
class Approach:
    """The way into one critical phase: features [N, F] and stamps [N] from the phase before to the end of this one, labels bool [N] and the time
    of the operator's switch in ns."""

    stamps: np.ndarray
    values: np.ndarray
    labels: np.ndarray
    switched_ns: int


def approaches(samples: Samples) -> list[Approach]:
    """Cut into approaches, one for each switch: the arm enabled, and AFTER_SECONDS after the phase before left out."""
    if not samples.ticks or not samples.stamps:
        return []
    ticks = sorted(samples.ticks)
    times, critical = np.array([tick[0] for tick in ticks]), np.array([tick[1] for tick in ticks])
    enabled = np.array([tick[2] for tick in ticks])
    stamps, values = np.array(samples.stamps), np.array(samples.values)
    at = np.searchsorted(times, stamps, "right") - 1
    usable = (at >= 0) & enabled[np.maximum(at, 0)]
    labels = critical[np.maximum(at, 0)]
    begins = times[1:][critical[1:] & ~critical[:-1]]
    ends = times[1:][~critical[1:] & critical[:-1]]
    found = []
    for begin in begins:
        before, after = ends[ends <= begin], ends[ends > begin]
        first = before[-1] + AFTER_SECONDS * SECOND if len(before) else times[0]
        last = after[0] if len(after) else times[-1]
        chosen = usable & (stamps >= first) & (stamps < last)
        if labels[chosen].any() and not labels[chosen].all():
            found.append(Approach(stamps[chosen], values[chosen], labels[chosen], int(begin)))
    return found


def switch_time(model: PhaseModel, approach: Approach) -> int | None:
    """When the switch would have begun the phase, ns; None: never."""
    switch = PhaseSwitch(model.enter)
    for stamp, probability in zip(approach.stamps.tolist(), model.probability(approach.values).tolist()):
        if switch.see(probability, critical=False):
            return int(stamp)
    return None


def late_seconds(model: PhaseModel, found: list[Approach]) -> np.ndarray:
    """How much later than the operator it would have switched, s, for each approach; NaN: not at all."""
    times = [switch_time(model, approach) for approach in found]
    return np.array([np.nan if time is None else (time - approach.switched_ns) / SECOND for time, approach in zip(times, found)])


def learn(found: list[Approach], enter: float, sha256: str, names: list[str]) -> PhaseModel:
    """A model of these approaches."""
    values, labels = np.concatenate([a.values for a in found]), np.concatenate([a.labels for a in found])
    return PhaseModel(*fit(values, labels), enter, sha256, names)


def held_out(found: list[Approach], sha256: str, names: list[str]) -> tuple[float, np.ndarray, float]:
    """Each approach judged by a model that did not see it.

    Returns:
        the best threshold, how late it switches with that one [approaches], and the share of tokens that are told apart, both classes alike.
    """
    folds = [found[i::FOLDS] for i in range(min(FOLDS, len(found)))]
    late: dict[float, list[np.ndarray]] = {enter: [] for enter in ENTERS}
    right: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for number, fold in enumerate(folds):
        rest = [approach for other, part in enumerate(folds) if other != number for approach in part]
        model = learn(rest, 0.5, sha256, names)
        for enter in ENTERS:
            late[enter].append(late_seconds(PhaseModel(model.weights, model.bias, enter, sha256, names), fold))
        for approach in fold:
            said = model.probability(approach.values) > 0.5
            for label in (True, False):
                right[label].append(said[approach.labels == label] == label)
    costs = {enter: np.nan_to_num(np.minimum(np.abs(np.concatenate(parts)), LATE_SECONDS), nan=LATE_SECONDS).mean() for enter, parts in late.items()}
    best = min(costs, key=lambda enter: costs[enter])
    accuracy = float(np.mean([np.concatenate(parts).mean() for parts in right.values()]))
    return best, np.concatenate(late[best]), accuracy


def report(late: np.ndarray, accuracy: float, enter: float) -> str:
    """What was found on episodes held out, as lines."""
    heard = late[~np.isnan(late)]
    lines = [f"held out, {len(late)} approaches: {100 * accuracy:.1f} % of tokens told apart (both classes alike)"]
    if len(heard):
        q25, q50, q75 = np.percentile(heard, [25, 50, 75])
        spread = f"quartiles {q25:+.2f}, {q75:+.2f}; extremes {heard.min():+.2f}, {heard.max():+.2f}"
        lines.append(f"it switches {q50:+.2f} s after the operator (median; {spread})")
    lines.append(f"missed: {int(np.isnan(late).sum())}; more than 1 s early: {int((heard < -1.0).sum())}, late: {int((heard > 1.0).sum())}")
    lines.append(f"threshold: begins above {enter:g}, ready again below {0.5 * enter:g}, {CONFIRM} tokens in a row")
    return "\n".join(lines)
