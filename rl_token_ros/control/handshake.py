"""Whether the arm's side takes commands already: the first that arrives must not be the hundredth that was sent.

A publisher sees a subscriber before the subscriber sees it, and what it says in between is lost. Deltas add up meanwhile, and the first
command to arrive would be a jump, as far as `lead_limit` allows. So nothing moves until a command is known to have arrived; until then the
newest measured position is said now and then, and only that: what has been acknowledged is no commanded motion, whichever of them it was.
"""

from __future__ import annotations

SECONDS = 0.1  # between two such commands; an acknowledgement takes milliseconds, and might never win against one command per control step
SETTLE = 0.5  # s, where someone listens who does not acknowledge: more than it takes to be seen
PATIENCE = 10.0  # s; after that the arm must not begin to move any more, nobody expects it


class Handshake:
    """Counts the control steps in which nothing moves, until commands are known to arrive.

    Args:
        rate: control steps per second.
    """

    def __init__(self, rate: float) -> None:
        self._every, self._settle, self._patience = max(round(SECONDS * rate), 1), round(SETTLE * rate), round(PATIENCE * rate)
        self.steps = 0  # from 1 while it is not known whether commands arrive; 0: they do

    @property
    def overdue(self) -> bool:
        """Whether it is time to give up."""
        return self.steps > self._patience

    def step(self) -> bool:
        """A control step; whether it is one of those that say the measured position."""
        self.steps += 1
        return (self.steps - 2) % self._every == 0

    def proven(self, acknowledged: bool, silent: bool) -> bool:
        """Whether commands arrive.

        Args:
            acknowledged: every subscriber that acknowledges has acknowledged all that was sent.
            silent: there are subscribers that do not acknowledge, as those of "best effort" quality; they get SETTLE seconds.
        """
        return acknowledged and self.steps > (self._settle if silent else 1)
