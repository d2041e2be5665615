"""Profiles for the middleware, where it is Fast DDS: room for large messages, and how soon others notice that a node has died.

`large_messages.fastdds.xml` is for drivers of cameras, too; it is the publisher's that counts. It is installed as
`share/rl_token_ros/config/large_messages.fastdds.xml`:

    FASTDDS_DEFAULT_PROFILES_FILE=.../large_messages.fastdds.xml ros2 run ...

Fast DDS 2 (Humble, Jazzy) calls the variable FASTRTPS_DEFAULT_PROFILES_FILE; :func:`driver_setting` says it as it is here.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import rclpy

from rl_token_ros.system import shared_memory

LARGE_MESSAGES = Path(__file__).with_name("large_messages.fastdds.xml")
SHORT_LEASE = Path(__file__).with_name("short_lease.fastdds.xml")
VARIABLES = {"fastrtps": "FASTRTPS_DEFAULT_PROFILES_FILE", "fastdds": "FASTDDS_DEFAULT_PROFILES_FILE"}  # by the library's name: 2 and 3
TRANSPORTS = "FASTDDS_BUILTIN_TRANSPORTS"  # a user's choice, which those of a profile would overrule
# A process takes 35 MB with LARGE_MESSAGES. This much has to be free, so that some is left for drivers, which need it more.
ROOM_BYTES = 150_000_000


def use_profile() -> None:
    """Large messages and a short lease for this process, unless the user has a profile of his own. Before rclpy.init.

    Short lease: whoever says or hears `command` and is killed is forgotten soon, and does not keep the arm from starting. It alone is
    used where the user has chosen the transports, and, with a sentence, where shared memory is short.
    """
    name = profile_variable()
    if name is None or any(variable in os.environ for variable in VARIABLES.values()):
        return
    profile = SHORT_LEASE if TRANSPORTS in os.environ or not _room() else LARGE_MESSAGES
    os.environ[name] = str(profile)


def use_short_lease() -> None:
    """The short lease alone, for who says or hears `command` and handles nothing large. Before rclpy.init.

    Through the large segments such a node lost another for some seconds, now and then, while more processes of the profile ran beside it.
    """
    name = profile_variable()
    if name is not None and not any(variable in os.environ for variable in VARIABLES.values()):
        os.environ[name] = str(SHORT_LEASE)


def driver_setting() -> str:
    """What stands before a driver's command so that its pictures arrive whole, as ``NAME=path``; empty for another middleware."""
    name = profile_variable()
    return f"{name}={LARGE_MESSAGES}" if name else ""


def profile_variable() -> str | None:
    """The variable in which the Fast DDS of this process looks for its profiles; None where it is none, or cannot be told."""
    if "fastrtps" not in rclpy.get_rmw_implementation_identifier():  # this loads it, if nobody has yet
        return None
    try:
        loaded = Path("/proc/self/maps").read_text()
    except OSError:
        return None
    library = re.search(r"/lib(fastrtps|fastdds)\.so\b", loaded)
    return VARIABLES[library[1]] if library else None


def _room() -> bool:
    shared_memory.remove_abandoned()
    free = shared_memory.free_bytes()
    if free < ROOM_BYTES:
        print(
            f"warning: {free / 1e6:.0f} MB are free in {shared_memory.FOLDER}, too few for large messages: pictures and embeddings that this "
            "process publishes may be lost; in a container, start it with --shm-size=1g or --ipc=host",
            file=sys.stderr,
            flush=True,
        )
    return free >= ROOM_BYTES
