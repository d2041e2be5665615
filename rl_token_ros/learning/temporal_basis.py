"""Chunks on a basis of fewer numbers, constant over groups of steps: actor and critic see one mean per group of steps, the robot every step.

Exploration pushes several steps alike, so nothing in the data says what a push for a single step would do; an actor that may choose
each step apart finds what its critic makes up there (docs/learning.md, "The critic"). The exported actor still maps whole windows to whole
chunks: its first layer takes the means, its last one holds each residual over its group.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from rl_token_ros.policy.actor_weights import Architecture


class TemporalBasis:
    """Between chunks [N, C * A] and coefficients [N, K * A], of which each stands for C / K steps.

    Args:
        whole: sizes of the exported actor, with C steps.
        size: K, a divisor of C.
    """

    def __init__(self, whole: Architecture, size: int) -> None:
        self.group = whole.chunk_length // size
        self.inner = dataclasses.replace(whole, chunk_length=size)  # sizes of the networks that are trained

    def mean(self, chunk: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """[N, C * A], numbers or truth values -> the mean of each group, [N, K * A]."""
        grouped = chunk.reshape(len(chunk), self.inner.chunk_length, self.group, self.inner.action)
        means: npt.NDArray[np.float32] = grouped.mean(2, dtype=np.float32)
        return means.reshape(len(chunk), -1)

    def whole(self, tensors: dict[str, npt.NDArray[np.float32]]) -> dict[str, npt.NDArray[np.float32]]:
        """The tensors of an actor on coefficients -> those of the same actor on whole windows, under the same names.

        The same but for the clipping of inputs, here of each step instead of the mean.
        """
        last, state = self.inner.layers, self.inner.token + self.inner.proprio
        found = dict(tensors)
        for name in ("input_mean", "input_scale", "w0"):
            share = self.group if name == "w0" else 1
            found[name] = np.concatenate([tensors[name][:state], self._hold(tensors[name][state:]) / np.float32(share)])
        found[f"w{last}"] = np.ascontiguousarray(self._hold(tensors[f"w{last}"].T).T)
        found[f"b{last}"] = self._hold(tensors[f"b{last}"])
        return found

    def _hold(self, coefficients: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """[K * A, ...] -> [C * A, ...], each for all steps of its group."""
        apart = coefficients.reshape(self.inner.chunk_length, self.inner.action, *coefficients.shape[1:])
        return apart.repeat(self.group, axis=0).reshape(-1, *coefficients.shape[1:])
