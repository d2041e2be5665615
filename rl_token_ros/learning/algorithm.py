"""What the learner asks of an algorithm: the seam at which TD3 can be replaced. `td3.Td3` is the one that is shipped.

The learner owns rows, replay buffer, schedule, account of updates and checkpoints; an algorithm owns networks, targets and optimisers.
It works on a block: a :class:`Batch` of several whole batches, one for each update that follows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from rl_token_ros.learning.batch import Batch
from rl_token_ros.policy.actor_weights import Architecture
from rl_token_ros.settings.learner import Learner as Settings

Tensors = dict[str, npt.NDArray[Any]]  # by name


class Algorithm(Protocol):
    """Learns a residual actor from batches of chunk windows."""

    @property
    def updates(self) -> int:
        """Critic updates made so far."""

    def normalise_from(self, token: npt.NDArray[np.float32], proprio: npt.NDArray[np.float32], reference: npt.NDArray[np.float32]) -> None:
        """Fix the normalisation of the inputs. Called once, at the end of warm-up.

        Args:
            token: [N, Dz], of every step of the warm-up.
            proprio: [N, P].
            reference: [N, C * A], action units.
        """

    def load(self, block: Batch, input_noise: float) -> None:
        """Take a block for the updates that follow. Its arrays are the caller's, who fills them anew afterwards; they may be changed.

        Args:
            block: up to as many batches as were said when it was made, one after the other.
            input_noise: standard deviation of the noise on the inputs, in standard deviations of each.
        """

    def update(self, index: int, bc_weight: float) -> None:
        """One update from batch ``index`` of the block.

        Args:
            index: from 0; a block's batches are used once each.
            bc_weight: weight of the penalty that keeps the residual small, a mean over the chunk.
        """

    def actor_tensors(self) -> Tensors:
        """The actor as it is exported now, with its normalisation: copies, under the names and of the sizes of `Architecture.shapes`."""

    def figures(self) -> dict[str, float]:
        """For diagnostics, of the newest update; called between updates, some times a second at most. What is learned afterwards is the same
        with and without them."""

    def state(self) -> Tensors:
        """Copies of all that an exact continuation needs, but `updates`."""

    def restore(self, state: Tensors, updates: int) -> None:
        """Take back what `state` gave, bit for bit, and the number of updates then.

        Raises:
            KeyError: a tensor is missing.
            ParameterError: it is of other networks.
        """


# From settings, sizes of the exported actor, and the most batches in a block.
MakeAlgorithm = Callable[[Settings, Architecture, int], Algorithm]
