"""Asks a VLA about the pictures in a bag, as vla_node does about those of a camera; driven by the stamps, not by the clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rl_token_ros.control.pipeline import Pipeline
from rl_token_ros.interfaces import images, measurements
from rl_token_ros.interfaces.stamps import stamp_to_ns
from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla.backend import Backend, BackendError
from rl_token_ros.vla.in_process import InProcessVla
from rl_token_ros.vla.observation import Synchroniser


class VlaOnPictures:
    """Gives the answers to the pipelines, each ``latency`` after the picture was received.

    Args:
        settings: parameters of `vla_node`.
        backend: the VLA.
        latency: of an answer, s.
        refused: told about what cannot be used.
    """

    def __init__(self, settings: Vla, backend: Backend, latency: float, refused: Callable[[Exception], None]) -> None:
        self.queries = 0
        self._refused = refused
        self._synchroniser = Synchroniser(settings)
        self._vla = InProcessVla(settings, backend, latency)

    def take(self, ours: str, message: Any, now_ns: int, pipelines: list[Pipeline]) -> None:
        """One message of the bag, and what has become due with its time of reception."""
        if (due := self._vla.take(now_ns)) is not None:
            reference, embedding = due
            for pipeline in pipelines:
                pipeline.propose(reference, now_ns)
                if embedding is not None:
                    pipeline.encode(embedding)
        try:
            if ours.startswith("camera/"):
                self._synchroniser.set_image(ours.split("/")[1], stamp_to_ns(message.header.stamp) or now_ns, (ours, message))
                self._look(now_ns)
            elif ours in measurements.TYPES:
                self._synchroniser.measure(ours, message, now_ns)
                if self._synchroniser.waiting:
                    self._look(now_ns)
            elif ours == "task":
                self._synchroniser.task = message.data
        except ValueError as error:
            self._refused(error)

    def _look(self, now_ns: int) -> None:
        if not self._vla.scheduler.due(now_ns):
            return
        observation, _ = self._synchroniser.observation(now_ns)
        if observation is None:
            return
        try:
            self._vla.ask(observation.decoded(_decode), now_ns)
        except (BackendError, images.ImageError) as error:
            self._refused(error)
            return
        self.queries += 1


def _decode(camera: str, picture: tuple[str, Any]) -> np.ndarray:
    topic, message = picture
    return (images.decompress if topic.endswith("/compressed") else images.to_rgb)(message, topic)
