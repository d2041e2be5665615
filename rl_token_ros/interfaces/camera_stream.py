"""What is known of a camera's pictures as they come: how many, how often, what was lost, of which kind; and the reliability to ask for."""

from __future__ import annotations

from collections.abc import Sequence

RELIABLE, BEST_EFFORT = "reliable", "best_effort"
PUBLISHERS = 8  # whose sequences are kept: drivers that were restarted are forgotten


def best_reliability(offered: Sequence[bool], now: str) -> str:
    """The best reliability that hears every publisher.

    Args:
        offered: for each publisher whether it is reliable.
        now: the reliability in use, kept while there is no publisher: the driver may be on its way back.
    """
    if not offered:
        return now
    return RELIABLE if all(offered) else BEST_EFFORT


class CameraStream:
    """Counts the pictures of one camera.

    Attributes:
        received: pictures.
        lost: pictures that were sent and did not come, or waited while newer ones came; None where the middleware does not number messages.
        longest_gap: s between two pictures, in the whole run.
        size: bytes of the newest message.
        kind: encoding and size of the newest picture, as in "rgb8 640 x 480".
    """

    def __init__(self) -> None:
        self.received = self.size = 0
        self.lost: int | None = None
        self.longest_gap = 0.0
        self.kind = ""
        self._kinds: set[str] = set()
        self._sequences: dict[bytes, int] = {}  # the newest number by publisher
        self._newest: float | None = None
        self._told = (0, 0.0)  # pictures and time of the last report

    def take(self, now: float, size: int, sequence: int | None = None, publisher: bytes = b"") -> None:
        """A picture has come.

        Args:
            now: s of a monotonic clock.
            size: bytes of the message.
            sequence: its number among what its publisher has sent, where the middleware says it.
            publisher: whose it is. A number that is not greater than the last begins another count: a publisher that was restarted.
        """
        if self._newest is not None:
            self.longest_gap = max(self.longest_gap, now - self._newest)
        else:
            self._told = (0, now)
        self._newest = now
        self.received += 1
        self.size = size
        if sequence is None:
            return
        last = self._sequences.pop(publisher, sequence)
        self.lost = (self.lost or 0) + max(sequence - last - 1, 0)
        self._sequences[publisher] = sequence  # last in order: the oldest goes first
        if len(self._sequences) > PUBLISHERS:
            del self._sequences[next(iter(self._sequences))]

    def begin(self) -> None:
        """Another subscription: what was sent before it is not counted as lost."""
        self._sequences.clear()

    def changed(self, kind: str) -> str:
        """What the camera was before, if the newest picture is of a kind that has not come yet; else nothing."""
        before, self.kind = self.kind, kind
        if kind in self._kinds:
            return ""
        self._kinds.add(kind)
        return before

    def rate(self, now: float) -> float:
        """Hz since this was last asked."""
        (count, then), self._told = self._told, (self.received, now)
        return (self.received - count) / (now - then) if now > then else 0.0

    def age(self, now: float) -> float:
        """s since the newest picture came; 0 before the first."""
        return now - self._newest if self._newest is not None else 0.0

    def report(self, name: str, now: float) -> dict[str, str]:
        """For `/diagnostics`: each entry begins with ``name``."""
        return {
            f"{name}/received": str(self.received),
            f"{name}/lost": "unknown" if self.lost is None else str(self.lost),
            f"{name}/rate": f"{self.rate(now):.1f}",
            f"{name}/longest_gap": f"{self.longest_gap:.3f}",
            f"{name}/age": f"{self.age(now):.3f}",
            f"{name}/kind": self.kind,
        }
