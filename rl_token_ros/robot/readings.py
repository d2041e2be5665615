"""One message of measurements, checked and by name, before anyone believes it."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from rl_token_ros.settings.proprioception_groups import EXTRA, source

Numbers = Sequence[float] | np.ndarray
MOST_NAMES = 200  # of joints that are not ours, kept for the sentence that says what was brought instead


class StateError(ValueError):
    """A measurement that cannot be used; the message names the topic and says why."""


@dataclass(frozen=True)
class Reading:
    """What one message says of what is needed.

    Attributes:
        topic: `joint_states`, `ee_pose`, `wrench` or `extra`.
        stamp_ns: when it was measured.
        groups: values float64 of each group of the topic; of joints one for each of ``joints``.
        joints: indices of the joints that it brings, in ``joint_names``; None: all, in their order, or no joints at all.
    """

    topic: str
    stamp_ns: int
    groups: dict[str, np.ndarray]
    joints: tuple[int, ...] | None = None

    def only(self, joints: Collection[int]) -> Reading | None:
        """What it says of these joints; None: nothing."""
        mine = range(len(next(iter(self.groups.values()), ()))) if self.joints is None else self.joints
        at = [i for i, joint in enumerate(mine) if joint in joints]
        if not at:
            return None
        return Reading(self.topic, self.stamp_ns, {group: values[at] for group, values in self.groups.items()}, tuple(mine[i] for i in at))


class Reader:
    """Makes readings of what messages hold.

    Of `joint_states` a message may bring a part of the joints: arm and gripper, or two arms, often have drivers of their own.

    Args:
        joint_names: joints read from `joint_states`.
        groups: what is needed. Of `joint_states` the rest is ignored: ros2_control fills what an arm does not measure with NaN.
    """

    def __init__(self, joint_names: list[str], groups: list[str]) -> None:
        self.joint_names = joint_names
        self.others: set[str] = set()  # names on `joint_states` that are not ours
        self._joint_groups = [group for group in groups if source(group) == "joint_states"]
        self._extras = [group for group in groups if group.startswith(EXTRA)]
        self._all = tuple(range(len(joint_names)))
        self._known: dict[tuple[str, ...], tuple[tuple[int, ...], tuple[int, ...]]] = {}  # names -> joints, and where they stand in the message

    def joints(self, stamp_ns: int, names: Sequence[str], position: Numbers, velocity: Numbers = (), effort: Numbers = ()) -> Reading | None:
        """A `joint_states`: position in rad or m, velocity per s, effort in N m or N. None: it brings no joint of ours.

        Raises:
            StateError: a value that is needed is missing or not finite.
        """
        joints, at = self._places(tuple(names))
        if not joints:
            return None
        groups = {}
        columns = list(at)
        for group, sent in (("joint_position", position), ("joint_velocity", velocity), ("joint_effort", effort)):
            if group not in self._joint_groups:
                continue
            if len(sent) != len(names):
                ours = ", ".join(self.joint_names[joint] for joint in joints)
                raise StateError(
                    f"'joint_states' has {len(names)} names and {len(sent)} values of {group} in the message that brings {ours}; "
                    f"let its driver send them, or leave {group} out of 'proprioception' and 'vla_proprioception'"
                )
            groups[group] = np.asarray(sent, np.float64)[columns]
        return self._finite(Reading("joint_states", stamp_ns, groups, None if joints == self._all else joints))

    def ours(self, names: Sequence[str]) -> list[str]:
        """Those of the names that are joints of ours."""
        return [self.joint_names[joint] for joint in self._places(tuple(names))[0]]

    def pose(self, stamp_ns: int, position: Numbers, orientation: Numbers) -> Reading:
        """An `ee_pose`: position x, y, z in m and orientation x, y, z, w of the tool in the base frame.

        Raises:
            StateError: the orientation is no unit quaternion, or a value is not finite.
        """
        groups = {"ee_position": np.asarray(position, np.float64), "ee_orientation": np.asarray(orientation, np.float64)}
        if not 0.99 < np.linalg.norm(groups["ee_orientation"]) < 1.01:
            raise StateError("'ee_pose' has an orientation that is no unit quaternion")
        return self._finite(Reading("ee_pose", stamp_ns, groups))

    def wrench(self, stamp_ns: int, force: Numbers, torque: Numbers) -> Reading:
        """A `wrench`: force in N and torque in N m.

        Raises:
            StateError: a value is not finite.
        """
        return self._finite(
            Reading("wrench", stamp_ns, {"wrench_force": np.asarray(force, np.float64), "wrench_torque": np.asarray(torque, np.float64)})
        )

    def extra(self, stamp_ns: int, names: Sequence[str], values: Numbers) -> Reading:
        """An `extra`: values by name, of which those that are needed are taken.

        Raises:
            StateError: one that is needed is missing or not finite.
        """
        given = dict(zip(names, values))
        if missing := [name for group in self._extras if (name := group.removeprefix(EXTRA)) not in given]:
            raise StateError(
                f"'extra' has no {', '.join(missing)}, with a position; it has {', '.join(given) or 'nothing'}: let one publisher send all of them"
            )
        return self._finite(Reading("extra", stamp_ns, {group: np.array([given[group.removeprefix(EXTRA)]], np.float64) for group in self._extras}))

    def _places(self, names: tuple[str, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Which of our joints these are, in our order, and where each stands; drivers send the same names again and again."""
        if (known := self._known.get(names)) is None:
            index = {name: i for i, name in enumerate(names)}
            joints = tuple(joint for joint, name in enumerate(self.joint_names) if name in index)
            known = joints, tuple(index[self.joint_names[joint]] for joint in joints)
            if len(self._known) >= MOST_NAMES:
                self._known.clear()
            self._known[names] = known
            if len(self.others) < MOST_NAMES:
                self.others.update(index.keys() - set(self.joint_names))
        return known

    @staticmethod
    def _finite(reading: Reading) -> Reading:
        for group, values in reading.groups.items():
            if not math.isfinite(values.sum()) and not np.isfinite(values).all():  # a sum is quicker, but may overflow
                raise StateError(f"'{reading.topic}' holds a {group} that is not finite")
        return reading
