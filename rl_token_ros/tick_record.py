"""One call into the control pipeline as a row of `~/ticks`: what it used, and what came of it.

control_node publishes one row per control step, and one for each enable, episode boundary or stop in between. A row names its inputs by
their stamps, so that a replay can hand the very same messages over in the very same order and compare every command bit for bit;
the order in which a recorder received them is another one. The messages themselves are in the bag under their own topics.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

# What was called. The order is the code in column `event`.
EVENTS = ("tick", "enable", "disable", "critical", "not critical", "success", "failure", "discard", "stop", "reset stop", "rollback")
TICK, ENABLE, DISABLE, CRITICAL, NOT_CRITICAL, SUCCESS, FAILURE, DISCARD, STOP, RESET_STOP, ROLLBACK = range(len(EVENTS))

# Who made the command, beyond replay_record's VLA, actor and human: nobody, holding a position; nobody, no command.
SOURCE_HOLD, SOURCE_NONE = 3, 4
SOURCES = ("VLA", "actor", "human", "hold", "none")

# The inputs that a row names by stamp, in the order of columns `input_sec` and `input_nanosec`; zero: none held.
INPUTS = ("joint_states", "ee_pose", "wrench", "vla/reference", "vla/embedding", "intervention")

NANOSECONDS = 1_000_000_000
_FORMATS = {"u1": "B", "<u4": "I", "<i4": "i", "<f4": "f", "<f8": "d"}


def row_dtype(action: int) -> np.dtype:
    """The columns of `~/ticks` for an action of ``action`` values.

    What was used: stamps of the inputs, ``weights_offered``, the version of the newest weights that were let in, and ``parameters``, the
    number of the set of parameters on `~/settings`. What came of it: ``weights_version`` of the actor (0: none), its ``share`` of the residual,
    ``command`` and ``velocity`` [A], NaN without a command, ``source``, ``clipped`` bits as in `replay`, and the state after it:
    ``enabled``, ``stopped``, ``critical`` (an episode is running), ``episode``, its next ``step``, when it ``begun``, how often its noise was
    ``drawn``, and how many steps of the running residual chunk are ``executed``.
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
            ("weights_version", "<u4"),
            ("share", "<f4"),
            ("parameters", "<u4"),
            ("enabled", "u1"),
            ("stopped", "u1"),
            ("source", "u1"),
            ("clipped", "u1"),
            ("critical", "u1"),
            ("episode", "<u4"),
            ("step", "<u4"),
            ("begun_sec", "<i4"),
            ("begun_nanosec", "<u4"),
            ("drawn", "<u4"),
            ("executed", "<u4"),
            ("command", "<f8", (action,)),
            ("velocity", "<f8", (action,)),
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
    weights_version: int
    share: float
    parameters: int
    enabled: bool
    stopped: bool
    source: int
    clipped: int
    critical: bool
    episode: int
    step: int
    begun_ns: int
    drawn: int
    executed: int
    command: np.ndarray
    velocity: np.ndarray

    @property
    def commands(self) -> bool:
        """Whether there is a command."""
        return not np.isnan(self.command[0])


class Layout:
    """Rows as bytes, by one call of `struct`: a numpy record of as many columns takes twenty times as long, and a tick has 2 ms."""

    def __init__(self, action: int) -> None:
        self.dtype = row_dtype(action)
        counts = [(int(np.prod(self.dtype[name].shape)), self.dtype[name].base.str.replace("|", "")) for name in self.dtype.names]
        self._struct = struct.Struct("<" + "".join(f"{count}{_FORMATS[kind]}" for count, kind in counts))
        self._action = action

    def pack(
        self, seq: int, event: int, now_ns: int, inputs: list[int], offered: int, version: int, share: float, parameters: int,
        enabled: bool, stopped: bool, source: int, clipped: int, critical: bool, episode: int, step: int, begun_ns: int, drawn: int,
        executed: int, command: list[float], velocity: list[float],
    ) -> bytes:  # fmt: skip
        """A row; ``inputs`` are the stamps in ns of :data:`INPUTS`, 0 for none."""
        return self._struct.pack(
            seq, event, *divmod(now_ns, NANOSECONDS), *[stamp // NANOSECONDS for stamp in inputs], *[stamp % NANOSECONDS for stamp in inputs],
            offered, version, share, parameters, enabled, stopped, source, clipped, critical, episode, step,
            *divmod(begun_ns, NANOSECONDS), drawn, executed, *command, *velocity,
        )  # fmt: skip

    def unpack(self, raw: bytes) -> Row:
        """The row in these bytes."""
        values = self._struct.unpack(raw)
        n, a = len(INPUTS), self._action
        stamps = [s * NANOSECONDS + ns for s, ns in zip(values[4 : 4 + n], values[4 + n : 4 + 2 * n])]
        offered, version, share, parameters, enabled, stopped, source, clipped, critical, episode, step, sec, nanosec, drawn, executed = (
            values[4 + 2 * n : 19 + 2 * n]
        )
        numbers = np.array(values[19 + 2 * n :])
        return Row(
            raw, values[0], values[1], values[2] * NANOSECONDS + values[3], {name: stamp for name, stamp in zip(INPUTS, stamps) if stamp},
            offered, version, share, parameters, bool(enabled), bool(stopped), source, clipped, bool(critical), episode, step,
            sec * NANOSECONDS + nanosec, drawn, executed, numbers[:a], numbers[a:],
        )  # fmt: skip

    def differing(self, one: bytes, other: bytes) -> list[str]:
        """Names of the columns in which two rows differ, `seq` excepted."""
        if one[4:] == other[4:]:
            return []
        columns = ((name, *self.dtype.fields[name][:2]) for name in self.dtype.names[1:])
        return [name for name, kind, at in columns if one[at : at + kind.itemsize] != other[at : at + kind.itemsize]]
