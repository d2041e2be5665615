"""Stamps of messages as integer nanoseconds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

AHEAD_NS = 200_000_000  # clocks of two machines differ, and /clock arrives after the messages of its moment


def stamp_to_ns(stamp: Any) -> int:
    """A builtin_interfaces/Time as integer nanoseconds."""
    total: int = stamp.sec * 1_000_000_000 + stamp.nanosec
    return total


def ns_to_stamp(ns: int) -> Any:
    """Its counterpart: an object with the fields of a builtin_interfaces/Time or Duration, for messages that never leave the process."""
    sec, nanosec = divmod(ns, 1_000_000_000)
    return SimpleNamespace(sec=sec, nanosec=nanosec)


def from_future(stamp_ns: int, now_ns: int) -> bool:
    """Whether a stamp cannot be true. Taken for the newest, it would look fresh and keep all later ones out until its time came."""
    return stamp_ns - now_ns > AHEAD_NS
