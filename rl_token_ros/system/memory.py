"""Memory of the process: how much it has, and that it keeps what it freed, where megabytes are taken and freed many times a second."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # <malloc.h>
LARGEST = 32 << 20  # bytes; the most that every glibc takes


def keep() -> bool:
    """Serve allocations up to LARGEST from memory that is kept, instead of asking the system for fresh pages each time.

    Fresh pages are zeroed one by one when first touched. For the embeddings of a VLA (700 x 2048 float32, copied some six times between
    socket and topic) that was a third of the time, and control_node's period jittered with it (benchmark/vla.py). glibc only; False
    elsewhere.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST) and mallopt(M_TRIM_THRESHOLD, 8 * LARGEST))


def resident() -> int:
    """Bytes that the process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
