"""Pictures of one moment: a short history of each camera, and the sets that can be made of it, by stamps."""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
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
        self._kept: dict[str, deque[tuple[int, Any]]] = {camera: deque(maxlen=KEPT) for camera in cameras}

    def add(self, camera: str, stamp_ns: int, picture: Any) -> None:
        """A picture; one that is not newer than the newest is ignored."""
        kept = self._kept[camera]
        if not kept or stamp_ns > kept[-1][0]:
            kept.append((stamp_ns, picture))

    def forget(self) -> None:
        """Drop everything."""
        for kept in self._kept.values():
            kept.clear()

    def newest_ns(self, camera: str) -> int | None:
        """Stamp of its newest picture."""
        kept = self._kept[camera]
        return kept[-1][0] if kept else None

    def sets(self) -> list[PictureSet]:
        """The set of smallest spread for each picture that can be the oldest of one, the newest first."""
        found = []
        for oldest in sorted({stamp for kept in self._kept.values() for stamp, _ in kept}, reverse=True):
            chosen = {camera: next((each for each in kept if each[0] >= oldest), None) for camera, kept in self._kept.items()}
            of_all = {camera: each for camera, each in chosen.items() if each is not None}
            if len(of_all) == len(chosen):
                newest = max(stamp for stamp, _ in of_all.values())
                found.append(PictureSet(oldest, newest - oldest, {camera: picture for camera, (_, picture) in of_all.items()}))
        return found

    def period_ns(self) -> int | None:
        """The shortest period of a camera, by the median of what lies between its stamps; None before one has brought two pictures."""
        return min(self._periods().values(), default=None)

    def enough_ns(self, sets: list[PictureSet]) -> float:
        """The spread below which a set need not be waited for to be smaller: half the shortest period. Cameras that never come that close,
        as three that run freely, cannot be asked for it: about as close as they have come lately."""
        period, least = self.period_ns(), min((each.spread_ns for each in sets), default=0)
        if period is None:
            return 1  # a moment later it is known
        return period / 2 if least < period / 2 else least + period / 10

    def completing(self, within_ns: float) -> bool:
        """Whether a newer set is on its way: the newest picture of all still lacks one of another camera, which is due at its moment."""
        newest = {camera: kept[-1][0] for camera, kept in self._kept.items() if kept}
        first, periods = max(newest.values(), default=0), self._periods()
        lacking = [camera for camera, stamp in newest.items() if first - stamp >= within_ns]
        return bool(lacking) and all(camera in periods and abs(newest[camera] + periods[camera] - first) < within_ns for camera in lacking)

    def _periods(self) -> dict[str, int]:
        stamps = {camera: [stamp for stamp, _ in kept] for camera, kept in self._kept.items() if len(kept) > 1}
        return {camera: round(statistics.median(b - a for a, b in pairwise(each))) for camera, each in stamps.items()}
