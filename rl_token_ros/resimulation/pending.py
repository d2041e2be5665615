"""Messages of a bag that wait until a control step names them by their stamps. Raw: most are never needed."""

from __future__ import annotations

import bisect
import struct
from collections import OrderedDict
from collections.abc import Mapping

KEEP_NS = 10_000_000_000  # of recording time, after which a message is not waited for any more
AGAIN_NS = 500_000_000  # of recording time between two messages with one stamp that are not the same moment
KEEP_BYTES = 64 << 20  # of one topic
SET_BACK_NS = 10_000_000_000  # behind the newest: no longer out of order, but the recorder's clock was set back
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
        self._held: dict[str, OrderedDict[int, tuple[int, list[bytes]]]] = {}
        self._bytes: dict[str, int] = {}
        self._unstamped: dict[str, list[int]] = {}  # times of reception of those without a stamp, sorted; they are held by the negative of it
        self._time_ns = self._newest_ns = 0

    def put(self, topic: str, received_ns: int, cdr: bytes) -> None:
        """A message. Of several with one stamp the first counts, as live, unless a clock that was set back has come there again.

        Of `joint_states` all count: two drivers may each bring a part with one stamp.
        """
        self.pass_time(received_ns)
        stamp = header_stamp_ns(cdr)
        if stamp < 0:
            return  # no clock says that; live it is refused as older than any
        held = self._held.setdefault(topic, OrderedDict())
        if stamp == 0:
            stamp = -received_ns
            if stamp not in held:
                bisect.insort(self._unstamped.setdefault(topic, []), received_ns)
        if stamp in held:
            if stamp > 0 and self._time_ns - held[stamp][0] < AGAIN_NS:
                if topic == "joint_states" and cdr not in held[stamp][1]:
                    held[stamp][1].append(cdr)
                    self._bytes[topic] += len(cdr)
                return
            self._bytes[topic] -= sum(map(len, held.pop(stamp)[1]))
        held[stamp] = (self._time_ns, [cdr])
        self._bytes[topic] = self._bytes.get(topic, 0) + len(cdr)
        while held and (self._bytes[topic] > KEEP_BYTES or self._time_ns - next(iter(held.values()))[0] > KEEP_NS):
            old, (_, data) = held.popitem(last=False)
            self._bytes[topic] -= sum(map(len, data))
            if old < 0:
                times = self._unstamped[topic]
                del times[bisect.bisect_left(times, -old)]

    def pass_time(self, received_ns: int) -> None:
        """Something was received then."""
        ahead_ns = received_ns - self._newest_ns
        if ahead_ns > 0 or ahead_ns < -SET_BACK_NS:
            self._time_ns += min(max(ahead_ns, 0), LONGEST_STEP_NS)
            self._newest_ns = received_ns

    @property
    def time_ns(self) -> int:
        """Recording time that has passed; never goes back."""
        return self._time_ns

    def is_guess(self, topic: str, stamp_ns: int) -> bool:
        """Whether :meth:`find` gives a message without a stamp."""
        return stamp_ns not in self._held.get(topic, {}) and bool(self._unstamped.get(topic))

    def find(self, topic: str, stamp_ns: int) -> list[bytes]:
        """The messages with this stamp, mostly one. Of a driver that leaves stamps zero: the one received nearest to it, which is a guess."""
        held: Mapping[int, tuple[int, list[bytes]]] = self._held.get(topic, {})
        found = held.get(stamp_ns)
        if found is None and (times := self._unstamped.get(topic)):
            at = bisect.bisect_left(times, stamp_ns)
            found = held[-min(times[max(at - 1, 0) : at + 1], key=lambda received: abs(received - stamp_ns))]
        return [] if found is None else found[1]
