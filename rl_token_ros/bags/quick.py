"""Decoders for the types that come at every control step: the same objects as the general decoder's, in a tenth of its time.

What does not look as usual (another byte order, velocities in a trajectory, a length that does not fit) is left to the general one.
"""

from __future__ import annotations

import functools
import struct
from typing import Any, Callable

import numpy as np

ORIGIN = 4  # bytes of encapsulation; what follows is aligned from there on
HEAD = struct.Struct("<2s2xiII")  # encapsulation, stamp, length of frame_id
LITTLE_ENDIAN = b"\0\1"
COUNT = struct.Struct("<I")
NUMBERS = {count: struct.Struct(f"<{count}d") for count in (6, 7)}
NONE = np.zeros(0)
NONE.flags.writeable = False


class Unusual(ValueError):
    """Not for these decoders."""


def decoder(name: str, store: Any) -> Callable[[bytes], Any]:
    """From CDR to an object of this type.

    Args:
        name: the type.
        store: a rosbags type store that has it as usual.
    """
    general = functools.partial(store.deserialize_cdr, typename=name)
    read = READERS.get(name)
    if read is None:
        return general

    def decode(cdr: bytes) -> Any:
        try:
            return read(store.types, cdr)
        except (Unusual, struct.error, UnicodeDecodeError):
            return general(cdr)

    return decode


def _aligned(at: int, to: int) -> int:
    return at + (ORIGIN - at) % to


def _header(types: dict, cdr: bytes) -> tuple[Any, int]:
    """The std_msgs/Header at the beginning, and where it ends."""
    kind, seconds, nanoseconds, length = HEAD.unpack_from(cdr)
    end = HEAD.size + length
    if kind != LITTLE_ENDIAN:
        raise Unusual
    stamp = types["builtin_interfaces/msg/Time"](seconds, nanoseconds)
    return types["std_msgs/msg/Header"](stamp, _string(cdr, HEAD.size, end)), end


def _string(cdr: bytes, at: int, end: int) -> str:
    """The one between these bytes, the last of which is zero."""
    if end <= at or end > len(cdr) or cdr[end - 1]:
        raise Unusual
    return cdr[at : end - 1].decode()


def _numbers(cdr: bytes, at: int, count: int) -> tuple[float, ...]:
    """The float64 with which the message ends."""
    at = _aligned(at, 8)
    _ends(cdr, at + 8 * count)
    return NUMBERS[count].unpack_from(cdr, at)


def _ends(cdr: bytes, at: int) -> None:
    """That a message ends there, but for padding."""
    if not at <= len(cdr) < at + 4:
        raise Unusual


def _names(cdr: bytes, at: int) -> tuple[list[str], int]:
    (count,) = COUNT.unpack_from(cdr, at := _aligned(at, 4))
    at += COUNT.size
    names = []
    for _ in range(count):
        (length,) = COUNT.unpack_from(cdr, at := _aligned(at, 4))
        at += COUNT.size
        names.append(_string(cdr, at, at + length))
        at += length
    return names, at


def _pose(types: dict, cdr: bytes) -> Any:
    header, at = _header(types, cdr)
    x, y, z, *turn = _numbers(cdr, at, 7)
    pose = types["geometry_msgs/msg/Pose"](types["geometry_msgs/msg/Point"](x, y, z), types["geometry_msgs/msg/Quaternion"](*turn))
    return types["geometry_msgs/msg/PoseStamped"](header, pose)


def _two_vectors(stamped: str, inner: str, types: dict, cdr: bytes) -> Any:
    header, at = _header(types, cdr)
    numbers, vector = _numbers(cdr, at, 6), types["geometry_msgs/msg/Vector3"]
    return types[stamped](header, types[inner](vector(*numbers[:3]), vector(*numbers[3:])))


def _joint_state(types: dict, cdr: bytes) -> Any:
    header, at = _header(types, cdr)
    names, at = _names(cdr, at)
    columns = []
    for _ in range(3):
        (count,) = COUNT.unpack_from(cdr, at := _aligned(at, 4))
        at += COUNT.size
        begin = _aligned(at, 8) if count else at
        at = begin + 8 * count
        if at > len(cdr):
            raise Unusual
        columns.append(np.frombuffer(cdr, "<f8", count, begin) if count else NONE)
    _ends(cdr, at)
    return types["sensor_msgs/msg/JointState"](header, names, *columns)


@functools.lru_cache(maxsize=8)
def _points(size: int) -> np.dtype:
    """Points of a trajectory with ``size`` positions and nothing else: from one to the next everything is aligned."""
    return np.dtype([("size", "<u4"), ("positions", "<f8", (size,)), ("others", "<u4", (3,)), ("sec", "<i4"), ("nanosec", "<u4")])


def _trajectory(types: dict, cdr: bytes) -> Any:
    header, at = _header(types, cdr)
    names, at = _names(cdr, at)
    (count,) = COUNT.unpack_from(cdr, at := _aligned(at, 4))
    at += COUNT.size
    points = []
    if count:
        (size,) = COUNT.unpack_from(cdr, at)
        if not 0 < size < len(cdr):
            raise Unusual
        begin, kind = _aligned(at + COUNT.size, 8) - COUNT.size, _points(size)  # the first may have padding after its size
        at = begin + count * kind.itemsize
        if at > len(cdr):
            raise Unusual
        table = np.frombuffer(cdr, kind, count, begin)
        if (table["size"][1:] != size).any() or table["others"].any():
            raise Unusual
        point, duration = types["trajectory_msgs/msg/JointTrajectoryPoint"], types["builtin_interfaces/msg/Duration"]
        positions = np.ascontiguousarray(table["positions"])
        times = zip(table["sec"].tolist(), table["nanosec"].tolist())
        points = [point(row, NONE, NONE, NONE, duration(*time)) for row, time in zip(positions, times)]
    _ends(cdr, at)
    return types["trajectory_msgs/msg/JointTrajectory"](header, names, points)


READERS: dict[str, Callable[[dict, bytes], Any]] = {
    "geometry_msgs/msg/PoseStamped": _pose,
    "geometry_msgs/msg/TwistStamped": functools.partial(_two_vectors, "geometry_msgs/msg/TwistStamped", "geometry_msgs/msg/Twist"),
    "geometry_msgs/msg/WrenchStamped": functools.partial(_two_vectors, "geometry_msgs/msg/WrenchStamped", "geometry_msgs/msg/Wrench"),
    "sensor_msgs/msg/JointState": _joint_state,
    "trajectory_msgs/msg/JointTrajectory": _trajectory,
}
