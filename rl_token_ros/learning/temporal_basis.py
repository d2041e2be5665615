"""Chunks in fewer numbers: actor and critic see one mean per group of steps, the robot every step.

Exploration pushes several steps alike, so nothing in the data says what a push for a single step would do; an actor that may choose
each step apart finds what its critic makes up there (measured: README, practice). The exported actor still maps whole windows to whole
chunks: its first layer takes the means, its last one holds each residual over its group.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from rl_token_ros.policy.actor_weights import Architecture


class Knots:
    """Between chunks [N, C * A] and knots [N, K * A].

    Args:
        whole: sizes of the exported actor, with C steps.
        count: K, a divisor of C.
    """

    def __init__(self, whole: Architecture, count: int) -> None:
        self.group = whole.chunk_length // count
        self.inner = dataclasses.replace(whole, chunk_length=count)  # sizes of the networks that are trained

    def mean(self, chunk: np.ndarray) -> np.ndarray:
        """[N, C * A] -> [N, K * A]."""
        grouped = chunk.reshape(len(chunk), self.inner.chunk_length, self.group, self.inner.action)
        return grouped.mean(2, dtype=np.float32).reshape(len(chunk), -1)

    def whole(self, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The tensors of an actor on knots -> those of the same actor on whole windows, under the same names.

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

    def _hold(self, knots: np.ndarray) -> np.ndarray:
        """[K * A, ...] -> [C * A, ...], each for all steps of its group."""
        apart = knots.reshape(self.inner.chunk_length, self.inner.action, *knots.shape[1:])
        return apart.repeat(self.group, axis=0).reshape(-1, *knots.shape[1:])
