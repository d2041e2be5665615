"""Measurements as messages: `joint_states`, `ee_pose`, `wrench` and `extra` into a RobotState, the same way live and from a bag."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rl_token_ros.interfaces import topics as table
from rl_token_ros.interfaces.stamps import from_future, stamp_to_ns
from rl_token_ros.robot.proprioception import RobotState
from rl_token_ros.robot.readings import Reader, Reading
from rl_token_ros.settings.proprioception_groups import source

TYPES = {topic: table.TYPES[topic] for topic in ("joint_states", "ee_pose", "wrench", "extra")}


GID_BYTES = 16  # of the identifier of a publisher; rmw pads it on some releases


class StampError(ValueError):
    """A stamp that cannot be true."""


def topics(groups: Iterable[str]) -> list[str]:
    """The topics that these groups of proprioception are measured by."""
    needed = {source(group) for group in groups}
    return [topic for topic in TYPES if topic in needed]


def take(state: RobotState, topic: str, message: Any, now_ns: int) -> None:
    """Believe a message of one of :data:`TYPES`, as :func:`read` has it."""
    if (reading := read(state.reader, topic, message, now_ns)) is not None:
        state.accept(reading)


def read(reader: Reader, topic: str, message: Any, now_ns: int) -> Reading | None:
    """What a message of one of :data:`TYPES` says; None: nothing of ours. A driver that leaves the stamp zero gets the time of arrival.

    Raises:
        StampError: the stamp lies in the future.
        StateError: a value is missing or not finite.
    """
    stamp = stamp_to_ns(message.header.stamp)
    if from_future(stamp, now_ns):
        raise StampError(f"'{topic}' is stamped {(stamp - now_ns) * 1e-9:.2f} s in the future; do the clocks agree?")
    stamp = stamp or now_ns
    if topic == "joint_states":
        return reader.joints(stamp, message.name, message.position, message.velocity, message.effort)
    if topic == "ee_pose":
        p, q = message.pose.position, message.pose.orientation
        return reader.pose(stamp, (p.x, p.y, p.z), (q.x, q.y, q.z, q.w))
    if topic == "extra":
        return reader.extra(stamp, message.name, message.position)
    f, t = message.wrench.force, message.wrench.torque
    return reader.wrench(stamp, (f.x, f.y, f.z), (t.x, t.y, t.z))


def brings(reader: Reader, topic: str, message: Any) -> list[str]:
    """What a message of one of :data:`TYPES` is about: joints of ours, or its topic."""
    return reader.ours(message.name) if topic == "joint_states" else [topic]


def writer(info: Mapping[str, Any]) -> tuple[bytes | None, int | None]:
    """Identifier of a message's publisher and its number there, as far as rclpy tells (from Kilted, and Jazzy, on)."""
    gid = info.get("publisher_gid")
    return bytes(gid["data"][:GID_BYTES]) if gid else None, info.get("publication_sequence_number")
