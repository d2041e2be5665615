"""What every VLA backend takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Observation:
    """What the VLA is asked about.

    Attributes:
        stamp_ns: stamp of the observation: that of its oldest image.
        images: by camera name: uint8 [h, w, 3] rgb once :meth:`decoded`, until then as they came.
        proprio: float32 [P], the groups of `vla_proprioception`.
        task: language instruction.
    """

    stamp_ns: int
    images: dict[str, Any]
    proprio: np.ndarray
    task: str

    def decoded(self, decode: Callable[[str, Any], np.ndarray]) -> Observation:
        """The same with pictures made by a function of camera and what came of it."""
        return replace(self, images={camera: decode(camera, picture) for camera, picture in self.images.items()})


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
