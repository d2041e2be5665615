"""Measures what a representation knows: ridge regression to the lateral offset, judged on episodes it was not fitted on."""

from __future__ import annotations

import numpy as np


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

    def solve(rows: np.ndarray, wanted: np.ndarray, penalty: float) -> np.ndarray:
        x = design(rows)
        return np.linalg.solve(x.T @ x + penalty * len(x) * np.eye(x.shape[1]), x.T @ (wanted - middle))

    cut = len(fit) * 4 // 5  # rows are in order of time: the last fifth are other episodes
    penalties = [10.0**power for power in range(-6, 1)]
    tried = [error(solve(fit[:cut], known[:cut], penalty), fit[cut:], known[cut:]) for penalty in penalties]
    best = solve(fit, known, penalties[int(np.argmin(tried))])
    return error(best, features[held].astype(float), truth[held])
