"""Parameters of `control_node`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from rl_token_ros.settings.parameters import ParameterError, parameter
from rl_token_ros.settings.proprioception_groups import ROTATION, YAW, measured_group
from rl_token_ros.settings.robot import CARTESIAN, Robot, one_angle, per_action

POSE_INTERFACES = ("pose", "twist")
ANY_ROTATION = 3.14  # rad, from which on rotation_limit limits nothing: nobody means the last thousandth before pi
YAW_LIMIT = 2.8  # rad: yaw is measured from -pi to pi, and what lies beside a limit must not be the other end


@dataclass(frozen=True)
class Control(Robot):
    """Parameters of `control_node`."""

    command_interface: str = parameter(
        "forward",
        "Type of `command`: forward (Float64MultiArray), trajectory (JointTrajectory), joint_state (JointState), "
        "twist (TwistStamped), pose (PoseStamped).",
        choices=("forward", "trajectory", "joint_state", "twist", "pose"),
    )
    forward_quantity: str = parameter(
        "position",
        "What a forward command holds: position, or velocity. A velocity controller goes on with the last one when messages cease: prefer "
        "position, unless the controller has a timeout.",
        choices=("position", "velocity"),
    )
    ee_pose_source: str = parameter(
        "topic",
        "Who measures the tool's pose: topic, a driver publishes `ee_pose`; tf, the transform from base_frame to tool_frame; description, forward "
        "kinematics of `robot_description` and `joint_states`. With the last two this node publishes `ee_pose`, for vla_node and for bags.",
        choices=("topic", "tf", "description"),
    )
    tool_frame: str = parameter("", "Frame of the tool, for ee_pose_source tf and description, as in tool0.")
    description_file: str = parameter("", "URDF file for ee_pose_source description, in place of the topic `robot_description`.")
    gripper_interface: str = parameter(
        "forward",
        "Type of `gripper/command`: forward (Float64MultiArray), trajectory (JointTrajectory), joint_state (JointState); or as goals of the action "
        "of that name: gripper_command (GripperCommand), parallel_gripper (ParallelGripperCommand), one for each gripper.",
        choices=("forward", "trajectory", "joint_state", "gripper_command", "parallel_gripper"),
    )
    gripper_deadband: float = parameter(
        0.005,
        "Smallest change of a gripper's command for which an action gets a new goal; the gripper stays within it.",
        unit="m or rad",
        low=0.0,
        high=10.0,
    )
    gripper_max_effort: float = parameter(
        0.0, "Largest effort in an action's goal; 0: the server's own, for ParallelGripperCommand.", unit="N or N m", low=0.0, high=10000.0
    )
    gripper_min: list[float] = parameter([], "Smallest command for each gripper.", unit="m or rad")
    gripper_max: list[float] = parameter([], "Largest command for each gripper.", unit="m or rad")
    gripper_seconds: float = parameter(0.2, "Time that a trajectory command gives a gripper to reach its position.", unit="s", low=0.001, high=10.0)
    mode: str = parameter(
        "vla",
        "vla: base only; shadow: the residual is computed and logged, the base executed; actor: base plus residual.",
        choices=("vla", "shadow", "actor"),
        live=True,
    )
    replan_interval: int = parameter(
        10,
        "Executed steps after which the actor's newest chunk replaces the running one (1 to chunk_length).",
        unit="steps",
        low=1,
        high=100,
        live=True,
    )
    exploration_sigma: float = parameter(
        0.15,
        "Standard deviation of the exploration noise in the noisiest episode, as a share of residual_scale; episodes draw 0 to 1 of it.",
        low=0.0,
        high=1.0,
        live=True,
    )
    exploration_correlation: float = parameter(
        0.8, "Correlation of the exploration noise of one chunk with that of the next; 0: independent.", low=0.0, high=0.999, live=True
    )
    exploration_late: float = parameter(
        0.0,
        "What the exploration noise has grown by when episode_time_limit is reached, in exploration_sigma; it begins to after a third of it, for an "
        "arm that is stuck to try more. 0: it does not.",
        low=0.0,
        high=10.0,
        live=True,
    )
    exploration_gain: float = parameter(
        0.0,
        "While no actor has been learned: so many times the reference's own motion is added to it, within residual_scale, in each dimension of the "
        "action in half of the episodes. Worth trying, with 2, where practice begins worse than a VLA that is slow. 0: noise alone.",
        low=0.0,
        high=10.0,
        live=True,
    )
    position_min: list[float] = parameter([], "Smallest command for each action name but rx, ry, rz, which rotation_limit limits.", unit="m or rad")
    position_max: list[float] = parameter([], "Largest command likewise.", unit="m or rad")
    velocity_limit: list[float] = parameter(
        [],
        "Largest speed of the command for each action name; of rx, ry, rz that of the angle, as the two below, the same number three times.",
        unit="m/s or rad/s",
        low=1e-6,
        high=100.0,
    )
    acceleration_limit: list[float] = parameter(
        [], "Largest acceleration of the command for each action name.", unit="m/s^2 or rad/s^2", low=1e-6, high=10000.0
    )
    lead_limit: list[float] = parameter(
        [], "Largest distance of the command from the measured position for each action name.", unit="m or rad", low=1e-6, high=10.0
    )
    measured_velocity_limit: list[float] = parameter(
        [],
        "Largest speed at which what is measured may change, for each action name; a measurement that needs more is not believed, and stops the "
        "arm when it persists; empty: 4 times velocity_limit, on simulated time any, since scenes that begin anew leap.",
        unit="m/s or rad/s",
        low=1e-6,
        high=1000.0,
    )
    measured_resolution: float = parameter(
        0.02, "Change of a measured position that is always believed: resolution, noise, and motion within the jitter of stamps.",
        unit="m or rad", low=0.0, high=10.0,
    )  # fmt: skip
    workspace_min: list[float] = parameter([], "Lower corner x, y, z of the box in which the tool may be (needs `ee_pose`); empty: no box.", unit="m")
    workspace_max: list[float] = parameter([], "Upper corner of that box.", unit="m")
    rotation_limit: float = parameter(
        math.pi,
        "Largest angle by which rx, ry, rz may turn the tool away from tool_orientation, about whichever axis; 3.14 or more: any. Where the "
        "shortest way to a target leaves it, the command rests at the limit.",
        unit="rad",
        low=0.001,
        high=4.0,
    )
    state_timeout: float = parameter(
        0.2, "Largest age of joint_states, ee_pose, wrench and extra; older ones stop the arm.", unit="s", low=0.001, high=10.0
    )
    chunk_timeout: float = parameter(1.0, "Largest age of a VLA chunk's observation; older chunks are not executed.", unit="s", low=0.01, high=60.0)
    hold_timeout: float = parameter(5.0, "Time without a usable chunk after which holding becomes a latched stop.", unit="s", low=0.0, high=3600.0)
    intervention_timeout: float = parameter(0.2, "Age below which `intervention` acts.", unit="s", low=0.01, high=5.0)
    phase_model: str = parameter(
        "", "File of train_phase that begins the critical phase by itself, where the operator did; empty: only the operator or the robot begins it."
    )
    episode_time_limit: float = parameter(20.0, "Length of a critical phase after which it ends.", unit="s", low=0.1, high=3600.0)
    rollout_ramp: float = parameter(
        1.0, "Time of acting over which a new version of the weights takes over from the one before; 0: at once.", unit="s", low=0.0, high=60.0
    )
    weights_change_limit: float = parameter(
        2.0,
        "Largest change of the residuals, as a mean share of residual_scale, that new weights may make on the newest observation; 2: any. "
        "From half of it on, the node warns.",
        low=0.01,
        high=2.0,
    )
    rollback_seconds: float = parameter(60.0, "Time for which newer weights wait after a return to earlier ones.", unit="s", low=0.0, high=86400.0)
    auto_revert: bool = parameter(True, "Return to the last good weights when failures, or the filter's interventions, become frequent at once.")
    enable_on_start: bool = parameter(False, "Enable by itself once every input is fresh. For simulation only: a real arm is enabled with ~/enable.")
    actor_layers: int = parameter(2, "Hidden layers of the actor: 2, or 3 for the hardest tasks.", low=2, high=3)
    realtime_priority: int = parameter(50, "SCHED_FIFO priority of the node, where the system permits it; 0: ordinary scheduling.", low=0, high=99)
    seed: int = parameter(0, "Seed of the exploration noise.", low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_rotation_limits()
        per_action(self, "velocity_limit", "acceleration_limit", "lead_limit")
        if self.measured_velocity_limit:
            per_action(self, "measured_velocity_limit")
        one_angle(self, "velocity_limit", "acceleration_limit", "lead_limit", "measured_velocity_limit")
        for i, name in enumerate(self.boxed_names):
            if not self.position_min[i] < self.position_max[i]:
                raise ParameterError(
                    f"parameter 'position_min' of {name} is {self.position_min[i]:g}, 'position_max' {self.position_max[i]:g}; "
                    "write the smaller one first"
                )
        for name in ("gripper_min", "gripper_max"):
            if len(getattr(self, name)) != len(self.gripper_names):
                raise ParameterError(
                    f"parameter '{name}' has {len(getattr(self, name))} numbers; write {len(self.gripper_names)}, one for each of gripper_names"
                )
        if self.grips_by_action and len(self.gripper_names) > 1:
            for name in self.gripper_names:
                if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
                    raise ParameterError(
                        f"parameter 'gripper_names' has '{name}', which cannot be part of the action's name; write letters, digits and _"
                    )
        if self.ee_pose_source != "topic" and not self.tool_frame:
            raise ParameterError(
                f"parameter 'tool_frame' is empty but 'ee_pose_source' is {self.ee_pose_source}; write the tool's frame, as in tool0"
            )
        if self.forward_quantity == "velocity" and self.command_interface != "forward":
            raise ParameterError(f"parameter 'forward_quantity' is velocity but 'command_interface' is {self.command_interface}; write forward")
        if self.replan_interval > self.chunk_length:
            raise ParameterError(f"parameter 'replan_interval' is {self.replan_interval}; write 1 to chunk_length = {self.chunk_length}")
        if len(self.workspace_min) not in (0, 3) or len(self.workspace_min) != len(self.workspace_max):
            raise ParameterError("parameters 'workspace_min' and 'workspace_max': write x, y, z for both, or neither")
        for axis, low, high in zip(CARTESIAN, self.workspace_min, self.workspace_max):
            if not low < high:
                raise ParameterError(f"parameter 'workspace_min' of {axis} is {low:g}, 'workspace_max' {high:g}; write the smaller one first")
        self._check_yaw()
        for name, low, high in zip(self.boxed_names, *self.command_range):
            if not low < high:
                raise ParameterError(
                    f"parameters 'position_min' and 'position_max' leave nothing of the box workspace_min to workspace_max for {name}; "
                    "write limits and a box that overlap"
                )
        if self.cartesian != (self.command_interface in POSE_INTERFACES):
            raise ParameterError(
                f"parameter 'command_interface' is {self.command_interface} but action_names are "
                f"[{', '.join(self.action_names)}]; write pose or twist for x, y, z and yaw or rx, ry, rz, and another for joints"
            )

    def _check_rotation_limits(self) -> None:
        if self.rotation_at is None:
            per_action(self, "position_min", "position_max")
            if self.rotation_limit < ANY_ROTATION:
                raise ParameterError(f"parameter 'rotation_limit' is {self.rotation_limit:g}, but action_names has no rx, ry, rz; leave it out")
            return
        for name in ("position_min", "position_max"):
            if len(values := getattr(self, name)) != len(names := self.boxed_names):
                raise ParameterError(
                    f"parameter '{name}' has {len(values)} numbers; write {len(names)}, one for each of [{', '.join(names)}]: rx, ry, rz are limited "
                    "by 'rotation_limit'"
                )
        if not self.tool_orientation:
            raise ParameterError(
                "parameter 'tool_orientation' is empty but action_names has rx, ry, rz; write the orientation x, y, z, w of the tool at which they "
                "are 0, under /**"
            )

    def _check_yaw(self) -> None:
        if not self.turns:
            return
        if not self.tool_orientation:
            raise ParameterError(
                "parameter 'tool_orientation' is empty but action_names has yaw; write the orientation x, y, z, w of the tool at which yaw is 0"
            )
        at = self.action_names.index(YAW)
        for name in ("position_min", "position_max"):
            if abs(value := getattr(self, name)[at]) > YAW_LIMIT:
                raise ParameterError(
                    f"parameter '{name}' of yaw is {value:g}; write {-YAW_LIMIT:g} to {YAW_LIMIT:g} rad: yaw jumps at pi. "
                    "For another range give a tool_orientation in the middle of it"
                )

    @property
    def cone(self) -> float:
        """rotation_limit, pi where it limits nothing; rad."""
        return self.rotation_limit if self.rotation_limit < ANY_ROTATION else math.pi

    @property
    def boxed_names(self) -> list[str]:
        """The action names that position_min and position_max limit."""
        return [name for name in self.action_names if self.rotation_at is None or name not in ROTATION]

    @property
    def command_range(self) -> tuple[list[float], list[float]]:
        """Smallest and largest command for each of boxed_names; a tool's also inside the workspace box, which joints reach only by `ee_pose`."""
        if not self.cartesian or not self.workspace_min:
            return self.position_min, self.position_max
        lowest, highest = dict(zip(CARTESIAN, self.workspace_min)), dict(zip(CARTESIAN, self.workspace_max))
        low = [max(value, lowest.get(name, value)) for value, name in zip(self.position_min, self.boxed_names)]
        high = [min(value, highest.get(name, value)) for value, name in zip(self.position_max, self.boxed_names)]
        return low, high

    @property
    def needed_groups(self) -> list[str]:
        """Groups without which the arm does not move: what is commanded, proprioception, and the tool's position where there is a box for it."""
        box = ["ee_position"] if self.workspace_min else []
        return list(dict.fromkeys([measured_group(self.cartesian), *self.proprioception, *box]))

    @property
    def grips_by_action(self) -> bool:
        """Whether grippers get goals of an action rather than messages."""
        return self.gripper_interface in ("gripper_command", "parallel_gripper")

    @property
    def gripper_actions(self) -> list[str]:
        """Name of the action of each gripper: `gripper/command` for one, and with the gripper's name in it for each of several."""
        return ["gripper/command"] if len(self.gripper_names) == 1 else [f"gripper/{name}/command" for name in self.gripper_names]

    @property
    def commands_velocity(self) -> bool:
        """Whether `command` is a speed, of which zero is rest, rather than a position to be in."""
        return self.command_interface == "twist" or self.forward_quantity == "velocity"
