"""Asks a VLA about the pictures in a bag, as vla_node does about those of a camera; driven by the stamps, not by the clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rl_token_ros.control.pipeline import Pipeline
from rl_token_ros.interfaces.images import ImageError
from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla.backend import Backend, BackendError, Observation
from rl_token_ros.vla.in_process import InProcessVla
from rl_token_ros.vla.message_observations import MessageObservations, decode


class VlaOnPictures:
    """Gives the answers to the pipelines, each ``latency`` after the picture was received.

    Args:
        settings: parameters of `vla_node`.
        backend: the VLA.
        latency: of an answer, s.
        refused: told about what cannot be used.
        decoded: gives an observation's pictures; another where they are none of messages.
    """

    def __init__(
        self, settings: Vla, backend: Backend, latency: float, refused: Callable[[Exception], None],
        decoded: Callable[[Observation], Observation] = decode,
    ) -> None:  # fmt: skip
        self.queries = 0
        self._refused, self._decoded = refused, decoded
        self._vla = InProcessVla(settings, backend, latency)
        self._observations = MessageObservations(settings, self._vla.scheduler.due)

    def take(self, ours: str, message: Any, now_ns: int, pipelines: list[Pipeline]) -> None:
        """One message of the bag, and what has become due with its time of reception."""
        self.deliver(now_ns, pipelines)
        try:
            observation = self._observations.take(ours, message, now_ns)
            if observation is None:
                return
            self._vla.ask(self._decoded(observation), now_ns)
        except (BackendError, ImageError, ValueError) as error:
            self._refused(error)
            return
        self.queries += 1

    def deliver(self, now_ns: int, pipelines: list[Pipeline]) -> None:
        """The answer that has become due."""
        if (due := self._vla.take(now_ns)) is not None:
            reference, embedding = due
            for pipeline in pipelines:
                pipeline.propose(reference, now_ns)
                if embedding is not None:
                    pipeline.encode(embedding)
