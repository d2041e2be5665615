"""Rows of a table (`replay`, `~/ticks`) out of the CDR of its PointCloud2s."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rl_token_ros.interfaces import replay_table

STAMP = slice(4, 12)  # seconds and nanoseconds, the only bytes before the data in which two messages of as many rows differ


class TableReader:
    """Decodes the first message of a table whole, and of those that look the same only the data: there is one per control step."""

    def __init__(self) -> None:
        self._frames: dict[int, tuple[bytes, int, int]] = {}  # length of the message -> all before the data, where they are, rows

    def rows(self, cdr: bytes, decode: Callable[[bytes], Any], expected: np.dtype, topic: str) -> list[bytes]:
        """The rows of a message, each of ``expected.itemsize`` bytes.

        Args:
            cdr: the message.
            decode: from CDR to a PointCloud2.

        Raises:
            ReplayError: the table has other columns.
        """
        frame = self._frames.get(len(cdr))
        if frame is not None and cdr[STAMP.stop : frame[1]] == frame[0]:
            _, at, count = frame
            size = expected.itemsize
            return [cdr[i : i + size] for i in range(at, at + count * size, size)]
        message = decode(cdr)
        rows = replay_table.decode_table(message, expected, topic)
        data = bytes(message.data)
        at = cdr.find(data, STAMP.stop)
        if rows.tobytes() == data and at > 0:  # the columns lie in the message as here, without gaps
            self._frames[len(cdr)] = cdr[STAMP.stop : at], at, len(rows)
        return [row.tobytes() for row in rows]
