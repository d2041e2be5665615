"""When the VLA is asked: one query at a time, no oftener than `query_rate`; the same live, from a bag and in a simulation."""

from __future__ import annotations

from rl_token_ros.settings.vla import Vla

EARLY = 0.1  # of the period: cameras jitter, and a picture that comes a little early must not wait for the next


class QueryScheduler:
    """Says when the next query may begin.

    Args:
        settings: parameters of `vla_node`.
    """

    def __init__(self, settings: Vla) -> None:
        self._least_ns = round((1.0 - EARLY) * 1e9 / settings.query_rate)
        self._asked_ns: int | None = None
        self.busy = False  # a query is not answered yet

    def due(self, now_ns: int) -> bool:
        """Whether a query may begin, by a clock of any origin; one that was set back does not keep it waiting."""
        if self.busy:
            return False
        return self._asked_ns is None or not 0 <= now_ns - self._asked_ns < self._least_ns

    def asked(self, now_ns: int) -> None:
        """A query begins."""
        self._asked_ns, self.busy = now_ns, True

    def answered(self) -> None:
        """It is answered, or has failed."""
        self.busy = False
