"""A robot whose actions are the tool's whole pose, and rotations as matrices, independent of the package's own arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import small_robot

NAMES = ["x", "y", "z", "rx", "ry", "rz"]
ASKEW = (0.1, 0.7, 0.3, 0.6403124237432849)  # a tool that points nowhere in particular
AXES = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0), "slanted": (0.48, -0.6, 0.64)}
SPEED, ACCELERATION, LEAD = 0.8, 10.0, 0.05  # rad/s, rad/s^2, rad


def shared(**changes: Any) -> dict[str, Any]:
    """Parameters that its nodes share."""
    own = {"action_names": NAMES, "residual_scale": [0.0008] * 3 + [0.004] * 3, "tool_orientation": list(ASKEW)}
    return small_robot.shared(**{**own, **changes})


def control(**changes: Any) -> dict[str, Any]:
    """Parameters of its control_node."""
    own = {
        "velocity_limit": [0.1] * 3 + [SPEED] * 3,
        "acceleration_limit": [2.0] * 3 + [ACCELERATION] * 3,
        "lead_limit": [0.01] * 3 + [LEAD] * 3,
    }
    return small_robot.control(**shared(**{**own, **changes}))


def matrix(turn: Any) -> np.ndarray:
    """Rotation matrices [..., 3, 3] of rotation vectors [..., 3]: Rodrigues."""
    turn = np.asarray(turn, np.float64)
    angle = np.linalg.norm(turn, axis=-1)[..., None]
    x, y, z = np.moveaxis(turn / np.where(angle > 0.0, angle, 1.0), -1, 0)
    none = np.zeros_like(x)
    cross = np.stack([none, -z, y, z, none, -x, -y, x, none], axis=-1).reshape(*turn.shape[:-1], 3, 3)
    return np.eye(3) + np.sin(angle)[..., None] * cross + (1.0 - np.cos(angle))[..., None] * cross @ cross


def of_quaternion(q: Any) -> np.ndarray:
    """Rotation matrix of x, y, z, w."""
    v, w = np.array(q[:3]), q[3]
    cross = np.array([[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]])
    return np.eye(3) + 2.0 * w * cross + 2.0 * cross @ cross


def turn_between(to: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The rotation vectors [..., 3], less than pi long, from some matrices to others, in axes of the base frame."""
    m = to @ np.swapaxes(start, -1, -2)
    sine = 0.5 * np.stack([m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], axis=-1)
    length = np.linalg.norm(sine, axis=-1)
    angle = np.arctan2(length, 0.5 * (np.trace(m, axis1=-2, axis2=-1) - 1.0))
    return sine * np.where(length > 1e-12, angle / np.maximum(length, 1e-12), 1.0)[..., None]


def angle_between(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """rad, 0 to pi, between matrices [..., 3, 3], by the length of what differs: precise near 0."""
    return 2.0 * np.arcsin(np.minimum(np.linalg.norm(one - other, axis=(-2, -1)) / np.sqrt(8.0), 1.0))
