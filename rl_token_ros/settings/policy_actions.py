"""How policies write a tool's motion: the numbers that say a rotation, by name, and the conventions of data sets."""

from __future__ import annotations

from dataclasses import dataclass

from rl_token_ros.settings.proprioception_groups import AXES, ROTATION

# Names of the numbers by which a policy says a rotation. r21 is row 2, column 1 of the rotation matrix.
ROTATION_FORMATS = {
    "rotation_vector": ROTATION,
    "quaternion": ("qx", "qy", "qz", "qw"),
    "matrix_columns": ("r11", "r21", "r31", "r12", "r22", "r32"),
    "euler_xyz": ("roll", "pitch", "yaw"),
}


@dataclass(frozen=True)
class ActionPreset:
    """A data set's convention: x, y, z, three numbers for the rotation, a gripper. Where each is from: docs/your_vla.md.

    Attributes:
        rotation_format: one of ROTATION_FORMATS.
        action_type: as the parameter.
        metres: factor to m of x, y, z, and ``radians`` to rad.
        dt: time between two actions, s.
    """

    rotation_format: str
    action_type: str
    metres: float
    radians: float
    dt: float

    def names(self, gripper: str) -> list[str]:
        """Of the numbers of an action, in order."""
        return [*AXES, *ROTATION_FORMATS[self.rotation_format], gripper]

    def scale(self, names: list[str]) -> list[float]:
        """The factor for each of these names."""
        turns = ROTATION_FORMATS[self.rotation_format]
        return [self.metres if name in AXES else self.radians if name in turns else 1.0 for name in names]


ACTION_PRESETS = {
    "libero": ActionPreset("rotation_vector", "delta", 0.05, 0.5, 1.0 / 20.0),
    "bridge": ActionPreset("euler_xyz", "delta", 1.0, 1.0, 1.0 / 5.0),
    "droid_position": ActionPreset("euler_xyz", "absolute", 1.0, 1.0, 1.0 / 15.0),
    "droid_velocity": ActionPreset("euler_xyz", "delta", 0.075, 0.15, 1.0 / 15.0),
}
