"""Pictures of one moment: a short history of each camera, and the sets that can be made of it, by stamps."""

from __future__ import annotations

import bisect
import statistics
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Any

KEPT = 8  # pictures of a camera: a quarter of a second at 30 Hz, for cameras whose pictures take that much longer than those of another


@dataclass(frozen=True)
class PictureSet:
    """One picture of each camera.

    Attributes:
        stamp_ns: of the oldest.
        spread_ns: from the oldest to the newest.
        pictures: by camera.
    """

    stamp_ns: int
    spread_ns: int
    pictures: dict[str, Any]


class PictureHistory:
    """The newest pictures of each camera, of any type: nothing looks into them.

    Args:
        cameras: their names.
    """

    def __init__(self, cameras: list[str]) -> None:
        self._stamps: dict[str, list[int]] = {camera: [] for camera in cameras}
        self._pictures: dict[str, list[Any]] = {camera: [] for camera in cameras}
        self._periods: dict[str, float] = {}  # of cameras that have brought two

    def add(self, camera: str, stamp_ns: int, picture: Any) -> None:
        """A picture; one that is not newer than the newest is ignored."""
        stamps, pictures = self._stamps[camera], self._pictures[camera]
        if stamps and stamp_ns <= stamps[-1]:
            return
        stamps.append(stamp_ns)
        pictures.append(picture)
        del stamps[:-KEPT], pictures[:-KEPT]
        if len(stamps) > 1:
            self._periods[camera] = statistics.median(b - a for a, b in pairwise(stamps))

    def forget(self) -> None:
        """Drop everything."""
        for kept in (*self._stamps.values(), *self._pictures.values()):
            kept.clear()
        self._periods.clear()

    def newest_ns(self, camera: str) -> int | None:
        """Stamp of its newest picture."""
        return self._stamps[camera][-1] if self._stamps[camera] else None

    def sets(self) -> list[PictureSet]:
        """The set of smallest spread for each picture that can be the oldest of one, the newest first."""
        if not all(self._stamps.values()):
            return []
        last, found = min(stamps[-1] for stamps in self._stamps.values()), []
        for oldest in sorted({stamp for stamps in self._stamps.values() for stamp in stamps if stamp <= last}, reverse=True):
            places = {camera: bisect.bisect_left(stamps, oldest) for camera, stamps in self._stamps.items()}
            newest = max(self._stamps[camera][place] for camera, place in places.items())
            found.append(PictureSet(oldest, newest - oldest, {camera: self._pictures[camera][place] for camera, place in places.items()}))
        return found

    def period_ns(self) -> float | None:
        """The shortest period of a camera, by the median of what lies between its stamps; None before one has brought two pictures."""
        return min(self._periods.values(), default=None)

    def enough_ns(self, sets: list[PictureSet]) -> float:
        """The spread below which a set need not be waited for to be smaller: half the shortest period. Cameras that never come that close,
        as three that run freely, cannot be asked for it: about as close as they have come lately."""
        period, least = self.period_ns(), min((each.spread_ns for each in sets), default=0)
        if period is None:
            return 1  # a moment later it is known
        return period / 2 if least < period / 2 else least + period / 10

    def completing(self, within_ns: float) -> bool:
        """Whether a newer set is on its way: the newest picture of all still lacks one of another camera, which is due at its moment."""
        first = max(stamps[-1] for stamps in self._stamps.values())
        lacking = [camera for camera, stamps in self._stamps.items() if first - stamps[-1] >= within_ns]
        due = {camera: self._stamps[camera][-1] + self._periods.get(camera, inf) for camera in lacking}
        return bool(lacking) and all(abs(each - first) < within_ns for each in due.values())
