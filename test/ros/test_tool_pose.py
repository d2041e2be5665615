"""A robot without `ee_pose`: control_node finds the tool by TF or by the robot's description, and everyone else by what it publishes."""

from __future__ import annotations

import functools
import re
import sys
import threading

import numpy as np
import pytest
import small_robot
from builtin_interfaces.msg import Time
from gantry import DESCRIPTION, Gantry, transform
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import SetBool

from rl_token_ros.commands import replay_bag
from rl_token_ros.interfaces.graph_check import FAIL, OK, Finding
from rl_token_ros.nodes import command_topic
from rl_token_ros.nodes.control_node import ControlNode
from rl_token_ros.nodes.graph_inspection import look
from rl_token_ros.nodes.record_node import RecordNode
from rl_token_ros.nodes.tool_pose import FromTf
from rl_token_ros.nodes.vla_node import VlaNode
from rl_token_ros.settings import parameters
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.vla import Vla

SOURCES = ["description", "file", "tf"]

VLA = parameters.build(Vla, small_robot.shared(cameras=["base"], vla_proprioception=["ee_position"]))


def robot(source: str, tmp_path, **changes) -> dict:
    values = {"proprioception": ["ee_position", "ee_orientation", "command_lead"], "tool_frame": "tool0", "state_timeout": 2.0, **changes}
    if source == "file":
        values["description_file"] = str(tmp_path / "gantry.urdf")
        (tmp_path / "gantry.urdf").write_text(DESCRIPTION)
    return {**values, "ee_pose_source": source.replace("file", "description")}


def gantry(graph, source: str) -> Gantry:
    if source == "tf":
        pytest.importorskip("tf2_ros")
    return graph.add(functools.partial(Gantry, describes=source == "description", transforms=source == "tf"))


@pytest.mark.parametrize("source", SOURCES)
def test_an_arm_without_ee_pose_is_moved_and_its_bag_replays_bit_for_bit(domain, models, tmp_path, monkeypatch, capsys, source):
    monkeypatch.setattr(command_topic, "DISCOVERY_SECONDS", 0.1)
    files = {"vla_model": str(models["vla"]), "token_encoder": str(models["encoder"])}
    with small_robot.Graph(domain) as graph:
        arm = gantry(graph, source)
        record = graph.add(RecordNode, values={"bag": str(tmp_path / "bag"), "free_space": 0})
        graph.wait_for(lambda: record.count_publishers("joint_states"), "the arm found by record")
        control = graph.add(ControlNode, values=small_robot.control(**files, **robot(source, tmp_path)))
        graph.add(VlaNode, values=small_robot.shared(**files, vla_proprioception=["ee_position"], image_timeout=5.0))
        enable = arm.create_client(SetBool, "control_node/enable")
        graph.wait_for(lambda: {"/ee_pose", "/command", "/control_node/ticks"} <= record.topics.keys(), "what is recorded")
        graph.wait_for(lambda: graph.call(enable, SetBool.Request(data=True)).success, "enabled")
        graph.wait_for(lambda: len(arm.commands) > 100, "commands")
        assert (control._tool_pose.refused, control._tool_pose.why) == (0, "")

        # It moves as its VLA says, from where it was; what it was told about the tool is what the joints said at that moment.
        path = np.array([[m.pose.position.x, m.pose.position.y, m.pose.position.z] for m in arm.commands])
        assert np.abs(path[0] - small_robot.HOME).max() < 1e-3 and np.abs(np.diff(path, axis=0)).max() < 0.005
        assert path[-1][0] > small_robot.HOME[0] + 0.002
        stamps = [(m.header.stamp.sec, m.header.stamp.nanosec) for m in arm.poses]
        assert len(stamps) > 50 and set(stamps) <= arm.stamps and len(set(stamps)) == len(stamps)
        last = arm.poses[-1]
        assert last.header.frame_id == "base_link" and abs(last.pose.orientation.x) == pytest.approx(1.0)
        assert last.pose.position.x > small_robot.HOME[0]

    monkeypatch.setattr("sys.argv", ["replay_bag", str(tmp_path / "bag")])
    status = replay_bag.main()
    said = capsys.readouterr().out
    assert status == 0, said
    same, checked = map(int, re.search(r"(\d+) of (\d+) commands identical, bit for bit", said).groups())
    assert same == checked > 90, said


def test_it_says_what_is_missing_and_goes_on_when_it_comes(graph, models, tmp_path):
    arm = graph.add(functools.partial(Gantry, describes=False))
    files = {"vla_model": str(models["vla"]), "token_encoder": str(models["encoder"])}
    control = graph.add(ControlNode, values=small_robot.control(**files, **robot("description", tmp_path)))
    graph.wait_for(lambda: control._tool_pose.why == "no 'robot_description' yet", "the description missed")
    arm.description.publish(String(data=DESCRIPTION.replace('"tool0"', '"tcp"')))
    graph.wait_for(lambda: "has no frame 'tool0'; it has base_link, link_x" in control._tool_pose.why, "the frame missed")
    arm.description.publish(String(data=DESCRIPTION))
    graph.wait_for(lambda: arm.poses and not control._tool_pose.why, "the pose")


class Check:
    """`look` in a thread, while the graph is spun."""

    def __init__(self, graph, source: str, tmp_path, seconds: float = 1.0) -> None:
        self.findings: list[Finding] = []
        settings = small_robot.settings(**robot(source, tmp_path))
        thread = threading.Thread(target=lambda: self.findings.extend(look([], settings, VLA, "", {}, seconds, context=graph.context)))
        thread.start()
        graph.wait_for(lambda: not thread.is_alive(), "the findings")
        (self.found,) = self.findings


@pytest.mark.parametrize("source", SOURCES)
def test_check_says_whether_the_pose_is_to_be_had(graph, tmp_path, source):
    if source == "tf":
        pytest.importorskip("tf2_ros")
    nothing = Check(graph, source, tmp_path, 0.2).found
    why = {
        "description": "no 'robot_description' yet",
        "file": "no measurement of joint_position yet; check the topics joint_states",
        "tf": "no transform from 'base_link'",
    }
    assert nothing.level == FAIL and nothing.topic == "ee_pose" and why[source] in nothing.text
    arm = gantry(graph, source)
    there = Check(graph, source, tmp_path).found
    assert there.level == OK and "of 'tool0' in 'base_link' from " in there.text and "control_node publishes it" in there.text
    arm.create_publisher(PoseStamped, "ee_pose", 1)
    assert "published by /gantry, and by control_node: write 'ee_pose_source: topic'" in Check(graph, source, tmp_path).found.text


def test_without_tf2_it_says_what_to_install(graph, models, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2_ros", None)  # as where it is not installed
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    says = "'ee_pose_source' is tf, but there is no tf2_ros here; install ros-jazzy-tf2-ros-py, or write description"
    files = {"vla_model": str(models["vla"]), "token_encoder": str(models["encoder"])}
    with pytest.raises(ParameterError, match=says):
        graph.add(ControlNode, values=small_robot.control(**files, **robot("tf", tmp_path)))
    found = Check(graph, "tf", tmp_path, 0.1).found
    assert found.level == FAIL and says in found.text


def test_a_description_file_that_cannot_be_used_is_said(graph, models, tmp_path):
    files = {"vla_model": str(models["vla"]), "token_encoder": str(models["encoder"])}
    for name, text, says in (("none.urdf", None, "No such file"), ("bad.urdf", "<robot", "is no XML")):
        if text is not None:
            (tmp_path / name).write_text(text)
        values = robot("description", tmp_path, description_file=str(tmp_path / name))
        with pytest.raises(ParameterError, match=f"parameter 'description_file' is '.*{name}': .*{says}"):
            graph.add(ControlNode, values=small_robot.control(**files, **values))


def test_tf_is_as_old_as_its_oldest_transform_and_begins_anew_when_the_clock_goes_back(graph):
    tf2_ros = pytest.importorskip("tf2_ros")
    node = graph.add(functools.partial(Node, "looks"))
    found = FromTf(node, small_robot.settings(ee_pose_source="tf", tool_frame="tool0"))
    second = 1_000_000_000

    def told(parent: str, child: str, seconds: int, x: float) -> None:
        found._buffer.set_transform(transform(parent, child, (x, 0.0, 0.0), stamp=Time(sec=seconds)), "test")

    assert found.pose(100 * second) is None and "no transform from 'base_link' to 'tool0'" in found.why
    told("base_link", "link", 99, 0.1)
    told("link", "tool0", 99, 0.2)
    told("link", "tool0", 100, 0.3)
    pose = found.pose(100 * second)
    assert (pose.stamp_ns, found.why) == (99 * second, "") and pose.position[0] == pytest.approx(0.3)
    assert found.pose(50 * second) is None
    told("base_link", "link", 50, 0.5)
    told("link", "tool0", 50, 0.2)
    assert found.pose(50 * second).stamp_ns == 50 * second
    assert issubclass(tf2_ros.ExtrapolationException, found._unknown)


def test_transforms_that_are_all_static_are_no_measurement(graph):
    pytest.importorskip("tf2_ros")
    node = graph.add(functools.partial(Node, "looks"))
    found = FromTf(node, small_robot.settings(ee_pose_source="tf", tool_frame="tool0"))
    found._buffer.set_transform_static(transform("base_link", "tool0", (0.1, 0.0, 0.0), stamp=Time(sec=5)), "test")
    assert found.pose(6_000_000_000) is None
    assert found.why == "no joint moves 'tool0' against 'base_link': all transforms between them are static"
