"""One call into the control pipeline as a row of `~/ticks`: what it used, what came of it, and the state that it left.

control_node publishes one row per control step, and one for each enable, episode boundary or stop in between. A row names its inputs by
their stamps, so that a replay can hand the very same messages over in the very same order and compare every command bit for bit;
the order in which a recorder received them is another one. The messages themselves are in the bag under their own topics. With the
state, a replay that lacks something is in step again with the next row.
"""

from __future__ import annotations

import enum
import math
import struct
from dataclasses import dataclass
from typing import NamedTuple, Sequence

import numpy as np


class Event(enum.IntEnum):
    """What was called: the code in column `event`."""

    TICK = 0
    ENABLE = 1
    DISABLE = 2
    CRITICAL = 3
    NOT_CRITICAL = 4
    SUCCESS = 5
    FAILURE = 6
    DISCARD = 7
    STOP = 8
    RESET_STOP = 9
    ROLLBACK = 10
    AWAIT_HANDSHAKE = 11
    RECEIVED = 12

    @property
    def label(self) -> str:
        """For a person."""
        return self.name.lower().replace("_", " ")


# The inputs that a row names by stamp, in the order of columns `input_sec` and `input_nanosec`; zero: none held.
INPUTS = ("joint_states", "ee_pose", "wrench", "vla/reference", "vla/embedding", "intervention")

NANOSECONDS = 1_000_000_000
_FORMATS = {"u1": "B", "<u4": "I", "<i4": "i", "<f4": "f", "<f8": "d"}


class State(NamedTuple):
    """What the next call depends on, beside its inputs and the last command: a replay can begin with it.

    Attributes:
        weights_version: of the actor (0: none), with this ``share`` of the residual; the rest is that of version ``weights_left`` (0: of none).
        weights_waiting: the version that takes over next (0: none), after ``weights_held`` ticks more where a rollback made it wait.
        critical: an episode runs: number ``episode``, begun at ``begun_ns``, whose next row is ``step``.
        drawn: chunks of its noise so far.
        executed: steps of the running residual chunk, made by ``plan_version``; its actions are ``plan`` [C * A], NaN without one.
        counted_ns: time of the newest control step.
        hold: the position [A] that is held since ``held_ns``, NaN where none is.
        leaving: control steps in which a disabled arm may still come to rest.
        awaiting: control steps, counted from 1, in which nothing moves because no command is known to have arrived; 0: they arrive.
    """

    weights_version: int
    share: float
    weights_left: int
    weights_waiting: int
    weights_held: int
    enabled: bool
    stopped: bool
    critical: bool
    episode: int
    step: int
    begun_ns: int
    drawn: int
    executed: int
    plan_version: int
    counted_ns: int
    held_ns: int
    leaving: int
    awaiting: int
    hold: Sequence[float]
    plan: Sequence[float]


def row_dtype(action: int, chunk_length: int) -> np.dtype:
    """The columns of `~/ticks` for an action of ``action`` values, in chunks of ``chunk_length``.

    What was used: stamps of the inputs, ``weights_offered``, the version of the newest weights that were let in, and ``parameters``, the
    number of the set of parameters on `~/settings`. What came of it: ``command`` and ``velocity`` [A], NaN without a command, ``source``, and
    ``clipped`` bits as in `replay`. The rest is :class:`State` after it.
    """
    return np.dtype(
        [
            ("seq", "<u4"),
            ("event", "u1"),
            ("stamp_sec", "<i4"),
            ("stamp_nanosec", "<u4"),
            ("input_sec", "<i4", (len(INPUTS),)),
            ("input_nanosec", "<u4", (len(INPUTS),)),
            ("weights_offered", "<u4"),
            ("parameters", "<u4"),
            ("source", "u1"),
            ("clipped", "u1"),
            ("command", "<f8", (action,)),
            ("velocity", "<f8", (action,)),
            ("weights_version", "<u4"),
            ("share", "<f4"),
            ("weights_left", "<u4"),
            ("weights_waiting", "<u4"),
            ("weights_held", "<u4"),
            ("enabled", "u1"),
            ("stopped", "u1"),
            ("critical", "u1"),
            ("episode", "<u4"),
            ("step", "<u4"),
            ("begun_sec", "<i4"),
            ("begun_nanosec", "<u4"),
            ("drawn", "<u4"),
            ("executed", "<u4"),
            ("plan_version", "<u4"),
            ("counted_sec", "<i4"),
            ("counted_nanosec", "<u4"),
            ("held_sec", "<i4"),
            ("held_nanosec", "<u4"),
            ("leaving", "<u4"),
            ("awaiting", "<u4"),
            ("hold", "<f8", (action,)),
            ("plan", "<f8", (chunk_length * action,)),
        ]
    )


@dataclass(frozen=True)
class Row:
    """A row as Python values; ``inputs`` holds the stamp in ns of each input that was held, ``raw`` the bytes."""

    raw: bytes
    seq: int
    event: int
    now_ns: int
    inputs: dict[str, int]
    weights_offered: int
    parameters: int
    source: int
    clipped: int
    command: np.ndarray
    velocity: np.ndarray
    state: State

    @property
    def commands(self) -> bool:
        """Whether there is a command."""
        return not np.isnan(self.command[0])


class Layout:
    """Rows as bytes, by one call of `struct`: a numpy record of as many columns takes twenty times as long, and a tick has 2 ms."""

    def __init__(self, action: int, chunk_length: int) -> None:
        self.dtype = row_dtype(action, chunk_length)
        counts = [(int(np.prod(self.dtype[name].shape)), self.dtype[name].base.str.replace("|", "")) for name in self.dtype.names]
        self._struct = struct.Struct("<" + "".join(f"{count}{_FORMATS[kind]}" for count, kind in counts))
        self._action = action
        self.no_action, self.no_plan = [math.nan] * action, [math.nan] * (chunk_length * action)

    def pack(
        self, seq: int, event: int, now_ns: int, inputs: list[int], offered: int, parameters: int, source: int, clipped: int,
        command: Sequence[float], velocity: Sequence[float], state: State,
    ) -> bytes:  # fmt: skip
        """A row; ``inputs`` are the stamps in ns of :data:`INPUTS`, 0 for none."""
        (
            version, share, left, waiting, held, enabled, stopped, critical, episode, step, begun_ns, drawn, executed, plan_version,
            counted_ns, held_ns, leaving, awaiting, hold, plan,
        ) = state  # fmt: skip
        return self._struct.pack(
            seq, event, *divmod(now_ns, NANOSECONDS), *[stamp // NANOSECONDS for stamp in inputs], *[stamp % NANOSECONDS for stamp in inputs],
            offered, parameters, source, clipped, *command, *velocity,
            version, share, left, waiting, held, enabled, stopped, critical, episode, step, *divmod(begun_ns, NANOSECONDS), drawn, executed,
            plan_version, *divmod(counted_ns, NANOSECONDS), *divmod(held_ns, NANOSECONDS), leaving, awaiting, *hold, *plan,
        )  # fmt: skip

    def unpack(self, raw: bytes) -> Row:
        """The row in these bytes."""
        values = self._struct.unpack(raw)
        n, a = len(INPUTS), self._action
        stamps = [s * NANOSECONDS + ns for s, ns in zip(values[4 : 4 + n], values[4 + n : 4 + 2 * n])]
        offered, parameters, source, clipped = values[4 + 2 * n : 8 + 2 * n]
        command, velocity, rest = values[8 + 2 * n : 8 + 2 * n + a], values[8 + 2 * n + a : 8 + 2 * n + 2 * a], values[8 + 2 * n + 2 * a :]
        (
            version, share, left, waiting, held, enabled, stopped, critical, episode, step, begun, begun_ns, drawn, executed, plan_version,
            counted, counted_ns, since, since_ns, leaving, awaiting,
        ) = rest[:21]  # fmt: skip
        state = State(
            version, share, left, waiting, held, bool(enabled), bool(stopped), bool(critical), episode, step, begun * NANOSECONDS + begun_ns,
            drawn, executed, plan_version, counted * NANOSECONDS + counted_ns, since * NANOSECONDS + since_ns, leaving, awaiting,
            rest[21 : 21 + a], rest[21 + a :],
        )  # fmt: skip
        return Row(
            raw, values[0], values[1], values[2] * NANOSECONDS + values[3], {name: stamp for name, stamp in zip(INPUTS, stamps) if stamp},
            offered, parameters, source, clipped, np.array(command), np.array(velocity), state,
        )  # fmt: skip

    def differing(self, one: bytes, other: bytes) -> list[str]:
        """Names of the columns in which two rows differ, `seq` excepted."""
        if one[4:] == other[4:]:
            return []
        columns = ((name, *self.dtype.fields[name][:2]) for name in self.dtype.names[1:])
        return [name for name, kind, at in columns if one[at : at + kind.itemsize] != other[at : at + kind.itemsize]]
