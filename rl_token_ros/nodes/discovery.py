"""Profiles for the middleware, where it is Fast DDS: room for large messages, and how soon others notice that a node has died.

`large_messages.fastdds.xml` is for drivers of cameras, too, and installed as `share/rl_token_ros/config/large_messages.fastdds.xml`:

    FASTDDS_DEFAULT_PROFILES_FILE=.../large_messages.fastdds.xml ros2 run ...

Fast DDS 2 (Humble, Jazzy) calls the variable FASTRTPS_DEFAULT_PROFILES_FILE. :func:`driver_setting` says it as it is here.
"""

from __future__ import annotations

import fcntl
import os
import re
import sys
import time
from pathlib import Path

import rclpy

LARGE_MESSAGES = Path(__file__).with_name("large_messages.fastdds.xml")
SHORT_LEASE = Path(__file__).with_name("short_lease.fastdds.xml")
VARIABLES = {"fastrtps": "FASTRTPS_DEFAULT_PROFILES_FILE", "fastdds": "FASTDDS_DEFAULT_PROFILES_FILE"}  # by the library's name: 2 and 3
TRANSPORTS = "FASTDDS_BUILTIN_TRANSPORTS"  # a user's choice, which transports of a profile would overrule
SHARED_MEMORY = Path("/dev/shm")
SEGMENT_BYTES = 36_000_000  # what one process takes of it with LARGE_MESSAGES
ABANDONED_SECONDS = 10.0  # a segment is older than this before it counts as left over: its lock is taken after it is made


def use_profile() -> None:
    """Large messages and a short lease for this process, unless the user has a profile of his own. Before rclpy.init.

    Short lease: whoever says or hears `command` and is killed is forgotten soon, and does not keep the arm from starting. Where the
    shared memory has no room for large messages, or the user has chosen the transports, it is the lease alone; the first is said.
    """
    name = profile_variable()
    if name is None or any(variable in os.environ for variable in VARIABLES.values()):
        return
    profile = SHORT_LEASE
    if TRANSPORTS not in os.environ:
        remove_abandoned(SHARED_MEMORY, time.time())
        free = free_bytes(SHARED_MEMORY)
        if free >= SEGMENT_BYTES:
            profile = LARGE_MESSAGES
        else:
            text = (
                f"warning: {free / 1e6:.0f} MB are free in {SHARED_MEMORY}, large messages want {SEGMENT_BYTES / 1e6:.0f} MB for each node: pictures "
                "that this process publishes may be lost; in a container, start it with --shm-size=1g or --ipc=host"
            )
            print(text, file=sys.stderr, flush=True)
    os.environ[name] = str(profile)


def driver_setting() -> str:
    """What stands before a driver's command so that its pictures arrive whole, as ``NAME=path``; empty for another middleware."""
    name = profile_variable()
    return f"{name}={LARGE_MESSAGES}" if name else ""


def profile_variable() -> str | None:
    """The variable in which the Fast DDS of this process looks for its profiles; None where it is none, or cannot be told."""
    if "fastrtps" not in rclpy.get_rmw_implementation_identifier():  # this loads it, if nobody has yet
        return None
    try:
        return variable_of(Path("/proc/self/maps").read_text())
    except OSError:
        return None


def variable_of(maps: str) -> str | None:
    """The same from ``maps``, the text of /proc/PID/maps: the libraries that a process has loaded."""
    library = re.search(r"/lib(fastrtps|fastdds)\.so\b", maps)
    return VARIABLES[library[1]] if library else None


def free_bytes(folder: Path) -> int:
    """What the file system of ``folder`` has left, bytes; 0 where there is none."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return 0
    return status.f_bavail * status.f_frsize


def remove_abandoned(folder: Path, now: float) -> int:
    """Delete the segments whose processes were killed: Fast DDS leaves them, 35 MB each. Returns how many.

    A living process holds a lock on the file `NAME_el` beside its segment `NAME`; the kernel frees it when the process ends.
    """
    removed = 0
    for lock in folder.glob("fast*_*_el"):
        segment = lock.with_name(lock.name.removesuffix("_el"))
        if "_port" in segment.name:
            continue
        try:
            if now - lock.stat().st_mtime < ABANDONED_SECONDS:
                continue
            with lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                segment.unlink(missing_ok=True)
                lock.unlink()
        except OSError:  # in use, or another user's
            continue
        removed += 1
    return removed
