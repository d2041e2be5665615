"""Parameters: every bad value is refused with a sentence that says what to write instead."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import small_robot

from rl_token_ros.settings import files, node_settings, parameters
from rl_token_ros.settings.parameters import ParameterError

SIM = Path(__file__).parents[2] / "config" / "sim.yaml"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "robot.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("node", node_settings.NODES)
def test_the_simulated_robot_loads_for_every_node(node):
    group = node_settings.load(node, SIM)
    assert isinstance(group, node_settings.NODES[node])
    if hasattr(group, "joint_names"):  # what all nodes of the robot share
        assert group.joint_names[0] == "joint_1"


@pytest.mark.parametrize("node", node_settings.NODES)
def test_every_parameter_is_described_and_its_default_is_allowed(node):
    for name, (kind, default, metadata) in parameters.fields(node_settings.NODES[node]).items():
        assert metadata["description"].endswith((".", ")")), name
        assert kind in parameters.TYPES, name
        if default not in ("", []):
            parameters.check(name, kind, metadata, default)


@pytest.mark.parametrize(
    "change, says",
    [
        ({"control_rate": "fast"}, "'control_rate' is 'fast', a str; write a number"),
        ({"control_rate": 201.0}, "from 1 to 200 Hz"),
        ({"control_rate": math.nan}, "'control_rate'"),
        ({"replan_interval": True}, "a bool; write a integer"),
        ({"replan_interval": 5}, "write 1 to chunk_length = 4"),
        ({"mode": "acter"}, "one of vla, shadow, actor"),
        ({"position_max": [0.5, 0.1]}, "'position_max' has 2 numbers; write 3"),
        ({"position_max": [0.5, 0.1, math.inf]}, r"'position_max\[2\]' is inf; write a finite number"),
        ({"position_min": [0.5, -0.1, 0.0]}, "write the smaller one first"),
        ({"velocity_limit": [0.1, 0.0, 0.1]}, r"velocity_limit\[1\]"),
        ({"action_names": []}, "'action_names' is empty"),
        ({"action_names": ["x", "y", "x"]}, "names x twice"),
        ({"action_names": ["x", "y", "elbow"]}, "has x, y, elbow, not in 'joint_names'"),
        ({"command_interface": "forward"}, "write pose or twist"),
        ({"proprioception": ["ee_positon"]}, "'proprioception' names 'ee_positon'; write some of"),
        ({"proprioception": ["joint_velocity"]}, "'joint_names' is empty"),
        ({"tool_orientation": [1.0, 0.0, 0.0]}, "'tool_orientation'"),
        ({"tool_orientation": [1.0, 1.0, 0.0, 0.0]}, "of length 1"),
        ({"workspace_min": [0.0, 0.0, 0.0]}, "for both, or neither"),
        ({"workspace_min": [0.0, 0.0, 0.0], "workspace_max": [1.0, 1.0, 0.0]}, "'workspace_min' of z"),
        ({"residual_scale": 0.1}, "write a list of numbers"),
    ],
)
def test_a_bad_control_parameter_is_refused_with_what_to_write(change, says):
    with pytest.raises(ParameterError, match=says):
        small_robot.settings(**change)


@pytest.mark.parametrize(
    "change, says",
    [
        ({"vla_proprioception": ["command_lead"]}, "only control_node knows"),
        ({"vla_proprioception": ["wrench"]}, "'vla_proprioception' names 'wrench'"),
        ({"cameras": [], "vla_proprioception": ["ee_position"]}, "'cameras' is empty"),
    ],
)
def test_a_bad_vla_parameter_is_refused_with_what_to_write(change, says):
    with pytest.raises(ParameterError, match=says):
        parameters.build(node_settings.Vla, small_robot.shared(**change))


def test_an_integer_serves_as_a_number():
    assert isinstance(small_robot.settings(control_rate=50).control_rate, float)


def test_a_misspelt_name_gets_a_suggestion(tmp_path):
    path = write(tmp_path, "/**:\n  ros__parameters:\n    control_raet: 50.0\n")
    with pytest.raises(ParameterError, match="unknown parameter 'control_raet'; did you mean 'control_rate'?"):
        node_settings.load("control_node", path)


@pytest.mark.parametrize(
    "text, says",
    [
        ("", "is empty"),
        ("/**: [", "is no YAML"),
        ("/**:\n  control_rate: 50.0\n", "has no 'ros__parameters'"),
        ("/**:\n  ros__parameters: [1, 2]\n", "has no 'ros__parameters'"),
        ("/**:\n  ros__parameters:\n    7: 8\n", "unknown parameter '7'"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, text, says):
    with pytest.raises(ParameterError, match=says):
        node_settings.load("control_node", write(tmp_path, text))


def test_a_path_that_is_no_text_file_is_refused(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x80")
    for path in (tmp_path / "none.yaml", tmp_path, tmp_path / "binary"):
        with pytest.raises(ParameterError, match="parameter file"):
            node_settings.load("control_node", path)


def test_the_nodes_own_section_wins_over_the_wildcard(tmp_path):
    path = write(tmp_path, "/**/vla_node:\n  ros__parameters: {task: own}\n/**:\n  ros__parameters: {task: all}\n")
    assert parameters.read_file(path, "vla_node")["task"] == "own"
    assert parameters.read_file(path, "control_node")["task"] == "all"


def test_a_delta_per_chunk_step_is_shared_out_over_the_control_steps_within_it():
    robot = small_robot.settings(control_rate=200.0)
    assert robot.action_rate == pytest.approx(0.25)
    assert robot.step_residual_scale == pytest.approx([0.0002] * 3)
    assert small_robot.settings(control_rate=200.0, action_type="absolute").action_rate == 1.0


def test_a_package_path_is_a_file_of_this_package():
    assert files.resolve_path("package://rl_token_ros/models/actor_2_layers.onnx").is_file()
