"""What the robot measures, by name and with stamps, and the proprioception vector made from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rl_token_ros.robot.readings import Numbers, Reader, Reading
from rl_token_ros.robot.rotations import turn_from
from rl_token_ros.robot.yaw import yaw_of
from rl_token_ros.settings.proprioception_groups import AXES, ROTATION, YAW, moves_tool, source

NEVER = -1  # stamp of what has not come
NOTHING = np.zeros(0)  # numpy joins one array at least


class RobotState:
    """The newest measurement of each joint and topic, with its stamp.

    A message is refused whole (:class:`StateError`) when a value is not finite, and what it brings is ignored where its stamp is not newer
    than the one held: a bag that loops or a driver that reorders must not move time backwards. Each joint has its own stamp, since several
    drivers may each bring a part: `joint_states` is as old as its oldest joint, and is there when all joints are.

    Args:
        joint_names: joints read from `joint_states`.
        groups: what is needed.
        tool_orientation: x, y, z, w, from which yaw, and rx, ry, rz, are counted; where no action is one of them, nothing.

    Attributes:
        values: float64 by group; of joints only once all are there.
        stamps: ns by topic, likewise; of `joint_states` that of the oldest joint.
        joint_stamps: ns of each joint, NEVER before its first.
        out_of_order: messages that brought something not newer than what was held.
    """

    def __init__(self, joint_names: list[str], groups: list[str], tool_orientation: Sequence[float] = ()) -> None:
        self.joint_names = joint_names
        self.reader = Reader(joint_names, groups)
        self._zero = tool_orientation
        self.values: dict[str, np.ndarray] = {}
        self.stamps: dict[str, int] = {}
        self.joint_stamps = [NEVER] * len(joint_names)
        self._brought: dict[str, np.ndarray] = {}  # by group of joints, NaN for those that are not there yet
        self.out_of_order = 0

    def update_joints(self, stamp_ns: int, names: Sequence[str], position: Numbers, velocity: Numbers = (), effort: Numbers = ()) -> None:
        """Take in a `joint_states`, as :meth:`Reader.joints`."""
        if (reading := self.reader.joints(stamp_ns, names, position, velocity, effort)) is not None:
            self.accept(reading)

    def update_pose(self, stamp_ns: int, position: Numbers, orientation: Numbers) -> None:
        """Take in an `ee_pose`, as :meth:`Reader.pose`."""
        self.accept(self.reader.pose(stamp_ns, position, orientation))

    def update_wrench(self, stamp_ns: int, force: Numbers, torque: Numbers) -> None:
        """Take in a `wrench`, as :meth:`Reader.wrench`."""
        self.accept(self.reader.wrench(stamp_ns, force, torque))

    def accept(self, reading: Reading) -> None:
        """Believe what a message says, as far as it is newer than what is held."""
        if reading.topic == "joint_states":
            self._accept_joints(reading)
        elif reading.stamp_ns <= self.stamps.get(reading.topic, NEVER):
            self.out_of_order += 1
        else:
            self.values.update(reading.groups)
            self.stamps[reading.topic] = reading.stamp_ns

    def _accept_joints(self, reading: Reading) -> None:
        stamp, joints = reading.stamp_ns, reading.joints
        if joints is None and stamp > max(self.joint_stamps, default=NEVER):  # one driver for all: the usual case
            self._brought.update(reading.groups)
            self.joint_stamps = [stamp] * len(self.joint_names)
        else:
            brought = range(len(self.joint_names)) if joints is None else joints
            newer = [i for i, joint in enumerate(brought) if stamp > self.joint_stamps[joint]]
            self.out_of_order += len(newer) < len(brought)
            if not newer:
                return
            taken = [brought[i] for i in newer]
            for group, values in reading.groups.items():
                whole = self._brought.get(group)
                whole = np.full(len(self.joint_names), np.nan) if whole is None else whole.copy()  # who holds the one of before keeps it
                whole[taken] = values[newer]
                self._brought[group] = whole
            for joint in taken:
                self.joint_stamps[joint] = stamp
        oldest = min(self.joint_stamps, default=stamp)
        if oldest != NEVER:
            self.values.update(self._brought)
            self.stamps["joint_states"] = oldest

    def forget(self, topic: str = "") -> None:
        """Drop everything, as after a jump of the clock, or what one topic brought."""
        for group in [group for group in self.values if topic in ("", source(group))]:
            del self.values[group]
        for name in [name for name in self.stamps if topic in ("", name)]:
            del self.stamps[name]
        if topic in ("", "joint_states"):
            self.joint_stamps = [NEVER] * len(self.joint_names)
            self._brought.clear()

    def brought(self, group: str) -> np.ndarray | None:
        """A group of joints [J], NaN for those that have not come yet; None before the first."""
        return self._brought.get(group)

    def missing(self, groups: list[str]) -> list[str]:
        """The groups that no message has brought yet (command_lead excepted)."""
        return [group for group in groups if source(group) and group not in self.values]

    def why_missing(self, groups: list[str]) -> str:
        """The sentence about what of these groups no message has brought yet; nothing when all is there."""
        missing = self.missing(groups)
        if not missing:
            return ""
        absent = [name for name, stamp in zip(self.joint_names, self.joint_stamps) if stamp == NEVER]
        if source(missing[0]) != "joint_states" or not (len(absent) < len(self.joint_names) or self.reader.others):
            return f"no measurement of {', '.join(missing)} yet; check the topics {', '.join(sorted({source(group) or '' for group in missing}))}"
        brought = sorted({*self.joint_names, *self.reader.others} - set(absent))
        return (
            f"no message on 'joint_states' brings {', '.join(absent)}; there {'is' if len(brought) == 1 else 'are'} {', '.join(brought)}: "
            "start the driver that publishes it, or write its name in 'joint_names' as it is there"
        )

    def oldest(self, groups: list[str]) -> str:
        """What of these groups, none of which is missing, is the oldest: a joint by its name, or a topic."""
        topic = min((topic for group in groups if (topic := source(group))), key=lambda topic: self.stamps[topic])
        if topic == "joint_states" and min(self.joint_stamps) < max(self.joint_stamps):
            return f"joint {self.joint_names[self.joint_stamps.index(min(self.joint_stamps))]}"
        return f"'{topic}'"

    def age_ns(self, groups: list[str], now_ns: int) -> int:
        """Age of the oldest of these groups, none of which is missing."""
        return max((now_ns - self.stamps[topic] for group in groups if (topic := source(group))), default=0)

    def vector(self, groups: list[str], command_lead: np.ndarray | None = None) -> np.ndarray:
        """Proprioception float32 [P], groups in the given order."""
        parts = [command_lead if command_lead is not None and group == "command_lead" else self.values[group] for group in groups]
        return np.concatenate([NOTHING, *parts]).astype(np.float32)

    def measured(self, action_names: list[str]) -> np.ndarray:
        """The measured position [A] of each action dimension: joints by name, or x, y, z (m) and yaw or rx, ry, rz (rad) of the tool."""
        if moves_tool(action_names, self.joint_names):
            pose = self.values["ee_position"]
            if ROTATION[0] in action_names:
                turn = turn_from(self._zero, self.values["ee_orientation"].tolist())
                return np.concatenate([pose, turn])[[(*AXES, *ROTATION).index(name) for name in action_names]]
            if YAW in action_names:
                pose = np.append(pose, yaw_of(self.values["ee_orientation"].tolist(), self._zero))
            return pose[[(*AXES, YAW).index(name) for name in action_names]]
        return self.values["joint_position"][[self.joint_names.index(name) for name in action_names]]
