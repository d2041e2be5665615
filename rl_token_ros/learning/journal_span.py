"""Which part of the journal a replay buffer was made of, so that a checkpoint need not hold its rows a second time.

A buffer is the same whenever the same rows are added in the same order. What a checkpoint needs is where in the journal its oldest
episode begins, up to where the disk is known to hold the journal, and the few rows after that.
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
        whole: whether the journal holds, or will, every row in the buffer.
    """

    def __init__(self) -> None:
        self.stamp_ns = self.durable_ns = 0
        self.whole = True
        self._orphans: list[Message] = []  # whose node was killed before they came to the disk: a checkpoint alone has them
        self._tail: deque[Message] = deque()  # beyond durable_ns
        self._running: dict[str, list[tuple[int, int]]] = {}  # of each robot's episodes that are not stored to their end: number, first stamp
        self._begins: deque[tuple[int, int]] = deque()  # step of the buffer, stamp from which on everything is needed to make it again

    def arrived(self, stamp_ns: int, robot: str, rows: np.ndarray) -> None:
        """Rows [n] of a robot, as one message of the journal has them; stamp 0: they are in none."""
        if not stamp_ns:
            self.whole = False
        self.stamp_ns = max(self.stamp_ns, stamp_ns)
        if not self.whole:
            return
        if stamp_ns > self.durable_ns:
            self._tail.append((stamp_ns, robot, rows))
        running = self._running.setdefault(robot, [])
        for episode in rows["episode"]:
            if not running or running[-1][0] != episode:
                running.append((int(episode), stamp_ns))

    def stored(self, robot: str, rows: np.ndarray, first: int, following: int) -> None:
        """Rows [n] of a robot are about to become step ``following`` of the buffer, whose oldest is ``first``."""
        if not self.whole or not len(rows):
            return
        while len(self._begins) > 1 and self._begins[1][0] <= first:
            self._begins.popleft()
        begun = min(stamp for episodes in self._running.values() for _, stamp in episodes)  # other robots' are stored later
        if not self._begins or self._begins[-1][1] < begun:
            self._begins.append((following, begun))
        running, last = self._running[robot], rows[-1]
        while running and running[0][0] != last["episode"]:
            running.pop(0)
        if running and last["ended"] != Ended.NO:
            running.pop(0)

    def safe(self, durable_ns: int, whole: bool = True) -> None:
        """The disk has the journal up to a stamp; not ``whole``: some of it could not be written."""
        self.durable_ns = max(self.durable_ns, durable_ns)
        self.whole = self.whole and whole
        while self._tail and (self._tail[0][0] <= self.durable_ns or not self.whole):
            self._tail.popleft()

    def numbers(self) -> dict[str, Any] | None:
        """For JSON; None: the rows themselves are to be kept."""
        if not self.whole:
            return None
        begin = self._begins[0][1] if self._begins else 0
        self._orphans = [message for message in self._orphans if message[0] >= begin]
        kept = [(stamp, robot, len(rows)) for stamp, robot, rows in (*self._orphans, *self._tail)]
        return {"begin_ns": begin, "newest_ns": self.stamp_ns, "tail": kept}

    def tail(self, dtype: np.dtype) -> np.ndarray:
        """The rows that the disk may not have yet, in the order of `numbers`."""
        return np.concatenate([np.zeros(0, dtype), *(rows for *_, rows in (*self._orphans, *self._tail))])

    def again(self, numbers: dict[str, Any], tail: np.ndarray, read: Read) -> Iterator[Message]:
        """The messages that the buffer was made of, from what `numbers` and `tail` gave; to be told to :meth:`arrived` as they came."""
        self.durable_ns = newest = numbers["newest_ns"]  # what is not found there now is an orphan
        ends = np.cumsum([count for *_, count in numbers["tail"]])
        pieces = np.split(tail, ends[:-1])
        kept = deque((stamp, robot, rows) for (stamp, robot, _), rows in zip(numbers["tail"], pieces))
        for message in read(max(numbers["begin_ns"] - 1, 0), newest):
            while kept and kept[0][0] < message[0]:
                yield self._orphan(kept.popleft())
            if kept and kept[0][0] == message[0]:
                kept.popleft()
            yield message
        while kept:
            yield self._orphan(kept.popleft())

    def _orphan(self, message: Message) -> Message:
        self._orphans.append(message)
        return message
