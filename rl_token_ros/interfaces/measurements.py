"""Measurements as messages: `joint_states`, `ee_pose` and `wrench` into a RobotState, the same way live and from a bag."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rl_token_ros.interfaces import topics as table
from rl_token_ros.interfaces.stamps import from_future, stamp_to_ns
from rl_token_ros.robot.proprioception import RobotState
from rl_token_ros.settings.proprioception_groups import GROUPS

TYPES = {topic: table.TYPES[topic] for topic in ("joint_states", "ee_pose", "wrench")}


class StampError(ValueError):
    """A stamp that cannot be true."""


def topics(groups: Iterable[str]) -> list[str]:
    """The topics that these groups of proprioception are measured by."""
    needed = {GROUPS[group] for group in groups}
    return [topic for topic in TYPES if topic in needed]


def take(state: RobotState, topic: str, message: Any, now_ns: int) -> None:
    """A message of one of :data:`TYPES`; a driver that leaves the stamp zero gets the time of arrival.

    Raises:
        StampError: the stamp lies in the future.
        StateError: a joint is missing or a value is not finite.
    """
    stamp = stamp_to_ns(message.header.stamp)
    if from_future(stamp, now_ns):
        raise StampError(f"'{topic}' is stamped {(stamp - now_ns) * 1e-9:.2f} s in the future; do the clocks agree?")
    stamp = stamp or now_ns
    if topic == "joint_states":
        state.update_joints(stamp, list(message.name), message.position, message.velocity, message.effort)
    elif topic == "ee_pose":
        p, q = message.pose.position, message.pose.orientation
        state.update_pose(stamp, (p.x, p.y, p.z), (q.x, q.y, q.z, q.w))
    else:
        f, t = message.wrench.force, message.wrench.torque
        state.update_wrench(stamp, (f.x, f.y, f.z), (t.x, t.y, t.z))
