"""How far a bag is read, in megabytes."""

from __future__ import annotations

from rl_token_ros.bags.reader import Bag
from rl_token_ros.system.progress import Progress

MEGABYTE = 1_000_000


class BagProgress:
    """Call it after each record, and :meth:`done` after the last.

    Args:
        bag: that is read.
        what: the job, in a few words.
        from_here: what was read before is no part of the job.
    """

    def __init__(self, bag: Bag, what: str, from_here: bool = False) -> None:
        self._bag, self._total = bag, max(bag.size // MEGABYTE, 1)
        self._position = -1  # most records are in the piece of the one before
        self._progress = Progress(f"{what} [MB]", self._total, bag.position // MEGABYTE if from_here else 0)

    def __call__(self) -> None:
        if self._position != self._bag.position:
            self._position = self._bag.position
            self._progress(min(self._position // MEGABYTE, self._total - 1))

    def done(self) -> None:
        """All is read."""
        self._progress(self._total)
