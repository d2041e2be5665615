"""The vocabulary of `proprioception` and `action_names`: groups, their sizes, and the names that mean the tool."""

from __future__ import annotations

from rl_token_ros.settings.parameters import ParameterError

# Groups of `proprioception` and the source whose stamp dates them. command_lead comes from control_node itself.
GROUPS = {
    "joint_position": "joint_states",
    "joint_velocity": "joint_states",
    "joint_effort": "joint_states",
    "ee_position": "ee_pose",
    "ee_orientation": "ee_pose",
    "wrench_force": "wrench",
    "wrench_torque": "wrench",
    "command_lead": None,
}
# The least standard deviation, in the unit of each, to which values are normalised: what moves less than noise and resolution of common sensors
# during the warm-up must not be blown up to one later. rad, rad/s, Nm, m, 1, N, Nm; command_lead m or rad.
LEAST_DEVIATION = {
    "joint_position": 1e-3,
    "joint_velocity": 1e-2,
    "joint_effort": 0.1,
    "ee_position": 2e-4,
    "ee_orientation": 1e-3,
    "wrench_force": 0.1,
    "wrench_torque": 0.01,
    "command_lead": 1e-4,
}
EXTRA = "extra/"  # and a name: a group of one value, which the topic `extra` brings by that name
LEAST_EXTRA = 1e-3  # its least standard deviation: its unit is not known
FIXED_SIZES = {"ee_position": 3, "ee_orientation": 4, "wrench_force": 3, "wrench_torque": 3}
AXES = ("x", "y", "z")
YAW = "yaw"  # as an action: of the tool about z of the base frame, from `tool_orientation`, unless a joint has that name
ROTATION = ("rx", "ry", "rz")  # likewise: the rotation vector from `tool_orientation` to the tool's orientation, in axes of the base frame


def known(group: str) -> bool:
    """Whether there is such a group."""
    return group in GROUPS or (group.startswith(EXTRA) and group != EXTRA)


def source(group: str) -> str | None:
    """The topic that brings a known group; None: control_node itself has it."""
    return "extra" if group.startswith(EXTRA) else GROUPS[group]


def vocabulary(measured: bool = False) -> str:
    """The names of groups, for texts; ``measured``: of those that a topic brings."""
    return ", ".join([*(group for group, topic in GROUPS.items() if topic or not measured), f"{EXTRA}NAME"])


def size(groups: list[str], joints: int, actions: int) -> int:
    """P: number of values in the groups.

    Raises:
        ParameterError: a group that does not exist.
    """
    unknown = [group for group in groups if not known(group)]
    if unknown:
        raise ParameterError(f"parameter 'proprioception' names '{unknown[0]}'; write some of {vocabulary()}")
    return sum(_size(group, joints, actions) for group in groups)


def least_deviations(groups: list[str], joints: int, actions: int) -> list[float]:
    """:data:`LEAST_DEVIATION` of each of the P values."""
    return [LEAST_DEVIATION.get(group, LEAST_EXTRA) for group in groups for _ in range(_size(group, joints, actions))]


def _size(group: str, joints: int, actions: int) -> int:
    if group.startswith(EXTRA):
        return 1
    return FIXED_SIZES.get(group, actions if group == "command_lead" else joints)


def moves_tool(action_names: list[str], joint_names: list[str]) -> bool:
    """Whether actions move the tool rather than joints. A joint called yaw is that joint."""
    return set(action_names) <= set(AXES) | ({YAW, *ROTATION} - set(joint_names))


def measured_group(cartesian: bool) -> str:
    """The group that :meth:`RobotState.measured` reads."""
    return "ee_position" if cartesian else "joint_position"


def places(groups: list[str], joints: int, actions: int = 0) -> dict[str, slice]:
    """Where each group lies in a vector of them."""
    found, at = {}, 0
    for group in groups:
        found[group] = slice(at, at + size([group], joints, actions))
        at = found[group].stop
    return found
