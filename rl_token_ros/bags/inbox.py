"""Messages of a bag that wait until a control step names them by their stamps. Raw: most are never needed."""

from __future__ import annotations

import struct
from collections import OrderedDict

KEEP_NS = 10_000_000_000  # of recording time, after which a message is not waited for any more
AGAIN_NS = 500_000_000  # of recording time between two messages with one stamp that are not the same moment
KEEP_BYTES = 64 << 20  # of one topic
STAMP = struct.Struct("<iI"), struct.Struct(">iI")
STAMP_BYTES = 12  # with the encapsulation
LONGEST_STEP_NS = 1_000_000_000  # between two messages, by which the age of others grows at most: recorders' clocks jump, too


def header_stamp_ns(cdr: bytes) -> int:
    """Stamp of a message that begins with a std_msgs/Header, without decoding it."""
    seconds, nanoseconds = STAMP[not cdr[1] & 1].unpack_from(cdr, 4)
    return seconds * 1_000_000_000 + nanoseconds


class Inbox:
    """The newest messages of each topic by stamp."""

    def __init__(self) -> None:
        self._held: dict[str, OrderedDict[int, tuple[int, bytes]]] = {}
        self._bytes: dict[str, int] = {}
        self._unstamped: dict[str, OrderedDict[int, bytes]] = {}  # by time of reception
        self._time_ns = self._last_ns = 0

    def put(self, topic: str, received_ns: int, cdr: bytes) -> None:
        """A message. Of several with one stamp the first counts, as live, unless a clock that was set back has come there again."""
        self.pass_time(received_ns)
        stamp = header_stamp_ns(cdr)
        held = self._held.setdefault(topic, OrderedDict())
        if stamp == 0:
            self._unstamped.setdefault(topic, OrderedDict())[received_ns] = cdr
            stamp = -received_ns  # as good as any, to let it expire with the others
        elif stamp in held:
            if self._time_ns - held[stamp][0] < AGAIN_NS:
                return
            self._bytes[topic] -= len(held.pop(stamp)[1])
        held[stamp] = (self._time_ns, cdr)
        self._bytes[topic] = self._bytes.get(topic, 0) + len(cdr)
        while held and (self._bytes[topic] > KEEP_BYTES or self._time_ns - next(iter(held.values()))[0] > KEEP_NS):
            old, (_, data) = held.popitem(last=False)
            self._bytes[topic] -= len(data)
            if old < 0:
                self._unstamped[topic].pop(-old, None)

    def pass_time(self, received_ns: int) -> None:
        """Something was received then."""
        self._time_ns += min(max(received_ns - self._last_ns, 0), LONGEST_STEP_NS)
        self._last_ns = received_ns

    @property
    def time_ns(self) -> int:
        """Recording time that has passed; never goes back."""
        return self._time_ns

    def find(self, topic: str, stamp_ns: int) -> bytes | None:
        """The message with this stamp. Of a driver that leaves stamps zero: the one received nearest to it, which is a guess."""
        found = self._held.get(topic, {}).get(stamp_ns)
        if found is not None:
            return found[1]
        unstamped = self._unstamped.get(topic)
        if not unstamped:
            return None
        return unstamped[min(unstamped, key=lambda received: abs(received - stamp_ns))]
