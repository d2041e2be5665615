"""check: what is said about a topic, and the whole of it against a fake arm on a live graph."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import small_robot
from fake_arm import FakeArm
from policy_servers import OpenPi, Policy, running
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from test_robots import groups

from rl_token_ros.commands import check
from rl_token_ros.control.measurement_check import MeasurementCheck
from rl_token_ros.interfaces.graph_check import (
    FAIL,
    INFO,
    OK,
    WARN,
    Endpoint,
    Expected,
    Finding,
    Seen,
    expectations,
    judge,
    judge_pose,
)
from rl_token_ros.interfaces.topics import COMMAND_TYPES
from rl_token_ros.launching.compositions import compose, parse_remaps
from rl_token_ros.nodes.graph_inspection import look
from rl_token_ros.settings import node_settings

CONFIG = Path(__file__).parents[2] / "config"
IMAGE = "sensor_msgs/msg/Image"
CAMERA = Expected("camera/base/image_raw", IMAGE, "in", slowest=10.0, oldest=0.5, why="the VLA looks at it")
COMMAND = Expected("command", "std_msgs/msg/Float64MultiArray", "out", why="what moves the arm")
DRIVER = Endpoint("/camera", IMAGE)
CONTROLLER = Endpoint("/controller", COMMAND.kind)


def seen(**changes) -> Seen:
    return Seen(**{"publishers": [DRIVER], "messages": 60, "seconds": 3.0, "age": 0.05, **changes})


@pytest.mark.parametrize(
    "found, level, says",
    [
        (seen(), OK, "20.0 Hz, at most 50 ms old, reliable, from /camera"),
        (seen(publishers=[Endpoint("/camera", IMAGE, reliable=False)]), OK, "best effort"),
        (seen(publishers=[], messages=0), FAIL, "nobody publishes it (the VLA looks at it); remap camera/base/image_raw:=/rgb/image"),
        (seen(messages=0), FAIL, "published by /camera, but nothing came in 3 s"),
        (
            seen(publishers=[Endpoint("/camera", "sensor_msgs/msg/CompressedImage")]),
            FAIL,
            "/camera has it as sensor_msgs/msg/CompressedImage; expected",
        ),
        (seen(age=0.9), FAIL, "more than 0.5 s is too old"),
        (seen(age=900.0), FAIL, "do the clocks agree?"),
        (seen(age=-5.0), FAIL, "do the clocks agree?"),
        (seen(messages=15), WARN, "5.0 Hz, at most 50 ms old, reliable, from /camera; 10 Hz would be good"),
        (seen(publishers=[DRIVER, Endpoint("/player", IMAGE)]), WARN, "2 publishers"),
        (seen(complaint="'joint_states' has no elbow"), FAIL, "has no elbow"),
    ],
)
def test_what_comes_in(found, level, says):
    finding = judge(CAMERA, found, ["/rgb/image"])
    assert finding.level == level and says in finding.text


@pytest.mark.parametrize(
    "found, level, says",
    [
        (Seen(subscribers=[CONTROLLER]), OK, "taken by /controller as Float64MultiArray"),
        (Seen(), FAIL, "nobody takes it (what moves the arm); is the controller active?; remap command:=/forward/commands"),
        (Seen(subscribers=[CONTROLLER], publishers=[Endpoint("/teleop", COMMAND.kind)]), FAIL, "also published by /teleop"),
        (Seen(subscribers=[Endpoint("/c", "geometry_msgs/msg/Twist")]), FAIL, "/c has it as geometry_msgs/msg/Twist; expected"),
        (Seen(subscribers=[Endpoint("/c", COMMAND.kind, latched=True)]), FAIL, "wants it transient_local"),
    ],
)
def test_what_goes_out(found, level, says):
    finding = judge(COMMAND, found, ["/forward/commands"])
    assert finding.level == level and says in finding.text


def test_what_need_not_be_there_is_only_mentioned():
    outcome = Expected("outcome", "std_msgs/msg/Bool", "in", False, why="rewards", reliable=True)
    assert judge(outcome, Seen()).level == INFO
    assert judge(outcome, Seen(publishers=[Endpoint("/s", "std_msgs/msg/Bool")], seconds=1.0)).level == INFO
    lossy = judge(outcome, Seen(publishers=[Endpoint("/s", "std_msgs/msg/Bool", reliable=False)]))
    assert lossy.level == FAIL and "best effort; this node asks for reliable" in lossy.text


@pytest.mark.parametrize("robot", sorted(path.stem for path in CONFIG.glob("*.yaml")))
def test_every_robot_knows_its_topics(robot):
    control, vla, _ = check.load(robot)
    topics = {expected.topic: expected for expected in expectations(control, vla)}
    assert topics["command"].kind == COMMAND_TYPES[control.command_interface]
    assert ("gripper/command" in topics) == bool(control.gripper_names)
    assert ("wrench" in topics) == any(group.startswith("wrench") for group in control.proprioception)
    assert sum(topic.startswith("camera/") for topic in topics) == len(vla.cameras)


def test_the_policy_server_is_asked_for_its_health():
    with running(OpenPi(Policy())) as server:
        assert check.health(server.url).level == OK
    assert check.health(server.url, timeout=1.0).level == FAIL


def test_without_encoder_the_file_is_named(models, tmp_path):
    control = small_robot.settings(token_encoder=str(tmp_path / "none.onnx"))
    vla = node_settings.load("vla_node", CONFIG / "sim.yaml")
    assert [finding.level for finding in check.files(control, vla)] == [FAIL, OK]
    assert [f.level for f in check.files(small_robot.settings(token_size=0), vla)] == [INFO, OK]


@pytest.mark.parametrize(
    "age, why, others, level, says",
    [
        (0.012, "", [], OK, "of 'tool0' in 'base_link' from tf, at most 12 ms old"),
        (0.3, "", [], FAIL, "300 ms old at times; more than 0.2 s is too old"),
        (60.0, "", [], FAIL, "do the clocks agree?"),
        (-0.5, "", [], FAIL, "do the clocks agree?"),
        (None, "no transform", [], FAIL, "from tf: no transform"),
        (0.012, "", [DRIVER], FAIL, "published by /camera, and by control_node: write 'ee_pose_source: topic', or stop the other"),
    ],
)
def test_a_pose_that_control_node_makes_is_judged(age, why, others, level, says):
    found = judge_pose(small_robot.settings(ee_pose_source="tf", tool_frame="tool0"), age, why, others)
    assert found.level == level and says in found.text


class Listening:
    """`look` in a thread, while the graph is spun."""

    def __init__(self, graph, *arguments) -> None:
        self.findings: dict[str, Finding] = {}
        thread = threading.Thread(target=lambda: self.findings.update({f.topic: f for f in look(*arguments, context=graph.context)}))
        thread.start()
        graph.wait_for(lambda: not thread.is_alive(), "the findings")


def test_a_robot_that_is_there_and_one_that_is_not(graph, tmp_path):
    _, control, vla = groups("ur5e", tmp_path)
    expected = expectations(control, vla)
    needed = {e.topic for e in expected if e.needed}
    nothing = Listening(graph, expected, control, vla, "", {}, 0.2).findings
    assert {nothing[topic].level for topic in needed} == {FAIL}
    assert "there is no sensor_msgs/msg/Image on this graph" in nothing["camera/base/image_raw"].text

    arm = graph.add(FakeArm, control, vla, {})
    graph.wait_for(lambda: graph.nodes[0].count_publishers("joint_states") == 1, "the arm")
    there = Listening(graph, expected, control, vla, "", {}, 3.0).findings
    assert not [there[topic] for topic in needed if there[topic].level not in (OK, WARN)]  # WARN: it is slow on purpose
    assert "taken by /arm as JointTrajectory" in there["command"].text and " Hz" in there["joint_states"].text

    arm.create_publisher(JointState, "gripper/other", 1)
    arm.create_publisher(Float64MultiArray, "gripper/command", 1)  # a second master
    found = Listening(graph, expected, control, vla, "", {"joint_states": "gripper/other"}, 1.0).findings
    assert found["gripper/command"].level == FAIL and "also published by /arm" in found["gripper/command"].text
    assert "nothing came" in found["joint_states"].text


def test_what_measurements_say_is_judged():
    control = node_settings.load("control_node", CONFIG / "ur5e.yaml")
    names = control.joint_names

    def hear(listening, now: int, names, position=0.0, gid=b"1"):
        message = JointState(name=list(names), position=[position] * len(names), velocity=[0.0] * len(names), effort=[0.0] * len(names))
        message.header.stamp.nanosec = now
        listening.hear(message, now, now * 1e-9, {"publisher_gid": {"data": gid}})

    listening = MeasurementCheck(control, "joint_states", ["joint_position"])
    hear(listening, 1_000_000, names[:1])
    assert f"brings {', '.join(names[1:])}; there is {names[0]}" in listening.complaint
    hear(listening, 2_000_000, names[1:], gid=b"2")
    assert not listening.complaint and not listening.remark and not listening.writers.doubled(0.002, 2)
    hear(listening, 3_000_000, names, 0.6)
    assert not listening.complaint and "1 messages would not be believed" in listening.remark
    for now in range(4_000_000, 8_000_000, 1_000_000):
        hear(listening, now, names, 0.6)
    assert f"{names[0]} went from 0.000 to 0.600" in listening.complaint
    hear(listening, 9_000_000, names, gid=b"2")
    assert set(listening.writers.doubled(0.009, 2)) == set(names[1:])  # a driver that is replaced by another doubles nothing


@pytest.mark.parametrize("arguments", [["--config", "no_such_robot"], ["--config", "sim", "--remap", "command"]])
def test_a_bad_command_line_is_bad_input(arguments, capsys):
    assert check.main(arguments) == 2
    assert "error: " in capsys.readouterr().err


def test_the_report_counts_what_must_be_put_right():
    findings = [Finding(OK, "a", "fine"), Finding(FAIL, "command", "nobody"), Finding(WARN, "b", "slow")]
    text = check.report(findings)
    assert text.endswith("1 must be put right, 1 to look at") and "FAIL  command  nobody" in text
    assert check.report(findings[:1]).endswith("the robot can be started")


def test_what_is_remapped_for_check_is_remapped_for_the_nodes():
    remaps = parse_remaps(["command:=/arm/commands", "wrench:=/ft"])
    for process in compose("robot", "ur5e", remappings=remaps):
        command = process.command()
        assert [command[i + 1] for i, word in enumerate(command) if word == "-r"] == ["command:=/arm/commands", "wrench:=/ft"]
    with pytest.raises(ValueError, match="write FROM:=TO"):
        parse_remaps(["command=/arm"])
