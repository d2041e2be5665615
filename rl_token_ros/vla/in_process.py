"""A VLA that is asked in this process, by stamps: its answers are due `latency` after the observation. For bags and simulations."""

from __future__ import annotations

from types import SimpleNamespace as Message
from typing import Any

import numpy as np

from rl_token_ros.interfaces import image_cdr
from rl_token_ros.interfaces.stamps import ns_to_stamp
from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla.backend import Answer, Backend, Observation
from rl_token_ros.vla.query_scheduler import QueryScheduler


class InProcessVla:
    """Asks when the scheduler says so, and gives the messages that vla_node would publish.

    Args:
        settings: parameters of `vla_node`.
        backend: the VLA.
        latency: from observation to answer, s.
    """

    def __init__(self, settings: Vla, backend: Backend, latency: float) -> None:
        self._settings, self._backend, self._latency_ns = settings, backend, round(latency * 1e9)
        self.scheduler = QueryScheduler(settings)
        self._pending: tuple[int, int, Answer] | None = None  # due time, stamp of the observation

    def ask(self, observation: Observation, now_ns: int) -> Answer:
        """Begin a query.

        Raises:
            BackendError: it failed.
        """
        self.scheduler.asked(now_ns)
        try:
            answer = self._backend.query(observation)
        except Exception:
            self.scheduler.answered()
            raise
        self._pending = (now_ns + self._latency_ns, observation.stamp_ns, answer)
        return answer

    def take(self, now_ns: int) -> tuple[Any, Any | None] | None:
        """`vla/reference` and `vla/embedding` (None: no embeddings) of an answer that is due, once."""
        if self._pending is None or now_ns < self._pending[0]:
            return None
        _, stamp_ns, answer = self._pending
        self._pending = None
        self.scheduler.answered()
        raw = answer.embedding_message(stamp_ns)
        return self._reference(stamp_ns, answer.actions), None if raw is None else image_cdr.read(raw, "vla/embedding")

    def _reference(self, stamp_ns: int, actions: np.ndarray) -> Any:
        dt_ns = round(self._settings.chunk_dt * 1e9)
        values = actions.astype(float).tolist()
        points = [Message(positions=action, time_from_start=ns_to_stamp(i * dt_ns)) for i, action in enumerate(values)]
        return Message(header=Message(stamp=ns_to_stamp(stamp_ns)), joint_names=self._settings.chunk_names, points=points)
