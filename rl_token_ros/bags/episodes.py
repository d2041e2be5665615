"""What was commanded in a run, and its episodes, from the rows of `~/ticks` in a bag."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from rl_token_ros.bags import message_types
from rl_token_ros.bags.reader import Bag, Topic
from rl_token_ros.bags.table_rows import TableReader
from rl_token_ros.control.pipeline import ENDINGS
from rl_token_ros.control.tick_record import NANOSECONDS, Event, Layout, layout_of
from rl_token_ros.interfaces.codes import Ended
from rl_token_ros.interfaces.replay_table import ReplayError
from rl_token_ros.interfaces.topics import TICKS

BREAK_NS = 200_000_000  # without a command: the arm was disabled
BATCH = 1000  # rows whose columns are cut out at once
COLUMNS = ("seq", "event", "stamp_sec", "stamp_nanosec", "source", "command", "gripper", "critical", "episode", "begun_sec", "begun_nanosec")


@dataclass(frozen=True)
class Episode:
    """A critical phase: from ``begin_ns`` to before ``end_ns``, and how it ended, a code of :class:`Ended`."""

    begin_ns: int
    end_ns: int
    ended: int


class Commands:
    """What was commanded when.

    Args:
        now_ns: int64 [N], of each control step with a command, ascending.
        position: float64 [N, A], after the filter.
        gripper: float64 [N, G], NaN where none was commanded.
        source: code of :class:`Source` of each.
    """

    def __init__(self, now_ns: np.ndarray, position: np.ndarray, gripper: np.ndarray, source: np.ndarray) -> None:
        self.now_ns, self.position, self.source = now_ns, position, source
        steps = np.diff(now_ns)
        self._breaks = np.flatnonzero(steps > max(BREAK_NS, 3 * np.median(steps))) if len(steps) else steps  # commands before one
        self._gripper = gripper
        told = np.isfinite(gripper).all(axis=1)
        self._grip = np.maximum.accumulate(np.where(told, np.arange(len(told)), -1)) if len(told) else np.zeros(0, int)

    def before(self, ns: int) -> np.ndarray | None:
        """The position [A] that was in force just before a time; None before the first."""
        at = int(np.searchsorted(self.now_ns, ns)) - 1
        return self.position[at] if at >= 0 else None

    def since(self, ns: int) -> int:
        """Time of the first of the unbroken row of commands in which that of a time is; the time itself where there are none."""
        if (at := self.index(ns)) is None:
            return ns
        breaks = self._breaks[self._breaks < at]
        return int(self.now_ns[breaks[-1] + 1 if len(breaks) else 0])

    def index(self, ns: int) -> int | None:
        """The control step of a time: the first that is not before it; None after the last."""
        at = int(np.searchsorted(self.now_ns, ns))
        return at if at < len(self.now_ns) else None

    def gripper(self, index: int) -> np.ndarray | None:
        """Positions [G] that the grippers had been sent to by a control step; None before the first."""
        at = int(self._grip[index])
        return self._gripper[at] if at >= 0 else None


@dataclass
class Run:
    """What the rows of a bag say. ``left_out`` counts episodes that are not whole in it, by reason."""

    commands: Commands
    episodes: list[Episode]
    left_out: Counter[str]


def read(bag: Bag, ticks: Topic, time_limit: float) -> Run:
    """The commands and episodes of a bag.

    Args:
        ticks: its `~/ticks`.
        time_limit: parameter `episode_time_limit`, s.

    Raises:
        ReplayError: its rows are of another version of this package.
    """
    decode = message_types.decoder(ticks.type, ticks.definition, ticks.encoding)
    tables, layout = TableReader(), None
    parts: list[np.ndarray] = []
    raw: list[bytes] = []
    for record in bag.read({ticks.name}):
        try:
            layout = layout or layout_of(decode(record.data))
            raw += tables.rows(record.data, decode, layout.dtype, TICKS)
        except message_types.NotDecoded:
            continue  # damaged
        if len(raw) >= BATCH:
            parts.append(_columns(raw, layout))
            raw = []
    if layout is None:
        raise ReplayError(f"'{ticks.name}' holds no message that can be decoded")
    rows = np.concatenate([*parts, _columns(raw, layout)])
    rows = rows[np.argsort(_ns(rows, "stamp"), kind="stable")]  # a recorder mixes the messages of a moment up; they keep their own order
    return Run(_commands(rows), *_episodes(rows, round(time_limit * NANOSECONDS)))


def _columns(raw: list[bytes], layout: Layout) -> np.ndarray:
    """What is needed of rows, without what else lies in them."""
    names = [name for name in COLUMNS if name in (layout.dtype.names or ())]
    whole = np.frombuffer(b"".join(raw), layout.dtype)
    kept = np.empty(len(whole), [(name, layout.dtype[name]) for name in names])
    for name in names:
        kept[name] = whole[name]
    return kept


def _ns(rows: np.ndarray, name: str) -> np.ndarray:
    return rows[f"{name}_sec"].astype(np.int64) * NANOSECONDS + rows[f"{name}_nanosec"]


def _commands(rows: np.ndarray) -> Commands:
    said = rows[(rows["event"] == Event.TICK) & np.isfinite(rows["command"]).all(axis=1)]
    gripper = said["gripper"] if "gripper" in (rows.dtype.names or ()) else np.zeros((len(said), 0))
    return Commands(_ns(said, "stamp"), said["command"], gripper, said["source"])


def _episodes(rows: np.ndarray, time_limit_ns: int) -> tuple[list[Episode], Counter[str]]:
    found: list[Episode] = []
    left_out: Counter[str] = Counter()
    now_ns, begun_ns = _ns(rows, "stamp"), _ns(rows, "begun")
    # The number of the running episode after each row; 0: none.
    running = np.where(rows["critical"] != 0, rows["episode"].astype(np.int64), 0)
    changes = np.flatnonzero(np.diff(running)) + 1
    if len(running) and running[0]:
        left_out["its beginning is not in the bag"] += 1
    begun: int | None = None
    for at in changes.tolist():
        if running[at - 1] and begun is not None:
            event, now = int(rows["event"][at]), int(now_ns[at])
            # A control step that ends an episode is none of it, one at the moment of a call that does is.
            found.append(Episode(begun, now + (event != Event.TICK), _ended(event, now - begun >= time_limit_ns)))
        begun = int(begun_ns[at]) if running[at] else None
    if len(running) and running[-1]:
        left_out["its end is not in the bag"] += 1
    return found, left_out


def _ended(event: int, over_time: bool) -> int:
    """How an episode ended with a call of this code."""
    if event == Event.TICK:
        return int(Ended.TIME_LIMIT if over_time else Ended.ABORTED)
    return int(next((code for ending, code in ENDINGS.items() if ending == event), Ended.ABORTED))
