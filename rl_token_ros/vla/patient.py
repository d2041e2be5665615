"""A VLA that is asked for embeddings over hours: a server that goes away is waited for, and one that comes back with another VLA refused."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla.backend import Backend, BackendError, Observation, Unreachable

PAUSE = 0.2  # s, between two attempts; the connection has pauses of its own, which grow


def for_asking(settings: Vla, server: str = "") -> Vla:
    """Parameters with which no answer is late, and a server that makes tokens sends the embeddings.

    Args:
        server: address of a policy server, in place of the VLA that the parameters name.
    """
    changes: dict[str, Any] = {"embeddings": "float16", "query_timeout": max(settings.query_timeout, settings.warmup_timeout)}
    if server:
        changes |= {"backend": "openpi", "server": server}
    return dataclasses.replace(settings, **changes)


class PatientVla:
    """Asks a VLA, again and again where nobody answers.

    Args:
        backend: the VLA, which must answer now.
        patience: s for which a server that does not answer any more is waited for.
        note: told when it is lost, and when it is back.

    Attributes:
        about: what it says of itself.
        vla_sha256: its fingerprint, empty where it does not say it.
        lost: how often nobody answered.

    Raises:
        BackendError: nobody answers, or it is not the VLA that the parameters name.
    """

    def __init__(self, backend: Backend, patience: float, note: Callable[[str], None]) -> None:
        self._backend, self._patience, self._note = backend, patience, note
        self.about: dict[str, Any] = backend.describe()
        self.vla_sha256 = str(self.about.get("vla_sha256") or "")
        self.lost = 0

    def embed(self, observation: Observation) -> np.ndarray:
        """Embeddings float32 [M, D].

        Raises:
            BackendError: it refuses the observation, is another VLA now, or was away for too long.
        """
        lost_at: float | None = None
        while True:
            try:
                matrix = self._backend.embed(observation)
                served = str(self._backend.describe().get("vla_sha256") or "")
                break
            except Unreachable as error:
                now = time.monotonic()
                if lost_at is None:
                    lost_at, self.lost = now, self.lost + 1
                    self._note(f"{error}; tried again for {self._patience:g} s")
                elif now - lost_at > self._patience:
                    raise Unreachable(
                        f"{error}; given up after {self._patience:g} s. Start the server and this command again: it goes on here"
                    ) from None
            time.sleep(PAUSE)
        if served != self.vla_sha256:
            raise BackendError(
                f"the VLA server now serves a VLA with SHA-256 '{served[:12]}', before it was '{self.vla_sha256[:12]}'; one encoder is for one VLA: "
                "serve that one, and start this command again"
            )
        if lost_at is not None:
            self._note(f"the VLA answers again, after {time.monotonic() - lost_at:.0f} s")
        return matrix

    def close(self) -> None:
        """End the connection."""
        self._backend.close()
