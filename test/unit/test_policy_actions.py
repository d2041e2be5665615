"""What policies answer, into rx, ry, rz: every way to write a rotation, by name, and the conventions of data sets."""

from __future__ import annotations

import re

import numpy as np
import pytest
import turning
from turning import ASKEW, matrix, of_quaternion

from rl_token_ros.robot import rotations
from rl_token_ros.settings import parameters
from rl_token_ros.settings.policy_actions import ACTION_PRESETS
from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla.backend import BackendError
from rl_token_ros.vla.policy_actions import PolicyActions, quaternions_of

HORIZON = 12


def settings(**changes) -> Vla:
    values = {"backend": "openpi", "vla_proprioception": ["ee_position"], "gripper_names": ["finger"], **changes}
    return parameters.build(Vla, turning.shared(**values))


def euler(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """About the fixed axes x, then y, then z."""
    return matrix([0.0, 0.0, yaw]) @ matrix([0.0, pitch, 0.0]) @ matrix([roll, 0.0, 0.0])


def quaternion(turn: np.ndarray) -> np.ndarray:
    angle = np.linalg.norm(turn)
    return np.append(np.sin(angle / 2) * turn / angle, np.cos(angle / 2))


def written(turn: np.ndarray, rotation_format: str) -> np.ndarray:
    """The numbers of a rotation as a policy may write it."""
    m = matrix(turn)
    return {
        "rotation_vector": turn,
        "quaternion": -1.7 * quaternion(turn),  # of either sign, and no unit quaternion: what a network regresses
        "matrix_columns": np.concatenate([1.1 * m[:, 0], 0.9 * m[:, 1] + 0.2 * m[:, 0]]),
        "euler_xyz": np.array([np.arctan2(m[2, 1], m[2, 2]), np.arcsin(-m[2, 0]), np.arctan2(m[1, 0], m[0, 0])]),
    }[rotation_format]


def turns_of(random, most: float) -> np.ndarray:
    axes = random.normal(size=(HORIZON, 3))
    return axes / np.linalg.norm(axes, axis=1, keepdims=True) * np.linspace(1e-4, most, HORIZON)[:, None]


FORMATS = ["rotation_vector", "quaternion", "matrix_columns", "euler_xyz"]


@pytest.mark.parametrize("rotation_format", FORMATS)
def test_every_way_to_write_a_rotation_is_that_rotation(random, rotation_format):
    for _ in range(20):
        turns = turns_of(random, 3.14)
        found = quaternions_of(np.array([written(turn, rotation_format) for turn in turns]), rotation_format)
        for q, turn in zip(found, turns):
            np.testing.assert_allclose(of_quaternion(q), matrix(turn), atol=1e-9)


def test_roll_pitch_and_yaw_are_about_fixed_axes_in_that_order(random):
    for angles in random.uniform(-3.0, 3.0, (20, 3)):
        np.testing.assert_allclose(of_quaternion(quaternions_of(angles[None], "euler_xyz")[0]), euler(*angles), atol=1e-12)


@pytest.mark.parametrize("rotation_format", FORMATS)
def test_an_absolute_orientation_is_counted_from_the_tool_orientation(random, rotation_format):
    turns, places = turns_of(random, 2.5), random.uniform(-1.0, 1.0, (HORIZON, 3))
    grips = random.uniform(0.0, 1.0, (HORIZON, 1))
    made = PolicyActions(settings(action_type="absolute", rotation_format=rotation_format))
    raw = np.hstack([places, [written(turn, rotation_format) for turn in turns], grips]).astype(np.float32)
    assert made.width == raw.shape[1] and made.refusal(made.width) == "" and "policy_names" in made.refusal(made.width + 1)
    found = made.read(raw)
    assert found.shape == (HORIZON, 7) and found.dtype == np.float32
    np.testing.assert_array_equal(found[:, [0, 1, 2, 6]], np.hstack([places, grips]).astype(np.float32))
    for action, turn in zip(found, turns):
        np.testing.assert_allclose(matrix(action[3:6]) @ of_quaternion(ASKEW), matrix(turn), atol=2e-6)


@pytest.mark.parametrize("rotation_format", FORMATS)
def test_a_delta_about_axes_of_the_base_frame_is_a_turn_there(random, rotation_format):
    turns = turns_of(random, 0.4)
    raw = np.hstack([np.zeros((HORIZON, 3)), [written(turn, rotation_format) for turn in turns], np.zeros((HORIZON, 1))]).astype(np.float32)
    np.testing.assert_allclose(PolicyActions(settings(rotation_format=rotation_format)).read(raw)[:, 3:6], turns, atol=1e-6)


def test_deltas_about_axes_of_the_tool_turn_it_as_far_as_they_would_one_after_the_other(random):
    turns, start = turns_of(random, 0.5), np.array([0.3, -0.5, 0.1])
    raw = np.hstack([np.zeros((HORIZON, 3)), turns, np.zeros((HORIZON, 1))]).astype(np.float32)
    made = PolicyActions(settings(rotation_frame="tool"))
    found = made.read(raw, quaternion(start))
    tool, moved = matrix(start), start
    for turn, action in zip(turns, found):
        tool = tool @ matrix(turn)  # the right: in its own axes
        moved = rotations.moved(moved, action[3:6].astype(float))
        np.testing.assert_allclose(matrix(moved), tool, atol=1e-6)
    with pytest.raises(BackendError, match="'rotation_frame' is tool; 'ee_pose' brings it"):
        made.read(raw, None)
    assert settings(rotation_frame="tool").measured_groups == ["ee_position", "ee_orientation"] and settings().measured_groups == ["ee_position"]


def test_numbers_are_taken_by_name(random):
    names = ["finger", "qw", "qx", "qy", "qz", "z", "y", "x", "terminate"]
    made = PolicyActions(settings(rotation_format="quaternion", policy_names=names))
    turns = turns_of(random, 0.3)
    quaternions = np.array([quaternion(turn) for turn in turns])
    raw = np.hstack([np.full((HORIZON, 1), 0.7), quaternions[:, 3:], quaternions[:, :3], np.tile([3.0, 2.0, 1.0, 9.0], (HORIZON, 1))])
    found = made.read(raw.astype(np.float32))
    np.testing.assert_allclose(found, np.hstack([np.tile([1.0, 2.0, 3.0], (HORIZON, 1)), turns, np.full((HORIZON, 1), 0.7)]), atol=1e-6)
    assert "gives actions of 8 values" in made.refusal(8)
    by_column = PolicyActions(settings(rotation_format="quaternion", action_columns="7,6,5,2:5,1,0"))
    np.testing.assert_array_equal(by_column.read(raw.astype(np.float32)), found)


LIBERO = [0.4, -1.0, 1.0, 0.1, 0.0, -0.5, 1.0]


@pytest.mark.parametrize(
    "preset, raw, metres, turned",
    [
        ("libero", LIBERO, [0.02, -0.05, 0.05], matrix([0.05, 0.0, -0.25])),
        ("bridge", [0.01, -0.02, 0.03, 0.1, -0.2, 0.3, 1.0], [0.01, -0.02, 0.03], euler(0.1, -0.2, 0.3)),
        ("droid_velocity", [1.0, 0.0, -1.0, 0.4, 0.2, -0.8, 0.5], [0.075, 0.0, -0.075], euler(0.06, 0.03, -0.12)),
        ("droid_position", [0.4, 0.0, 0.3, 3.1, 0.2, -0.4, 0.5], [0.4, 0.0, 0.3], euler(3.1, 0.2, -0.4)),
    ],
)
def test_the_conventions_of_data_sets(preset, raw, metres, turned):
    convention = ACTION_PRESETS[preset]
    made = PolicyActions(settings(action_preset=preset, action_type=convention.action_type))
    (action,) = made.read(np.array([raw], np.float32))
    np.testing.assert_allclose(action[:3], metres, atol=1e-7)
    found = matrix(action[3:6]) @ (of_quaternion(ASKEW) if convention.action_type == "absolute" else np.eye(3))
    np.testing.assert_allclose(found, turned, atol=1e-6)
    assert action[6] == np.float32(raw[6])


def test_another_pace_than_the_data_sets_is_said():
    told = settings(action_preset="bridge", chunk_dt=0.1).pace_warning
    assert told == "parameter 'chunk_dt' is 0.1 s, actions of bridge are 0.2 s apart: the tool moves 2 times as fast as in the data set"
    assert settings(action_preset="droid_velocity", chunk_dt=0.0667).pace_warning == settings().pace_warning == ""


def test_what_is_written_beside_a_preset_wins_and_fewer_names_take_fewer_numbers():
    made = PolicyActions(settings(action_preset="libero", action_scale=[1.0] * 6 + [0.04]))
    np.testing.assert_allclose(made.read(np.array([LIBERO], np.float32))[0], [*LIBERO[:6], 0.04], atol=1e-6)
    plain = PolicyActions(settings(action_preset="libero", action_names=["z", "x"], residual_scale=[0.1] * 2, gripper_names=[]))
    np.testing.assert_allclose(plain.read(np.array([LIBERO], np.float32)), [[0.05, 0.02]])


@pytest.mark.parametrize(
    "change, says",
    [
        ({"action_preset": "libero", "action_type": "absolute"}, "libero, whose actions are delta, but 'action_type' is absolute; write delta"),
        ({"action_preset": "droid_position"}, "whose actions are absolute, but 'action_type' is delta; write absolute"),
        ({"action_preset": "bridge", "action_names": ["x", "y", "z", "yaw"]}, "write x, y, z, rx, ry, rz"),
        ({"action_preset": "bridge", "gripper_names": ["a", "b"]}, "have one gripper, but 'gripper_names' has 2"),
        ({"action_type": "absolute", "tool_orientation": []}, "counted from it; write it under /"),
        ({"action_type": "absolute", "rotation_frame": "tool"}, "'rotation_frame' is tool, but 'action_type' is absolute"),
        ({"rotation_format": "quaternion", "action_scale": [1.0] * 6 + [2.0, 1.0]}, "'action_scale' of qx, qy, qz, qw is not 1; write 1"),
        ({"rotation_format": "quaternion", "action_scale": [1.0] * 7}, "'action_scale' has 7 numbers; write 8, one for each of .x, y, z, qx, qy, qz"),
        ({"policy_names": ["x"], "action_columns": "0:7"}, "'policy_names' and 'action_columns' are both given; write one"),
        ({"action_names": ["x", "y", "z"], "rotation_format": "quaternion"}, "'rotation_format' is quaternion, but action_names has no rx, ry, rz"),
        ({"action_names": ["x", "y", "z"], "rotation_frame": "tool"}, "'rotation_frame' is tool, but action_names has no rx, ry, rz"),
        ({"backend": "onnx", "rotation_format": "quaternion"}, "are for backend openpi; a model of backend onnx gives rx, ry, rz"),
        ({"policy_names": ["x", "y", "z", "rx", "ry"]}, "'policy_names' has no rz, finger; it names x, y, z, rx, ry"),
        ({"action_columns": "0:6"}, "'action_columns' takes 6 values; write 7, one for each of"),
    ],
)  # fmt: skip
def test_what_would_be_ambiguous_is_refused_with_what_to_write(change, says):
    names = change.get("action_names", turning.NAMES)
    with pytest.raises(parameters.ParameterError, match=says):
        PolicyActions(settings(**{"residual_scale": [0.1] * len(names)} | change))


@pytest.mark.parametrize(
    "rotation_format, numbers, says",
    [
        ("quaternion", [0.0] * 4, "a quaternion of length 0; is 'rotation_format' the policy's?"),
        ("matrix_columns", [0.0] * 3 + [1.0, 0.0, 0.0], "a first column of a rotation matrix of length 0"),
        ("matrix_columns", [1.0, 0.0, 0.0, 2.0, 0.0, 0.0], "a second column of a rotation matrix, beside the first, of length 0"),
    ],
)
def test_numbers_that_are_no_rotation_are_refused(rotation_format, numbers, says):
    made = PolicyActions(settings(rotation_format=rotation_format))
    with pytest.raises(BackendError, match=re.escape(says)):
        made.read(np.array([[0.0] * 3 + numbers + [0.0]], np.float32))
