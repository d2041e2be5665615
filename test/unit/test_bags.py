"""Bags as files: written in splits and bounds, read whole, damaged, foreign, and found by name."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import yaml
import zstandard
from rosbags.rosbag2 import Reader, StoragePlugin
from rosbags.rosbag2 import Writer as ForeignWriter
from rosbags.serde import SerdeError

from rl_token_ros.bags import fast_trajectory, message_types
from rl_token_ros.bags.reader import Bag, BagError, Topic, open_bag
from rl_token_ros.bags.recorder import Message, Recorder
from rl_token_ros.bags.topic_names import Names, RemapError
from rl_token_ros.bags.writer import BagWriter, qos
from rl_token_ros.resimulation.pending import Inbox, header_stamp_ns

BOOL, POSE, TRAJECTORY = "std_msgs/msg/Bool", "geometry_msgs/msg/PoseStamped", fast_trajectory.TRAJECTORY
STORE = message_types.known()
TRUE = bytes(STORE.serialize_cdr(STORE.types[BOOL](True), BOOL))


def write(folder: Path, count: int = 1000, **options) -> Path:
    """A bag of `/outcome`, stamps 0, 1000, ..."""
    with BagWriter(folder, **options) as writer:
        for i in range(count):
            writer.write("/outcome", BOOL, i * 1000, TRUE)
            if i % 100 == 99:
                writer.sync()
    return folder


def stamps(bag: Bag) -> list[int]:
    return [record.stamp_ns for record in bag.read()]


def the_file(folder: Path) -> Path:
    (file,) = folder.glob("*.mcap")
    return file


# --- written ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
def test_others_read_what_is_written_with_types_and_qos(tmp_path, compression):
    folder = tmp_path / "bag"
    with BagWriter(folder, compression=compression) as writer:
        writer.add_topic("/weights", BOOL, qos(reliable=True, latched=True, depth=1))
        writer.write("/weights", BOOL, 5, TRUE)
        writer.write("/outcome", BOOL, 7, TRUE)
    with Reader(folder) as reader:
        assert [(c.topic, t, bytes(data)) for c, t, data in reader.messages()] == [("/weights", 5, TRUE), ("/outcome", 7, TRUE)]
        offered = {c.topic: c.ext.offered_qos_profiles[0] for c in reader.connections}
        assert offered["/weights"].durability.name == "TRANSIENT_LOCAL" and offered["/outcome"].durability.name == "VOLATILE"
        assert "bool data" in reader.connections[0].msgdef.data


def test_it_is_split_and_the_oldest_files_go_when_the_limit_is_reached(tmp_path):
    folder = write(tmp_path / "bag", 20_000, split_bytes=100_000, limit_bytes=400_000)
    sizes = [file.stat().st_size for file in folder.glob("*.mcap")]
    assert len(sizes) > 2 and sum(sizes) <= 420_000
    read = stamps(Bag(folder))
    assert read == sorted(read) and read[-1] == 19_999_000 and read[0] > 0
    with Reader(folder) as reader:
        assert reader.message_count == len(read)


def test_a_bag_is_continued_with_another_file(tmp_path):
    folder = write(tmp_path / "bag", 10)
    with BagWriter(folder) as writer:
        writer.write("/outcome", BOOL, 10_000, TRUE)
    assert stamps(Bag(folder)) == [i * 1000 for i in range(11)]
    with Reader(folder) as reader:
        assert reader.message_count == 11


def test_what_was_synced_survives_kill_9(tmp_path):
    folder = tmp_path / "bag"
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    child = subprocess.Popen([sys.executable, __file__, str(folder)], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path})
    assert child.stdout.readline() == "synced\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    bag = Bag(folder)
    read = stamps(bag)
    assert read[:500] == [i * 1000 for i in range(500)]
    assert "not ended properly" in bag.problems[0]
    with BagWriter(folder) as writer:  # and goes on
        writer.write("/outcome", BOOL, 10**9, TRUE)
    assert stamps(Bag(folder))[-1] == 10**9


def test_after_a_full_disk_it_goes_on_in_another_file(tmp_path):
    folder = tmp_path / "bag"
    writer = BagWriter(folder)
    writer.write("/outcome", BOOL, 1, TRUE)
    writer.sync()
    full = open("/dev/full", "wb")  # a disk without a byte left
    os.dup2(full.fileno(), writer._open.file.fileno())
    writer.write("/outcome", BOOL, 2, TRUE)
    with pytest.raises(OSError):
        writer.sync()
    writer.write("/outcome", BOOL, 3, TRUE)
    writer.close()
    assert stamps(Bag(folder)) == [1, 3]


def test_a_type_that_nobody_knows_is_recorded_without_definition(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        writer.write("/odd", "nobodys_msgs/msg/Odd", 1, TRUE)
    bag = Bag(tmp_path / "bag")
    assert bag.topics["/odd"].type == "nobodys_msgs/msg/Odd" and stamps(bag) == [1]
    with pytest.raises(message_types.TypeUnknown, match="nobodys_msgs/msg/Odd.*source the workspace"):
        message_types.decoder("nobodys_msgs/msg/Odd")


def test_a_type_of_a_sourced_workspace_is_defined(tmp_path, monkeypatch):
    folder = tmp_path / "share" / "my_msgs" / "msg"
    folder.mkdir(parents=True)
    (folder / "Inner.msg").write_text("float64[3] values\n")
    (folder / "Outer.msg").write_text("std_msgs/Header header\nmy_msgs/Inner[] parts\n")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    text, digest = message_types.definition("my_msgs/msg/Outer")
    assert "MSG: my_msgs/Inner" in text and digest.startswith("RIHS01_")


def test_the_recorder_counts_what_does_not_fit_and_writes_the_rest(tmp_path):
    gate = threading.Event()

    class SlowWriter(BagWriter):
        def write(self, *message) -> None:
            gate.wait()
            super().write(*message)

    recorder = Recorder(SlowWriter(tmp_path / "bag"), sync_seconds=0.1, queue_bytes=50, free_bytes=0, log=lambda level, text: None)
    for i in range(100):
        recorder.take(Message("/outcome", BOOL, i, TRUE))
    gate.set()
    recorder.close()
    assert recorder.lost > 80 and recorder.messages == 100 - recorder.lost
    assert stamps(Bag(tmp_path / "bag")) == list(range(recorder.messages))


def test_the_recorder_pauses_while_the_disk_is_nearly_full(tmp_path):
    told = []
    recorder = Recorder(BagWriter(tmp_path / "bag"), sync_seconds=0.01, queue_bytes=1 << 20, free_bytes=1 << 60, log=lambda *line: told.append(line))
    while recorder.state == "recording":
        recorder.take(Message("/outcome", BOOL, 1, TRUE))
    recorder.close()
    assert "are free below" in recorder.state and told[0][0] == "error"


# --- read ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_bags_of_others_are_read(tmp_path, storage):
    with ForeignWriter(tmp_path / "bag", version=9, storage_plugin=storage) as writer:
        first = writer.add_connection("/outcome", BOOL, typestore=STORE)
        second = writer.add_connection("/other", BOOL, typestore=STORE)
        for i in (3, 1, 2):  # as received, out of order
            writer.write(first, i, TRUE)
            writer.write(second, i, TRUE)
    bag = Bag(tmp_path / "bag")
    assert {name: topic.type for name, topic in bag.topics.items()} == {"/outcome": BOOL, "/other": BOOL}
    assert [record.stamp_ns for record in bag.read({"/outcome"})] == [3, 1, 2]
    assert bag.problems == [] and bag.position == bag.size
    assert message_types.decoder(BOOL, bag.topics["/outcome"].definition)(next(bag.read()).data).data is True


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.999])
def test_of_a_file_that_was_cut_off_the_whole_chunks_are_read(tmp_path, share):
    folder = write(tmp_path / "bag")
    file = the_file(folder)
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    bag = Bag(folder)
    read = stamps(bag)
    assert read == [i * 1000 for i in range(len(read))] and len(read) >= 100
    assert "is damaged or was not ended properly: it is used up to byte" in bag.problems[0]


@pytest.mark.parametrize("length", [0, 5, 30])
def test_of_a_file_without_a_message_nothing_is_read_and_that_is_said(tmp_path, length):
    folder = write(tmp_path / "bag")
    file = the_file(folder)
    file.write_bytes(file.read_bytes()[:length])
    bag = Bag(folder)
    assert stamps(bag) == [] and bag.problems


def test_a_chunk_that_was_overwritten_is_left_out_and_the_others_are_read(tmp_path):
    folder = write(tmp_path / "bag")
    file = the_file(folder)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)
    bag = Bag(folder)
    assert 800 <= len(stamps(bag)) < 1000
    assert "damaged chunk" in bag.problems[0]


def test_a_broken_sqlite_file_is_read_as_far_as_it_goes(tmp_path):
    with ForeignWriter(tmp_path / "bag", version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        topic = writer.add_connection("/outcome", BOOL, typestore=STORE)
        for i in range(20_000):
            writer.write(topic, i, TRUE)
    file = tmp_path / "bag" / "bag.db3"
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    bag = Bag(tmp_path / "bag")
    read = stamps(bag)
    assert read == list(range(len(read)))
    assert "damaged" in bag.problems[0]


def test_compressed_files_and_messages_are_read(tmp_path):
    folder = write(tmp_path / "bag", 50)
    file = the_file(folder)
    (folder / f"{file.name}.zstd").write_bytes(zstandard.compress(file.read_bytes()))
    file.unlink()
    assert stamps(Bag(folder)) == [i * 1000 for i in range(50)]

    with ForeignWriter(tmp_path / "old", version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        topic = writer.add_connection("/outcome", BOOL, typestore=STORE)
        for i in range(50):
            writer.write(topic, i, TRUE)
    database = tmp_path / "old" / "old.db3"
    whole = zstandard.compress(database.read_bytes())
    (tmp_path / "old" / "old.db3.zstd").write_bytes(whole)
    database.unlink()
    bag = Bag(tmp_path / "old")
    assert set(bag.topics) == {"/outcome"} and stamps(bag) == list(range(50)) == stamps(bag) and bag.problems == []
    (tmp_path / "old" / "old.db3.zstd").write_bytes(whole[: len(whole) // 2])
    assert "damaged" in Bag(tmp_path / "old").problems[0]

    with BagWriter(tmp_path / "packed") as writer:
        writer.write("/outcome", BOOL, 1, zstandard.compress(TRUE))
    metadata = tmp_path / "packed" / "metadata.yaml"
    content = yaml.safe_load(metadata.read_text())
    content["rosbag2_bagfile_information"].update(compression_mode="MESSAGE", compression_format="zstd")
    metadata.write_text(yaml.safe_dump(content))
    assert [record.data for record in Bag(tmp_path / "packed").read()] == [TRUE]


def test_a_bag_without_or_with_broken_metadata_is_read(tmp_path):
    folder = write(tmp_path / "bag", 10)
    (folder / "metadata.yaml").write_text("\x00 : [")
    bag = Bag(folder)
    assert len(stamps(bag)) == 10
    (folder / "metadata.yaml").unlink()
    assert len(stamps(Bag(folder))) == 10
    assert len(stamps(Bag(the_file(folder)))) == 10  # one file alone


def test_what_is_no_bag_is_refused_with_a_sentence(tmp_path):
    with pytest.raises(BagError, match="there is no bag"):
        Bag(tmp_path / "nothing")
    with pytest.raises(BagError, match="holds no .mcap or .db3 file"):
        Bag(tmp_path)
    sqlite3.connect(tmp_path / "other.db3").execute("CREATE TABLE a (b)").connection.close()
    assert "no such table" in Bag(tmp_path).problems[0]


def test_a_type_that_had_other_fields_then_is_decoded_as_it_was():
    text = "bool data\nint32 more\n"
    old = message_types.decoder(BOOL, text)
    message = old(bytes([0, 1, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0]))
    assert message.data is True and message.more == 7
    assert message_types.decoder(BOOL, "# a comment\nbool data\n")(TRUE).data is True


def test_where_nothing_can_be_read_it_is_said_why(tmp_path):
    (tmp_path / "a.bag").write_text("#ROSBAG V2.0")
    with pytest.raises(BagError, match="bags of ROS 1; convert them first"):
        open_bag(tmp_path)
    (tmp_path / "a.mcap").write_text("hello, this is a text and no bag")
    with pytest.raises(BagError, match="holds no message that can be read; 'a.mcap' is damaged .*not a valid MCAP file"):
        open_bag(tmp_path)
    (tmp_path / "a.mcap").write_bytes(b"")
    with pytest.raises(BagError, match="it ends before its first record"):
        open_bag(tmp_path)


# --- decoded ------------------------------------------------------------------------------------------------------------


def random_trajectory(random: np.random.Generator):
    """Chunks as a VLA's mostly, anything at times."""
    M = STORE.types

    def name() -> str:
        return "äx_1"[: random.integers(0, 5)]

    def numbers() -> np.ndarray:
        return random.normal(size=random.integers(0, 4))

    header = M["std_msgs/msg/Header"](M["builtin_interfaces/msg/Time"](int(random.integers(0, 2**31)), int(random.integers(0, 2**32))), name())
    size, usual = int(random.integers(0, 4)), random.random() < 0.8
    points = [
        M["trajectory_msgs/msg/JointTrajectoryPoint"](
            random.normal(size=size) if usual else numbers(), *(np.zeros(0) if usual else numbers() for _ in range(3)),
            M["builtin_interfaces/msg/Duration"](i, int(random.integers(0, 10**9))),
        )
        for i in range(random.integers(0, 5))
    ]  # fmt: skip
    return M[TRAJECTORY](header, [name() for _ in range(random.integers(0, 4))], points)


def test_chunks_are_decoded_as_the_general_decoder_does():
    random = np.random.default_rng(0)
    decode, taken = message_types.decoder(TRAJECTORY), 0
    for _ in range(300):
        message = random_trajectory(random)
        cdr = bytes(STORE.serialize_cdr(message, TRAJECTORY))
        general = STORE.deserialize_cdr(cdr, TRAJECTORY)
        assert repr(decode(cdr)) == repr(general) and bytes(STORE.serialize_cdr(decode(cdr), TRAJECTORY)) == cdr
        assert repr(decode(bytes(STORE.serialize_cdr(message, TRAJECTORY, little_endian=False)))) == repr(general)
        try:
            taken += repr(fast_trajectory.trajectory(STORE.types, cdr)) == repr(general)
        except fast_trajectory.Unusual:
            pass
    assert taken > 150  # else nothing is quick


def test_damaged_chunks_are_refused_as_the_general_decoder_does():
    random = np.random.default_rng(1)
    decode = message_types.decoder(TRAJECTORY)
    for _ in range(500):
        cdr = bytearray(STORE.serialize_cdr(random_trajectory(random), TRAJECTORY))
        if random.random() < 0.5:
            cdr = cdr[: random.integers(0, len(cdr))]
        else:
            cdr[random.integers(0, len(cdr))] ^= 1 << random.integers(0, 8)
        try:
            general = repr(STORE.deserialize_cdr(bytes(cdr), TRAJECTORY))
        except SerdeError:
            with pytest.raises(message_types.NotDecoded):
                decode(bytes(cdr))
        else:
            assert repr(decode(bytes(cdr))) == general


# --- names --------------------------------------------------------------------------------------------------------------


def topics(**named: str) -> dict[str, Topic]:
    return {f"/{name.replace('__', '/')}": Topic(f"/{name.replace('__', '/')}", kind) for name, kind in named.items()}


def test_topics_are_found_by_name_namespace_and_remap():
    names = Names(topics(ee_pose=POSE, left__outcome=BOOL, tool=POSE, arm__wrench="geometry_msgs/msg/WrenchStamped"), ["ee_pose:=/tool"])
    assert names.find("ee_pose").name == "/tool"
    assert names.find("outcome").name == "/left/outcome"
    assert names.find("joint_states") is None
    assert Names(topics(a__outcome=BOOL, b__outcome=BOOL)).find("outcome") is None  # which one?


def test_what_is_missing_is_said_with_the_remap_to_write():
    names = Names(topics(tool_pose=POSE, command=POSE, joint_states="sensor_msgs/msg/MultiDOFJointState"))
    assert names.missing("ee_pose").endswith("--remap ee_pose:=/tool_pose")
    assert "is a sensor_msgs/msg/MultiDOFJointState; 'joint_states' must be a sensor_msgs/msg/JointState" in names.missing("joint_states")
    assert names.missing("wrench") == "the bag has no 'wrench' (geometry_msgs/msg/WrenchStamped)"
    two = Names(topics(a__outcome=BOOL, b__outcome=BOOL)).missing("outcome")
    assert "more than once" in two and "--remap outcome:=/a/outcome" in two


def test_a_remap_that_cannot_be_is_refused():
    for remap, says in (("ee_pose", "ours:=theirs"), ("ee_pose:=/tol", "did you mean '/tool'"), ("ee_pose:=x", "it has /tool")):
        with pytest.raises(RemapError, match=says):
            Names(topics(tool=POSE), [remap])
    with pytest.raises(RemapError, match="'ee_pose' is a geometry_msgs/msg/PoseStamped"):
        Names(topics(flag=BOOL), ["ee_pose:=/flag"]).find("ee_pose")


# --- messages that wait -------------------------------------------------------------------------------------------------


def stamped(stamp_ns: int) -> bytes:
    head = bytes([0, 1, 0, 0])
    return head + (stamp_ns // 10**9).to_bytes(4, "little", signed=True) + (stamp_ns % 10**9).to_bytes(4, "little") + bytes(8)


def test_messages_are_found_by_their_stamp_whatever_the_order():
    inbox = Inbox()
    for stamp in (3, 1, 2):
        inbox.put("ee_pose", 1000 + stamp, stamped(stamp))
    inbox.put("ee_pose", 2000, stamped(2) + b"later")
    (found,) = inbox.find("ee_pose", 2)
    assert header_stamp_ns(found) == 2 and not found.endswith(b"later")
    assert not inbox.find("ee_pose", 4) and not inbox.find("wrench", 1)
    for part in (b"arm", b"gripper", b"arm"):  # two drivers with one stamp
        inbox.put("joint_states", 2000, stamped(2) + part)
    assert [one[-3:] for one in inbox.find("joint_states", 2)] == [b"arm", b"per"]


def test_messages_without_a_stamp_are_found_by_when_they_came():
    inbox = Inbox()
    for received in (100, 200, 300):
        inbox.put("wrench", received, stamped(0) + bytes([received // 100]))
    inbox.put("wrench", 205, stamped(-5))  # damaged
    assert inbox.find("wrench", 210)[0][-1] == 2
    for second in range(1, 13):
        inbox.put("wrench", second * 10**9, stamped(0) + bytes([10 + second]))
    assert inbox.find("wrench", 210)[0][-1] == 12  # the first second's are too old


def test_old_messages_go_and_memory_is_bounded_even_when_the_recorders_clock_jumps():
    inbox = Inbox()
    inbox.put("ee_pose", 10**18, stamped(1))
    inbox.put("ee_pose", 5, stamped(2))  # the clock went back
    assert inbox.find("ee_pose", 1) and inbox.find("ee_pose", 2)
    for i in range(12):
        inbox.put("ee_pose", i * 10**9 + 5, stamped(10 + i))
    assert not inbox.find("ee_pose", 1)
    for i in range(100):
        inbox.put("vla/embedding", 12 * 10**9 + i, stamped(100 + i) + bytes(1 << 20))
    assert not inbox.find("vla/embedding", 100) and inbox.find("vla/embedding", 199)


if __name__ == "__main__":  # the child that is killed
    victim = BagWriter(sys.argv[1])
    for n in range(500):
        victim.write("/outcome", BOOL, n * 1000, TRUE)
    victim.sync()
    victim.write("/outcome", BOOL, 500_000, TRUE)
    print("synced", flush=True)
    signal.pause()
