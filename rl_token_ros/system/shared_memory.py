"""The machine's shared memory, through which Fast DDS hands messages from process to process: what is free, and what was left behind."""

from __future__ import annotations

import fcntl
import os
import re
import time
from pathlib import Path

FOLDER = Path("/dev/shm")
LOCK = re.compile(r"(fastdds|fastrtps)_[0-9a-f]{16}_el")  # beside each segment, by Fast DDS 3 and 2; ports are called otherwise
ABANDONED_SECONDS = 10.0  # a younger lock may be one that its process is about to take


def free_bytes(folder: Path = FOLDER) -> int:
    """What is free in it; 0 where there is none."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return 0
    return status.f_bavail * status.f_frsize


def remove_abandoned(folder: Path = FOLDER) -> int:
    """Delete the segments of processes that were killed: Fast DDS leaves them there, until nothing is free. Returns how many.

    A living process holds a lock on the file `NAME_el` beside its segment `NAME`; the kernel frees it when the process ends.
    """
    removed = 0
    for lock in folder.glob("*_el"):
        try:
            if not LOCK.fullmatch(lock.name) or time.time() - lock.stat().st_mtime < ABANDONED_SECONDS:
                continue
            with lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                lock.with_name(lock.name.removesuffix("_el")).unlink(missing_ok=True)
                lock.unlink()
        except OSError:  # in use, or another user's
            continue
        removed += 1
    return removed
