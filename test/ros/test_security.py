"""Who may speak: the policy grants what each node has and no more; nothing is unpickled; nodes say when security is off."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
import small_robot

ROOT = Path(__file__).resolve().parents[2]
POLICIES = {path.stem: path for path in (ROOT / "config" / "sros2").glob("*.xml")}  # by node
# What rclpy adds to every node.
OF_RCLPY = {"/rosout", "/parameter_events", "/clock"}
PARAMETER_SERVICES = re.compile(
    r".*/(describe_parameters|get_parameter_types|get_parameters|list_parameters|set_parameters|set_parameters_atomically"
    r"|get_type_description)$"
)


def granted(node: str, kind: str, how: str) -> set[str]:
    """Full names that the policy grants a node."""
    (enclave,) = ElementTree.parse(POLICIES[node]).getroot().iter("enclave")
    (profile,) = enclave.iter("profile")
    assert enclave.get("path") == f"/rl_token/{node}"
    assert profile.get("node") == node and profile.get("ns") == "/"
    names = {element.text for group in profile.findall(f"{kind}s[@{how}='ALLOW']") for element in group}
    return {f"/{node}/{name[2:]}" if name.startswith("~/") else name if name.startswith("/") else f"/{name}" for name in names}


def has(node) -> dict[str, set[str]]:
    """Full names that a running node has: publish, subscribe, reply."""
    name = node.get_name(), "/"
    return {
        "publish": {found for found, _ in node.get_publisher_names_and_types_by_node(*name)} - OF_RCLPY,
        "subscribe": {found for found, _ in node.get_subscriber_names_and_types_by_node(*name)} - OF_RCLPY,
        "reply": {found for found, _ in node.get_service_names_and_types_by_node(*name) if not PARAMETER_SERVICES.match(found)},
    }


def control(graph, models, tmp_path):
    from rl_token_ros.nodes.control_node import ControlNode

    proprioception = ["ee_position", "command_lead", "wrench_force", "joint_position", "extra/gap"]
    robot = small_robot.control(vla_model=str(models["vla"]), token_encoder=str(models["encoder"]), proprioception=proprioception, joint_names=["j1"])
    return graph.add(ControlNode, values=robot), {
        "/gripper/command", "/ee_pose", "/robot_description", "/tf", "/tf_static"
    }  # fmt: skip


def vla(graph, models, tmp_path):
    from rl_token_ros.nodes.vla_node import VlaNode

    names = small_robot.shared(vla_model=str(models["vla"]), vla_proprioception=["ee_position"])
    return graph.add(VlaNode, values=names), {
        "/joint_states", "/wrench", "/extra", "/camera/wrist/image_raw", "/camera/base/image_raw/compressed", "/camera/wrist/image_raw/compressed"
    }  # fmt: skip


def learner(graph, models, tmp_path):
    pytest.importorskip("torch")
    from rl_token_ros.nodes.learner_node import LearnerNode

    return graph.add(
        LearnerNode, values=small_robot.shared(vla_model=str(models["vla"]), token_encoder=str(models["encoder"]), run_directory=str(tmp_path))
    ), set()


def sim(graph, models, tmp_path):
    pytest.importorskip("mujoco")
    from rl_token_ros.nodes.sim_node import SimNode

    return graph.add(SimNode), set()


def gym(graph, models, tmp_path):
    from rl_token_ros.nodes.gym_node import GymNode

    names = small_robot.shared(proprioception=["ee_position"], command_interface="pose")
    return graph.add(GymNode, values={**names, "env": "reach:Reach", "use_sim_time": True}), {
        "/joint_states", "/wrench", "/extra", "/camera/wrist/image_raw", "/gripper/command"
    }  # fmt: skip


def operator(graph, models, tmp_path):
    from rl_token_ros.nodes.operator_node import OperatorNode

    from_a_shell = {"/critical_phase", "/outcome", "/task", "/joint_states"}
    return graph.add(OperatorNode, values=small_robot.shared()), from_a_shell


@pytest.mark.parametrize("make", [control, vla, learner, sim, gym, operator])
def test_the_policy_grants_each_node_what_it_has_and_nothing_else(graph, models, tmp_path, make):
    """``optional``: what it has with other parameters."""
    node, optional = make(graph, models, tmp_path)
    name = node.get_name()
    graph.wait_for(lambda: has(node)["publish"], "its own graph")
    for how, names in has(node).items():
        allowed = granted(name, "service" if how == "reply" else "topic", how)
        allowed = {found for found in allowed - OF_RCLPY if not PARAMETER_SERVICES.match(found)}
        assert names <= allowed, f"{name} is not granted to {how} {names - allowed}"
        assert allowed - names <= optional, f"{name} is granted to {how} {allowed - names - optional}, which it never does"


def test_only_control_node_may_command_and_only_vla_node_speaks_for_the_vla():
    for topic, owner in {
        "/command": "control_node",
        "/vla/reference": "vla_node",
        "/vla/embedding": "vla_node",
        "/actor/weights": "learner_node",
    }.items():
        assert [node for node in POLICIES if topic in granted(node, "topic", "publish")] == [owner]


@pytest.mark.parametrize("node", POLICIES)
def test_the_command_of_the_documentation_makes_a_policy_for_a_robot_in_a_namespace(node):
    """Nothing of the robot's own is left outside of its namespace."""
    (script,) = re.findall(r"sed -e '(.*)'", (ROOT / "docs" / "security.md").read_text())
    text = subprocess.run(["sed", "-e", script, str(POLICIES[node])], check=True, capture_output=True, text=True).stdout
    made, original = ElementTree.fromstring(text), ElementTree.parse(POLICIES[node]).getroot()
    assert {profile.get("ns") for profile in made.iter("profile")} == {"/left"}
    assert [one.get("path") for one in made.iter("enclave")] == [f"/left{one.get('path')}" for one in original.iter("enclave")]
    absolute = {element.text for kind in ("topic", "service") for element in made.iter(kind) if element.text.startswith("/")}
    assert {name for name in absolute if not name.startswith("/left/")} <= {*OF_RCLPY, "/diagnostics", "/tf", "/tf_static"}


FORBIDDEN = {
    r"\bpickle\.(load|loads|Unpickler)\b|\bimport pickle\b|\bcPickle\b": "pickle",
    r"torch\.load\((?![^)]*weights_only=True)": "torch.load without weights_only=True",
    r"allow_pickle=True": "numpy's pickle",
    r"yaml\.(load|unsafe_load|full_load)\(": "yaml.load",
    r"\b(marshal|shelve|dill|cloudpickle|joblib)\b": "other formats that run code",
    r"\bsend_pyobj|recv_pyobj\b": "pickle over sockets",
    r"(?<![.\w])(eval|exec)\(": "eval",
}


@pytest.mark.parametrize("pattern", FORBIDDEN, ids=FORBIDDEN.values())
def test_nothing_in_the_package_runs_what_it_reads(pattern):
    sources = list((ROOT / "rl_token_ros").rglob("*.py"))
    assert len(sources) > 50
    found = [f"{path.name}: {line.strip()}" for path in sources for line in path.read_text().splitlines() if re.search(pattern, line)]
    assert not found


def test_pipes_between_our_processes_carry_bytes_only():
    """multiprocessing's Connection unpickles what `recv` takes; `recv_bytes` does not."""
    users = [path for path in (ROOT / "rl_token_ros").rglob("*.py") if "multiprocessing.connection" in path.read_text()]
    assert len(users) == 2
    for path in users:
        assert not re.search(r"onnection\w*\.(recv|send)\(", path.read_text()), path


def test_a_node_says_once_that_there_is_no_security(monkeypatch):
    from rl_token_ros.nodes import running

    class Talker:
        def __init__(self) -> None:
            self.said: list[str] = []

        def get_logger(self):
            return self

        def warning(self, text):
            self.said.append(text)

    monkeypatch.delenv("ROS_SECURITY_ENABLE", raising=False)
    talker = Talker()
    running._warn_without_security(talker)
    monkeypatch.setenv("ROS_SECURITY_ENABLE", "true")
    running._warn_without_security(talker)
    (said,) = talker.said
    assert "docs/security.md" in said
