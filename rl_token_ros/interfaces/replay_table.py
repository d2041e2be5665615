"""One control step as a row of `replay`: a numpy record, and the sensor_msgs/PointCloud2 that carries it.

The message is a table of typed, named columns, so a bag of `replay` is the data set and every ROS tool decodes it.
Decoding is by column name and never trusts the sender: the network can say anything.
"""

from __future__ import annotations

import array
import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from rl_token_ros.interfaces.codes import Ended, Source

# sensor_msgs/PointField datatypes.
POINT_FIELD = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}
MEASURES = ("reward", "token", "proprio", "reference", "action")  # columns of numbers, which must be finite
NUMPY_TYPE = {number: f"<{name}" for name, number in POINT_FIELD.items()}


class ReplayError(ValueError):
    """A `replay` message that cannot be used; the message says why."""


def row_dtype(token: int, proprio: int, chunk_length: int, action: int) -> np.dtype:
    """The columns of `replay` for a token of ``token`` values, ``proprio`` values of proprioception and C x A actions."""
    return np.dtype(
        [
            ("seq", "<u4"),
            ("episode", "<u4"),
            ("step", "<u4"),
            ("stamp_sec", "<i4"),
            ("stamp_nanosec", "<u4"),
            ("weights_version", "<u4"),
            ("source", "u1"),
            ("critical", "u1"),
            ("clipped", "u1"),
            ("ended", "u1"),
            ("reward", "<f4"),
            ("token", "<f4", (token,)),
            ("proprio", "<f4", (proprio,)),
            ("reference", "<f4", (chunk_length * action,)),
            ("action", "<f4", (action,)),
        ]
    )


def encode(rows: np.ndarray, message: Any, point_field: type, frame_id: str = "") -> Any:
    """Fill a PointCloud2 with rows; its stamp is that of the last row.

    Args:
        rows: structured array [n] of :func:`row_dtype`.
        message: an empty sensor_msgs/PointCloud2.
        point_field: the class sensor_msgs/PointField.
    """
    message.header.frame_id = frame_id
    message.height, message.point_step = 1, rows.dtype.itemsize
    message.is_bigendian, message.is_dense = False, True
    message.fields = _fields(rows.dtype, point_field)
    return refill(rows, message)


def refill(rows: np.ndarray, message: Any) -> Any:
    """Other rows of the same columns into a message that :func:`encode` filled."""
    message.header.stamp.sec = int(rows["stamp_sec"][-1])
    message.header.stamp.nanosec = int(rows["stamp_nanosec"][-1])
    message.width, message.row_step = len(rows), rows.nbytes
    message.data = array.array("B", rows.tobytes())  # not bytes or ndarray: slow to assign in rclpy
    return message


@functools.lru_cache(maxsize=8)
def _fields(dtype: np.dtype, point_field: type) -> list[Any]:
    """The columns as PointFields; made once, since making them costs 0.2 ms and a control tick has 2."""
    return [point_field(name=name, offset=offset, datatype=kind, count=count) for name, offset, kind, count in _layout(dtype)]


@functools.lru_cache(maxsize=8)
def _layout(dtype: np.dtype) -> list[tuple[str, int, int, int]]:
    """Name, offset, type and count of each column that :func:`encode` sends."""
    # Without a token there is no such column.
    fields: Mapping[str, Any] = dtype.fields or {}
    columns = [(name, fields[name][1], dtype[name]) for name in dtype.names or () if dtype[name].itemsize]
    return [(name, offset, POINT_FIELD[kind.base.str.lstrip("<|")], math.prod(kind.shape)) for name, offset, kind in columns]


def sent_dtype(message: Any) -> np.dtype:
    """Columns of a `replay` message by the sizes that it says itself.

    Raises:
        ReplayError: it is no `replay`.
    """
    counts = {column.name: column.count for column in message.fields}
    if not {"proprio", "reference", "action"} <= set(counts):
        raise ReplayError(f"'replay' has columns {', '.join(counts)}; it is another table")
    action = counts["action"]
    return row_dtype(counts.get("token", 0), counts["proprio"], counts["reference"] // action, action)


def decode(message: Any, expected: np.dtype) -> np.ndarray:
    """The rows of a PointCloud2 as a structured array [n] of ``expected``, whatever the order or offsets of its columns.

    Raises:
        ReplayError: a column is missing, of another type or size, or the data are too short or not finite.
    """
    rows = decode_table(message, expected, "replay")
    if usable(rows).all():
        return rows
    for name in MEASURES:
        if not np.isfinite(rows[name]).all():
            raise ReplayError(f"column '{name}' of 'replay' is not finite")
    raise ReplayError("columns 'ended' and 'source' of 'replay' hold unknown codes")


def usable(rows: np.ndarray) -> np.ndarray:
    """bool [n]: which rows of `replay` are finite, and of codes that are known."""
    good: np.ndarray = (rows["ended"] < len(Ended)) & (rows["source"] <= Source.HUMAN)
    for name in MEASURES:
        values = rows[name]
        good &= np.isfinite(values).all(tuple(range(1, values.ndim)))
    return good


def decode_table(message: Any, expected: np.dtype, topic: str) -> np.ndarray:
    """The rows of any table that came as a PointCloud2 on ``topic``; their values are not checked.

    Raises:
        ReplayError: a column is missing, of another type or size, or the data are too short.
    """
    data = np.frombuffer(message.data, np.uint8) if not isinstance(message.data, np.ndarray) else message.data.view(np.uint8)
    count = int(message.width) * int(message.height)
    step = int(message.point_step)
    if message.is_bigendian:
        raise ReplayError(f"'{topic}' is big-endian; send little-endian")
    if step <= 0 or count <= 0 or data.size < count * step:
        raise ReplayError(f"'{topic}' says {count} rows of {step} bytes and holds {data.size} bytes")
    if message.height != 1 and message.row_step != message.width * step:
        raise ReplayError(f"'{topic}' has gaps between its {message.height} lines; send height 1")
    if step == expected.itemsize and [(f.name, f.offset, f.datatype, f.count) for f in message.fields] == _layout(expected):
        same: np.ndarray = data[: count * step].copy().view(expected)  # as `encode` made it: a tenth of the time of the rest
        return same
    sent = {field.name: field for field in message.fields}
    table = data[: count * step].reshape(count, step)
    columns = {}
    for name in expected.names or ():  # all of them before room is made for the rows: their number is the sender's
        base, shape = expected[name].base, expected[name].shape
        size = math.prod(shape)
        if not size:
            continue
        field = sent.get(name)
        if field is None:
            raise ReplayError(f"'{topic}' has no column '{name}'; it has {', '.join(sent)}")
        if NUMPY_TYPE.get(field.datatype, "?").lstrip("<|") != base.str.lstrip("<|") or field.count != size:
            raise ReplayError(
                f"column '{name}' of '{topic}' holds {field.count} values of PointField type {field.datatype}; expected {size} of "
                f"type {POINT_FIELD[base.str.lstrip('<|')]}: do control_node and this node use the same parameter file?"
            )
        end = field.offset + size * base.itemsize
        if end > step:
            raise ReplayError(f"column '{name}' of '{topic}' ends at byte {end} of a row of {step}")
        columns[name] = table[:, field.offset : end]
    rows = np.zeros(count, expected)
    for name, column in columns.items():
        base, shape = expected[name].base, expected[name].shape
        rows[name] = np.ascontiguousarray(column).view(base).reshape((count, *shape))
    return rows
