"""One line on the terminal that says how far a long job is and how long it will still take."""

from __future__ import annotations

import sys
import time


class Progress:
    """Call it with the number of units done; it prints at most twice a second on a terminal, else every ten seconds.

    Args:
        what: the job, in a few words.
        total: units of work in all.
        first: units that were done before this began.
    """

    def __init__(self, what: str, total: int, first: int = 0) -> None:
        self._what, self._total, self._first = what, max(total, 1), first
        self._begun = self._printed = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def __call__(self, done: int, note: str = "") -> None:
        now, terminal = time.monotonic(), self._terminal
        last = done >= self._total
        if not last and now - self._printed < (0.5 if terminal else 10.0):
            return
        self._printed = now
        spent = now - self._begun
        left = spent / max(done - self._first, 1) * (self._total - done)
        line = f"{self._what}: {done}/{self._total}, {spent:.0f} s, {left:.0f} s left {note}"
        sys.stderr.write(f"\r{line:<100}" + ("\n" if last else "") if terminal else line + "\n")
        sys.stderr.flush()
