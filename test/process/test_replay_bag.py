"""A run of the real nodes, recorded by `record`, and what replay_bag makes of it: whole, cut, damaged, renamed, and with other weights."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import small_robot

pytest.importorskip("mujoco")
pytest.importorskip("torch")
rosbags = pytest.importorskip("rosbags")

from diagnostic_msgs.msg import DiagnosticArray
from graph import ENVIRONMENT, Listener
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import UInt8
from test_processes_run import control_report, write_config

from rl_token_ros.bags import message_types
from rl_token_ros.bags.reader import Bag, Record
from rl_token_ros.bags.writer import BagWriter
from rl_token_ros.commands import replay_bag
from rl_token_ros.interfaces.topics import RECORDED, SETTINGS, TICKS
from rl_token_ros.launching.compositions import NodeProcess, compose
from rl_token_ros.launching.runner import Runner
from rl_token_ros.policy import actor_weights
from rl_token_ros.settings import node_settings
from rl_token_ros.settings.proprioception_groups import size

TOPICS = {"episode_ended": UInt8, "replay": PointCloud2, "/diagnostics": DiagnosticArray}
EPISODES, COMMANDS = 3, 400
Change = Callable[[Record], "Record | None"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, Path]:
    """The bag of some episodes, the later ones with a learned actor, and the parameter file."""
    folder = tmp_path_factory.mktemp("run")
    config, bag = write_config(folder), folder / "bag"
    everything = ["camera/*", *RECORDED]
    record = NodeProcess("record").with_parameters({"bag": str(bag), "topics": everything, "sync_seconds": 0.2}, folder)
    commands = {process.executable: process.command() for process in (record, *compose("sim", config))}
    with Runner(commands, folder / "logs", environment=ENVIRONMENT, patience=60.0) as runner, Listener(TOPICS) as listener:

        def learned() -> bool:
            dead = runner.ended()
            assert not dead, dead[0].report()
            values = control_report(listener)
            commands = sum(int(values.get(f"ticks_{who}", 0)) for who in ("vla", "actor", "human"))
            return int(values.get("ticks_actor", 0)) > 50 and commands > COMMANDS and len(listener.messages["episode_ended"]) >= EPISODES

        listener.wait(learned, "episodes with a learned actor", timeout=300.0)
        listener.wait(lambda: listener.messages["replay"], "rows")
    for process in runner.ended():
        assert process.clean, process.report()
    return bag, config


@pytest.fixture
def replay(run, monkeypatch, capsys):
    """Runs replay_bag and gives its status and all it printed."""

    def call(bag: Path, *arguments: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["replay_bag", str(bag), *map(str, arguments)])
        status = replay_bag.main()
        said = capsys.readouterr()
        return status, said.out + said.err

    return call


def rewritten(bag: Path, folder: Path, change: Change) -> Path:
    """A copy of a bag with each record as ``change`` gives it, or without it."""
    original = Bag(bag)
    kinds = {topic.name: topic.type for topic in original.topics.values()}
    with BagWriter(folder) as writer:
        for record in original.read():
            changed = change(record)
            if changed is not None:
                writer.write(changed.topic, kinds[record.topic], changed.stamp_ns, changed.data)
    return folder


def without(*topics: str) -> Change:
    return lambda record: None if record.topic in topics else record


def count(text: str, pattern: str) -> int:
    return int(re.search(pattern, text)[1])


def checked(text: str) -> tuple[int, int]:
    same, of = re.search(r"(\d+) of (\d+) commands identical", text).groups()
    return int(same), int(of)


def test_every_command_of_a_recorded_run_comes_out_bit_for_bit(run, replay):
    status, said = replay(run[0])
    assert status == 0, said
    same, of = checked(said)
    assert same == of > 200
    assert count(said, r"actor (\d+)") > 50
    made, identical = count(said, r"(\d+) transitions made"), count(said, r"recorded; (\d+) identical")
    assert made > 50 and identical >= made - 5  # the recorder may have come after the first, and gone before the last
    assert " different" not in said.splitlines()[-1] and "do not" not in said
    assert count(said, r"(\d+) messages on 'command' say") > 200


def test_a_bag_that_begins_in_the_middle_is_in_step_soon(run, replay, tmp_path):
    stamps = [record.stamp_ns for record in Bag(run[0]).read({f"/{TICKS}"})]
    middle = stamps[len(stamps) // 2]
    kept = {f"/{SETTINGS}", "/actor/weights"}  # what is latched comes to every recorder
    status, said = replay(rewritten(run[0], tmp_path / "bag", lambda r: r if r.stamp_ns > middle or r.topic in kept else None))
    same, of = checked(said)
    assert status == 0 and same == of > 100, said
    assert count(said, r"(\d+) because the state before it is not in the bag") == 1, said


def test_a_bag_that_ends_in_a_crash_is_replayed_to_there(run, replay, tmp_path):
    whole = rewritten(run[0], tmp_path / "bag", lambda record: record)
    (file,) = whole.glob("*.mcap")
    data = file.read_bytes()
    file.write_bytes(data[: len(data) * 2 // 3])
    status, said = replay(whole)
    same, of = checked(said)
    assert status == 0 and same == of > 100, said
    assert "damaged or was not ended properly" in said


def while_commanded(bag: Path, topic: str) -> list[int]:
    """When messages of a topic were received, ns, between the first command and the last: a busy machine takes long to get there."""
    commands = [record.stamp_ns for record in Bag(bag).read({"/command"})]
    return [record.stamp_ns for record in Bag(bag).read({topic}) if commands[0] < record.stamp_ns < commands[-1]]


def test_a_command_that_differs_is_named_by_its_stamp(run, replay, tmp_path):
    poses = while_commanded(run[0], "/ee_pose")
    # Longer than a stall, in which none is used; further than lead_limit, and nearer than measured_resolution, which is believed.
    victims = set(poses[len(poses) // 2 : len(poses) // 2 + 50])

    def shifted(record: Record) -> Record:
        if record.topic != "/ee_pose" or record.stamp_ns not in victims:
            return record
        decode, name = message_types.decoder("geometry_msgs/msg/PoseStamped"), "geometry_msgs/msg/PoseStamped"
        message = decode(record.data)
        message.pose.position.x += 0.01
        return record._replace(data=bytes(message_types.known().serialize_cdr(message, name)))

    bag = rewritten(run[0], tmp_path / "bag", shifted)
    status, said = replay(bag)
    assert status == 1 and re.search(r"^  \d+\.\d{9}: .*command", said, re.M), said
    assert replay(bag, "--tolerance", 1.0)[0] == 0


def test_steps_whose_messages_were_lost_are_not_checked_and_the_rest_is(run, replay, tmp_path):
    poses = while_commanded(run[0], "/ee_pose")
    lost = set(poses[len(poses) // 3 :: 41])  # odd: at 100 Hz a control step uses every other one, and which is chance
    bag = rewritten(run[0], tmp_path / "bag", lambda r: None if r.topic == "/ee_pose" and r.stamp_ns in lost else r)
    status, said = replay(bag)
    same, of = checked(said)
    assert status == 0 and same == of > 100, said
    assert "because the bag lacks what it used of ee_pose" in said
    assert " different" not in said, said


def test_steps_whose_embedding_was_lost_are_not_checked_and_the_rest_is(run, replay, tmp_path):
    tokens = while_commanded(run[0], "/vla/embedding")
    lost = set(tokens[len(tokens) // 2 :: 7])
    bag = rewritten(run[0], tmp_path / "bag", lambda r: None if r.topic == "/vla/embedding" and r.stamp_ns in lost else r)
    status, said = replay(bag)
    same, of = checked(said)
    assert status == 0 and same == of > 100 and " different" not in said, said
    assert "because the bag lacks what it used of vla/embedding" in said


def test_messages_in_any_order_and_topics_of_others_change_nothing(run, replay, tmp_path):
    records = list(Bag(run[0]).read())
    kinds = {topic.name: topic.type for topic in Bag(run[0]).topics.values()}
    order = np.argsort([r.stamp_ns + 3e8 * x for r, x in zip(records, np.random.default_rng(0).uniform(size=len(records)))])
    with BagWriter(tmp_path / "bag") as writer:
        writer.write("/strange", "nobodys_msgs/msg/Odd", 0, b"\0\1\0\0")
        for i in order:
            writer.write(records[i].topic, kinds[records[i].topic], records[i].stamp_ns, records[i].data)
    _status, said = replay(tmp_path / "bag")
    same, of = checked(said)
    assert same == of > 0.95 * count(said, r"(\d+) of them with a command"), said


def test_another_name_of_a_topic_is_asked_for_and_taken(run, replay, tmp_path):
    bag = rewritten(run[0], tmp_path / "bag", lambda r: r._replace(topic="/arm/tool") if r.topic == "/ee_pose" else r)
    said = replay(bag)[1]
    assert "if '/arm/tool' is it, write --remap ee_pose:=/arm/tool" in said
    assert replay(bag, "--remap", "ee_pose:=/arm/tool")[0] == 0


def test_a_namespace_needs_no_remap(run, replay, tmp_path):
    bag = rewritten(run[0], tmp_path / "bag", lambda r: r._replace(topic=f"/left{r.topic}"))
    status, said = replay(bag)
    same, of = checked(said)
    assert status == 0 and same == of > 200


def test_without_ticks_the_run_is_followed_as_far_as_it_can_be(run, replay, tmp_path):
    bag = rewritten(run[0], tmp_path / "bag", without(f"/{TICKS}"))
    status, said = replay(bag)
    assert status == 0 and "which inputs each control step used is not known" in said, said
    assert count(said, r"VLA (\d+)") > 50 and count(said, r"actor (\d+)") > 20
    axes = [float(value) for value in re.findall(r"[xyz] ([\d.e+-]+) m", re.search(r"largest difference: (.*)", said)[1])]
    assert 0.0 < max(axes) < 0.02  # each step begins from the command before it


def test_without_ticks_and_commands_there_is_a_step_per_period(run, replay, tmp_path):
    status, said = replay(rewritten(run[0], tmp_path / "bag", without(f"/{TICKS}", "/command")))
    steps, seconds = re.search(r"(\d+) control steps over ([\d.]+) s", said).groups()
    assert status == 0 and 0.9 < int(steps) / (50.0 * float(seconds)) < 1.1, said


def test_where_nothing_can_be_compared_it_fails(run, replay, tmp_path):
    status, said = replay(rewritten(run[0], tmp_path / "bag", lambda r: r if r.topic in (f"/{TICKS}", f"/{SETTINGS}") else None))
    assert status == 2 and "commands could be compared" in said and "the bag has no 'ee_pose'" in said, said


def test_ticks_of_another_version_are_not_used(run, replay, tmp_path):
    kind = "sensor_msgs/msg/PointCloud2"

    def older(record: Record) -> Record:
        if record.topic != f"/{TICKS}":
            return record
        message = message_types.decoder(kind)(record.data)
        message.fields = [field for field in message.fields if field.name != "hold"]
        return record._replace(data=bytes(message_types.known().serialize_cdr(message, kind)))

    status, said = replay(rewritten(run[0], tmp_path / "bag", older))
    assert status == 0 and f"'/{TICKS}' is of another version of this package" in said, said
    assert count(said, r"VLA (\d+)") > 50


def test_a_vla_is_asked_about_the_pictures_where_its_answers_are_not_in_the_bag(run, replay, tmp_path):
    bag = rewritten(run[0], tmp_path / "bag", without(f"/{TICKS}", f"/{SETTINGS}", "/vla/reference", "/vla/embedding"))
    assert "name the robot's parameter file with --config" in replay(bag)[1]
    status, said = replay(bag, "--config", run[1])
    assert status == 0 and count(said, r"VLA (\d+)") > 50, said


def test_a_bag_without_measurements_is_refused_with_what_is_missing(run, replay, tmp_path):
    bag = rewritten(run[0], tmp_path / "bag", without(f"/{TICKS}", "/ee_pose", "/wrench"))
    status, said = replay(bag)
    assert status == 2 and "the bag has no 'ee_pose'" in said and "the bag has no 'wrench'" in said


def candidate(config: Path, folder: Path, residual: float) -> Path:
    """Weights whose every residual is ``residual``, made for the run's robot."""
    control = node_settings.load("control_node", config)
    told = json.loads(_first_settings(folder))
    proprio = size(control.proprioception, len(control.joint_names), control.action_size)
    architecture = actor_weights.Architecture(control.token_size, proprio, control.chunk_length, control.action_size, 8, control.actor_layers)
    tensors = {name: np.zeros(shape, np.float32) for name, shape in architecture.shapes().items()}
    tensors["b2"][:] = np.arctanh(residual)
    identity = actor_weights.Identity.of(control, told["encoder_sha256"], told["vla_sha256"])
    path = folder.parent / f"candidate_{residual}.safetensors"
    path.write_bytes(actor_weights.encode(actor_weights.ActorWeights(1, 1, architecture, identity, tensors, 0)))
    return path


def divergence(said: str) -> float:
    """Mean distance of the candidate's commands from the base's, x."""
    return float(re.search(r"candidate against base.*: x ([\d.e-]+) / ", said)[1])


def _first_settings(bag: Path) -> str:
    return message_types.decoder("std_msgs/msg/String")(next(Bag(bag).read({f"/{SETTINGS}"})).data).data


def test_other_weights_say_what_they_would_have_commanded(run, replay, tmp_path):
    bag, config = run
    status, said = replay(bag, "--weights", candidate(config, bag, 0.5), "--plot", tmp_path / "plots")
    same, of = checked(said)
    assert status == 0 and same == of, said  # the run itself is still what it was
    bound = max(node_settings.load("control_node", config).residual_scale)
    assert 0.0125 * bound < divergence(said) < 12.5 * bound
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == ["x.png", "y.png", "z.png"]
    zero = replay(bag, "--weights", candidate(config, bag, 0.0))[1]
    assert divergence(zero) < 0.1 * divergence(said)  # not zero: a chunk keeps its reference while newer ones come


def test_other_parameters_say_what_they_would_have_commanded(run, replay, tmp_path):
    changed = tmp_path / "slow.yaml"
    changed.write_text(re.sub(r"velocity_limit: .*", "velocity_limit: [0.001, 0.001, 0.001]", run[1].read_text()))
    said = replay(run[0], "--config", changed)[1]
    assert "candidate against base" in said
    changed.write_text(re.sub(r"control_rate: .*", "control_rate: 25.0", run[1].read_text()))
    status, said = replay(run[0], "--config", changed)
    assert status == 2 and "parameter 'control_rate' is 25.0, in the run it was 50.0" in said


def test_weights_and_encoders_of_another_robot_are_refused(run, replay, models, tmp_path):
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(actor_weights.encode(small_robot.make_weights()))
    status, said = replay(run[0], "--weights", foreign)
    assert status == 2 and "weights were made for" in said
    status, said = replay(run[0], "--encoder", models["stranger"])
    assert status == 2 and "token" in said


def test_what_cannot_be_replayed_ends_with_a_sentence(run, replay, tmp_path):
    assert "there is no bag" in replay(tmp_path / "nothing")[1]
    assert replay(run[0], "--weights", tmp_path / "nothing")[0] == 2
    assert "did you mean '/ee_pose'" in replay(run[0], "--remap", "ee_pose:=/ee_pos")[1]
