"""What all nodes of one robot share, and the checks that their own parameters need too."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from rl_token_ros.settings.files import resolve_path
from rl_token_ros.settings.parameters import ParameterError, parameter
from rl_token_ros.settings.proprioception_groups import ROTATION, YAW, known, moves_tool, source, vocabulary

CARTESIAN = ("x", "y", "z")
TOOL = (*CARTESIAN, YAW)


@dataclass(frozen=True)
class Robot:
    """What all nodes of one robot share: its names, its action space and the shape of a chunk."""

    joint_names: list[str] = parameter([], "Joints read from `joint_states`, by name, in the order used here.")
    cameras: list[str] = parameter([], "Names of the cameras: `camera/<name>/image_raw` is subscribed for each.")
    base_frame: str = parameter("base_link", "Frame of Cartesian commands, `ee_pose` and the workspace box.")
    action_names: list[str] = parameter(
        [],
        "Names of the action's dimensions: joints, or x, y, z of the tool in `base_frame` and its yaw, the turn about z of `base_frame` from "
        "`tool_orientation`, or in place of yaw rx, ry, rz, the whole rotation from there: axis in `base_frame` times angle.",
    )
    tool_orientation: list[float] = parameter(
        [],
        "Orientation x, y, z, w of the tool for Cartesian commands; empty: the measured one when enabled. Where an action is yaw or rx, ry, rz, the "
        "orientation at which it is 0: write the middle of its range.",
    )
    action_type: str = parameter(
        "delta",
        "delta: an action is added to the last command, per chunk_dt; absolute: an action is the position to be in.",
        choices=("delta", "absolute"),
    )
    gripper_names: list[str] = parameter(
        [],
        "Grippers that the VLA commands by position, beside action_names: their columns of `vla/reference` go to `gripper/command`, past "
        "actor and filter. A gripper that is to be learned is a joint among action_names instead.",
    )
    proprioception: list[str] = parameter(
        ["joint_position"],
        "Groups that make up the proprioception, in order: joint_position, joint_velocity, joint_effort, ee_position, "
        "ee_orientation, command_lead (last command minus measured), wrench_force, wrench_torque; "
        "extra/NAME: the value that `extra` brings by this name.",
    )
    control_rate: float = parameter(50.0, "Rate of the control loop.", unit="Hz", low=1.0, high=200.0)
    chunk_dt: float = parameter(0.02, "Time between two steps of a VLA chunk.", unit="s", low=0.001, high=1.0)
    chunk_length: int = parameter(10, "C: steps of a chunk that actor and critic work on.", unit="steps", low=1, high=100)
    token_size: int = parameter(
        128, "Dz: width of the RL token; 0: no token, actor and critic see proprioception and reference alone.", low=0, high=8192
    )
    residual_scale: list[float] = parameter([], "Bound of the residual for each action name, in units of the action.", low=1e-9, high=1e3)
    vla_model: str = parameter("", "ONNX file of the VLA; `package://rl_token_ros/...` names a file of this package.")
    token_encoder: str = parameter("", "ONNX file of the token encoder made for that VLA.")
    encoder_sha256: str = parameter(
        "",
        "Fingerprint of the token encoder where its file is not at hand, beside `vla_sha256`: for a learner elsewhere, and for a robot whose VLA "
        "server makes the token; empty: of `token_encoder`.",
    )
    vla_sha256: str = parameter("", "Fingerprint of the VLA where its file is not at hand; empty: of `vla_model`.")

    def __post_init__(self) -> None:
        if not self.action_names:
            raise ParameterError(
                "parameter 'action_names' is empty; write the names of the action's dimensions, as in ['x', 'y', 'z'] (a bare y is YAML for true)"
            )
        for name in ("action_names", "joint_names", "cameras", "gripper_names"):
            values = getattr(self, name)
            twice = sorted({v for v in values if values.count(v) > 1})
            if twice:
                raise ParameterError(f"parameter '{name}' names {', '.join(twice)} twice; write each name once")
        both = [name for name in self.gripper_names if name in self.action_names]
        if both:
            raise ParameterError(f"parameter 'gripper_names' has {', '.join(both)}, also in 'action_names'; write it in one of them")
        per_action(self, "residual_scale")
        fingerprint(self, "vla_sha256")
        fingerprint(self, "encoder_sha256")
        known_groups(self, "proprioception")
        if not self.cartesian:
            missing = [name for name in self.action_names if name not in self.joint_names]
            if missing:
                raise ParameterError(
                    f"parameter 'action_names' has {', '.join(missing)}, not in 'joint_names'; "
                    f"write joint names, or some of {', '.join(TOOL)} for the tool, or {', '.join((*CARTESIAN, *ROTATION))}"
                )
        elif any(name in ROTATION for name in self.action_names):
            self._check_rotation()
        if self.tool_orientation and (len(self.tool_orientation) != 4 or abs(math.hypot(*self.tool_orientation) - 1.0) > 0.01):
            raise ParameterError(f"parameter 'tool_orientation' is {self.tool_orientation}; write a quaternion x, y, z, w of length 1, or nothing")

    def _check_rotation(self) -> None:
        if YAW in self.action_names:
            raise ParameterError("parameter 'action_names' has yaw and rx, ry, rz, which turn the tool already; write one or the other")
        at = self.rotation_at
        if at is None or tuple(self.action_names[at : at + 3]) != ROTATION:
            raise ParameterError(
                f"parameter 'action_names' is [{', '.join(self.action_names)}]; write rx, ry, rz one after the other: a rotation takes all three"
            )

    @property
    def encoder_elsewhere(self) -> bool:
        """Whether the token encoder is known by fingerprints alone: its file is not on this machine."""
        here = bool(self.token_encoder) and resolve_path(self.token_encoder).is_file()
        return bool(self.token_size and self.encoder_sha256 and self.vla_sha256) and not here

    @property
    def cartesian(self) -> bool:
        """Whether actions are positions of the tool rather than of joints."""
        return moves_tool(self.action_names, self.joint_names)

    @property
    def turns(self) -> bool:
        """Whether one of them is the tool's yaw."""
        return self.cartesian and YAW in self.action_names

    @property
    def rotation_at(self) -> int | None:
        """Where rx, ry, rz begin among action_names; None: the rotation is no action."""
        return self.action_names.index(ROTATION[0]) if self.cartesian and ROTATION[0] in self.action_names else None

    def unit(self, action: str) -> str:
        """m or rad, of one action name."""
        return "m" if self.cartesian and action in CARTESIAN else "rad"

    @property
    def action_units(self) -> str:
        """m, rad or both, for texts."""
        return " or ".join(sorted({self.unit(name) for name in self.action_names}))

    @property
    def action_size(self) -> int:
        """A: number of action dimensions."""
        return len(self.action_names)

    @property
    def chunk_names(self) -> list[str]:
        """Names of the columns of `vla/reference`."""
        return [*self.action_names, *self.gripper_names]

    @property
    def action_rate(self) -> float:
        """Factor from an action per chunk_dt to one per control step: deltas shrink with the period, positions do not."""
        return 1.0 / (self.control_rate * self.chunk_dt) if self.action_type == "delta" else 1.0

    @property
    def step_residual_scale(self) -> list[float]:
        """Bound of the residual per control step, float per action name: the unit in which actor and critic see residuals."""
        return [scale * self.action_rate for scale in self.residual_scale]


def per_action(group: Any, *names: str) -> None:
    """Refuse lists that do not hold one number for each action name."""
    for name in names:
        values = getattr(group, name)
        if len(values) != len(group.action_names):
            raise ParameterError(
                f"parameter '{name}' has {len(values)} numbers; write {len(group.action_names)}, "
                f"one for each of action_names [{', '.join(group.action_names)}]"
            )


def one_angle(group: Any, *names: str) -> None:
    """Refuse lists that do not hold the same number for rx, ry and rz: the limit is one of the angle, about whichever axis."""
    at = group.rotation_at
    for name in names if at is not None else ():
        if len(set(values := getattr(group, name)[at : at + 3])) > 1:
            raise ParameterError(
                f"parameter '{name}' of {', '.join(ROTATION)} is {', '.join(f'{value:g}' for value in values)}; write the same number three times: "
                "it limits the angle, about whichever axis"
            )


def fingerprint(group: Any, name: str) -> None:
    """Refuse a fingerprint that is none."""
    value = getattr(group, name)
    if value and (len(value) != 64 or set(value) - set("0123456789abcdef")):
        raise ParameterError(f"parameter '{name}' is '{value}'; write the 64 hex digits of `sha256sum FILE`, or nothing")


def known_groups(group: Any, name: str) -> None:
    """Refuse groups of proprioception that do not exist or that have no joints to be measured."""
    for value in getattr(group, name):
        if not known(value):
            raise ParameterError(f"parameter '{name}' names '{value}'; write some of {vocabulary()}")
        if source(value) == "joint_states" and not group.joint_names:
            raise ParameterError(f"parameter 'joint_names' is empty but '{name}' has {value}; write the joints to be measured")
