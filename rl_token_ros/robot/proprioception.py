"""What the robot measures, by name and with stamps, and the proprioception vector made from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rl_token_ros.robot.yaw import yaw_of
from rl_token_ros.settings.proprioception_groups import AXES, GROUPS, YAW, moves_tool

Numbers = Sequence[float] | np.ndarray


class StateError(ValueError):
    """A measurement that cannot be used; the message names the topic and says why."""


class RobotState:
    """The newest measurement of each topic, checked.

    A message is refused whole (:class:`StateError`) when a joint is missing or a value is not finite, and ignored when its stamp
    is not newer than the one held: a bag that loops or a driver that reorders must not move time backwards.

    Args:
        joint_names: joints read from `joint_states`.
        groups: what is needed. Of `joint_states` the rest is ignored: ros2_control fills what an arm does not measure with NaN.
        tool_orientation: x, y, z, w, from which yaw is counted; where no action is yaw, nothing.
    """

    def __init__(self, joint_names: list[str], groups: list[str], tool_orientation: Sequence[float] = ()) -> None:
        self.joint_names = joint_names
        self._zero = tool_orientation
        self._joint_groups = [group for group in groups if GROUPS[group] == "joint_states"]
        self.values: dict[str, np.ndarray] = {}
        self.stamps: dict[str, int] = {}
        self.out_of_order = 0

    def update_joints(self, stamp_ns: int, names: list[str], position: Numbers, velocity: Numbers = (), effort: Numbers = ()) -> None:
        """A `joint_states` message: values by name; extra joints are ignored, missing ones refused."""
        index = {name: i for i, name in enumerate(names)}
        missing = [name for name in self.joint_names if name not in index]
        if missing:
            raise StateError(f"'joint_states' has no {', '.join(missing)}; it has {', '.join(names)}: write its names in 'joint_names'")
        columns = [index[name] for name in self.joint_names]
        groups = {}
        for group, sent in (("joint_position", position), ("joint_velocity", velocity), ("joint_effort", effort)):
            if group not in self._joint_groups:
                continue
            if len(sent) != len(names):
                raise StateError(f"'joint_states' has {len(names)} names and {len(sent)} values of {group}")
            groups[group] = np.asarray(sent, np.float64)[columns]
        self._accept("joint_states", stamp_ns, groups)

    def update_pose(self, stamp_ns: int, position: Numbers, orientation: Numbers) -> None:
        """An `ee_pose`: position x, y, z in m and orientation x, y, z, w of the tool in the base frame."""
        groups = {"ee_position": np.asarray(position, np.float64), "ee_orientation": np.asarray(orientation, np.float64)}
        if not 0.99 < np.linalg.norm(groups["ee_orientation"]) < 1.01:
            raise StateError("'ee_pose' has an orientation that is no unit quaternion")
        self._accept("ee_pose", stamp_ns, groups)

    def update_wrench(self, stamp_ns: int, force: Numbers, torque: Numbers) -> None:
        """A `wrench`: force in N and torque in N m."""
        self._accept("wrench", stamp_ns, {"wrench_force": np.asarray(force, np.float64), "wrench_torque": np.asarray(torque, np.float64)})

    def _accept(self, topic: str, stamp_ns: int, groups: dict[str, np.ndarray]) -> None:
        for group, values in groups.items():
            if not np.isfinite(values).all():
                raise StateError(f"'{topic}' holds a {group} that is not finite")
        if stamp_ns <= self.stamps.get(topic, -1):
            self.out_of_order += 1
            return
        self.values.update(groups)
        self.stamps[topic] = stamp_ns

    def forget(self, topic: str = "") -> None:
        """Drop everything, as after a jump of the clock, or what one topic brought."""
        for group in [group for group in self.values if topic in ("", GROUPS[group])]:
            del self.values[group]
        for name in [name for name in self.stamps if topic in ("", name)]:
            del self.stamps[name]

    def missing(self, groups: list[str]) -> list[str]:
        """The groups that no message has brought yet (command_lead excepted)."""
        return [group for group in groups if GROUPS[group] and group not in self.values]

    def age_ns(self, groups: list[str], now_ns: int) -> int:
        """Age of the oldest of these groups, none of which is missing."""
        return max((now_ns - self.stamps[topic] for group in groups if (topic := GROUPS[group])), default=0)

    def vector(self, groups: list[str], command_lead: np.ndarray | None = None) -> np.ndarray:
        """Proprioception float32 [P], groups in the given order."""
        parts = [command_lead if command_lead is not None and group == "command_lead" else self.values[group] for group in groups]
        return np.concatenate(parts).astype(np.float32)

    def measured(self, action_names: list[str]) -> np.ndarray:
        """The measured position [A] of each action dimension: joints by name, or x, y, z (m) and yaw (rad) of the tool."""
        if moves_tool(action_names, self.joint_names):
            pose = self.values["ee_position"]
            if YAW in action_names:
                pose = np.append(pose, yaw_of(self.values["ee_orientation"].tolist(), self._zero))
            return pose[[(*AXES, YAW).index(name) for name in action_names]]
        return self.values["joint_position"][[self.joint_names.index(name) for name in action_names]]
