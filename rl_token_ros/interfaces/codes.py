"""The codes in the columns of `replay` and `~/ticks`. Numbers on the wire and on disk; these names everywhere else."""

from __future__ import annotations

import enum


class Source(enum.IntEnum):
    """Who made a command. HOLD: nobody, a position is held. NONE: nobody, there was none. `replay` has the first three only."""

    VLA = 0
    ACTOR = 1
    HUMAN = 2
    HOLD = 3
    NONE = 4

    @property
    def label(self) -> str:
        """For a person."""
        return self.name if self is Source.VLA else self.name.lower()


class Ended(enum.IntEnum):
    """How an episode of the critical phase ended: column `ended`, and what `episode_ended` says."""

    NO = 0
    SUCCESS = 1
    FAILURE = 2
    TIME_LIMIT = 3
    ABORTED = 4

    @property
    def label(self) -> str:
        """For a person."""
        return "running" if self is Ended.NO else self.name.lower().replace("_", " ")


class Clipped(enum.IntFlag):
    """Why the filter changed a command: bits of the column `clipped`."""

    NOT_FINITE = 1
    POSITION = 2
    LEAD = 4
    VELOCITY = 8
    ACCELERATION = 16

    @property
    def label(self) -> str:
        """For a person, of one bit."""
        return str(self.name).lower().replace("_", " ")
