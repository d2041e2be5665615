"""A sensor_msgs/Image out of its serialised bytes, without copying the picture, and a matrix into them, copied once.

rclpy's own conversion copies megabytes, several times when sending, on the thread that spins, which for control_node is the one that ticks.
"""

from __future__ import annotations

import struct
from types import SimpleNamespace

import numpy as np

from rl_token_ros.interfaces.images import ImageError

ENCAPSULATION = 4  # bytes before the message; the second says the byte order
LITTLE = b"\0\1\0\0"


def read(raw: bytes, topic: str) -> SimpleNamespace:
    """The fields of an Image in plain CDR (DDS-XTypes 1.3, section 7.4.3); ``data`` is a view of the bytes.

    Raises:
        ImageError: it ends early, or is in another encoding.
    """
    try:
        if raw[0] or raw[1] > 1:
            raise ImageError(f"'{topic}' is serialised in another way than CDR; use an rmw that speaks CDR")
        order = "<" if raw[1] else ">"
        sec, nanosec, length = struct.unpack_from(f"{order}iII", raw, ENCAPSULATION)
        at = ENCAPSULATION + 12
        frame, at = _text(raw, at, length), _aligned(at + length)
        height, width, length = struct.unpack_from(f"{order}III", raw, at)
        encoding, at = _text(raw, at + 12, length), at + 12 + length
        big, at = raw[at], _aligned(at + 1)
        step, length = struct.unpack_from(f"{order}II", raw, at)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ImageError(f"'{topic}' is no Image: {error}") from None
    data = memoryview(raw)[at + 8 : at + 8 + length]
    if len(data) < length:
        raise ImageError(f"'{topic}' says {length} bytes and holds {len(data)}")
    header = SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec), frame_id=frame)
    return SimpleNamespace(header=header, height=height, width=width, encoding=encoding, is_bigendian=big, step=step, data=data)


def from_matrix(matrix: np.ndarray, stamp_ns: int, frame_id: str = "") -> bytes:
    """A float32 matrix [rows, columns] as 32FC1 with that stamp and frame: what `images.from_matrix` and rclpy make of it."""
    rows, columns = matrix.shape
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    frame = frame_id.encode() + b"\0"
    # Up to the next multiple of four behind the frame; "32FC1\0", is_bigendian and one byte likewise.
    layout = f"<iII{len(frame)}s{_aligned(len(frame)) - len(frame)}xIII6sB1xII"
    head = struct.pack(layout, sec, nanosec, len(frame), frame, rows, columns, 6, b"32FC1\0", 0, columns * 4, rows * columns * 4)
    return b"".join([LITTLE, head, np.ascontiguousarray(matrix, "<f4").data.cast("B")])


def _text(raw: bytes, at: int, length: int) -> str:
    return bytes(raw[at : at + max(length - 1, 0)]).decode()  # it ends with a zero


def _aligned(at: int) -> int:
    """The next multiple of four, counted behind the encapsulation, which is as long."""
    return at + -at % 4
