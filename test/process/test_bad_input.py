"""Bad input, with real processes: the node says what is wrong and what to write, and exits with status 2 before anything moves."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import small_robot
from rclpy.node import Node
from sensor_msgs.msg import JointState

BAD_INPUT = 2
JOINTS = {
    "joint_names": ["a", "b"],
    "action_names": ["a", "b"],
    "proprioception": ["joint_position"],
    "command_interface": "forward",
    "residual_scale": [0.1, 0.1],
    "position_min": [-1.0, -1.0],
    "position_max": [1.0, 1.0],
    "velocity_limit": [1.0, 1.0],
    "acceleration_limit": [1.0, 1.0],
    "lead_limit": [1.0, 1.0],
}


def start(tmp_path, domain, node: str, values: dict, *arguments: str) -> subprocess.Popen:
    """The node as a process, with a parameter file of these values."""
    path = tmp_path / "robot.yaml"
    path.write_text(json.dumps({"/**": {"ros__parameters": values}}))  # JSON is YAML whose names are quoted: a bare y is true
    command = [sys.executable, "-m", "rl_token_ros.cli", node, "--ros-args", "--params-file", str(path), *arguments]
    environment = {**os.environ, "ROS_DOMAIN_ID": str(domain)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def refused(tmp_path, domain, node: str, values: dict, *arguments: str) -> str:
    """What a node says that must exit at once with the status of bad input."""
    process = start(tmp_path, domain, node, values, *arguments)
    try:
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == BAD_INPUT, said
    assert "Traceback" not in said
    return said


@pytest.fixture
def control(models) -> dict:
    return small_robot.control(vla_model=str(models["vla"]), token_encoder=str(models["encoder"]))


@pytest.fixture
def vla(models) -> dict:
    return small_robot.shared(vla_model=str(models["vla"]), vla_proprioception=["ee_position"])


@pytest.mark.parametrize(
    "change, says",
    [
        ({"control_raet": 50.0}, "unknown parameter 'control_raet'; did you mean 'control_rate'?"),
        ({"position_max": [0.5, 0.1]}, "'position_max' has 2 numbers; write 3"),
        ({"proprioception": ["ee_positoin"]}, "'proprioception' names 'ee_positoin'; write some of"),
        ({"token_encoder": "/nowhere/encoder.onnx"}, "'token_encoder' names '/nowhere/encoder.onnx', which does not exist"),
        ({"vla_model": "/nowhere/vla.onnx"}, "'vla_model' names '/nowhere/vla.onnx', which does not exist"),
        ({"token_size": 5}, "'token_size' is 5; write 4"),
    ],
)
def test_a_control_node_with_a_bad_parameter_says_so_and_exits(tmp_path, domain, control, change, says):
    assert says in refused(tmp_path, domain, "control_node", {**control, **change})


def test_an_encoder_made_for_another_vla_is_refused(tmp_path, domain, control, models):
    said = refused(tmp_path, domain, "control_node", {**control, "token_encoder": str(models["stranger"])})
    assert "was made for a VLA with SHA-256 000000000000..." in said and "train an encoder for this VLA" in said


def test_an_encoder_of_no_fixed_size_is_refused(tmp_path, domain, control, models):
    path = small_robot.write_encoder(tmp_path / "loose.onnx", models["vla"], rows="tokens")
    assert "of fixed size" in refused(tmp_path, domain, "control_node", {**control, "token_encoder": str(path)})


def test_a_file_that_is_no_model_is_refused(tmp_path, domain, control, vla):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a model")
    assert "cannot be loaded" in refused(tmp_path, domain, "control_node", {**control, "vla_model": "", "token_encoder": str(path)})
    assert "cannot be loaded" in refused(tmp_path, domain, "vla_node", {**vla, "vla_model": str(path)})


@pytest.mark.parametrize(
    "change, says",
    [
        ({"vla_model": "/nowhere/vla.onnx"}, "'vla_model' names '/nowhere/vla.onnx', which does not exist"),
        ({"cameras": ["bas"]}, "'cameras' is ['bas']"),
        ({"cameras": ["base", "wrist"]}, "takes the cameras ['base']"),
        ({"vla_proprioception": ["ee_position", "wrench_force"]}, "has 6 values, but"),
        ({"action_names": ["x", "y"], "residual_scale": [0.1, 0.1]}, "'action_names' and 'gripper_names' have 2 names"),
        ({"action_names": ["z", "y", "x"]}, "was trained with"),
        ({"chunk_dt": 0.05}, "'chunk_dt' is 0.05"),
        (
            {"chunk_length": 21},
            "gives 20 steps of chunk_dt 0.02 s, 0.40 s in all, and chunk_length 21 at control_rate 50 Hz is 0.42 s",
        ),
        ({"query_rate": "often"}, "'query_rate' is 'often', a str; write a number"),
    ],
)
def test_a_vla_node_whose_model_does_not_fit_says_so_and_exits(tmp_path, domain, vla, change, says):
    assert says in refused(tmp_path, domain, "vla_node", {**vla, **change})


def test_a_vla_whose_images_are_of_another_type_is_refused(tmp_path, domain, vla):
    from onnx import TensorProto

    path = small_robot.write_vla(tmp_path / "float.onnx", image_type=TensorProto.FLOAT)
    assert "expected tensor(uint8)" in refused(tmp_path, domain, "vla_node", {**vla, "vla_model": str(path)})


def test_a_sim_node_with_a_misspelt_parameter_says_so_and_exits(tmp_path, domain):
    assert "did you mean 'clearance'?" in refused(tmp_path, domain, "sim_node", {"clearence": 0.0004})


def test_a_parameter_on_the_command_line_is_checked_too(tmp_path, domain, control):
    said = refused(tmp_path, domain, "control_node", control, "-p", "mode:=actress")
    assert "'mode' is 'actress'; write one of vla, shadow, actor" in said


def test_a_parameter_file_that_is_none_is_refused(tmp_path, domain):
    assert "error:" in refused(tmp_path, domain, "control_node", {}, "--params-file", str(tmp_path / "missing.yaml"))


def test_a_joint_that_nobody_brings_is_named_and_the_node_goes_on(tmp_path, domain, graph, control):
    """Its driver may start later."""
    process = start(tmp_path, domain, "control_node", {**control, **JOINTS})
    try:
        arm = graph.add(lambda **options: Node("arm", **dict(options.items())))
        publisher = arm.create_publisher(JointState, "joint_states", 5)

        def publish() -> None:
            message = JointState(name=["a", "gripper"], position=[0.0, 0.0])
            message.header.stamp = arm.get_clock().now().to_msg()
            publisher.publish(message)

        arm.create_timer(0.01, publish)
        os.set_blocking(process.stderr.fileno(), False)
        said: list[str] = []

        def named() -> bool:
            try:
                said.append(os.read(process.stderr.fileno(), 65536).decode())
            except BlockingIOError:
                return False
            return "no message on 'joint_states' brings b; there are a, gripper: start the driver that publishes it" in "".join(said)

        graph.wait_for(named, "the sentence")
        assert process.poll() is None and "Traceback" not in "".join(said)
    finally:
        process.kill()
        process.wait()
