"""Measures what a representation knows: ridge regression to what was measured, judged on episodes it was not fitted on."""

from __future__ import annotations

import numpy as np

from rl_token_ros.rl_token.dataset import FIFTHS, LEAST, Observations

LOST = 1.15  # times the error of the pooled embeddings, beyond which the token has lost what they had


def ridge_rmse(features: np.ndarray, truth: np.ndarray, held: np.ndarray) -> float:
    """Root mean square length of the error of the best ridge regression on the rows that are held out.

    The penalty is chosen on a fifth of the other rows.

    Args:
        features: [N, F]; F may be 0: the mean predictor.
        truth: [N, K].
        held: bool [N].
    """
    fit, known = features[~held].astype(float), truth[~held]
    mean, scale = fit.mean(0), fit.std(0) + 1e-9
    middle = known.mean(0)

    def design(rows: np.ndarray) -> np.ndarray:
        return (rows - mean) / scale

    def error(weights: np.ndarray, rows: np.ndarray, wanted: np.ndarray) -> float:
        return float(np.sqrt(((design(rows) @ weights + middle - wanted) ** 2).sum(1).mean()))

    def solve(rows: np.ndarray, wanted: np.ndarray, penalties: list[float]) -> list[np.ndarray]:
        x = design(rows)
        gram, target = x.T @ x, x.T @ (wanted - middle)
        return [np.linalg.solve(gram + penalty * len(x) * np.eye(len(gram)), target) for penalty in penalties]

    cut = len(fit) * 4 // 5  # rows are in order of time: the last fifth are other episodes
    penalties = [10.0**power for power in range(-6, 1)]
    tried = [error(weights, fit[cut:], known[cut:]) for weights in solve(fit[:cut], known[:cut], penalties)]
    (best,) = solve(fit, known, [penalties[int(np.argmin(tried))]])
    return error(best, features[held].astype(float), truth[held])


def report(seen: Observations, numbers: np.ndarray, tokens: np.ndarray, piece: int = 64) -> list[str]:
    """Lines: error of the best regression to each measurement, and to the outcome, on what is held out.

    Beside the token: the mean (knows nothing) and the embeddings averaged over their rows. The outcome is the same throughout an
    episode, so for it whole episodes are held out, the last fifth of them.

    Args:
        numbers: which observations it is made from.
        tokens: float32 [n, Dz] of these.
        piece: embeddings of how many are in memory at once.
    """
    held = dict.fromkeys(seen.measured, seen.held[numbers])
    labels = {group: values[numbers] for group, values in seen.measured.items()}
    outcome, episode = seen.outcome[numbers], seen.episode[numbers]
    if not np.isnan(outcome).all():
        name = "outcome (0 or 1)"
        labels[name], held[name] = outcome[:, None], episode > episode.max() * (FIFTHS - 1) // FIFTHS
    pooled = np.concatenate([seen.embeddings[numbers[i : i + piece]].mean(1, dtype=np.float32) for i in range(0, len(numbers), piece)])
    features = {"mean": np.zeros((len(tokens), 0)), "pooled": pooled, "token": tokens}
    lines, lost = [], []
    for name, truth in labels.items():
        known = ~np.isnan(truth).any(1)
        mine = held[name][known]
        if mine.sum() < 5 or (~mine).sum() < LEAST or (truth[known][~mine].std(0) < 1e-9).all():
            lines.append(f"  {name:<18} too little of it, or always the same")
            continue
        rmse = {kind: ridge_rmse(values[known], truth[known], mine) for kind, values in features.items()}
        lines.append(f"  {name:<18}" + "".join(f"{rmse[kind]:10.4g}" for kind in features))
        if rmse["token"] > LOST * rmse["pooled"]:
            lost.append(name)
    if not lines:
        return ["no measurement and no outcome is in the bags to probe the token with"]
    head = f"root mean square error held out, lower is better:\n  {'':<18}" + "".join(f"{kind:>10}" for kind in features)
    tail = [f"The token has lost what the embeddings knew of {', '.join(lost)}: train longer (--steps), or make it wider (--size)."] if lost else []
    return [head, *lines, *tail]
