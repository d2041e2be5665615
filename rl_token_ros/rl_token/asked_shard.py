"""A shard whose embeddings a VLA is asked for, over hours: what is on the disk after a kill is used again, and the asking goes on there.

Beside the shard stands a journal, lines of text: first what the shard is of, then for each observation that was asked about its key and whether
the shard holds it. Embeddings are written before their line, so a line that is whole has them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rl_token_ros.rl_token import shard_index
from rl_token_ros.rl_token.dataset import NothingToLearn, Observations
from rl_token_ros.rl_token.shards import BYTES, ShardError, Shards, ShardWriter, fits


def path_in(cache: Path, name: str, source: dict[str, Any]) -> Path:
    """Where the shard of a source lies: another source has another file, so that nothing is asked for twice, or lost."""
    return cache / f"{name}-{hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()[:8]}.f16"


def finished(path: Path, source: dict[str, Any], vla_sha256: str | None, note: Callable[[str], None]) -> Observations | None:
    """The observations of a shard that was asked for to its end; None: the rest is to be asked for.

    Args:
        vla_sha256: fingerprint of the VLA that answers; None: none does.

    Raises:
        ShardError: it is of another VLA.
    """
    try:
        seen = shard_index.load(path, source)
    except ShardError as error:  # the journal knows how far it goes
        note(f"{str(error).partition(';')[0]}; what is missing is asked for again")
        return None
    if seen is not None:
        _refuse_other(path, seen.vla_sha256, seen.vla_sha256 if vla_sha256 is None else vla_sha256)
        note(f"asked about before: {len(seen.held)} observations in '{path}', of the VLA with SHA-256 '{seen.vla_sha256[:12]}'")
    return seen


def _refuse_other(path: Path, known: str, answers: str) -> None:
    if known != answers:
        raise ShardError(
            f"'{path}' is of a VLA with SHA-256 '{known[:12]}', the one that answers has '{answers[:12]}'; serve that one, or name another --cache, "
            "where all is asked for anew"
        )


class AskedShard:
    """Use it as a context: the journal is open, and no other process may write it.

    Args:
        path: of the shard, see :func:`path_in`.
        vla_sha256: fingerprint of the VLA, empty where it is not known.
        note: told what was found on the disk.

    Attributes:
        known: observations of which it is known already what came of them.
        left_out: of all so far, those that are not in the shard: not finite, beyond what float16 holds, or without a picture.

    Raises:
        ShardError: the journal cannot be read or is of another VLA, the folder cannot be written, or another process writes it.
    """

    def __init__(self, path: Path, vla_sha256: str, note: Callable[[str], None]) -> None:
        self.path, self._vla, self._note = path, vla_sha256, note
        self._shape: tuple[int, ...] | None = None
        self._keys: list[int] = []
        self._kept: list[bool] = []
        self._next = 0
        journal = path.with_suffix(".asked")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._journal = open(journal, "ab+", buffering=0)
        except OSError as error:
            raise ShardError(f"'{journal}' cannot be written ({error.strerror}); name another --cache") from None
        try:
            fcntl.flock(self._journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._journal.close()
            raise ShardError(f"another process is asking for '{path}'; wait for it, or name another --cache") from None
        shard_index.path_of(path).unlink(missing_ok=True)
        try:
            count = self._recall()
        except ShardError:
            self._journal.close()
            raise
        self.known, self.left_out = len(self._keys), self._kept.count(False)
        self._writer = ShardWriter(path, count, self._shape)
        if self.known:
            note(f"{self.known} observations were asked about before, {count} of them are in '{path}': it goes on there")

    def __enter__(self) -> AskedShard:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()
        self._journal.close()

    def recall(self, key: int) -> bool | None:
        """Whether the shard has the next observation, as it is known from before; None: it is to be asked about.

        Args:
            key: what tells it from others: its stamp, or its number.

        Raises:
            ShardError: before, another observation came here.
        """
        if self._next == len(self._keys):
            return None
        if self._keys[self._next] != key:
            raise ShardError(
                f"'{self.path}' is of other observations (number {self._next} is {self._keys[self._next]}, not {key}); delete it with its journal, "
                f"'{self.path.with_suffix('.asked')}', or name another --cache"
            )
        self._next += 1
        return self._kept[self._next - 1]

    def write(self, key: int, matrix: np.ndarray | None) -> bool:
        """The next observation's embeddings [M, D], or None where there are none; whether the shard has them.

        Raises:
            NothingToLearn: they are of another shape than those before.
            ShardError: the disk is full.
        """
        kept = matrix is not None and fits(matrix)
        if matrix is not None:
            if self._shape is None:
                self._shape = matrix.shape
                self._append(json.dumps({"vla_sha256": self._vla, "rows": matrix.shape[0], "columns": matrix.shape[1]}))
            if matrix.shape != self._shape:
                raise NothingToLearn(
                    f"the VLA gives embeddings {matrix.shape} now, before it {self._shape}; one encoder is for one shape: serve it as before, "
                    f"or name another --cache, where all is asked for anew"
                )
        elif self._shape is None:  # no head yet: it will be found again
            self.left_out += 1
            return False
        if kept:
            assert matrix is not None
            self._writer.write(matrix)
        else:
            self.left_out += 1
        self._append(f"{key} {int(kept)}")
        self._keys.append(key)
        self._kept.append(kept)
        self._next += 1
        return kept

    def finish(self, seen: Observations, source: dict[str, Any]) -> None:
        """All is asked for: write the index, by which the shard counts as whole."""
        whole = self._writer.finish()
        seen.vla_sha256 = self._vla
        shard_index.save(seen, whole, source)
        seen.embeddings = Shards([whole])

    def _append(self, line: str) -> None:
        try:
            self._journal.write(line.encode() + b"\n")
        except OSError as error:
            raise ShardError(f"'{self.path.with_suffix('.asked')}' cannot be written ({error.strerror}); make room, and start this again") from None

    def _recall(self) -> int:
        """Read the journal, and cut off what is not whole in it or in the shard; how many observations the shard has."""
        self._journal.seek(0)
        text = self._journal.read()
        lines = text[: text.rfind(b"\n") + 1].splitlines(keepends=True)
        if not lines:
            os.ftruncate(self._journal.fileno(), 0)
            return 0
        try:
            head = json.loads(lines[0])
            of, shape = str(head["vla_sha256"]), (int(head["rows"]), int(head["columns"]))
            told = [(int(key), kept == b"1") for key, kept in (line.split() for line in lines[1:])]
        except (ValueError, KeyError, TypeError):
            raise ShardError(f"'{self.path.with_suffix('.asked')}' cannot be read; delete it, and all is asked for anew") from None
        _refuse_other(self.path, of, self._vla)
        self._shape = shape
        size = shape[0] * shape[1] * BYTES
        whole = (self.path.stat().st_size if self.path.is_file() else 0) // size
        good = count = 0
        for _, kept in told:
            if kept and count == whole:
                break
            good, count = good + 1, count + kept
        if lost := sum(kept for _, kept in told) - count:
            self._note(f"'{self.path}' is cut off: {lost} observations of it are asked about again")
        os.ftruncate(self._journal.fileno(), sum(map(len, lines[: 1 + good])))
        self._keys, self._kept = [key for key, _ in told[:good]], [kept for _, kept in told[:good]]
        return count
