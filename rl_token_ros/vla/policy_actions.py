"""What a policy answers, into units and names of the robot's actions: columns by name or number, factors, and rotations of any kind as rx, ry, rz.

A rotation from `tool_orientation` where actions are absolute, a turn about axes of the base frame where they are deltas.
"""

from __future__ import annotations

import numpy as np

from rl_token_ros.robot import rotations
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla.backend import BackendError
from rl_token_ros.vla.keys import parse_columns

LEAST = 1e-3  # length of a quaternion, or of a column of a matrix, that is a direction still


class PolicyActions:
    """Reads the actions of a policy's answers.

    Args:
        settings: parameters of `vla_node`.

    Attributes:
        columns: of the answer that are taken.
        width: values of an action as the policy gives it, or as far as they are taken; ``exact``: it has no more.

    Raises:
        ParameterError: the columns are not those of the robot's actions.
    """

    def __init__(self, settings: Vla) -> None:
        names = settings.answer_names
        self.exact, policy_names = not settings.action_columns, settings.all_answer_names
        if policy_names:
            if missing := [name for name in names if name not in policy_names]:
                raise ParameterError(
                    f"parameter 'policy_names' has no {', '.join(missing)}; it names {', '.join(policy_names)}. Write the names of action_names, "
                    "of gripper_names and of the numbers of rotation_format where the policy's answer has them"
                )
            self.columns, self.width = np.array([policy_names.index(name) for name in names]), len(policy_names)
        else:
            most = 10_000 if settings.action_columns else len(names)
            self.columns = parse_columns(settings.action_columns, most, "action_columns", "an action")
            self.width = int(self.columns.max()) + 1
        if len(self.columns) != len(names):
            raise ParameterError(
                f"parameter 'action_columns' takes {len(self.columns)} values; write {len(names)}, one for each of [{', '.join(names)}]"
            )
        self._names = names
        self._scale = np.array(settings.answer_scale, np.float32)
        self._at, self._format = settings.rotation_at, settings.answer_rotation
        self._numbers = len(settings.rotation_numbers)
        self._zero = np.array(settings.tool_orientation) if settings.action_type == "absolute" else None
        self._in_tool = settings.rotation_frame == "tool"

    def refusal(self, width: int) -> str:
        """Why an answer with actions of so many values cannot be read; empty: it can."""
        if width == self.width or (width > self.width and not self.exact):
            return ""
        count = len(self._names)
        return (
            f"the VLA server gives actions of {width} values, action_names and gripper_names are {count}; say with 'action_columns' which to take, "
            f"as in 0:{count}, or name all {width} in 'policy_names', {', '.join(self._names)} among them"
        )

    def read(self, answer: np.ndarray, orientation: np.ndarray | None = None) -> np.ndarray:
        """Actions float32 [H, chunk_names] of an answer [H, W].

        Args:
            answer: as the policy gives it.
            orientation: x, y, z, w of the tool when it was asked; needed for turns about axes of the tool.

        Raises:
            BackendError: a rotation that is none.
        """
        taken: np.ndarray = answer[:, self.columns] * self._scale
        if self._at is None or not np.isfinite(taken).all():
            return taken
        turns = self._turns(taken[:, self._at : self._at + self._numbers].astype(np.float64), orientation)
        return np.concatenate([taken[:, : self._at], turns, taken[:, self._at + self._numbers :]], axis=1).astype(np.float32)

    def _turns(self, numbers: np.ndarray, orientation: np.ndarray | None) -> np.ndarray:
        q = quaternions_of(numbers, self._format)
        if self._zero is not None:
            q = rotations.product(q, self._zero * (-1.0, -1.0, -1.0, 1.0))
        turns = rotations.vectors(q)
        if not self._in_tool:
            return turns
        if orientation is None:
            raise BackendError("the tool's orientation at the observation is not known, but 'rotation_frame' is tool; 'ee_pose' brings it")
        tool, found = tuple(orientation.tolist()), []
        for turn in turns.tolist():  # each is about the axes that the ones before it have turned
            about_base = rotations.rotated(tool, turn)
            tool = rotations.times(rotations.exp(about_base), tool)
            found.append(about_base)
        return np.array(found)


def quaternions_of(numbers: np.ndarray, rotation_format: str) -> np.ndarray:
    """Unit quaternions [H, 4] of rotations [H, numbers] in one of the formats.

    Raises:
        BackendError: a quaternion or a column of no length, or columns that are parallel.
    """
    if rotation_format == "rotation_vector":
        return rotations.quaternions(numbers)
    if rotation_format == "euler_xyz":  # about fixed axes: roll about x first, yaw about z last
        roll, pitch, yaw = (rotations.quaternions(numbers[:, i : i + 1] * np.eye(3)[i]) for i in range(3))
        return rotations.product(yaw, rotations.product(pitch, roll))
    if rotation_format == "quaternion":
        return _directions(numbers, "a quaternion")
    first = _directions(numbers[:, :3], "a first column of a rotation matrix")
    second = numbers[:, 3:]
    second = _directions(second - first * np.sum(first * second, axis=1, keepdims=True), "a second column of a rotation matrix, beside the first,")
    return _of_matrices(np.stack([first, second, np.cross(first, second)], axis=2))


def _directions(numbers: np.ndarray, what: str) -> np.ndarray:
    length = np.sqrt(np.sum(numbers * numbers, axis=1, keepdims=True))
    if (length < LEAST).any():
        raise BackendError(f"the VLA server's actions have {what} of length {float(length.min()):.2g}; is 'rotation_format' the policy's?")
    return numbers / length


def _of_matrices(matrices: np.ndarray) -> np.ndarray:
    """Unit quaternions [H, 4] of rotation matrices [H, 3, 3]: the eigenvectors of their largest eigenvalue, 1, of I. Bar-Itzhack's matrix."""
    m = np.moveaxis(matrices, 0, -1)
    k = np.empty((len(matrices), 4, 4))
    for i in range(3):
        for j in range(3):
            k[:, i, j] = m[i, j] + m[j, i]
        k[:, i, i] = 2.0 * m[i, i] - (m[0, 0] + m[1, 1] + m[2, 2])
    k[:, 3, 3] = m[0, 0] + m[1, 1] + m[2, 2]
    for i, (row, column) in enumerate(((2, 1), (0, 2), (1, 0))):
        k[:, i, 3] = k[:, 3, i] = m[row, column] - m[column, row]
    return np.linalg.eigh(k)[1][:, :, 3]
