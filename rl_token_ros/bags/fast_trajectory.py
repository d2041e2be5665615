"""Decodes the chunks of a VLA (trajectory_msgs/JointTrajectory): the same object as the general decoder's, in a fifth of its time.

A chunk has dozens of points with four sequences each, and to decode them one by one was an eighth of a replay. What does not look as
usual (another byte order, velocities, a length that does not fit) is left to the general decoder.
"""

from __future__ import annotations

import functools
import struct
from typing import Any

import numpy as np

TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
ORIGIN = 4  # bytes of encapsulation; what follows is aligned from there on
HEAD = struct.Struct("<2s2xiII")  # encapsulation, stamp, length of frame_id
LITTLE_ENDIAN = b"\0\1"
COUNT = struct.Struct("<I")
NONE = np.zeros(0)
NONE.flags.writeable = False


class Unusual(ValueError):
    """Not for this decoder."""


def trajectory(types: dict[str, type], cdr: bytes) -> Any:
    """The JointTrajectory in these bytes.

    Args:
        types: classes by the names of their types.

    Raises:
        Unusual, struct.error, UnicodeDecodeError: it does not look as usual; it may still be one.
    """
    kind, seconds, nanoseconds, length = HEAD.unpack_from(cdr)
    if kind != LITTLE_ENDIAN:
        raise Unusual
    frame, at = _string(cdr, HEAD.size, length)
    count, at = _count(cdr, at)
    names = []
    for _ in range(count):
        length, at = _count(cdr, at)
        name, at = _string(cdr, at, length)
        names.append(name)
    count, at = _count(cdr, at)
    points: list[Any] = []
    if count:
        points, at = _points(types, cdr, at, count)
    if not at <= len(cdr) < at + 4:
        raise Unusual
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](seconds, nanoseconds), frame)
    return types[TRAJECTORY](header, names, points)


def _points(types: dict[str, type], cdr: bytes, at: int, count: int) -> tuple[list[Any], int]:
    """Points with positions alone, and where they end."""
    size, after = _count(cdr, at)
    if not 0 < size < len(cdr):
        raise Unusual
    begin, layout = _aligned(after, 8) - COUNT.size, _layout(size)  # the first may have padding after its size
    end = begin + count * layout.itemsize
    if end > len(cdr):
        raise Unusual
    table = np.frombuffer(cdr, layout, count, begin)
    if (table["size"][1:] != size).any() or table["others"].any():
        raise Unusual
    point, duration = types["trajectory_msgs/msg/JointTrajectoryPoint"], types["builtin_interfaces/msg/Duration"]
    times = zip(table["sec"].tolist(), table["nanosec"].tolist())
    return [point(row, NONE, NONE, NONE, duration(*time)) for row, time in zip(np.ascontiguousarray(table["positions"]), times)], end


@functools.lru_cache(maxsize=8)
def _layout(size: int) -> np.dtype:
    """A point with ``size`` positions and nothing else: from one to the next everything is aligned."""
    return np.dtype([("size", "<u4"), ("positions", "<f8", (size,)), ("others", "<u4", (3,)), ("sec", "<i4"), ("nanosec", "<u4")])


def _aligned(at: int, to: int) -> int:
    return at + (ORIGIN - at) % to


def _count(cdr: bytes, at: int) -> tuple[int, int]:
    """A length, and where what it counts begins."""
    at = _aligned(at, COUNT.size)
    return COUNT.unpack_from(cdr, at)[0], at + COUNT.size


def _string(cdr: bytes, at: int, length: int) -> tuple[str, int]:
    """A string with its zero at the end, and where that is."""
    end = at + length
    if not length or end > len(cdr) or cdr[end - 1]:
        raise Unusual
    return cdr[at : end - 1].decode(), end
