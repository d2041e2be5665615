"""Append-only file of received rows: data reaches the disk before anything is learned from it.

A header line of JSON (the columns), then raw records of one size. A torn last record, from a crash, is cut off on opening.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Iterator

import numpy as np

from rl_token_ros.parameters import ParameterError

CHUNK_ROWS = 1024


class Journal:
    """Rows of one dtype in one file, opened for appending.

    Raises:
        ParameterError: the file holds rows with other columns.
    """

    def __init__(self, path: str | Path, dtype: np.dtype) -> None:
        self.path, self.dtype = Path(path), dtype
        self.path.parent.mkdir(parents=True, exist_ok=True)
        header = _header(dtype)
        self._file = open(self.path, "ab", buffering=0)
        size = self._file.tell()
        if size < len(header):
            self._file.truncate(0)
            self._file.write(header)
            size = len(header)
        elif self.path.open("rb").read(len(header)) != header:
            self._file.close()
            raise ParameterError(
                f"parameter 'run_directory': '{self.path}' holds rows with other columns than this robot's; write another run_directory"
            )
        self.rows = (size - len(header)) // dtype.itemsize
        self._file.truncate(len(header) + self.rows * dtype.itemsize)

    def append(self, rows: np.ndarray) -> None:
        """Write rows [n] to the file; they survive the end of this process, and with `flush` that of the machine."""
        self._file.write(rows.tobytes())
        self.rows += len(rows)

    def flush(self) -> None:
        """Wait until the disk has them."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        self._file.close()


def read(path: str | Path, dtype: np.dtype, start: int, stop: int) -> Iterator[np.ndarray]:
    """Rows ``start`` to ``stop`` of a journal, some at a time."""
    with open(path, "rb") as file:
        file.seek(len(_header(dtype)) + start * dtype.itemsize)
        while start < stop:
            rows = np.fromfile(file, dtype, min(CHUNK_ROWS, stop - start))
            if not len(rows):
                return
            start += len(rows)
            yield rows


def _header(dtype: np.dtype) -> bytes:
    columns = [[name, dtype[name].base.str, list(dtype[name].shape)] for name in dtype.names]
    return json.dumps({"format": "rl_token replay rows", "version": 1, "columns": columns}).encode() + b"\n"
