"""One call into the pipeline as a row of `~/ticks`: what it used, what came of it, and the state that it left.

control_node publishes one row per control step, and one for each enable, episode boundary or stop in between. A row names its inputs by
their stamps, so that a bag's run can hand the very same messages over in the very same order and compare every command bit for bit;
the order in which a recorder received them is another one. The messages themselves are in the bag under their own topics. With the
state, a run of a bag that lacks something is in step again with the next row.

The columns follow from :class:`Row` and :class:`State`: a new field there is a new column, packed, unpacked, taken from the controller and
given back to it.
"""

from __future__ import annotations

import enum
import functools
import math
import operator
import struct
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

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
    HANDSHAKE = 12

    @property
    def label(self) -> str:
        """For a person."""
        return self.name.lower().replace("_", " ")


# The inputs that a row names by stamp, in the order of columns `input_sec` and `input_nanosec`; zero: none held.
INPUTS = ("joint_states", "ee_pose", "wrench", "vla/reference", "vla/embedding", "intervention")
NAMED = (*INPUTS, "extra")  # all that a row names by stamp: `extra` has a column of its own, where it is needed

NANOSECONDS = 1_000_000_000
_FORMATS = {"u1": "B", "<u4": "I", "<i4": "i", "<f4": "f", "<f8": "d"}
STAMP = "stamp"  # a time in ns, in two columns: `NAME_sec` and `NAME_nanosec`


@dataclass(frozen=True)
class Sizes:
    """How many values the columns of one robot hold.

    Attributes:
        action: A.
        plan: C * A.
        gripper: G; 0: no such column, as in bags of before grippers were in it.
        phase: 1 where a model begins the critical phase, else 0: no such columns.
        joint: J, where joints are measured, else 0: no such column, as in bags of before joints had stamps of their own.
        extra: 1 where `extra` is measured, else 0: no such column.
    """

    action: int
    plan: int
    gripper: int = 0
    phase: int = 0
    joint: int = 0
    extra: int = 0

    @property
    def inputs(self) -> int:
        """Stamps of inputs."""
        return len(INPUTS)


def column(kind: str, of: str = "", *, name: str = "", size: str = "", only: str = "", given: bool = False, default: Any = MISSING) -> Any:
    """A field of a row.

    Args:
        kind: type of the column as numpy writes it, or STAMP.
        of: where the controller has it, for what is state.
        name: of the column, where it is not the field's; of a STAMP, what `_sec` and `_nanosec` are appended to.
        size: attribute of :class:`Sizes`, for several values; empty: one.
        only: attribute of :class:`Sizes` that is 0 where there is no such column.
        given: the controller gives it, but to take it back takes more than an assignment.
        default: where there is no column.
    """
    return field(default=default, metadata={"kind": kind, "of": of, "name": name, "size": size, "only": only, "given": given})


@dataclass(frozen=True)
class State:
    """What the next call depends on, beside its inputs and the last command: a run of a bag can begin with it.

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
        phase_ready: the critical phase may be begun by its model, after ``phase_count`` more or less probable tokens, the newest of
            ``phase_seen_ns``.
    """

    weights_version: int = column("<u4", "actor.version", given=True)
    share: float = column("<f4", "rollout.share", given=True)
    weights_left: int = column("<u4", "rollout.left_version", given=True)
    weights_waiting: int = column("<u4", "rollout.waiting_version", given=True)
    weights_held: int = column("<u4", "rollout.held", given=True)
    enabled: bool = column("u1", "enabled")
    stopped: bool = column("u1", "stopped", given=True)
    critical: bool = column("u1", "episode.active")
    episode: int = column("<u4", "episode.number")
    step: int = column("<u4", "episode.step")
    begun_ns: int = column(STAMP, "episode.begun_ns", name="begun")
    drawn: int = column("<u4", "policy.exploration.drawn", given=True)
    executed: int = column("<u4", "policy.executed", given=True)
    plan_version: int = column("<u4", "policy.plan_version", given=True)
    counted_ns: int = column(STAMP, "counted_ns", name="counted")
    held_ns: int = column(STAMP, "holding.since_ns", name="held")
    leaving: int = column("<u4", "holding.leaving")
    awaiting: int = column("<u4", "handshake.steps")
    phase_ready: bool = column("u1", "phase.switch.ready", only="phase", default=False)
    phase_count: int = column("<u4", "phase.switch.count", only="phase", default=0)
    phase_seen_ns: int = column(STAMP, "phase.seen_ns", name="phase_seen", only="phase", default=0)
    hold: Sequence[float] = column("<f8", "holding.values", size="action", given=True, default=())
    plan: Sequence[float] = column("<f8", "policy.plan", size="plan", given=True, default=())


@dataclass(frozen=True)
class Row:
    """A row as Python values.

    Attributes:
        seq: number of the row, from 0 with each start of control_node.
        event: code of :class:`Event`.
        now_ns: time of the call.
        input_ns: stamp in ns of each of INPUTS, 0: not held.
        weights_offered: version of the newest weights that were let in.
        parameters: number of the set of parameters on `~/settings`.
        source: code of :class:`codes.Source`, and ``clipped``, bits of :class:`codes.Clipped`, of a tick.
        extra_ns: stamp in ns of `extra`, 0: not held.
        joint_ns: stamp in ns of the newest measurement of each joint [J], 0: none: several drivers may each bring a part.
        command: float64 [A] position and ``velocity`` [A] that were sent, NaN without a command; ``gripper`` [G] likewise.
        state: after it.
        raw: the bytes.
    """

    seq: int = column("<u4")
    event: int = column("u1")
    now_ns: int = column(STAMP, name="stamp")
    input_ns: Sequence[int] = column(STAMP, name="input", size="inputs")
    weights_offered: int = column("<u4")
    parameters: int = column("<u4")
    source: int = column("u1")
    clipped: int = column("u1")
    command: np.ndarray = column("<f8", size="action")
    velocity: np.ndarray = column("<f8", size="action")
    gripper: np.ndarray = column("<f8", size="gripper", only="gripper")
    joint_ns: Sequence[int] = column(STAMP, name="joint", size="joint", only="joint")
    extra_ns: int = column(STAMP, name="extra", only="extra")
    state: State = column("")  # its columns follow
    raw: bytes = b""

    @property
    def commands(self) -> bool:
        """Whether there is a command."""
        return not np.isnan(self.command[0])

    @functools.cached_property
    def inputs(self) -> dict[str, int]:
        """Stamp in ns of each input that was held."""
        return {topic: stamp for topic, stamp in zip(NAMED, (*self.input_ns, self.extra_ns)) if stamp}

    def joints(self, names: Sequence[str]) -> dict[int, set[str]]:
        """Names by the stamp in ns of the measurement of each joint, the oldest first; an empty name leaves a joint out."""
        found: dict[int, set[str]] = {}
        for stamp, name in sorted(zip(self.joint_ns, names)):
            if stamp and name:
                found.setdefault(stamp, set()).add(name)
        return found


_SCALARS, _VECTOR, _STAMP, _STAMPS = range(4)


def _runs(columns: list[Any]) -> list[tuple[int, int, int]]:
    """What to do with which values of a row, from the first to before the last, scalars that follow each other at once.

    Looked up once: a row is packed in every control step.
    """
    runs: list[tuple[int, int, int]] = []
    for at, f in enumerate(columns):
        several, stamp = bool(f.metadata["size"]), f.metadata["kind"] == STAMP
        kind = (_STAMPS if several else _STAMP) if stamp else _VECTOR if several else _SCALARS
        if kind == _SCALARS and runs and runs[-1][0] == _SCALARS:
            runs[-1] = (_SCALARS, runs[-1][1], at + 1)
        else:
            runs.append((kind, at, at + 1))
    return runs


class Layout:
    """Rows as bytes, by one call of `struct`: a numpy record of as many columns takes twenty times as long, and a tick has 2 ms.

    Args:
        sizes: of the robot, or those found in a bag.
    """

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self._row = [f for f in fields(Row) if f.metadata.get("kind") and self._present(f)]
        self._state = [f for f in fields(State) if self._present(f)]
        dtype: list[tuple[Any, ...]] = []
        for f in (*self._row, *self._state):
            meta, name = f.metadata, f.metadata["name"] or f.name
            shape = ((getattr(sizes, meta["size"]),),) if meta["size"] else ()
            columns = [(f"{name}_sec", "<i4"), (f"{name}_nanosec", "<u4")] if meta["kind"] == STAMP else [(name, meta["kind"])]
            dtype += [(title, kind, *shape) for title, kind in columns]
        self.dtype = np.dtype(dtype)
        counts = [(int(np.prod(self.dtype[name].shape)), self.dtype[name].base.str.replace("|", "")) for name in self.dtype.names or ()]
        self._struct = struct.Struct("<" + "".join(f"{count}{_FORMATS[kind]}" for count, kind in counts))
        self._runs = _runs([*self._row, *self._state])
        self._read = operator.attrgetter(*(f.metadata["of"] for f in self._state))
        self.no_action, self.no_gripper = [math.nan] * sizes.action, [math.nan] * sizes.gripper
        self.no_plan = [math.nan] * sizes.plan

    def _present(self, f: Any) -> bool:
        only = f.metadata["only"]
        return not only or getattr(self.sizes, only) > 0

    def snapshot(self, controller: Any) -> tuple[Any, ...]:
        """The values of the columns of :class:`State`, in their order."""
        return tuple(self._read(controller))

    def pack(self, values: Iterable[Any], state: Iterable[Any]) -> bytes:
        """A row, from the values of the columns of :class:`Row` (without gripper where there is no such column) and a snapshot."""
        given, flat = (*values, *state), list[Any]()
        for kind, begin, end in self._runs:
            if kind == _SCALARS:
                flat += given[begin:end]
            elif kind == _VECTOR:
                flat += given[begin]
            elif kind == _STAMP:
                flat += divmod(given[begin], NANOSECONDS)
            else:
                flat += [ns // NANOSECONDS for ns in given[begin]]
                flat += [ns % NANOSECONDS for ns in given[begin]]
        return self._struct.pack(*flat)

    def unpack(self, raw: bytes) -> Row:
        """The row in these bytes."""
        flat, at = self._struct.unpack(raw), 0
        found: list[dict[str, Any]] = []
        for fs in (self._row, self._state):
            values: dict[str, Any] = {}
            for f in fs:
                meta = f.metadata
                count = getattr(self.sizes, meta["size"]) if meta["size"] else 1
                part = flat[at : at + count]
                at += count
                if meta["kind"] == STAMP:
                    part = tuple(s * NANOSECONDS + ns for s, ns in zip(part, flat[at : at + count]))
                    at += count
                values[f.name] = part if meta["size"] else bool(part[0]) if f.type == "bool" else part[0]
            found.append(values)
        row, state = found
        row |= {name: np.array(row.get(name, ())) for name in ("command", "velocity", "gripper")}
        row = {"joint_ns": (), "extra_ns": 0, **row}
        return Row(**row, state=State(**state), raw=raw)

    def give_back(self, controller: Any, state: State) -> None:
        """Assign what a controller takes back by assignment alone; the rest is `Controller.resume`."""
        for f in self._state:
            if not f.metadata["given"]:
                *path, name = f.metadata["of"].split(".")
                owner = operator.attrgetter(".".join(path))(controller) if path else controller
                setattr(owner, name, getattr(state, f.name))

    def differing(self, one: bytes, other: bytes) -> list[str]:
        """Names of the columns in which two rows differ, `seq` excepted."""
        if one[4:] == other[4:]:
            return []
        fields_of: Any = self.dtype.fields
        columns = ((name, *fields_of[name][:2]) for name in (self.dtype.names or ())[1:])
        return [name for name, kind, at in columns if one[at : at + kind.itemsize] != other[at : at + kind.itemsize]]


def layout_of(table: Any) -> Layout:
    """The layout of a `~/ticks` message, by its columns: those of an older bag have no gripper and no phase."""
    counts = {found.name: found.count for found in table.fields}
    action = max(counts.get("command", 1), 1)
    phase = int("phase_ready" in counts)
    return Layout(
        Sizes(
            action, max(counts.get("plan", action), action), counts.get("gripper", 0), phase, counts.get("joint_sec", 0), counts.get("extra_sec", 0)
        )
    )
