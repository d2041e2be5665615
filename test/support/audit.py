"""What a fault must not do, looked for in what was heard: commands outside limits or on old data, and rows of the journal that are gone."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np

from rl_token_ros.control.safety_filter import Limits

SECOND = 1_000_000_000
EARLY = 0.1  # of a period, that a command may come before its time


class CommandAudit:
    """Every command against the limits, and every command that moves against what could be known when it was sent.

    Args:
        limits: of the commands; the lead is not judged.
        period: between two commands, s.
        position: of the arm [A], where the first command must begin.
        ages: largest age in s of a ``chunk`` and a ``measurement`` on which the arm may still move; those not named are not judged.

    Attributes:
        commands: (stamp in ns, position) of each; ``arrivals``: time.monotonic of each.
        begins: numbers of those with which a node began anew.
        broken: a sentence for every broken limit.
        gaps: how often more than a period lay between two.
    """

    def __init__(self, limits: Limits, period: float, position: np.ndarray, ages: dict[str, float]) -> None:
        self.commands: list[tuple[int, np.ndarray]] = []
        self.arrivals: list[float] = []
        self.begins: list[int] = []
        self.broken: list[str] = []
        self.gaps = self._told = 0
        self._limits, self._period, self._ages = limits, period, ages
        self._position, self._velocity = position, np.zeros_like(position)
        self._due_ns = 0  # when the last command was due; it may have been late
        self._begun_ns = 0
        # What could be known, and what moved the arm: system time at which it was sent (this process may stall), stamp, both in ns.
        self._said: dict[str, list[tuple[int, int]]] = {what: [] for what in ages}
        self._moved: list[tuple[int, int, int]] = []
        self._leaps: set[int] = set()  # times at which the clock was set

    def said(self, what: str, sent_ns: int, stamp: int) -> None:
        """A chunk or a measurement of this stamp could be known from then on, system time in ns."""
        if what in self._said:
            self._said[what].append((sent_ns, stamp))

    def leap(self, clock_ns: int) -> None:
        """The clock was set; what was said before counts by the new one."""
        now = time.time_ns()
        self._leaps.add(now)
        for said in self._said.values():
            said.append((now, clock_ns))

    def begin(self, position: np.ndarray | None = None) -> None:
        """A node begins anew, at rest where the arm is: there, or where it was told to be last. The commands before it are another's."""
        self.begins.append(len(self.commands))
        self._begun_ns = time.time_ns()
        self._velocity = np.zeros_like(self._position)
        if position is not None:
            self._position = position

    def take(self, stamp: int, position: np.ndarray, sent_ns: int) -> None:
        """A command [A] of this stamp, sent at this system time in ns."""
        late = sent_ns <= self._begun_ns  # the predecessor's, under way when it died
        if late:
            self._velocity = np.full_like(self._velocity, np.nan)
        self._judge(stamp, position, sent_ns)
        self.commands.append((stamp, position))
        self.arrivals.append(time.monotonic())
        if late:
            self.begins[-1], self._velocity = len(self.commands), np.zeros_like(self._velocity)
        if np.isfinite(position).all():
            self._position = position

    def _judge(self, stamp: int, position: np.ndarray, sent_ns: int) -> None:
        """Writes down every broken limit of a command."""
        limits, period, number = self._limits, self._period, len(self.commands)
        beyond = np.maximum(limits.position_min - position, position - limits.position_max)
        if not np.isfinite(position).all() or (beyond > 1e-9).any():
            self.broken.append(f"command {number}: position {position}")
            return
        first = not self.commands or self.begins[-1:] == [number]
        periods = 1 if first else self._periods(stamp)
        self._due_ns = stamp if first else min(self._due_ns + round(periods * period * 1e9), stamp)
        velocity = (position - self._position) / period
        if periods > 1:
            # A late control step is skipped, and a message may be lost where a machine is busy: what is between two commands is not known.
            self.gaps += 1
            if (np.abs(velocity) > periods * limits.velocity * (1 + 1e-6)).any():
                self.broken.append(f"command {number}: {velocity * period} in {periods} periods")
            self._velocity = np.full_like(velocity, np.nan)  # compares false: the next change of speed is not judged
            return
        if (np.abs(velocity) > limits.velocity * (1 + 1e-6)).any():
            self.broken.append(f"command {number}: velocity {velocity}")
        if (np.abs(velocity - self._velocity) > limits.acceleration * period * (1 + 1e-6) + 1e-9).any():
            self.broken.append(f"command {number}: velocity {self._velocity} then {velocity}")
        self._velocity = velocity
        if np.abs(velocity).max() > 1e-6:
            self._moved.append((sent_ns, stamp, number))

    def _periods(self, stamp: int) -> int:
        """Control steps since the last command. Stamps are those of the steps, which may be late, by nearly a period, but not early."""
        return max(int((stamp - self._due_ns) * 1e-9 / self._period + EARLY), 1)

    def finish(self, until_ns: float = math.inf) -> None:
        """Fail if any command since the last time broke a limit or followed what was too old.

        Args:
            until_ns: system time in ns; of commands sent later, what they followed may not have been heard yet. It is judged the next time.
        """
        judged = [moved for moved in self._moved if moved[0] <= until_ns]
        for what, limit in self._ages.items():
            said, newest = iter(sorted(self._said[what])), 0
            known = next(said, None)
            for sent, stamp, number in judged:
                while known is not None and known[0] <= sent:
                    newest = known[1] if known[0] in self._leaps else max(newest, known[1])
                    known = next(said, None)
                if (age := (stamp - newest) * 1e-9) > limit:
                    self.broken.append(f"command {number}: moved on a {what} {age:.2f} s old")
        self._moved = [moved for moved in self._moved if moved[0] > until_ns]
        new, self._told = self.broken[self._told :], len(self.broken)
        assert not new, f"{len(new)} commands outside limits: {new[:5]}"


class JournalAudit:
    """What the learner's journal holds: stamps of its rows, read on from where it was read to.

    Args:
        folder: of the journal.
        dtype: of its rows.
    """

    def __init__(self, folder: Path, dtype: np.dtype) -> None:
        self._folder, self._dtype = folder, dtype
        self._read_ns = self._checked_ns = 0
        self.rows: dict[int, int] = {}  # stamp of the row: stamp in the journal
        self.checked = 0

    def read(self) -> int:
        """Read on; the number of rows found so far."""
        self.rows.update(self._beyond(self._read_ns))
        self._read_ns = max(self.rows.values(), default=0)
        return len(self.rows)

    def lost(self) -> int:
        """How many of the rows found since the last time are not there any more."""
        before = {stamp for stamp, at in self.rows.items() if at > self._checked_ns}
        found = self._beyond(self._checked_ns)
        self.checked, self._checked_ns = self.checked + len(before), self._read_ns
        return len(before - found.keys())

    def all_lost(self) -> int:
        """How many of all rows ever found are not there any more."""
        return len(self.rows.keys() - self._beyond(0).keys())

    def _beyond(self, after_ns: int) -> dict[int, int]:
        from rl_token_ros.learning import journal

        found = journal.read(self._folder, self._dtype, after_ns, 1 << 62)
        return {int(row["stamp_sec"]) * SECOND + int(row["stamp_nanosec"]): at for at, _, rows in found for row in rows}
