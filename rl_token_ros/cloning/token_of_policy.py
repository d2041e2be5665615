"""The token's encoder of a cloned policy, from the embeddings of its demonstrations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from rl_token_ros.cloning.demonstrations import Demonstrations, NotUsable
from rl_token_ros.cloning.network import VisionPolicy
from rl_token_ros.rl_token.dataset import LEAST
from rl_token_ros.rl_token.training import Settings, export, fit, not_reconstructed, spread
from rl_token_ros.rl_token.warm_start import TooWide

MOST = 4096  # samples, and
BYTES = 256_000_000  # of float16: of more demonstrations some are taken, evenly
PIECE = 64


@torch.no_grad()
def embeddings(model: VisionPolicy, shown: Demonstrations, numbers: np.ndarray) -> np.ndarray:
    """float16 [n, M, D] of some samples."""
    found = [np.zeros((0, *model.place.shape), np.float16)]
    for at in np.array_split(numbers, -(-len(numbers) // PIECE)):
        _, each = model(*map(torch.from_numpy, shown.pictures(at)), torch.from_numpy(shown.proprio[at]))
        found.append(each.numpy().astype(np.float16))
    return np.concatenate(found)


def chosen(model: VisionPolicy, shown: Demonstrations, size: int) -> np.ndarray:
    """Numbers of the samples that a token of that size is trained from, and judged with.

    Raises:
        NotUsable: they are too few.
    """
    numbers = spread(len(shown), min(MOST, BYTES // (2 * model.place.numel())))
    if (count := int((~shown.held[numbers]).sum())) < max(LEAST, size + 1):
        raise NotUsable(f"{count} samples are too few for a token of {size}; write a smaller --token-size (and at least {LEAST} samples)")
    return numbers


def train(model: VisionPolicy, shown: Demonstrations, settings: Settings, vla: Path, path: Path) -> float:
    """Write the encoder for the policy of that file; the share of the embeddings' variance held out that can be made again from the token.

    Raises:
        NotUsable: too few samples, or a token wider than what they fill.
    """
    numbers = chosen(model, shown, settings.size)
    seen, held = embeddings(model, shown, numbers), shown.held[numbers]
    try:
        encoder, decoder = fit(seen[~held], settings)
    except TooWide as error:
        raise NotUsable(f"--token-size: {error}") from None
    export(encoder, vla, path)
    return 1.0 - not_reconstructed(encoder, decoder, seen[held])
