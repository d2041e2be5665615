"""Everything that a run left behind, as far as it is there: bags, the learner's journal, summary, logs."""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rl_token_ros.bags import message_types
from rl_token_ros.bags.reader import SUFFIXES, Bag, BagError, Record
from rl_token_ros.bags.run_settings import read_settings
from rl_token_ros.bags.table_rows import TableReader
from rl_token_ros.bags.topic_names import Names
from rl_token_ros.evaluation.scores import EpisodeScorer, ScoredEpisode
from rl_token_ros.interfaces import replay_table
from rl_token_ros.interfaces.codes import Ended
from rl_token_ros.interfaces.topics import SETTINGS
from rl_token_ros.policy import actor_weights
from rl_token_ros.policy.actor_weights import WeightsError

DIAGNOSTICS = "/diagnostics"
NODES = ("control_node", "learner_node", "vla_node")
LINES = 40  # of the logs' warnings, the newest
LOGGED = re.compile(r"\[(WARN|ERROR|FATAL)\] \[[\d.]+\] \[([^\]]+)\]: (.*)")  # as ROS writes them: level, time, node, text
MEGABYTE = 1_000_000
RATE = 50.0  # Hz, where nothing says what control_rate was


class NoRun(ValueError):
    """A folder in which there is no run; the message says what was looked for."""


@dataclass
class Series:
    """Figures of one node over time: what `/diagnostics` said, once a second."""

    times: list[float] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    last: dict[str, str] = field(default_factory=dict)

    def add(self, time: float, told: dict[str, str]) -> None:
        """One status at a time in s. Values that are no numbers are kept in `last` only."""
        for name, text in told.items():
            try:
                value = float(text)
            except ValueError:
                continue
            column = self.values[name]
            column += [math.nan] * (len(self.times) - len(column)) + [value]
        self.times.append(time)
        self.last = told

    def of(self, name: str) -> np.ndarray:
        """[n] of one figure, NaN where it was not said."""
        column = self.values.get(name, [])
        return np.array(column + [math.nan] * (len(self.times) - len(column)))

    def number(self, name: str) -> float:
        """What was said last; 0 where it is no number or was not said."""
        try:
            value = float(self.last.get(name, 0.0))
        except ValueError:
            return 0.0
        return value if math.isfinite(value) else 0.0


@dataclass
class Run:
    """What was found; times in s of the robot's clock.

    Attributes:
        sources: what was read, a line each.
        missing: what was not there, a sentence each, with what to record.
        versions: time and version of each weights sent.
        log: warnings and errors of the nodes' logs.
        settings: parameters of control_node.
        summary: what the demo wrote.
    """

    folder: Path
    sources: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    episodes: list[ScoredEpisode] = field(default_factory=list)
    aborted: int = 0
    sources_of_steps: Counter[int] = field(default_factory=Counter)
    nodes: dict[str, Series] = field(default_factory=lambda: {name: Series() for name in NODES})
    versions: list[tuple[float, int]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def begun(self) -> float:
        """Time of the first thing that is known."""
        firsts = [series.times[0] for series in self.nodes.values() if series.times]
        firsts += [episode.end - episode.seconds for episode in self.episodes[:1]] + [time for time, _ in self.versions[:1]]
        return min(firsts, default=0.0)

    @property
    def ended(self) -> float:
        """Time of the last thing that is known."""
        lasts = [series.times[-1] for series in self.nodes.values() if series.times]
        return max(lasts + [episode.end for episode in self.episodes[-1:]] + [time for time, _ in self.versions[-1:]], default=0.0)

    def stopped(self) -> list[tuple[float, float]]:
        """From when until when the arm was stopped, s."""
        series = self.nodes["control_node"]
        growing = np.flatnonzero(np.diff(np.nan_to_num(series.of("ticks_stopped"))) > 0)
        parts = np.split(growing, np.flatnonzero(np.diff(growing) > 1) + 1) if len(growing) else []
        return [(series.times[part[0]], series.times[part[-1] + 1]) for part in parts]


def collect(folder: Path, progress: Callable[[float], None] = lambda share: None) -> Run:
    """Read a run: its folder, or a bag alone.

    Args:
        progress: told the share of the bags that has been read.

    Raises:
        NoRun: there is nothing to read.
    """
    run = Run(folder)
    bags = _bags(folder)
    summary = folder / "summary.json"
    if not bags and not summary.is_file():
        raise NoRun(f"'{folder}' holds no bag and no summary.json; write the folder of a run, or of a bag")
    if summary.is_file():
        run.summary = json.loads(summary.read_text())
        run.sources.append("summary.json")
    size, before = max(sum(bag.size for bag in bags), 1), 0
    rows: list[_Rows] = []
    for bag in bags:
        rows.append(_read(run, bag, lambda position: progress((before + position) / size)))  # noqa: B023
        before += bag.size
        run.sources.append(f"{_relative(bag.path, folder)}, {bag.size / MEGABYTE:.1f} MB")
        run.missing += bag.problems
    # The recording and the learner's journal hold the same rows: the one with more of them counts.
    best = max(rows, key=lambda found: found.count, default=None)
    if best is not None:
        run.episodes, run.aborted, run.sources_of_steps = best.episodes, best.aborted, best.steps
    _note_missing(run)
    _read_logs(run)
    return run


def _bags(folder: Path) -> list[Bag]:
    found = {
        path if path == folder else path.parent for path in [folder, *sorted(folder.rglob("*"))] if path.is_file() and path.name.endswith(SUFFIXES)
    }
    bags = []
    for path in sorted(found):
        try:
            bags.append(Bag(path))
        except BagError:
            continue
    return bags


class _Rows:
    """The episodes in one bag's `replay`."""

    def __init__(self) -> None:
        self.count = self.aborted = 0
        self.episodes: list[ScoredEpisode] = []
        self.steps: Counter[int] = Counter()
        self.problems: Counter[str] = Counter()
        self._tables = TableReader()
        self._begun: tuple[np.dtype, EpisodeScorer] | None = None  # with the first message

    def take(self, data: bytes, decode: Callable[[bytes], Any], rate: float) -> None:
        """One message; ``decode`` makes a PointCloud2 of it."""
        try:
            if self._begun is None:
                self._begun = replay_table.sent_dtype(decode(data)), EpisodeScorer(rate)
            dtype, scorer = self._begun
            raw = self._tables.rows(data, decode, dtype, "replay")
        except replay_table.ReplayError as error:
            self.problems[str(error)] += 1
            return
        rows = np.frombuffer(b"".join(raw), dtype)
        self.count += len(rows)
        self.steps.update(rows["source"].tolist())
        self.aborted += int((rows["ended"] == Ended.ABORTED).sum())
        self.episodes += scorer.add(rows)


def _read(run: Run, bag: Bag, progress: Callable[[int], None]) -> _Rows:
    names = Names(bag.topics)
    topics = {ours: topic for ours in ("replay", "actor/weights", SETTINGS) if (topic := names.find(ours)) is not None}
    if DIAGNOSTICS in bag.topics:
        topics[DIAGNOSTICS] = bag.topics[DIAGNOSTICS]
    decode = {ours: message_types.decoder(topic.type, topic.definition, topic.encoding) for ours, topic in topics.items()}
    ours_of = {topic.name: ours for ours, topic in topics.items()}
    rows, damaged = _Rows(), Counter[str]()
    for record in bag.read(set(ours_of)):
        ours = ours_of[record.topic]
        try:
            if ours == "replay":
                rows.take(record.data, decode[ours], float(run.settings.get("control_rate", RATE)))
            else:
                _READ[ours](run, record, decode[ours](record.data))
        except ValueError:  # its bytes are damaged
            damaged[record.topic] += 1
        progress(bag.position)
    run.missing += [f"{count} messages of '{topic}' in '{bag.path.name}' cannot be read and are left out" for topic, count in damaged.items()]
    run.missing += [f"{count} messages of 'replay' in '{bag.path.name}' are not used: {why}" for why, count in rows.problems.most_common(3)]
    return rows


def _read_diagnostics(run: Run, record: Record, message: Any) -> None:
    for status in message.status:
        series = run.nodes.get(status.name.rsplit("/", 1)[-1])
        if series is not None:
            series.add(record.stamp_ns * 1e-9, {"state": status.message, **{value.key: value.value for value in status.values}})


def _read_settings(run: Run, record: Record, message: Any) -> None:
    run.settings = read_settings(message)["parameters"]


def _read_weights(run: Run, record: Record, message: Any) -> None:
    try:
        version = actor_weights.decode(bytes(message.data)).version
    except WeightsError:
        return
    if not run.versions or run.versions[-1][1] != version:  # they are repeated for late joiners
        run.versions.append((record.stamp_ns * 1e-9, version))


_READ = {DIAGNOSTICS: _read_diagnostics, SETTINGS: _read_settings, "actor/weights": _read_weights}


def _note_missing(run: Run) -> None:
    if not run.episodes:
        run.missing.append("no episode that came to an end: none was practised, or 'replay' was not recorded")
    for node in ("control_node", "learner_node"):
        if not run.nodes[node].times:
            run.missing.append(f"no figures of {node} over time: record '/diagnostics' (`rl_token up ... --record`, or `record`)")


def _read_logs(run: Run) -> None:
    """Warnings and errors, each once, with who said it and how often."""
    told: dict[str, list[str]] = {}
    for path in sorted(run.folder.rglob("*.log")) if run.folder.is_dir() else []:
        for line in path.read_text(errors="replace").splitlines():
            if (found := LOGGED.match(line)) is not None:
                told.setdefault(f"{found[1]}: {found[3]}", []).append(found[2])
            elif any(mark in line for mark in ("[WARN]", "[ERROR]", "[FATAL]", "Traceback", "error:")):
                told.setdefault(line.strip(), []).append(path.stem)
    for text, nodes in list(told.items())[-LINES:]:
        often = f" ({len(nodes)} times)" if len(nodes) > len(set(nodes)) else ""
        run.log.append(f"{', '.join(dict.fromkeys(nodes))}{often}: {text}")
    if len(told) > LINES:
        run.log.insert(0, f"({len(told) - LINES} more before these)")


def _relative(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path != folder and path.is_relative_to(folder) else path.name
