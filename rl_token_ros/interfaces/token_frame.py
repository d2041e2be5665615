"""How a `vla/embedding` says that it holds a token, and of which encoder: `frame_id` is ``token:`` and the SHA-256 of the encoder's file.

Never by its shape: embeddings of one row may be as wide as a token. A bag keeps it with the message.
"""

from __future__ import annotations

PREFIX = "token:"


def frame_of(encoder_sha256: str) -> str:
    """The `frame_id` of a token."""
    return PREFIX + encoder_sha256


def encoder_of(frame_id: str) -> str | None:
    """SHA-256 of the encoder that made what the message holds; None: it holds embeddings."""
    return frame_id[len(PREFIX) :] if frame_id.startswith(PREFIX) else None
