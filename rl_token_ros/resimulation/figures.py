"""What replay_bag counts and measures, and the text it prints."""

from __future__ import annotations

from collections import Counter

import numpy as np

from rl_token_ros.control.tick_record import Event, Row
from rl_token_ros.interfaces import measurements
from rl_token_ros.interfaces.codes import Clipped, Source
from rl_token_ros.resimulation.resimulator import Step
from rl_token_ros.robot import action_space
from rl_token_ros.settings.control import Control
from rl_token_ros.system.timing import Percentiles

NAMED = 20  # steps that differ, by stamp, unless all are wanted
POINTS = 20_000  # of a curve; beyond it every second one is dropped
AGES = 100_000  # newest ones, over which percentiles are taken


class Curve:
    """A curve of any length in bounded memory: times in s, values [n, A]."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.values: list[np.ndarray] = []
        self._stride = 1
        self._count = 0

    def add(self, time: float, value: np.ndarray) -> None:
        """One point."""
        self._count += 1
        if self._count % self._stride:
            return
        self.times.append(time)
        self.values.append(value)
        if len(self.times) > POINTS:
            self._stride *= 2
            del self.times[::2], self.values[::2]


class Figures:
    """Follows the steps of a replay.

    Args:
        settings: parameters of the run.
        tolerance: largest difference of a command that counts as none, m or rad (or per s).
        others: names of the pipelines that follow.
        all_stamps: keep the stamp of every step that differs.
    """

    def __init__(self, settings: Control, tolerance: float, others: list[str], all_stamps: bool = False) -> None:
        self.settings, self.tolerance = settings, tolerance
        self._space = action_space.of_positions(settings)
        self.steps: Counter[str] = Counter()  # by kind of call
        self.sources: Counter[int] = Counter()
        self.clipped: Counter[str] = Counter()
        self.endings: Counter[str] = Counter()
        self.commands = self.checked = self.identical = self.within = self.unchecked = 0
        self.gripped = 0  # of those checked, with positions of the grippers
        self.compared = self.alike = 0  # of the commands that could not be checked
        self.other_columns: Counter[str] = Counter()
        self.why: Counter[str] = Counter()
        self._largest = np.zeros((2, settings.action_size))  # of steps that could be checked, and of the others
        self.named: list[tuple[int, str]] = []  # stamps of steps that differ, and in what
        self.differing = 0
        self.chunk_age, self.state_age = Percentiles(AGES), Percentiles(AGES)
        self.curves = {name: Curve() for name in ("recorded", *others)}
        self.divergence_sum = {name: np.zeros(settings.action_size) for name in others}
        self.divergence_max = {name: np.zeros(settings.action_size) for name in others}
        self.divergence_count = dict.fromkeys(others, 0)
        self._all_stamps = all_stamps
        self._first_ns: int | None = None
        self.last_ns = 0

    @property
    def ok(self) -> bool:
        """Whether every command that could be checked is the same, within the tolerance."""
        return self.within == self.checked and (self.tolerance > 0.0 or not self.differing)

    @property
    def largest(self) -> np.ndarray:
        """Largest difference of a command [A], of steps that could be checked; where none could be, of all."""
        return self._largest[0 if self.checked else 1]

    @property
    def seconds(self) -> float:
        """From the first step to the last."""
        return 0.0 if self._first_ns is None else (self.last_ns - self._first_ns) * 1e-9

    def add(self, step: Step) -> None:
        """One step."""
        row, again = step.row, step.again
        self.steps[Event(row.event).label] += 1
        self._first_ns = row.now_ns if self._first_ns is None else self._first_ns
        self.last_ns = max(self.last_ns, row.now_ns)
        if row.event == Event.TICK:
            self._follow(step)
        if step.unchecked or again is None:
            self.unchecked += 1
            self.why[step.unchecked or "its call was refused"] += 1
            if again is not None and row.commands and again.commands:
                difference = np.abs(self._space.difference(row.command, again.command))
                self._largest[1] = np.maximum(self._largest[1], difference)
                self.compared += 1
                self.alike += not difference.any()
            return
        if row.event == Event.TICK and (row.commands or again.commands):
            self._compare(step, row, again)
        elif step.differs:
            self._name(row, step.differs)

    def _compare(self, step: Step, row: Row, again: Row) -> None:
        self.checked += 1
        same = not {"command", "velocity", "gripper"} & set(step.differs)
        self.identical += same
        self.gripped += bool(np.isfinite(row.gripper).any())
        difference = np.abs(self._space.difference(row.command, again.command))
        if row.commands and again.commands:
            self._largest[0] = np.maximum(self._largest[0], difference)
        self.within += same or bool((difference <= self.tolerance).all())  # NaN, a command that is missing, compares false
        if step.differs:
            self._name(row, step.differs)

    def _name(self, row: Row, differs: list[str]) -> None:
        self.differing += 1
        self.other_columns.update(differs)
        if self._all_stamps or len(self.named) < NAMED:
            self.named.append((row.now_ns, ", ".join(differs)))

    def _follow(self, step: Step) -> None:
        row = step.row
        self.sources[row.source] += 1
        for bit in Clipped:
            if row.clipped & bit:
                self.clipped[bit.label] += 1
        if (stamp := row.inputs.get("vla/reference")) is not None:
            self.chunk_age.add((row.now_ns - stamp) * 1e-9)
        measured = [row.inputs[topic] for topic in measurements.TYPES if topic in row.inputs]
        if measured:
            self.state_age.add((row.now_ns - min(measured)) * 1e-9)
        time = (row.now_ns - (self._first_ns or row.now_ns)) * 1e-9
        if row.commands:
            self.commands += 1
            self.curves["recorded"].add(time, row.command)
        base = step.others.get("base")
        for name, command in step.others.items():
            self.curves[name].add(time, command)
            reference = base if name != "base" and base is not None else row.command
            if not np.isnan(reference).any():
                difference = np.abs(self._space.difference(command, reference))
                self.divergence_sum[name] += difference
                self.divergence_max[name] = np.maximum(self.divergence_max[name], difference)
                self.divergence_count[name] += 1

    def text(self) -> list[str]:
        """The report, a line each."""
        ms, names = 1e3, self.settings.action_names
        unit = self.settings.action_units
        lines = [f"{self.steps['tick']} control steps over {self.seconds:.1f} s, {self.commands} of them with a command"]
        made = [f"{Source(source).label} {count}" for source, count in sorted(self.sources.items()) if source != Source.NONE]
        if made:
            lines.append("made by: " + ", ".join(made))
        if self.checked:
            share = f"{self.identical} of {self.checked} commands identical, bit for bit"
            share += f", {self.gripped} of them with positions of the grippers" if self.gripped else ""
            if self.tolerance:
                share += f"; {self.within} within {self.tolerance:g} {unit}"
            lines.append(share)
        if self.unchecked:
            lines.append(
                f"{self.unchecked} steps could not be checked: " + "; ".join(f"{count} because {why}" for why, count in self.why.most_common(4))
            )
        if not self.checked and self.compared:
            lines.append(f"{self.alike} of {self.compared} commands came out identical all the same")
        if self.checked or self.compared:
            lines.append(
                "largest difference: " + ", ".join(f"{name} {value:.3g} {self.settings.unit(name)}" for name, value in zip(names, self.largest))
            )
        for name, age in (("chunk age", self.chunk_age), ("measurement age", self.state_age)):
            if age.count:
                p50, p99 = age.at(50, 99)
                lines.append(f"{name}: p50 {p50 * ms:.1f}, p99 {p99 * ms:.1f}, max {age.maximum * ms:.1f} ms")
        changed = ", ".join(f"{name} {count}" for name, count in self.clipped.most_common())
        lines.append("filter changed the command for: " + (changed or "nothing"))
        if self.endings:
            lines.append("episodes: " + ", ".join(f"{count} {name}" for name, count in self.endings.most_common()))
        for name, count in self.divergence_count.items():
            if count:
                against = "base" if name != "base" and "base" in self.divergence_count else "the recorded commands"
                mean, most = self.divergence_sum[name] / count, self.divergence_max[name]
                parts = (f"{axis} {m:.3g} / {x:.3g}" for axis, m, x in zip(names, mean, most))
                lines.append(f"{name} against {against}, mean / largest of a step [{unit}]: " + ", ".join(parts))
        if self.differing:
            columns = ", ".join(f"{name} {count}" for name, count in self.other_columns.most_common())
            lines.append(f"{self.differing} steps differ (columns: {columns}):")
            lines += [f"  {stamp / 1e9:.9f}: {what}" for stamp, what in self.named]
            if self.differing > len(self.named):
                lines.append(f"  and {self.differing - len(self.named)} more; --all names them")
        return lines
