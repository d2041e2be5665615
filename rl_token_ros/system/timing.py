"""Stamps that lie in the future, and percentiles of the last few thousand measurements for `/diagnostics`."""

from __future__ import annotations

import numpy as np


class Percentiles:
    """Keeps the newest ``size`` values and the count and maximum of all."""

    def __init__(self, size: int = 3000) -> None:
        self._values = np.zeros(size)
        self.count = 0
        self.maximum = 0.0

    def add(self, value: float) -> None:
        """One measurement."""
        self._values[self.count % len(self._values)] = value
        self.count += 1
        self.maximum = max(self.maximum, value)

    def at(self, *percent: float) -> list[float]:
        """Percentiles of the values kept; zeros before the first."""
        if not self.count:
            return [0.0] * len(percent)
        return [float(value) for value in np.percentile(self._values[: min(self.count, len(self._values))], percent)]

    def report(self, name: str, scale: float = 1.0) -> dict[str, str]:
        """``{name_p50: ..., name_p99: ..., name_max: ...}`` times ``scale``, as text."""
        p50, p99 = self.at(50, 99)
        values = {"p50": p50, "p99": p99, "max": self.maximum}
        return {f"{name}_{key}": f"{value * scale:.3f}" for key, value in values.items()}


class TickClock:
    """Follows a periodic tick and says how late it comes and how many were missed.

    The schedule is that of the earliest tick seen, so lateness is never negative. A tick that comes a whole period late or
    later has been missed; it is counted and skipped, never made up for by a burst.

    Args:
        period_ns: nominal period.
        size: ticks over which percentiles are taken.
    """

    def __init__(self, period_ns: int, size: int = 3000) -> None:
        self.period_ns = period_ns
        self.ticks = 0
        self.missed = 0
        self.period = Percentiles(size)
        self.lateness = Percentiles(size)
        self._due_ns = 0
        self._last_ns = 0

    def tick(self, now_ns: int) -> None:
        """One tick, at a time of a monotonic clock."""
        if self.ticks == 0 or now_ns < self._last_ns:
            self._due_ns = now_ns
        else:
            self.period.add((now_ns - self._last_ns) * 1e-9)
        late = max(now_ns - self._due_ns, 0)
        missed = late // self.period_ns
        self.missed += missed
        self.lateness.add(late * 1e-9)
        self.ticks += 1
        self._last_ns = now_ns
        self._due_ns = min(self._due_ns + missed * self.period_ns, now_ns) + self.period_ns
