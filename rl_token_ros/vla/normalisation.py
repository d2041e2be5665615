"""Normalisation of proprioception and actions from a data set's statistics, for a policy that leaves it to its caller.

Two files are understood: LeRobot's ``meta/stats.json`` (entries ``observation.state`` and ``action``) and openpi's ``norm_stats.json``
(``norm_stats``: ``state`` and ``actions``). openpi's own server normalises by itself and wants none of this.
Nothing is clipped: z-scores of good actions reach 2 to 5 (docs/method.md, pitfall 4).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from rl_token_ros.settings.parameters import ParameterError

# Keys of the two numbers per dimension, low and high or mean and std.
KEYS = {"mean_std": ("mean", "std"), "min_max": ("min", "max"), "quantiles": ("q01", "q99")}
NAMES = {"proprio": ("observation.state", "state"), "actions": ("action", "actions")}
EPSILON = 1e-6  # of openpi, against a dimension that never changed


class Statistics:
    """(x - mean) / std, or x from [low, high] to [-1, 1], for each dimension.

    Args:
        path: the file.
        mode: mean_std, min_max (LeRobot) or quantiles (the 1st and 99th percentile).
        proprio_size: number of values that are normalised.
        action_size: number of values of an action as the policy gives it.

    Raises:
        ParameterError: no such file, entry or mode, or of another size.
    """

    def __init__(self, path: Path, mode: str, proprio_size: int, action_size: int) -> None:
        try:
            document = json.loads(path.read_text())
        except OSError as error:
            raise ParameterError(f"parameter 'statistics_file' names '{path}', which cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise ParameterError(f"parameter 'statistics_file': '{path}' is no JSON: {error}") from None
        entries = document.get("norm_stats", document) if isinstance(document, dict) else {}
        self._proprio = _pair(entries, "proprio", mode, proprio_size, path)
        self._actions = _pair(entries, "actions", mode, action_size, path)

    def normalise(self, proprio: np.ndarray) -> np.ndarray:
        """Proprioception float32 [P] as the policy wants it."""
        offset, scale = self._proprio
        return ((proprio - offset) / (scale + EPSILON)).astype(np.float32)

    def restore(self, actions: np.ndarray) -> np.ndarray:
        """The policy's actions [H, A] in units of the robot."""
        offset, scale = self._actions
        return (actions * (scale + EPSILON) + offset).astype(np.float32)


def _pair(entries: dict, which: str, mode: str, size: int, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Offset and scale [size]."""
    found = next((entries[name] for name in NAMES[which] if isinstance(entries, dict) and name in entries), None)
    if not isinstance(found, dict):
        raise ParameterError(
            f"parameter 'statistics_file': '{path}' has no {' or '.join(NAMES[which])}; give LeRobot's stats.json or openpi's norm_stats.json"
        )
    first, second = KEYS[mode]
    if first not in found or second not in found:
        raise ParameterError(f"parameter 'statistics_mode' is {mode}, but '{path}' has only {', '.join(found)}; write another mode")
    try:
        a, b = (np.asarray(found[key], np.float64).ravel() for key in (first, second))
    except (TypeError, ValueError) as error:
        raise ParameterError(f"parameter 'statistics_file': {which} in '{path}' are no numbers: {error}") from None
    if len(a) < size or len(a) != len(b):
        raise ParameterError(f"parameter 'statistics_file': '{path}' has {len(a)} values of {which}, the robot {size}; give the policy's own file")
    a, b = a[:size], b[:size]  # openpi pads state and actions to the model's width
    offset, scale = (a, b) if mode == "mean_std" else ((a + b) / 2, (b - a) / 2)
    if not (np.isfinite(offset).all() and np.isfinite(scale).all() and (scale >= 0).all()):
        raise ParameterError(f"parameter 'statistics_file': {which} in '{path}' are not finite, or their {second} is too small")
    return offset, scale
