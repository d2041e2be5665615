"""How the memory that `train_token` may take is shared out. Nothing of it depends on how many observations there are."""

from __future__ import annotations

from dataclasses import dataclass

LIBRARIES = 450_000_000  # bytes of the interpreter with torch, onnxruntime and what they allocate for themselves
IMPORTED = 265_000_000  # of these, before any work, with torch for processors alone; one with CUDA is twice as large, and LeRobot comes on top
WEIGHT = 20  # bytes of a weight, its gradient, its two averages, and what the optimizer computes with
ACTIVATIONS = 25  # arrays of [rows, width] that gradient descent keeps of an observation
COPIES = 8  # of features, float64, that a regression of the probe takes
COLUMNS_BYTES = 500_000_000  # of the warm start's table; beyond it more columns say nothing new
PROBED = 8192  # observations; more say nothing new
GIGABYTE = 1e9


class TooLittleMemory(ValueError):
    """Not enough for a single observation; the message says how much is."""


@dataclass(frozen=True)
class Budget:
    """Shares of the memory.

    Attributes:
        piece: observations that are in memory as float32 at once; a batch of more is taken in pieces.
        columns: values of an observation that the warm start looks at.
        probed: observations that are probed.
    """

    piece: int
    columns: int
    probed: int


UNBOUNDED = Budget(piece=1 << 30, columns=1 << 30, probed=1 << 30)


def libraries(resident: int) -> int:
    """Bytes that the interpreter and its libraries will take, of a process that has ``resident`` in memory before any work."""
    return LIBRARIES + max(resident - IMPORTED, 0)


def share(
    memory: float, shape: tuple[int, ...], size: int, features: int, width: int, weights: int, most: int, libraries: int = LIBRARIES
) -> Budget:  # fmt: skip
    """Shares of a memory.

    Args:
        memory: bytes for the whole process.
        shape: (N, M, D) of the embeddings; N does not matter.
        size: Dz.
        features: what the encoder's readout reads.
        width: of the networks.
        weights: how many encoder and decoder have.
        most: observations in memory at once, where there is room.
        libraries: bytes that all else takes.

    Raises:
        TooLittleMemory: it holds not one observation.
    """
    _, rows, columns = shape
    values = rows * columns
    solving = 8 * 4 * features**2 + 20 * features * observations_for(features)
    fixed = libraries + 12 * 4 * values + max(WEIGHT * weights, 8 * weights + solving)
    one = values * (2 + 2 + 4) + ACTIVATIONS * 4 * rows * width  # read, read ahead, whitened
    left = memory - fixed
    piece = int(left / 2 / one)
    table = min(int(left * 0.4 / (4 * features)), COLUMNS_BYTES // (4 * features))
    probed = int(left / (8 * COPIES * max(columns, size)))
    if piece < 1 or table < min(features, values) or probed < 1000:
        needs = fixed + max(2 * one, min(features, values) * 10 * features, 1000 * 8 * COPIES * max(columns, size))
        raise TooLittleMemory(
            f"--memory: {memory / GIGABYTE:.2f} GB are too little for embeddings of {rows} x {columns}; write {needs / GIGABYTE + 0.05:.1f}"
        )
    return Budget(min(piece, most), min(table, values), min(probed, PROBED))


def observations_for(features: int) -> int:
    """How many observations means, scales and the warm start are computed from, where there are more."""
    return max(4096, 2 * features)
