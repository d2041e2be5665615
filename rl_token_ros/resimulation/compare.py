"""Compares what a replay makes with what the bag holds: rows of `replay`, and the messages on `command`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from rl_token_ros.bags import message_types
from rl_token_ros.bags.command_reader import CommandReader
from rl_token_ros.bags.reader import Record
from rl_token_ros.bags.table_rows import TableReader
from rl_token_ros.control.tick_record import Row
from rl_token_ros.interfaces import replay_table
from rl_token_ros.interfaces.codes import Ended

WAITING = 10_000  # entries that may wait for their counterpart


class Pairs:
    """Two streams whose entries belong together by their stamps, in whichever order they come."""

    def __init__(self) -> None:
        self._waiting: tuple[dict[int, Any], dict[int, Any]] = {}, {}

    def meet(self, stamp: int, value: Any, side: int) -> Any | None:
        """The counterpart of a value of stream 0 or 1, if it has come."""
        other = self._waiting[1 - side].pop(stamp, None)
        if other is None:
            mine = self._waiting[side]
            mine[stamp] = value
            if len(mine) > WAITING:
                del mine[next(iter(mine))]
        return other


class Transitions:
    """Compares the rows of `replay` that the replay made with those of the bag, by their stamps.

    Args:
        dtype: columns of the rows.
        decode: from CDR to a PointCloud2.
    """

    def __init__(self, dtype: np.dtype, decode: Callable[[bytes], Any] | None) -> None:
        self.made = self.recorded = self.identical = self.different = self.damaged = 0
        self.endings: Counter[str] = Counter()
        self.unreadable = ""
        self._dtype, self._decode, self._tables = dtype, decode, TableReader()
        self._pairs = Pairs()
        columns: Any = dtype.fields
        self._stamp_at, self._ended_at = columns["stamp_sec"][1], columns["ended"][1]

    def take(self, record: Record) -> None:
        """A message of `replay` of the bag."""
        if self._decode is None:
            return  # it has none
        try:
            rows = self._tables.rows(record.data, self._decode, self._dtype, "replay")
        except (message_types.NotDecoded, replay_table.ReplayError) as error:
            self.damaged += 1
            self.unreadable = str(error)
            return
        self.recorded += len(rows)
        for row in rows:
            self._compare(row, 0)

    def add(self, rows: list[np.ndarray]) -> None:
        """Rows that were made again, each [1]."""
        self.made += len(rows)
        for row in rows:
            self._compare(row.tobytes(), 1)

    def _compare(self, row: bytes, side: int) -> None:
        if side == 1 and (code := row[self._ended_at]):
            self.endings[Ended(code).label] += 1
        stamp = int.from_bytes(row[self._stamp_at : self._stamp_at + 8], "little")
        if (other := self._pairs.meet(stamp, row, side)) is not None:
            same = other[4:] == row[4:]  # `seq` counts from the node's start, which may not be in the bag
            self.identical += same
            self.different += not same

    def text(self) -> list[str]:
        """Lines of the report."""
        if self.unreadable and not self.recorded:
            return [f"the bag's transitions are not compared: {self.unreadable}"]
        line = f"{self.made} transitions made"
        if self.recorded:
            line += f", {self.recorded} recorded; {self.identical} identical" + (f", {self.different} different" if self.different else "")
        return [line + (f"; {self.damaged} messages of 'replay' cannot be read: {self.unreadable}" if self.damaged else "")]


class Wire:
    """Compares what was sent on `command` with what the rows say was sent, by their stamps.

    Args:
        commands: reads the messages.
    """

    def __init__(self, commands: CommandReader) -> None:
        self.equal = self.unequal = self.unstamped = self.damaged = 0
        self._commands = commands
        self._pairs = Pairs()

    def take(self, record: Record) -> None:
        """A message of `command`."""
        try:
            stamp, value = (self._commands.speed if self._commands.speeds else self._commands.read)(record.data)
        except message_types.NotDecoded:
            self.damaged += 1
            return
        if not stamp:
            self.unstamped += 1
        elif value is not None:
            self._compare(stamp, value, 0)

    def add(self, row: Row) -> None:
        """A control step with a command."""
        if row.commands:
            self._compare(row.now_ns, row.velocity if self._commands.speeds else self._commands.as_read(row.command), 1)

    def _compare(self, stamp: int, value: np.ndarray, side: int) -> None:
        if (other := self._pairs.meet(stamp, value, side)) is not None:
            same = np.array_equal(other, value)
            self.equal += same
            self.unequal += not same

    def text(self) -> list[str]:
        """Lines of the report."""
        if self.unstamped:
            return []  # forward and trajectory commands have no stamp by which to find their step
        line = f"{self.equal} messages on 'command' say what the steps say"
        return [line + (f"; {self.unequal} do not" if self.unequal else "") + (f"; {self.damaged} cannot be decoded" if self.damaged else "")]
