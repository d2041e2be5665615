"""How pictures come into a process, where the middleware is Fast DDS: over UDP if a socket may hold several pictures, else as all else."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from rl_token_ros.nodes import discovery

CAMERAS = Path(__file__).with_name("cameras.fastdds.xml")
RECEIVE_BYTES = 33_554_432  # asked for in the profile
# Some eight pictures of 640 x 480 rgb8 at one moment: twice this, as Linux counts, which is 70 kB for each 64 kB of a picture.
ENOUGH_BYTES = 4_194_304


def use_profile() -> None:
    """:func:`discovery.use_profile`, for who listens to cameras. Before rclpy.init.

    Through shared memory a picture passes the segment of its driver, by default 0.5 MB, which the driver fills faster than anyone empties
    it: most of the pictures are lost, whatever the reliability. A socket's buffer is our own.
    """
    name = discovery.profile_variable()
    if name is None or name in os.environ:
        return  # another middleware, or a profile of the user's own
    discovery.use_profile()
    if os.environ.get(name) == str(discovery.LARGE_MESSAGES) and receive_buffer(RECEIVE_BYTES) >= ENOUGH_BYTES:
        os.environ[name] = str(CAMERAS)


def remedy() -> str:
    """What is to be done here so that this process receives pictures over UDP; empty where it does, or with another middleware."""
    name = discovery.profile_variable()
    if name is None or os.environ.get(name) == str(CAMERAS):
        return ""
    if receive_buffer(RECEIVE_BYTES) < ENOUGH_BYTES:
        return f"run `sysctl -w net.core.rmem_max={RECEIVE_BYTES}` here"
    return "start this without a profile or transports of your own for Fast DDS, and with room in /dev/shm"


def receive_buffer(asked: int) -> int:
    """How many bytes a socket that asks for as many may hold: net.core.rmem_max at most."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, asked)
        return probe.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2  # Linux doubles what it is asked for, for its own overhead
