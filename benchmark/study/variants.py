"""Variants in the study: the method, and the method with one thing left out or replaced. Task, seeds and all else are the same.

Most are parameters. What is not one is here: two stand-ins for the token encoder, and an actor whose output is the action itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import torch

from rl_token_ros.cloning.network import EMBEDDING, PATCH
from rl_token_ros.learning.batch import Batch
from rl_token_ros.learning.td3 import Td3
from rl_token_ros.policy.residual_policy import ResidualPolicy
from rl_token_ros.settings.sim_task import SimParameters
from rl_token_ros.sim.training import METHOD, Hand, Variant
from study import scripted

PATCHES = SimParameters().image_size // PATCH  # per side and camera
WRIST = slice(PATCHES**2, 2 * PATCHES**2)  # rows of the embeddings that show the wrist camera: the shipped token is made from them alone
RANDOM_SIZE = 48  # as wide as the shipped token


class Representation:
    """What a variant has in the token's place: some function of the embeddings of the wrist camera.

    Args:
        name: told apart by it, as encoders are by their files.
        vla_sha256: fingerprint of the VLA whose embeddings come in.
        read: float32 [49, D] -> float32 [Dz].
    """

    def __init__(self, name: str, vla_sha256: str, read: Callable[[np.ndarray], np.ndarray]) -> None:
        self.sha256, self.vla_sha256, self._read = hashlib.sha256(name.encode()).hexdigest(), vla_sha256, read

    def run(self, embeddings: np.ndarray) -> np.ndarray:
        """Embeddings float32 [M, D] -> float32 [Dz]."""
        return self._read(embeddings[WRIST])


def pooled(vla_sha256: str) -> Representation:
    """The mean of each channel."""
    return Representation("mean of the patches", vla_sha256, lambda patches: patches.mean(0))


def projected(vla_sha256: str) -> Representation:
    """A random projection, the same for every seed: directions drawn once, of variance 1 / inputs."""
    size = PATCHES**2 * EMBEDDING
    matrix = np.random.default_rng(0).normal(0.0, size**-0.5, (size, RANDOM_SIZE)).astype(np.float32)
    return Representation("random projection", vla_sha256, lambda patches: patches.ravel() @ matrix)


class DirectPolicy(ResidualPolicy):
    """Executes the actor's output as the action; the reference is only an input."""

    def centre(self, window: np.ndarray) -> np.ndarray:
        return np.zeros_like(window)


class DirectTd3(Td3):
    """Residuals are counted from no motion, and the penalty pulls to the reference. Its actor begins at no motion, not at the base policy."""

    def load(self, block: Batch, input_noise: float = 0.0) -> None:
        block.residual += self._reference(block)
        super().load(block, input_noise)

    def find_bc_target(self, block: Batch, residual: torch.Tensor) -> torch.Tensor:
        reference = self._reference(block)
        return torch.from_numpy(self.temporal_basis.mean(reference.reshape(len(reference), -1))).clamp(-1.0, 1.0)

    def _reference(self, block: Batch) -> np.ndarray:
        """[n, C, A] in units of the residual scale."""
        return block.reference.reshape(block.residual.shape) / np.asarray(self.settings.step_residual_scale, np.float32)


# As far as base and residual reach together: 10 mm/s and 2.5 mm/s to the side, 7 and 7.5 mm/s up and down. Noise and penalty are those
# of the residual to the side, in millimetres.
REACH, SIDE = 0.0003, 0.00005
NOISE, PULL = SIDE / REACH, (REACH / SIDE) ** 2

VARIANTS = {
    "token": METHOD,
    **{f"hand{n}": Variant(f"{n} episodes corrected by a hand that knows the offset", hand=Hand(n, scripted.correct)) for n in (3, 5, 10)},
    "none": Variant("no token: proprioception and reference only", shared={"token_size": 0}),
    "pooled": Variant("mean of the wrist camera's embeddings for the token", shared={"token_size": EMBEDDING}, encoder=pooled),
    "random": Variant("random projection of the wrist camera's embeddings for the token", shared={"token_size": RANDOM_SIZE}, encoder=projected),
    "no_bc": Variant("no penalty on the residual", learner={"bc_weight_start": 1e-6, "bc_weight_end": 1e-6}),
    "no_reference": Variant("the actor does not see the reference", learner={"reference_dropout": 1.0}),
    "chunk1": Variant("chunks of one step", shared={"chunk_length": 1}, control={"replan_interval": 1}, learner={"temporal_basis_size": 1}),
    "no_dropout": Variant("no reference dropout", learner={"reference_dropout": 0.0}),
    "linear": Variant("a critic that is linear in the residual", learner={"critic_form": "linear"}),
    "direct": Variant(
        "the actor's output is the action",
        shared={"residual_scale": [REACH] * 3},
        control={"exploration_sigma": 0.4 * NOISE},
        learner={"bc_weight_start": 0.02 * PULL, "bc_weight_end": 0.02 * PULL, "target_noise": 0.1 * NOISE},
        policy=DirectPolicy,
        algorithm=DirectTd3,
    ),
}
