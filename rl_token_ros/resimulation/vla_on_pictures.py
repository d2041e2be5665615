"""Asks a VLA about the pictures in a bag, as vla_node does about those of a camera; driven by the stamps, not by the clock."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from rl_token_ros.control.chunk import Chunk, ChunkError
from rl_token_ros.control.pipeline import Pipeline
from rl_token_ros.interfaces import images, measurements
from rl_token_ros.interfaces.stamps import stamp_to_ns
from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla.backend import Backend, BackendError
from rl_token_ros.vla.observation import Synchroniser


class Looker:
    """Gives the answers to the pipelines, each ``latency`` after the picture was received.

    Args:
        settings: parameters of `vla_node`.
        backend: the VLA.
        latency: of an answer, s.
        refused: told about what cannot be used.
    """

    def __init__(self, settings: Vla, backend: Backend, latency: float, refused: Callable[[Exception], None]) -> None:
        self.queries = 0
        self._settings, self._backend, self._refused = settings, backend, refused
        self._synchroniser = Synchroniser(settings)
        self._latency_ns = round(latency * 1e9)
        self._asked_ns = 0
        self._due: tuple[int, Chunk, np.ndarray] | None = None

    def take(self, ours: str, message: Any, now_ns: int, pipelines: list[Pipeline]) -> None:
        """One message of the bag, and what has become due with its time of reception."""
        if self._due is not None and now_ns >= self._due[0]:
            _, chunk, embeddings = self._due
            self._due = None
            self._give(chunk, embeddings, now_ns, pipelines)
        try:
            if ours.startswith("camera/"):
                compressed = ours.endswith("/compressed")
                picture = (images.decompress if compressed else images.to_rgb)(message, ours)
                self._synchroniser.set_image(ours.split("/")[1], stamp_to_ns(message.header.stamp) or now_ns, picture)
                self._look(now_ns)
            elif ours in measurements.TYPES:
                measurements.take(self._synchroniser.state, ours, message, now_ns)
            elif ours == "task":
                self._synchroniser.task = message.data
        except ValueError as error:
            self._refused(error)

    def _look(self, now_ns: int) -> None:
        if self._due is not None or 0 <= now_ns - self._asked_ns < 0.9e9 / self._settings.query_rate:
            return
        observation, _ = self._synchroniser.observation(now_ns)
        if observation is None:
            return
        self._asked_ns = now_ns
        try:
            answer = self._backend.query(observation)
        except BackendError as error:
            self._refused(error)
            return
        self.queries += 1
        chunk = Chunk(observation.stamp_ns, round(self._settings.chunk_dt * 1e9), answer.actions.astype(np.float64))
        self._due = (now_ns + self._latency_ns, chunk, answer.embeddings)

    def _give(self, chunk: Chunk, embeddings: np.ndarray, now_ns: int, pipelines: list[Pipeline]) -> None:
        try:
            token = pipelines[0].encoder.run(embeddings)
            for pipeline in pipelines:
                pipeline.controller.proposals.set_chunk(chunk, now_ns)
                pipeline.controller.proposals.set_token(chunk.stamp_ns, token, now_ns)
        except (ChunkError, ValueError) as error:
            self._refused(error)
