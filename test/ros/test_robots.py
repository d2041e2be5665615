"""Every robot of config/ loads, and runs against a fake arm and a policy server on real topics: names, numbers and limits are YAML."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_robot
from fake_arm import FakeArm
from policy_servers import OpenPi, Policy, running
from std_srvs.srv import SetBool

from rl_token_ros.control.tick_record import Event
from rl_token_ros.interfaces.codes import Source
from rl_token_ros.nodes.control_node import ControlNode
from rl_token_ros.nodes.vla_node import VlaNode
from rl_token_ros.settings import node_settings, parameters, proprioception_groups
from rl_token_ros.settings.proprioception_groups import AXES, ROTATION, YAW

CONFIG = Path(__file__).parents[2] / "config"
ROBOTS = sorted(path.stem for path in CONFIG.glob("*.yaml"))
SIMULATED = ("sim", "sim_plug")
REAL = sorted(set(ROBOTS) - set(SIMULATED))
RATE, STEPS = 0.1, 150  # of the speed limit; of a chunk, long enough for a machine that is busy


class Gentle(Policy):
    """Moves the first action on at a tenth of its speed limit and leaves the others where they are."""

    def __init__(self, control: node_settings.Control, vla: node_settings.Vla, state: str) -> None:
        super().__init__()
        self.control, self.vla, self.state = control, vla, state

    def infer(self, obs: dict[str, Any]) -> dict[str, Any]:
        self.requests.append(obs)
        self.before()
        control = self.control
        speed = np.zeros(len(control.chunk_names))
        speed[0] = RATE * control.velocity_limit[0] * control.chunk_dt
        if control.action_type == "delta":
            actions = np.tile(speed, (STEPS, 1))
        else:
            known = {YAW: 0.0, **dict(zip(AXES if control.cartesian else control.joint_names, self.measured(obs)))}
            actions = np.array([known[name] for name in control.chunk_names]) + np.arange(1, STEPS + 1)[:, None] * speed
        for i, _ in enumerate(control.gripper_names, control.action_size):
            actions[:, i] = 0.5
        if self.vla.action_scale or self.vla.action_preset:
            actions = actions / self.vla.answer_scale
        return {"actions": actions, "embeddings": self.answer["embeddings"]}

    def measured(self, obs: dict[str, Any]) -> np.ndarray:
        for part in self.state.split(">"):
            obs = obs[part]
        return np.asarray(obs)


def groups(robot: str | Path, folder: Path) -> tuple[dict[str, dict[str, Any]], node_settings.Control, node_settings.Vla]:
    """Values of both nodes as in the file, with a token encoder and statistics that exist."""
    path = CONFIG / f"{robot}.yaml" if isinstance(robot, str) else robot
    encoder = small_robot.write_encoder(folder / "encoder.onnx", None, token=parameters.read_file(path, "control_node")["token_size"])
    values = {node: parameters.read_file(path, node) | {"token_encoder": str(encoder)} for node in ("control_node", "vla_node")}
    if values["vla_node"].get("statistics_file"):
        size = len(values["vla_node"]["joint_names"])
        unit = {"mean": [0.0] * size, "std": [1.0] * size}
        (folder / "stats.json").write_text(json.dumps({"observation.state": unit, "action": unit}))
        values["vla_node"]["statistics_file"] = str(folder / "stats.json")
    values["vla_node"] |= {"query_timeout": 30.0, "warmup_timeout": 30.0, "image_timeout": 10.0, "sync_slop": 1.0}
    values["control_node"] |= {"state_timeout": 10.0, "chunk_timeout": 10.0, "realtime_priority": 0}  # the tests' machine may be busy
    made = (parameters.build(node_settings.NODES[node], values[node]) for node in values)
    return values, *made


def state_name(vla: node_settings.Vla) -> str:
    """Where the policy finds the joints."""
    from rl_token_ros.vla.keys import KeyMap

    sources = KeyMap(vla, proprioception_groups.size(vla.vla_proprioception, len(vla.joint_names), vla.action_size)).sources
    return next(name for name, source in sources.items() if source.startswith("proprio"))


@pytest.mark.parametrize("robot", ROBOTS)
@pytest.mark.parametrize("node", ["control_node", "vla_node", "learner_node"])
def test_every_robot_loads_for_every_node(robot, node):
    node_settings.load(node, CONFIG / f"{robot}.yaml")


def test_the_files_are_of_robots_that_differ():
    loaded = {robot: node_settings.load("control_node", CONFIG / f"{robot}.yaml") for robot in ROBOTS}
    assert {"forward", "trajectory", "joint_state", "pose"} <= {control.command_interface for control in loaded.values()}
    assert {"delta", "absolute"} == {control.action_type for control in loaded.values()}
    assert loaded["bimanual"].action_size == 14 and loaded["so101"].control_rate == 30.0
    assert loaded["franka"].gripper_names and "gripper" in loaded["so101"].action_names


def runs(graph: Any, robot: str | Path, folder: Path) -> tuple[FakeArm, node_settings.Control, Policy]:
    values, control, vla = groups(robot, folder)
    centre = [(low + high) / 2 for low, high in zip(*control.command_range)]
    home = dict(zip(control.boxed_names, centre)) | dict.fromkeys(ROTATION if control.rotation_at is not None else (), 0.2)
    policy = Gentle(control, vla, "" if control.action_type == "delta" else state_name(vla))
    with running(OpenPi(policy)) as server:
        arm = graph.add(FakeArm, control, vla, home)
        node = graph.add(ControlNode, values=values["control_node"])
        asks = graph.add(VlaNode, values=values["vla_node"] | {"server": server.url})
        enable = arm.create_client(SetBool, "control_node/enable")
        graph.wait_for(lambda: node._command_topic.settled and not node.controller.not_ready(node._now()), f"inputs of {robot}: {asks._message}")
        assert not arm.heard, "something moved before it was enabled"
        answer = graph.call(enable, SetBool.Request(data=True))
        assert answer.success, answer.message
        first = control.action_names[0]
        goal = 0.05 * control.velocity_limit[0]  # half a second's way
        graph.wait_for(lambda: arm.position[first] - home[first] > goal, f"{robot} to move {first}")
        if control.gripper_names:
            graph.wait_for(lambda: arm.grips and arm.grips[-1] == pytest.approx(0.5, abs=1e-6), "the gripper")
        answer = graph.call(enable, SetBool.Request(data=False))
        assert answer.success
        graph.wait_for(lambda: node.controller.source == Source.NONE, "the last command")
        if control.commands_velocity:
            graph.wait_for(lambda: not any(arm.heard[-1].values()), "rest")
        for other in control.action_names[1:]:
            assert arm.position[other] == pytest.approx(home[other], abs=1e-3), other
        asks.close()
    return arm, control, policy


@pytest.mark.parametrize("robot", REAL)
def test_every_robot_moves_as_its_policy_says(graph, tmp_path, robot):
    arm, control, policy = runs(graph, robot, tmp_path)
    heard = np.array([[values[name] for name in control.action_names] for values in arm.heard])
    steps = np.abs(np.diff(heard, axis=0))
    assert (steps <= np.array(control.velocity_limit) / control.control_rate + 1e-9).all()
    assert policy.requests


def test_a_robot_nobody_has_seen_is_a_file(graph, tmp_path):
    """Other names, five joints, Cartesian velocities to MoveIt Servo."""
    path = tmp_path / "mine.yaml"
    path.write_text(
        """
/**:
  ros__parameters:
    joint_names: [j1, j2, j3, j4, j5]
    cameras: [eye]
    base_frame: world
    action_names: [z, "y"]
    proprioception: [ee_position, wrench_force]
    chunk_length: 5
    token_size: 16
    residual_scale: [0.001, 0.001]
/**/vla_node:
  ros__parameters: {backend: openpi, vla_proprioception: [ee_position], image_height: 0}
/**/control_node:
  ros__parameters:
    command_interface: twist
    replan_interval: 5
    position_min: [-1.0, -1.0]
    position_max: [1.0, 1.0]
    velocity_limit: [0.2, 0.2]
    acceleration_limit: [2.0, 2.0]
    lead_limit: [0.1, 0.1]
"""
    )
    arm, _control, _ = runs(graph, path, tmp_path)
    assert max(values["z"] for values in arm.heard) <= 0.2 + 1e-9


def test_joint_velocities_of_a_robot_that_is_a_file(graph, tmp_path):
    """Three joints, deltas, a gripper by trajectory; a velocity controller goes on with the last command, so that must be rest."""
    path = tmp_path / "mine.yaml"
    path.write_text(
        """
/**:
  ros__parameters:
    joint_names: [lift, swing, wrist, claw]
    cameras: [eye]
    action_names: [swing, lift, wrist]
    gripper_names: [claw]
    chunk_length: 5
    token_size: 16
    residual_scale: [0.01, 0.01, 0.01]
/**/vla_node:
  ros__parameters: {backend: openpi, image_height: 0}
/**/control_node:
  ros__parameters:
    command_interface: forward
    forward_quantity: velocity
    replan_interval: 5
    position_min: [-1.0, -1.0, -1.0]
    position_max: [1.0, 1.0, 1.0]
    velocity_limit: [0.2, 0.2, 0.2]
    acceleration_limit: [2.0, 2.0, 2.0]
    lead_limit: [0.1, 0.1, 0.1]
    gripper_interface: trajectory
    gripper_min: [0.0]
    gripper_max: [1.0]
"""
    )
    arm, _, _ = runs(graph, path, tmp_path)
    assert set(arm.heard[-1].values()) == {0.0} and max(values["swing"] for values in arm.heard) <= 0.2 + 1e-9


@pytest.mark.parametrize("robot", SIMULATED)
def test_poses_of_a_tool_in_absolute_coordinates(graph, tmp_path, robot):
    """`sim.yaml` and, with yaw, `sim_plug.yaml`, actions made absolute and the VLA a policy server's."""
    path = tmp_path / "mine.yaml"
    text = (CONFIG / f"{robot}.yaml").read_text()
    for old, new in (
        ("action_type: delta", "action_type: absolute"), ("backend: onnx", "backend: openpi"), ("vla_model:", "vla_sha256: ''  #"),
        ("mode: actor", "mode: vla"), ("enable_on_start: true", "enable_on_start: false"),
    ):  # fmt: skip
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    arm, control, _policy = runs(graph, path, tmp_path)
    heard = np.array([[values[name] for name in control.action_names] for values in arm.heard])
    assert (np.abs(np.diff(heard, axis=0)) <= np.array(control.velocity_limit) / control.control_rate + 1e-9).all()


def test_a_server_that_is_late_and_dies_never_stops_the_control_loop_nor_moves_the_arm_on_old_chunks(graph, tmp_path):
    """The ladder of docs/architecture.md from the network's end: fresh, rest of the chunk, hold; and on again."""
    values, control, vla = groups("ur5e", tmp_path)
    values["control_node"] |= {"chunk_timeout": 3.0, "hold_timeout": 3600.0}
    values["vla_node"] |= {"query_timeout": 5.0}
    home = dict.fromkeys(control.action_names, 0.1) | {"shoulder_lift_joint": -1.0}
    policy, release = Gentle(control, vla, state_name(vla)), threading.Event()
    server = OpenPi(policy)
    with running(server) as address:
        arm = graph.add(FakeArm, control, vla, home)
        node = graph.add(ControlNode, values=values["control_node"])
        asks = graph.add(VlaNode, values=values["vla_node"] | {"server": address.url})
        graph.wait_for(lambda: node._command_topic.settled and not node.controller.not_ready(node._now()), "inputs")
        node._call(Event.ENABLE)
        graph.wait_for(lambda: node.controller.counts["ticks_vla"] > 10, "motion")
        policy.before = lambda: release.wait(60.0) and None  # from here on it is late, and its event loop blocked
        graph.wait_for(lambda: asks.failures > 0 and node.controller.counts["ticks_holding"] > 20, "the arm to hold")
        held = arm.position[control.action_names[0]]
        ticks = node.ticks.ticks
        graph.wait_for(lambda: node.ticks.ticks > ticks + 25, "the loop to go on")
        assert arm.position[control.action_names[0]] == pytest.approx(held, abs=1e-3)
        release.set()  # now the late answer comes, on a connection that was given up
        moved = node.controller.counts["ticks_vla"]
        graph.wait_for(lambda: node.controller.counts["ticks_vla"] > moved, "motion on fresh chunks")
        port = address.port
    failures = asks.failures
    graph.wait_for(lambda: asks.failures > failures, "the death to be noticed")
    assert "VLA server" in asks._message
    holding = node.controller.counts["ticks_holding"]
    graph.wait_for(lambda: node.controller.counts["ticks_holding"] > holding + 5, "the arm to hold again")
    with running(OpenPi(policy), port):
        moved = node.controller.counts["ticks_vla"]
        graph.wait_for(lambda: node.controller.counts["ticks_vla"] > moved + 5, "motion after its return")
        asks.close()
    assert not node.controller.stop_reason and node.controller.enabled
