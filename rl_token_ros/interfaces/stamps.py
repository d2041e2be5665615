"""Stamps of messages as integer nanoseconds."""

from __future__ import annotations

AHEAD_NS = 200_000_000  # clocks of two machines differ, and /clock arrives after the messages of its moment


def stamp_to_ns(stamp) -> int:
    """A builtin_interfaces/Time as integer nanoseconds."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def from_future(stamp_ns: int, now_ns: int) -> bool:
    """Whether a stamp cannot be true. Taken for the newest, it would look fresh and keep all later ones out until its time came."""
    return stamp_ns - now_ns > AHEAD_NS
