"""replay_bag --play, heard by real subscribers: inputs come, and nothing that an arm could listen to, unless asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rosbags")

from geometry_msgs.msg import PoseStamped, TwistStamped
from graph import ENVIRONMENT, Listener
from rclpy.serialization import serialize_message
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from rl_token_ros.bags.writer import BagWriter

FORWARD = "/forward_position_controller/commands"
SECOND = 1_000_000_000
KINDS = {
    FORWARD: Float64MultiArray,  # `command`, remapped
    "/left/command": JointTrajectory,
    "/right/command": JointTrajectory,
    "/command": PoseStamped,
    "/gripper/command": Float64MultiArray,
    "/servo/twist": TwistStamped,  # the name of a human's device, and of many a controller's input
    "/goal": PoseStamped,  # anybody's
    "/left/joint_states": JointState,
    "/ee_pose": PoseStamped,
    "/outcome": Bool,
}
INPUTS = {"/left/joint_states", "/ee_pose", "/outcome"}
COUNT = 20


def write(folder: Path, *topics: str) -> Path:
    """COUNT messages of each topic, over a second."""
    with BagWriter(folder) as writer:
        for topic in topics:
            kind = KINDS[topic]
            name = f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}"
            for i in range(COUNT):
                writer.write(topic, name, 100 * SECOND + i * SECOND // COUNT, bytes(serialize_message(kind())))
    return folder


def play(bag: Path, *options: str) -> tuple[dict[str, int], str]:
    """How many messages of each topic a subscriber heard, and what was said."""
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    with Listener(KINDS) as listener:
        child = subprocess.Popen(
            [sys.executable, "-m", "rl_token_ros.cli", "replay_bag", str(bag), "--play", "--rate", "0.3", *options],
            env=environment, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            listener.wait(lambda: child.poll() is not None, "the end of the bag")
            said = child.stderr.read()
        finally:
            child.kill()
            child.wait()
        assert child.returncode == 0, said
        played = {topic for topic, messages in listener.messages.items() if messages}
        listener.wait(lambda: INPUTS - played or all(len(listener.messages[topic]) > COUNT // 4 for topic in INPUTS), "the inputs")
        return listener.counts(), said


@pytest.fixture(scope="module")
def unasked(tmp_path_factory) -> tuple[dict[str, int], str]:
    return play(write(tmp_path_factory.mktemp("bag") / "bag", *KINDS))


@pytest.mark.parametrize("topic", sorted(INPUTS))
def test_inputs_are_played_in_any_namespace(unasked, topic):
    counts, said = unasked
    assert counts[topic] and f"'{topic}'" not in said


@pytest.mark.parametrize("topic", sorted(KINDS.keys() - INPUTS))
def test_what_an_arm_may_listen_to_is_left_out_and_said_in_one_sentence(unasked, topic):
    counts, said = unasked
    assert counts[topic] == 0
    (sentence,) = [line for line in said.splitlines() if f"'{topic}'" in line]
    assert sentence.startswith(f"note: '{topic}'") and "is left out" in sentence
    assert ("--commands publishes it" in sentence) or (f"--also {topic}" in sentence)


def test_with_commands_they_are_played_after_a_warning(tmp_path):
    commands = [FORWARD, "/left/command", "/right/command", "/gripper/command"]
    counts, said = play(write(tmp_path / "bag", *commands, *INPUTS), "--commands")
    for topic in commands:
        assert counts[topic]
        assert f"'{topic}' is published: an arm that listens to it will move" in said


def test_one_more_topic_is_played_when_it_is_named(tmp_path):
    counts, said = play(write(tmp_path / "bag", "/goal", "/command", *INPUTS), "--also", "/goal")
    assert counts["/goal"] and "'/goal' is published: an arm that listens to it will move" in said
    assert counts["/command"] == 0
