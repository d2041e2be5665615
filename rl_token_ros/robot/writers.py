"""Whether two publishers bring the same measurement: of joints, which several drivers may bring in parts, and of whole topics."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

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

    By the publisher's identifier where middleware and rclpy tell it, else by its numbers of messages, which go back where two take turns.
    """

    def __init__(self) -> None:
        self._heard: dict[str, _Heard] = {}

    def hear(self, what: Sequence[str], now: float, writer: bytes | None = None, sequence: int | None = None) -> None:
        """A message came.

        Args:
            what: it brings: joints, or a topic.
            now: s, of a steady clock.
            writer: identifier of its publisher, None: not told.
            sequence: its number with its publisher, likewise.
        """
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

    def doubled(self, now: float) -> dict[str, tuple[bytes, ...]]:
        """What two publishers bring, with their identifiers as far as they are known."""
        found = {}
        for one, heard in self._heard.items():
            if len(heard.changes) == 2 and now - heard.changes[0] <= WINDOW:
                found[one] = tuple(writer for writer in (heard.before, heard.writer) if writer is not None)
        return found
