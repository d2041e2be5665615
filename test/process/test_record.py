"""record on real topics: what it takes, with which QoS, what survives kill -9, and what a learner and replay_bag --play make of it."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_robot

rosbags = pytest.importorskip("rosbags")

from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped
from graph import ENVIRONMENT, Listener
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import serialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import Bool, String

from rl_token_ros.bags import message_types
from rl_token_ros.bags.reader import Bag
from rl_token_ros.bags.seeds import Seed
from rl_token_ros.bags.writer import BagWriter
from rl_token_ros.interfaces import replay_table
from rl_token_ros.interfaces.codes import Ended
from rl_token_ros.interfaces.topics import LATCHED, Qos
from rl_token_ros.launching.compositions import NodeProcess, compose
from rl_token_ros.launching.compositions import recorded as recorded_by
from rl_token_ros.nodes.record_node import RecordNode
from rl_token_ros.nodes.ros_topics import profile
from rl_token_ros.policy.actor_weights import Identity
from rl_token_ros.settings import parameters
from rl_token_ros.settings.learner import Learner
from rl_token_ros.settings.parameters import ParameterError

DTYPE = replay_table.row_dtype(small_robot.TOKEN, 9, small_robot.CHUNK, 3)
IDENTITY = Identity(["x", "y", "z"], "delta", [], [0.0008] * 3, "e" * 64, "f" * 64)


@pytest.fixture
def speaker(graph):
    """A node that publishes."""
    from rclpy.node import Node

    return graph.add(Node, "speaker")


def recorded(bag: Path) -> dict[str, list[bytes]]:
    messages: dict[str, list[bytes]] = {}
    for record in Bag(bag).read():
        messages.setdefault(record.topic, []).append(record.data)
    return messages


@pytest.mark.parametrize("first, second", [("best_effort", "reliable"), ("reliable", "best_effort")])
def test_a_driver_that_comes_back_with_another_quality_is_recorded_on(graph, speaker, tmp_path, first, second):
    record = graph.add(RecordNode, values={"bag": str(tmp_path / "bag"), "topics": ["camera/*"], "free_space": 0})
    for quality, size in ((first, 1_000), (second, 100_000)):  # of the second the first's last messages are told by their size
        pictures = speaker.create_publisher(Image, "camera/base/image_raw", profile(Qos(quality)))
        before = record.recorder.bytes

        def came(pictures=pictures, size=size, before=before) -> bool:
            pictures.publish(Image(data=bytes(size)))
            return record.recorder.bytes > before + 2 * size

        graph.wait_for(came, f"messages of a {quality} driver", 20.0)
        speaker.destroy_publisher(pictures)


def test_it_records_what_matches_as_it_was_sent_and_offered(graph, speaker, tmp_path):
    latched = speaker.create_publisher(String, "control_node/settings", profile(LATCHED))
    latched.publish(String(data="before the recorder"))
    record = graph.add(RecordNode, values={"bag": str(tmp_path / "bag"), "topics": ["control_node/settings", "ee_*", "outcome"], "free_space": 0})
    pose = speaker.create_publisher(PoseStamped, "ee_pose", qos_profile_sensor_data)  # after it, best effort
    other = speaker.create_publisher(Bool, "something_else", 10)
    graph.wait_for(lambda: pose.get_subscription_count(), "the recorder's subscription")
    for i in range(20):
        message = PoseStamped()
        message.pose.position.x = float(i)
        pose.publish(message)
        other.publish(Bool())
    graph.wait_for(lambda: record.recorder.messages >= 21, "all messages")
    graph.nodes.remove(record)
    graph.executor.remove_node(record)
    record.close()
    record.destroy_node()

    messages = recorded(tmp_path / "bag")
    assert set(messages) == {"/control_node/settings", "/ee_pose"}
    assert message_types.decoder("std_msgs/msg/String")(messages["/control_node/settings"][0]).data == "before the recorder"
    decode = message_types.decoder("geometry_msgs/msg/PoseStamped")
    assert [decode(data).pose.position.x for data in messages["/ee_pose"]] == list(range(20))
    bag = Bag(tmp_path / "bag")
    assert "durability: 1" in bag.topics["/control_node/settings"].qos and "reliability: 2" in bag.topics["/ee_pose"].qos


def test_a_bag_that_cannot_be_written_ends_it_with_a_sentence(graph, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ParameterError, match="parameter 'bag': .*file/bag' cannot be written"):
        graph.add(RecordNode, values={"bag": str(tmp_path / "file" / "bag")})


def test_killed_it_loses_the_last_moment_and_goes_on_when_started_again(tmp_path):
    bag = tmp_path / "bag"
    process = NodeProcess("record").with_parameters({"bag": str(bag), "topics": ["outcome"], "sync_seconds": 0.1, "free_space": 0}, tmp_path)
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    for round_number in range(2):
        child = subprocess.Popen(process.command(), env=environment)
        try:
            with Listener({}) as listener:
                publisher = listener._node.create_publisher(Bool, "outcome", 10)
                listener.wait(publisher.get_subscription_count, "the recorder's subscription")

                def on_disk() -> bool:
                    publisher.publish(Bool(data=True))
                    return len(list(bag.glob("*.mcap"))) > round_number and sum(1 for _ in Bag(bag).read()) > 10 * (round_number + 1)

                listener.wait(on_disk, "messages on the disk")
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
    assert len(list(bag.glob("*.mcap"))) == 2
    assert len(recorded(bag)["/outcome"]) > 20


# --- what others make of it ---------------------------------------------------------------------------------------------


def rows(count: int, episode: int = 1, value: float = 0.0) -> np.ndarray:
    made = np.zeros(count, DTYPE)
    made["seq"], made["step"], made["episode"], made["critical"] = np.arange(count), np.arange(count), episode, 1
    made["token"] = value
    made["ended"][-1], made["reward"][-1] = Ended.SUCCESS, 1.0
    return made


def replay_bag_of(folder: Path, *episodes: np.ndarray, settings: dict | None = None) -> Path:
    """A bag of `replay` messages, one row each, and of `~/settings`."""
    with BagWriter(folder) as writer:
        if settings is not None:
            writer.write("/control_node/settings", "std_msgs/msg/String", 1, bytes(serialize_message(String(data=json.dumps(settings)))))
        for episode in episodes:
            for i in range(len(episode)):
                message = replay_table.encode(episode[i : i + 1], PointCloud2(), PointField)
                writer.write("/replay", "sensor_msgs/msg/PointCloud2", 10 + i, bytes(serialize_message(message)))
    return folder


def learner(**changes) -> Learner:
    return parameters.build(Learner, small_robot.shared(**changes))


def test_rows_of_old_bags_are_read_as_live_ones_are(tmp_path):
    bag = replay_bag_of(
        tmp_path / "bag", rows(30), rows(20, 2), settings={"parameters": {"action_names": ["x", "y", "z"]}, "encoder_sha256": "e" * 64}
    )
    seed = Seed(str(bag), learner(), DTYPE, IDENTITY)
    read = list(seed)
    assert np.array_equal(np.concatenate([r for r, _ in read]), np.concatenate([rows(30), rows(20, 2)]))
    assert seed.steps == 50 and seed.problems == []


def test_damaged_rows_of_old_bags_are_left_out_and_said(tmp_path):
    bag = replay_bag_of(tmp_path / "bag", rows(30))
    whole = recorded(bag)["/replay"][0]
    with BagWriter(bag) as writer:  # continues it
        writer.write("/control_node/settings", "std_msgs/msg/String", 100, b"\0\1\0\0 no text")
        writer.write("/replay", "sensor_msgs/msg/PointCloud2", 100, whole[:60])
    seed = Seed(str(bag), learner(), DTYPE, IDENTITY)
    assert sum(len(read) for read, _ in seed) == seed.steps == 30
    assert seed.problems == ["1 messages of 'replay' cannot be decoded and are left out"]


@pytest.mark.parametrize(
    "told, says",
    [
        ({"parameters": {"action_names": ["z", "y", "x"]}}, r"recorded with action_names \['z', 'y', 'x'\], this learner has"),
        ({"parameters": {"residual_scale": [1.0, 1.0, 1.0]}}, "recorded with residual_scale"),
        ({"parameters": {}, "encoder_sha256": "a" * 64}, "recorded with another encoder"),
    ],
)
def test_bags_of_another_robot_are_refused(tmp_path, told, says):
    bag = replay_bag_of(tmp_path / "bag", rows(3), settings=told)
    with pytest.raises(ParameterError, match=f"parameter 'seed_bags': .*{says}"):
        Seed(str(bag), learner(), DTYPE, IDENTITY)


def test_bags_with_other_dimensions_or_without_rows_are_refused(tmp_path):
    bag = replay_bag_of(tmp_path / "bag", rows(3))
    with pytest.raises(ParameterError, match="column 'token' of 'replay' holds 4 values"):
        list(Seed(str(bag), learner(token_size=8), replay_table.row_dtype(8, 9, small_robot.CHUNK, 3), IDENTITY))
    with BagWriter(tmp_path / "empty") as writer:
        writer.write("/clouds", "sensor_msgs/msg/PointCloud2", 1, b"\0\1\0\0")
    with pytest.raises(ParameterError, match="write --remap replay:=/clouds|the bag has no 'replay'"):
        Seed(str(tmp_path / "empty"), learner(), DTYPE, IDENTITY)
    with pytest.raises(ParameterError, match="there is no bag"):
        Seed(str(tmp_path / "nothing"), learner(), DTYPE, IDENTITY)


def test_a_learner_begins_with_its_seed_bags_once(graph, tmp_path):
    pytest.importorskip("torch")
    from rl_token_ros.nodes.learner_node import LearnerNode

    bags = [str(replay_bag_of(tmp_path / name, rows(40, value=value))) for name, value in (("a", 0.1), ("b", 0.2))]
    values = small_robot.shared(seed_bags=bags, run_directory=str(tmp_path / "run"), warmup_episodes=10, encoder_sha256="e" * 64, vla_sha256="f" * 64)
    for _ in range(2):
        node = graph.add(LearnerNode, values=values)
        graph.wait_for(lambda: node.worker.stats, "figures of the learner", timeout=120.0)
        graph.wait_for(lambda: int(node.worker.stats["episodes"]) == 2, f"the episodes of both bags: {node.worker.stats}", timeout=120.0)
        graph.nodes.remove(node)
        graph.executor.remove_node(node)
        node.close()
        node.destroy_node()
    assert len(recorded(tmp_path / "run" / "replay")["/replay"]) == 80  # not taken again when the run was continued


def test_a_bag_is_played_as_live_topics_with_a_clock_and_without_commands(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        for i in range(200):
            pose = PoseStamped()
            pose.header.stamp = Time(sec=100 + i // 100, nanosec=i % 100 * 10_000_000)
            stamp = (100 + i // 100) * 10**9 + i % 100 * 10_000_000
            for topic in ("/ee_pose", "/command"):
                writer.write(topic, "geometry_msgs/msg/PoseStamped", stamp, bytes(serialize_message(pose)))
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    with Listener({"ee_pose": PoseStamped, "command": PoseStamped, "/clock": Clock}) as listener:
        child = subprocess.Popen(
            [sys.executable, "-m", "rl_token_ros.cli", "replay_bag", str(tmp_path / "bag"), "--play", "--rate", "0.5"],
            env=environment, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            listener.wait(lambda: child.poll() is not None, "the end of the bag")
        finally:
            child.kill()
            child.wait()
        assert child.returncode == 0
        assert "'/command' is left out" in child.stderr.read()
        last = Time(sec=101, nanosec=990_000_000)
        listener.wait(lambda: listener.messages["ee_pose"][-1].header.stamp == last, "the last message")
        assert not listener.messages["command"]
        assert 100 <= listener.messages["/clock"][0].clock.sec <= 101


def test_recording_begins_before_the_nodes_with_their_names(tmp_path):
    nodes = compose("sim", "sim", namespace="left", remappings=(("ee_pose", "/tool"),))
    first, *rest = recorded_by(nodes, "/data/monday", tmp_path)
    assert rest == nodes and (first.executable, first.namespace, first.remappings) == ("record", "left", (("ee_pose", "/tool"),))
    assert json.loads(first.parameter_files[-1].read_text())["/**/record"]["ros__parameters"] == {"bag": "/data/monday"}


def test_a_run_is_recorded_with_up(tmp_path):
    pytest.importorskip("mujoco")
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "rl_token_ros.cli", "up", "robot", "--config", "sim", "--record", str(tmp_path / "bag")]
    child = subprocess.Popen([*command, "--log-folder", str(tmp_path / "logs")], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        with Listener({"control_node/ticks": PointCloud2}) as listener:
            listener.wait(lambda: len(listener.messages["control_node/ticks"]) > 50 and list((tmp_path / "bag").glob("*.mcap")), "ticks")
            child.send_signal(signal.SIGINT)
            listener.wait(lambda: child.poll() is not None, "its end")
    finally:
        child.kill()
        child.communicate()
    messages = recorded(tmp_path / "bag")
    assert messages["/control_node/ticks"] and messages["/control_node/settings"]


def test_a_bag_says_which_topic_is_which_of_ours(graph, speaker, tmp_path):
    """Under the names that remappings gave them, in a namespace; `gripper/command` is recorded unasked."""
    remaps = {"command": "/forward/commands", "camera/base/image_raw": "/rgb/image", "gripper/command": "/grip"}
    arguments = ["--ros-args", "-r", "__ns:=/left", *(word for ours, theirs in remaps.items() for word in ("-r", f"{ours}:={theirs}"))]
    values = {"bag": str(tmp_path / "bag"), "cameras": ["base"], "free_space": 0}
    record = graph.add(functools.partial(RecordNode, cli_args=arguments), values=values)
    sent = {
        "/forward/commands": "command",
        "/grip": "gripper/command",
        "/left/joint_states": "joint_states",
        "/left/control_node/ticks": "control_node/ticks",
        "/diagnostics": "/diagnostics",
    }
    publishers = [speaker.create_publisher(String, topic, 10) for topic in sent if topic != "/diagnostics"]
    graph.wait_for(lambda: record.topics.keys() == sent.keys(), f"subscriptions of all topics: {record.topics}")
    for publisher in publishers:
        graph.wait_for(publisher.get_subscription_count, "the recorder's subscription")
        publisher.publish(String())
    graph.wait_for(lambda: record.recorder.messages >= len(sent), "all messages")
    graph.nodes.remove(record)
    graph.executor.remove_node(record)
    record.close()
    record.destroy_node()
    assert {topic.name: topic.role for topic in Bag(tmp_path / "bag").topics.values()} == sent


def test_pictures_of_a_remapped_camera_are_known_as_its_own(graph, speaker, tmp_path):
    values = {"bag": str(tmp_path / "bag"), "cameras": ["base"], "topics": ["/rgb/*"], "free_space": 0}
    record = graph.add(functools.partial(RecordNode, cli_args=["--ros-args", "-r", "camera/base/image_raw:=/rgb/image"]), values=values)
    pictures = speaker.create_publisher(Image, "/rgb/image", 2)
    graph.wait_for(pictures.get_subscription_count, "the recorder's subscription")
    pictures.publish(Image())
    graph.wait_for(lambda: record.recorder.messages, "the picture")
    record.recorder.close()
    assert Bag(tmp_path / "bag").topics["/rgb/image"].role == "camera/base/image_raw"
