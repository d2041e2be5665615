"""What a run's columns are called in a LeRobot data set: for those who write one, and for those who read it back.

Policies of LeRobot take what begins with ``observation.`` and ``action``, and pass over the rest: the VLA's state is `observation.state`, whatever
else was measured is ``measured.<group>``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rl_token_ros.adapters.lerobot_checkpoint import ACTION, STATE
from rl_token_ros.adapters.lerobot_dataset import SUCCESS
from rl_token_ros.settings.proprioception_groups import EXTRA, size
from rl_token_ros.settings.robot import Robot

PICTURE, MEASURED = "observation.images.", "measured."
COMMAND = "command"  # float32 [A], the position commanded just before the action
REWARD, DONE = "next.reward", "next.done"
ENDED = "next.ended"  # code of `episode_ended` in the last frame, else 0
SOURCE, CRITICAL = "source", "critical"  # who commanded (`replay`), and whether the critical phase had begun
STAMP = "stamp_ns"  # of the observation in the bag
SINGLE = {REWARD: "float32", DONE: "bool", SUCCESS: "bool", ENDED: "int64", SOURCE: "int64", CRITICAL: "bool", STAMP: "int64"}
_SUFFIX = {"joint_position": "pos", "joint_velocity": "vel", "joint_effort": "effort"}
_PARTS = {
    "ee_position": ("ee.x", "ee.y", "ee.z"),
    "ee_orientation": ("ee.qx", "ee.qy", "ee.qz", "ee.qw"),
    "wrench_force": ("wrench.fx", "wrench.fy", "wrench.fz"),
    "wrench_torque": ("wrench.tx", "wrench.ty", "wrench.tz"),
}


def group_names(group: str, joint_names: Sequence[str]) -> list[str]:
    """Names of the values of a group of measurements: joints as LeRobot's robots call them (``elbow.pos``), the tool in its own."""
    if group.startswith(EXTRA):
        return [group]
    return list(_PARTS[group]) if group in _PARTS else [f"{joint}.{_SUFFIX[group]}" for joint in joint_names]


def measured_column(group: str) -> str:
    """The column of a group that is no part of observation.state; LeRobot takes no slash in a name."""
    return f"{MEASURED}{group.replace('/', '.')}"


def features(robot: Robot, state: Sequence[str], others: Sequence[str], sizes: Mapping[str, tuple[int, int]], videos: bool) -> dict[str, Any]:
    """The ``features`` of a data set.

    Args:
        robot: names of joints, actions and grippers.
        state: groups of observation.state.
        others: groups beside them.
        sizes: rows and columns of each camera's pictures.
        videos: whether pictures are kept as video.
    """
    joints = robot.joint_names
    kind = "video" if videos else "image"
    found: dict[str, Any] = {f"{PICTURE}{camera}": _of(kind, (*size, 3), ["height", "width", "channels"]) for camera, size in sizes.items()}
    found[STATE] = _of("float32", (size(list(state), len(joints), 0),), [name for group in state for name in group_names(group, joints)])
    found |= {measured_column(group): _of("float32", (size([group], len(joints), 0),), group_names(group, joints)) for group in others}
    found[ACTION] = _of("float32", (len(robot.chunk_names),), robot.chunk_names)
    found[COMMAND] = _of("float32", (robot.action_size,), robot.action_names)
    return found | {name: _of(dtype, (1,), None) for name, dtype in SINGLE.items()}


def _of(dtype: str, shape: tuple[int, ...], names: Sequence[str] | None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "names": list(names) if names else None}
