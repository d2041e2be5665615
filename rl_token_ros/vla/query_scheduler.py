"""When the VLA is asked: one query at a time, no oftener than `query_rate`; the same live, from a bag and in a simulation."""

from __future__ import annotations

from collections import deque

from rl_token_ros.settings.vla import Vla

REMEMBERED = 8  # queries
EARLY = 0.1  # of the period: cameras jitter, and a picture that comes a little early must not wait for the next


class QueryScheduler:
    """Says when the next query may begin.

    Queries are due one period after the last was due, not after it began: a picture that comes a little late delays one query and not all
    that follow. With cameras of 30 Hz, 10 queries/s and pictures that jitter by 10 ms, counting from the last query makes 8 to 9.

    Args:
        settings: parameters of `vla_node`.
    """

    def __init__(self, settings: Vla) -> None:
        self._period_ns = round(1e9 / settings.query_rate)
        self._early_ns = round(EARLY * self._period_ns)
        self._due_ns: int | None = None
        self._asked_ns = 0
        self._took_ns: deque[int] = deque([0], maxlen=REMEMBERED)
        self.busy = False  # a query is not answered yet

    def due(self, now_ns: int) -> bool:
        """Whether a query may begin, by a clock of any origin; one that was set back does not keep it waiting."""
        if self.busy:
            return False
        return self._due_ns is None or not -self._period_ns - self._early_ns <= now_ns - self._due_ns < -self._early_ns

    def soon(self, now_ns: int, within_ns: float) -> bool:
        """Whether the next query may begin within this time: the one under way takes as long as the shortest of the last ones."""
        due = now_ns if self._due_ns is None else self._due_ns - self._early_ns
        return max(due, self._asked_ns + min(self._took_ns) if self.busy else now_ns) - now_ns <= within_ns

    def asked(self, now_ns: int) -> None:
        """A query begins."""
        self._asked_ns = now_ns
        late = 0 if self._due_ns is None else now_ns - self._due_ns
        on_grid = self._due_ns is not None and -self._period_ns <= late < self._period_ns
        self._due_ns = (self._due_ns if self._due_ns is not None and on_grid else now_ns) + self._period_ns
        self.busy = True

    def answered(self, now_ns: int | None = None) -> None:
        """It is answered, or has failed; the time is for :meth:`soon`."""
        if now_ns is not None:
            self._took_ns.append(now_ns - self._asked_ns)
        self.busy = False
