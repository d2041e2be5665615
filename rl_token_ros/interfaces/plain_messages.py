"""Messages of which no middleware knows, with the fields that are read: for what runs in one process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace as Message

import numpy as np

from rl_token_ros.interfaces.stamps import ns_to_stamp
from rl_token_ros.settings.proprioception_groups import EXTRA


def header(stamp_ns: int, frame_id: str = "") -> Message:
    """A std_msgs/Header."""
    return Message(stamp=ns_to_stamp(stamp_ns), frame_id=frame_id)


def measurement(topic: str, stamp_ns: int, joint_names: Sequence[str], values: Mapping[str, np.ndarray]) -> Message:
    """A message of one of `measurements.TYPES`.

    Args:
        joint_names: of joint_states.
        values: by group of proprioception, those of the topic; of joint_states what there is.
    """
    head = header(stamp_ns)
    if topic == "joint_states":
        position, velocity, effort = (values.get(group, ()) for group in ("joint_position", "joint_velocity", "joint_effort"))
        return Message(header=head, name=joint_names, position=position, velocity=velocity, effort=effort)
    if topic == "extra":
        extra = extras(values)
        return Message(header=head, name=list(extra), position=list(extra.values()))
    if topic == "ee_pose":
        return Message(header=head, pose=Message(position=_parts("xyz", values["ee_position"]), orientation=_parts("xyzw", values["ee_orientation"])))
    return Message(header=head, wrench=Message(force=_parts("xyz", values["wrench_force"]), torque=_parts("xyz", values["wrench_torque"])))


def extras(values: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The groups extra/NAME among values by group, by NAME."""
    return {group.removeprefix(EXTRA): float(value[0]) for group, value in values.items() if group.startswith(EXTRA)}


def _parts(names: str, values: np.ndarray) -> Message:
    return Message(**dict(zip(names, values.tolist())))
