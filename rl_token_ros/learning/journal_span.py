"""Which part of the journal a replay buffer was made of, so that a checkpoint need not hold its rows a second time.

A buffer is the same whenever the same rows are added in the same order. What a checkpoint needs is where in the journal the oldest
episode in the buffer begins, and the few rows that the disk may not have there yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from rl_token_ros.interfaces.codes import Ended

Message = tuple[int, str, np.ndarray]  # stamp in the journal, robot, rows [n]
Read = Callable[[int, int], Iterable[Message]]  # those of a journal with stamps in (after, upto], in order


class JournalSpan:
    """Follows the rows into the buffer.

    Attributes:
        stamp_ns: in the journal, of the newest rows; what comes after it is new.
        durable_ns: up to here the disk has the journal.
        oldest_ns: what is older the journal no longer has.
        whole: whether the journal was given every row in the buffer.
    """

    def __init__(self) -> None:
        self.stamp_ns = self.durable_ns = self.oldest_ns = 0
        self.whole = True
        self._orphans: list[Message] = []  # whose node was killed before they came to the disk: checkpoints alone have them
        self._tail: deque[Message] = deque()  # beyond durable_ns
        self._begun: dict[str, list[tuple[int, int]]] = {}  # of each robot's episodes that are not stored to their end: number, first stamp
        self._stored: deque[tuple[int, int]] = deque()  # of what is in the buffer: number of a step, stamp under which its episode began

    def arrived(self, stamp_ns: int, robot: str, rows: np.ndarray) -> None:
        """Rows [n] of a robot, as one message of the journal has them; stamp 0: they are in none."""
        if not stamp_ns:
            self.whole = False
        self.stamp_ns = max(self.stamp_ns, stamp_ns)
        if not self.whole:
            return
        if stamp_ns > self.durable_ns:
            self._tail.append((stamp_ns, robot, rows))
        begun, ended = self._begun.setdefault(robot, []), False
        for row in rows:
            if ended or not begun or begun[-1][0] != row["episode"]:
                begun.append((int(row["episode"]), stamp_ns))
            ended = row["ended"] != Ended.NO

    def stored(self, robot: str, rows: np.ndarray, first: int, following: int) -> None:
        """Rows [n] of a robot are about to become step ``following`` of the buffer, whose oldest is ``first``."""
        if not self.whole or not len(rows):
            return
        while len(self._stored) > 1 and self._stored[1][0] <= first:
            self._stored.popleft()
        begun, last = self._begun.setdefault(robot, []), rows[-1]
        while begun and begun[0][0] != rows[0]["episode"]:
            begun.pop(0)
        start = begun[0][1] if begun else self.stamp_ns
        if not self._stored or self._stored[-1][1] != start:
            self._stored.append((following, start))
        while begun and ((len(begun) > 1 and begun[0][0] != last["episode"]) or last["ended"] != Ended.NO):
            if begun.pop(0)[0] == last["episode"]:
                break

    def safe(self, durable_ns: int, whole: bool = True, oldest_ns: int = 0) -> None:
        """The disk has the journal up to a stamp, and from one on; not ``whole``: some of what it was given could not be written."""
        self.durable_ns, self.oldest_ns = max(self.durable_ns, durable_ns), max(self.oldest_ns, oldest_ns)
        self.whole = self.whole and whole
        while self._tail and (self._tail[0][0] <= self.durable_ns or not self.whole):
            self._tail.popleft()

    def numbers(self) -> dict[str, Any] | None:
        """For JSON; None: the rows themselves are to be kept."""
        begin = min((stamp for _, stamp in self._stored), default=self.stamp_ns)
        if not self.whole or begin < self.oldest_ns:
            return None
        needed = min([begin, *(stamp for begun in self._begun.values() for _, stamp in begun)])  # of episodes, too, that are stored later
        self._orphans = [message for message in self._orphans if message[0] >= needed]
        kept = [(stamp, robot, len(rows)) for stamp, robot, rows in (*self._orphans, *self._tail)]
        return {"begin_ns": begin, "newest_ns": self.stamp_ns, "begun": self._begun, "tail": kept}

    def tail(self, dtype: np.dtype) -> np.ndarray:
        """The rows that the disk may not have, in the order of `numbers`."""
        return np.concatenate([np.zeros(0, dtype), *(rows for *_, rows in (*self._orphans, *self._tail))])

    def again(self, numbers: dict[str, Any], tail: np.ndarray, read: Read) -> Iterator[Message]:
        """The messages that the buffer was made of, from what `numbers` and `tail` gave; to be told to :meth:`arrived` as they came."""
        self.durable_ns = newest = numbers["newest_ns"]  # what is not found there now is an orphan
        ends = np.cumsum([count for *_, count in numbers["tail"]], dtype=int)
        kept = deque((stamp, robot, rows) for (stamp, robot, _), rows in zip(numbers["tail"], np.split(tail, ends[:-1])))
        for message in read(max(numbers["begin_ns"] - 1, 0), newest):
            while kept and kept[0][0] < message[0]:
                yield self._orphan(kept.popleft())
            if kept and kept[0][0] == message[0]:
                kept.popleft()
            yield message
        while kept:
            yield self._orphan(kept.popleft())
        self._begun = {robot: [(episode, stamp) for episode, stamp in begun] for robot, begun in numbers["begun"].items()}

    def _orphan(self, message: Message) -> Message:
        self._orphans.append(message)
        return message
