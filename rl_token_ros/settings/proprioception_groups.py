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
FIXED_SIZES = {"ee_position": 3, "ee_orientation": 4, "wrench_force": 3, "wrench_torque": 3}
AXES = ("x", "y", "z")
YAW = "yaw"  # as an action: of the tool about z of the base frame, from `tool_orientation`, unless a joint has that name


def size(groups: list[str], joints: int, actions: int) -> int:
    """P: number of values in the groups.

    Raises:
        ParameterError: a group that does not exist.
    """
    unknown = [group for group in groups if group not in GROUPS]
    if unknown:
        raise ParameterError(f"parameter 'proprioception' names '{unknown[0]}'; write some of {', '.join(GROUPS)}")
    return sum(FIXED_SIZES.get(group, actions if group == "command_lead" else joints) for group in groups)


def moves_tool(action_names: list[str], joint_names: list[str]) -> bool:
    """Whether actions move the tool rather than joints. A joint called yaw is that joint."""
    return set(action_names) <= set(AXES) | ({YAW} - set(joint_names))


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
