"""What an update learns from: chunk windows, as arrays. A replay buffer fills them, an algorithm reads them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Executed residuals are bounded before the critic sees them: a human's may be far outside. Wide, not 1: docs/method.md, pitfall 4.
RESIDUAL_LIMIT = 5.0


@dataclass
class Batch:
    """Preallocated arrays of n windows, float32 unless noted."""

    token: npt.NDArray[np.float32]  # [n, Dz]
    proprio: npt.NDArray[np.float32]  # [n, P]
    reference: npt.NDArray[np.float32]  # [n, C * A], action units
    residual: npt.NDArray[np.float32]  # [n, C, A], (executed action - reference) / residual_scale; tails filled
    action: npt.NDArray[np.float32]  # [n, C, A], what was executed; garbage beyond length
    length: npt.NDArray[np.int64]  # [n], executed steps
    human: npt.NDArray[np.bool_]  # [n, C], executed by the human
    reward: npt.NDArray[np.float32]  # [n], discounted sum
    discount: npt.NDArray[np.float32]  # [n], gamma^length, or 0 after an end
    observed: npt.NDArray[np.float32]  # [n], the discounted return that followed, up to the episode's end; NaN while it runs
    decided: npt.NDArray[np.bool_]  # [n], whether the episode ended in success or failure
    next_token: npt.NDArray[np.float32]  # of the state after the last executed step, sizes as above
    next_proprio: npt.NDArray[np.float32]
    next_reference: npt.NDArray[np.float32]

    @staticmethod
    def empty(n: int, token: int, proprio: int, chunk_length: int, action: int) -> Batch:
        """Room for n windows with tokens of Dz, proprioceptions of P and chunks of C x A values."""

        def room(*shape: int) -> npt.NDArray[np.float32]:
            return np.zeros((n, *shape), np.float32)

        return Batch(
            token=room(token), proprio=room(proprio), reference=room(chunk_length * action),
            residual=room(chunk_length, action), action=room(chunk_length, action),
            length=np.zeros(n, np.int64), human=np.zeros((n, chunk_length), bool), reward=room(), discount=room(), observed=room(),
            decided=np.zeros(n, bool), next_token=room(token), next_proprio=room(proprio), next_reference=room(chunk_length * action),
        )  # fmt: skip
