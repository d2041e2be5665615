"""What every VLA backend takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from rl_token_ros.interfaces import image_cdr, token_frame


@dataclass(frozen=True)
class Observation:
    """What the VLA is asked about.

    Attributes:
        stamp_ns: stamp of the observation: that of its oldest image.
        images: by camera name: uint8 [h, w, 3] rgb once :meth:`decoded`, until then as they came.
        proprio: float32 [P], the groups of `vla_proprioception`.
        task: language instruction.
        orientation: float64 [4], x, y, z, w of the tool in the base frame, where `rotation_frame` needs it.
    """

    stamp_ns: int
    images: dict[str, Any]
    proprio: np.ndarray
    task: str
    orientation: np.ndarray | None = None

    def decoded(self, decode: Callable[[str, Any], np.ndarray]) -> Observation:
        """The same with pictures made by a function of camera and what came of it."""
        return replace(self, images={camera: decode(camera, picture) for camera, picture in self.images.items()})


@dataclass(frozen=True)
class Answer:
    """What a VLA answers.

    Attributes:
        actions: chunk float32 [H, A] in units of the action.
        embeddings: float32 [M, D]; None where the server made the token of them, and where a VLA gives none, which only `token_size: 0` permits.
        server_seconds: what a remote VLA says it took.
        token: float32 [Dz], where the server made it.
        encoder_sha256: of what made the token.
    """

    actions: np.ndarray
    embeddings: np.ndarray | None
    server_seconds: float | None = None
    token: np.ndarray | None = None
    encoder_sha256: str = ""

    def embedding_message(self, stamp_ns: int) -> bytes | None:
        """`vla/embedding` as it is sent: the token, or the embeddings; None: neither."""
        if self.token is not None:
            return image_cdr.from_matrix(self.token[None], stamp_ns, token_frame.frame_of(self.encoder_sha256))
        return None if self.embeddings is None else image_cdr.from_matrix(self.embeddings, stamp_ns)


class BackendError(RuntimeError):
    """A query that failed; the message says why. The next one may succeed."""


class Unreachable(BackendError):
    """A query that nobody answered: no connection, none in time, or one that cannot be read."""


class Backend(Protocol):
    """A frozen VLA. ``warning``: what the operator should know at the start, or nothing."""

    warning: str

    def describe(self) -> dict[str, Any]:
        """What the VLA says of itself, as its ``vla_sha256``; may take seconds; raises BackendError."""

    def embed(self, observation: Observation) -> np.ndarray:
        """Embeddings float32 [M, D] alone, whatever the actions are; raises BackendError."""

    def query(self, observation: Observation) -> Answer:
        """One query; may take seconds; raises BackendError."""

    def reset(self) -> None:
        """An episode has ended; may be called from any thread."""

    def report(self) -> dict[str, Any]:
        """Figures for `/diagnostics`; may be called from any thread."""

    def close(self) -> None:
        """End, and with it a query under way; may be called from any thread."""
