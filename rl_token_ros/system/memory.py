"""Lets the process keep the memory it freed, for processes that take and free megabytes many times a second."""

from __future__ import annotations

import ctypes

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
