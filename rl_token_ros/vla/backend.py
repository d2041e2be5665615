"""What every VLA backend takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Observation:
    """What the VLA is asked about.

    Attributes:
        stamp_ns: stamp of the observation: that of its oldest image.
        images: uint8 [h, w, 3] rgb by camera name.
        proprio: float32 [P], the groups of `vla_proprioception`.
        task: language instruction.
    """

    stamp_ns: int
    images: dict[str, np.ndarray]
    proprio: np.ndarray
    task: str


@dataclass(frozen=True)
class Answer:
    """Action chunk float32 [H, A] in units of the action, and embeddings float32 [M, D].

    ``embeddings`` is None where a VLA gives none, which only `token_size: 0` permits; ``server_seconds`` is what a remote VLA says it took.
    """

    actions: np.ndarray
    embeddings: np.ndarray | None
    server_seconds: float | None = None


class BackendError(RuntimeError):
    """A query that failed; the message says why. The next one may succeed."""


class Backend(Protocol):
    """A frozen VLA. ``warning``: what the operator should know at the start, or nothing."""

    warning: str

    def query(self, observation: Observation) -> Answer:
        """One query; may take seconds; raises BackendError."""

    def reset(self) -> None:
        """An episode has ended; may be called from any thread."""

    def close(self) -> None:
        """End, and with it a query under way; may be called from any thread."""
