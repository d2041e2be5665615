"""Embeddings on disk: float16 [count, M, D] without a head, one file per recording, for data that no memory holds.

Files are read and not mapped: mapped pages count as this process's memory for as long as nobody else wants it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BYTES = 2  # of a value
LARGEST = float(np.finfo(np.float16).max)


def fits(matrix: np.ndarray) -> bool:
    """Whether a shard can hold an observation: finite, and within what float16 holds."""
    return bool(max(matrix.max(), -matrix.min()) <= LARGEST)  # NaN is not


class ShardError(ValueError):
    """A shard that cannot be written or read; the message says what to do."""


@dataclass(frozen=True)
class Shard:
    """A file that is whole: observations, rows and columns of each."""

    path: Path
    count: int
    rows: int
    columns: int

    def check(self) -> None:
        """Whether the file holds what it should.

        Raises:
            ShardError: it is not there, or cut off.
        """
        wanted = self.count * self.rows * self.columns * BYTES
        found = self.path.stat().st_size if self.path.is_file() else 0
        if found != wanted:
            raise ShardError(f"'{self.path}' is cut off: {found} of {wanted} bytes; delete it, and its recording is copied anew")


class ShardWriter:
    """Writes a shard, observation after observation. It counts as whole only once an index names it (`shard_index`).

    As a context it removes the file when what it is written from ends in an error.

    Args:
        count: observations that the file has already, of that ``shape`` (M, D); what is behind them is cut off.

    Raises:
        ShardError: the disk is full, or the folder cannot be written.
    """

    def __init__(self, path: Path, count: int = 0, shape: tuple[int, ...] | None = None) -> None:
        self.path, self.count = path, count
        self._shape: tuple[int, ...] = shape or (0, 0)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "r+b" if count else "wb", buffering=0)
            self._file.truncate(count * self._shape[0] * self._shape[1] * BYTES)
            self._file.seek(0, os.SEEK_END)
        except OSError as error:
            raise self._failed(error) from None

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()
        if kind is not None:
            self.path.unlink(missing_ok=True)

    def write(self, matrix: np.ndarray) -> None:
        """Append one observation, [M, D], all of one shape and within +-`LARGEST`."""
        half = np.ascontiguousarray(matrix, np.float16)
        rest = half.data.cast("B")
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise self._failed(error) from None
        self._shape = half.shape
        self.count += 1

    def close(self) -> None:
        """Write no more."""
        self._file.close()

    def finish(self) -> Shard:
        """What was written, once it is on the disk."""
        os.fsync(self._file.fileno())
        return Shard(self.path, self.count, *self._shape)

    def _failed(self, error: OSError) -> ShardError:
        return ShardError(f"'{self.path}' cannot be written ({error.strerror}) after {self.count} observations; make room, or name another --cache")


class Shards:
    """Observations of several shards, one after the other. Only what is asked for is ever in memory.

    Attributes:
        shape: (N, M, D).
    """

    def __init__(self, shards: list[Shard] | None = None) -> None:
        self.shards = shards or []
        self._files: dict[Path, int] = {}

    @property
    def shape(self) -> tuple[int, int, int]:
        first = self.shards[0] if self.shards else Shard(Path(), 0, 0, 0)
        return sum(shard.count for shard in self.shards), first.rows, first.columns

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Observations by number, float16 [n, M, D]; in the order asked for, read in that of the disk.

        Raises:
            ShardError: a file has become shorter.
        """
        rows = np.asarray(rows)
        found = np.empty((len(rows), *self.shape[1:]), np.float16)
        ends = np.cumsum([shard.count for shard in self.shards])
        for place in np.argsort(rows, kind="stable"):
            number = int(np.searchsorted(ends, rows[place], side="right"))
            shard = self.shards[number]
            size = shard.rows * shard.columns * BYTES
            offset = (int(rows[place]) - int(ends[number]) + shard.count) * size
            view = found[place].reshape(-1).data.cast("B")
            while view:
                got = os.preadv(self._file(shard.path), [view], offset)
                if not got:
                    raise ShardError(f"'{shard.path}' ends within observation {rows[place]}; delete it, and its recording is copied anew")
                view, offset = view[got:], offset + got
        return found

    def _file(self, path: Path) -> int:
        if path not in self._files:
            self._files[path] = os.open(path, os.O_RDONLY)
        return self._files[path]

    def __del__(self) -> None:
        for file in self._files.values():
            os.close(file)


class Part:
    """Some observations of a source: what :class:`Shards` is, and any array [N, M, D].

    Attributes:
        shape: (N, M, D) of the part.
    """

    def __init__(self, source: Shards | np.ndarray, numbers: np.ndarray) -> None:
        self._source, self._numbers = source, numbers
        self.shape = (len(numbers), *source.shape[1:])

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self._source[self._numbers[rows]]
