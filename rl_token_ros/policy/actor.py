"""The residual actor at control rate: onnxruntime, one thread, weights as graph inputs.

Weights are inputs rather than constants because creating a session holds the GIL for milliseconds (docs/architecture.md), while handing
over other arrays costs nothing: a push is copied aside, tried out, and made current by one assignment between two ticks.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from rl_token_ros.policy.actor_weights import ActorWeights, Architecture, WeightsError
from rl_token_ros.system.onnx_session import session

ROUNDING = 1e-5  # a saturated tanh in float32 may end a little beyond 1; the policy clips it
GRAPHS = Path(__file__).parents[1] / "models"


class ResidualActor:
    """Runs [token, proprioception, reference window] -> residuals [C, A] in [-1, 1] with the current weights.

    Without weights there is no residual: the base acts alone.
    """

    def __init__(self, token: int, proprio: int, chunk_length: int, action: int, layers: int) -> None:
        self.architecture = Architecture(token, proprio, chunk_length, action, hidden=0, layers=layers)
        self.weights: ActorWeights | None = None
        self._session = session(GRAPHS / f"actor_{layers}_layers.onnx")

    @property
    def version(self) -> int:
        """Version of the current weights; 0 without any."""
        return self.weights.version if self.weights else 0

    def run(self, observation: np.ndarray, weights: ActorWeights | None = None) -> np.ndarray:
        """Residuals float32 [C, A] for an observation float32 [inputs], with the current or the given weights.

        Raises:
            WeightsError: there are none.
        """
        weights = weights or self.weights
        if weights is None:
            raise WeightsError("there are no weights yet")
        residual: np.ndarray = self._session.run(None, {"observation": observation[None], **weights.tensors})[0]
        return residual.reshape(self.architecture.chunk_length, self.architecture.action)

    def prepare(self, weights: ActorWeights, observation: np.ndarray) -> ActorWeights:
        """A copy of the weights, tried once on an observation float32 [inputs]. Runs off the tick.

        Raises:
            WeightsError: the output is not finite or larger than 1.
        """
        tensors = {name: np.array(tensor, np.float32, order="C") for name, tensor in weights.tensors.items()}
        ready = dataclasses.replace(weights, tensors=tensors)
        residual = self.run(observation, ready)
        if not (np.abs(residual) <= 1.0 + ROUNDING).all():
            raise WeightsError(f"weights version {weights.version} give residuals that are not finite or beyond 1 on a stored observation")
        return ready
