"""Whether two publishers bring the same measurement: of joints, which several drivers may bring in parts, and of whole topics."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

MOST_KINDS = 100
WINDOW = 5.0  # s in which a publisher must come back after another for the two to be doubled: a driver that is restarted does not


@dataclass
class _Heard:
    """Of one joint, or topic: who brought it last (``writer``, or its ``sequence`` number there), who before, and when that changed."""

    writer: bytes | None = None
    before: bytes | None = None
    sequence: int = -1
    changes: deque[float] = field(default_factory=lambda: deque(maxlen=2))


class Writers:
    """Looks at who publishes what.

    By the publisher's identifier where middleware and rclpy tell it (Kilted), else by its numbers of messages, which go back where two take
    turns (Jazzy with Fast DDS). Where neither is told (Humble), more publishers than kinds of messages, or two kinds that bring the same, count.
    """

    def __init__(self) -> None:
        self._heard: dict[str, _Heard] = {}
        self._kinds: set[tuple[str, ...]] = set()  # what messages brought of which nothing was told

    def hear(self, what: Sequence[str], now: float, writer: bytes | None = None, sequence: int | None = None) -> None:
        """A message came.

        Args:
            what: it brings: joints, or a topic.
            now: s, of a steady clock.
            writer: identifier of its publisher, None: not told.
            sequence: its number with its publisher, likewise.
        """
        if writer is None and sequence is None and what and len(self._kinds) < MOST_KINDS:
            self._kinds.add(tuple(what))
        for one in what:
            if (heard := self._heard.get(one)) is None:
                heard = self._heard[one] = _Heard(writer)
            elif writer is not None:
                if writer != heard.writer:
                    heard.changes.append(now)
                    heard.before, heard.writer = heard.writer, writer
            elif sequence is not None and sequence <= heard.sequence:
                heard.changes.append(now)
            if sequence is not None:
                heard.sequence = sequence

    def doubled(self, now: float, publishers: int) -> dict[str, tuple[bytes, ...]]:
        """What two publishers bring, with their identifiers as far as they are known.

        Args:
            now: s, of the clock of :meth:`hear`.
            publishers: how many the topic has.
        """
        found: dict[str, tuple[bytes, ...]] = {}
        if publishers > 1:
            brought = [one for kind in self._kinds for one in kind]
            found = {one: () for one in brought if publishers > len(self._kinds) or brought.count(one) > 1}
        for one, heard in self._heard.items():
            if len(heard.changes) == 2 and now - heard.changes[0] <= WINDOW:
                found[one] = tuple(writer for writer in (heard.before, heard.writer) if writer is not None)
        return found
