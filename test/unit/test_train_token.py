"""train_token: from the embeddings in bags to an encoder that control_node takes, with what it is worth."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import small_robot

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("rosbags")

from small_robot import HOME, TOKEN
from test_bag_pipeline import STORE, M, embedding, pose, token, wrench

from rl_token_ros.bags.reader import BagError
from rl_token_ros.bags.writer import BagWriter
from rl_token_ros.commands import train_token
from rl_token_ros.interfaces.topics import SETTINGS, TYPES
from rl_token_ros.rl_token.dataset import Collector
from rl_token_ros.rl_token.encoder import TokenEncoder
from rl_token_ros.rl_token.training import Settings, Trainer, fit
from rl_token_ros.settings import parameters
from rl_token_ros.settings.control import Control

START, STEP, COUNT = 1_700_000_000_000_000_000, 50_000_000, 400
VLA = "a" * 64


@pytest.fixture
def bag(tmp_path):
    """Writes a bag whose embeddings follow the tool's position."""

    def make(name: str = "bag", vla: str = VLA, leave_out: str = "", count: int = COUNT, tokens: bool = False):
        random = np.random.default_rng(1)
        spread = random.normal(size=(3, small_robot.ROWS * small_robot.WIDTH))
        with BagWriter(tmp_path / name) as writer:

            def write(ours: str, ns: int, message) -> None:
                if ours != leave_out:
                    writer.write(f"/{ours}", TYPES[ours], ns, bytes(STORE.serialize_cdr(message, TYPES[ours])))

            told = {"number": 0, "vla_sha256": vla, "parameters": dataclasses.asdict(small_robot.settings())}
            write(SETTINGS, START, M["std_msgs/msg/String"](json.dumps(told)))
            for i in range(count):
                ns, place = START + (i + 1) * STEP, random.normal(size=3)
                write("ee_pose", ns, pose(ns, HOME + 0.01 * place))
                write("wrench", ns, wrench(ns, random.normal(size=3)))  # the embeddings know nothing of it
                matrix = (place @ spread + 0.05 * random.normal(size=spread.shape[1])).reshape(small_robot.ROWS, small_robot.WIDTH)
                seen = token(ns, place, "e" * 64) if tokens else embedding(ns, matrix)
                write("vla/embedding", ns + STEP // 2, seen)  # later than what it is about
        return tmp_path / name

    return make


@pytest.fixture
def train(monkeypatch, capsys):
    """Runs train_token and gives its status and all it printed."""

    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["train_token", "--threads", "1", *map(str, arguments)])
        status = train_token.main()
        said = capsys.readouterr()
        return status, said.out + said.err

    return call


def errors(said: str, group: str) -> dict[str, float]:
    """Of the probe, by what it was read from."""
    return dict(zip(("mean", "pooled", "token"), map(float, re.search(rf"^  {group} +(.*)$", said, re.M)[1].split())))


@pytest.mark.slow
def test_an_encoder_is_made_of_a_bag_and_knows_what_the_embeddings_knew(bag, train, tmp_path):
    path = tmp_path / "out" / "token.onnx"
    status, said = train(bag(), "--steps", 30, "--output", path)
    assert status == 0, said
    encoder = TokenEncoder(path, TOKEN)  # of the width in the bag's parameters
    assert encoder.shape == (small_robot.ROWS, small_robot.WIDTH) and encoder.vla_sha256 == VLA
    assert "80 of them held out" in said and float(re.search(r"held out: ([\d.]+) %", said)[1]) > 50.0
    place = errors(said, "ee_position")
    assert place["token"] < 0.3 * place["mean"]
    force = errors(said, "wrench_force")
    assert force["token"] > 0.9 * force["mean"]  # nothing can be read that is not there
    assert re.search(r"30/30, \d+ s, 0 s left", said)


@pytest.mark.slow
def test_bags_of_one_vla_are_put_together_and_others_refused(bag, train, tmp_path):
    out = ("--steps", 2, "--output", tmp_path / "token.onnx")
    status, said = train(bag("one"), bag("two"), *out)
    assert status == 0 and f"{2 * COUNT} observations" in said, said
    status, said = train(bag("three"), bag("four", vla="b" * 64), *out)
    assert status == 2 and "is of another vla_sha256 (bbbbbbbbbbbb, not aaaaaaaaaaaa)" in said


@pytest.mark.slow
def test_a_bag_is_copied_once_and_a_copy_that_was_cut_off_is_refused(bag, train, tmp_path):
    made, out = bag(count=100), ("--steps", 1, "--size", 4, "--output", tmp_path / "token.onnx", "--cache", tmp_path / "copies")
    status, said = train(made, *out)
    assert status == 0 and "was copied before" not in said, said
    (shard,) = (tmp_path / "copies").glob("*.f16")
    assert shard.stat().st_size == 100 * small_robot.ROWS * small_robot.WIDTH * 2
    status, again = train(made, *out)
    assert status == 0 and "was copied before: 100 observations" in again
    assert re.search("ee_position.*", said)[0] == re.search("ee_position.*", again)[0]  # the index has what was measured
    os.truncate(shard, 999)
    status, said = train(made, *out)
    assert status == 2 and f"'{shard}' is cut off: 999 of 3000 bytes; delete it" in said
    shard.unlink()
    status, said = train(made, *out)
    assert status == 2 and "is cut off: 0 of 3000 bytes" in said
    shard.with_suffix(".npz").write_bytes(b"nothing")
    status, said = train(made, *out)
    assert status == 2 and f"'{shard.with_suffix('.npz')}' cannot be read" in said
    shard.with_suffix(".npz").unlink()  # as if it had been killed while copying
    status, said = train(made, *out)
    assert status == 0 and "was copied before" not in said


@pytest.mark.slow
def test_a_bag_that_has_grown_is_copied_anew(bag, train, tmp_path):
    out = ("--steps", 1, "--size", 4, "--output", tmp_path / "token.onnx")
    assert train(bag(count=100), *out)[0] == 0
    shutil.rmtree(tmp_path / "bag")
    status, said = train(bag(count=120), *out)
    assert status == 0 and "120 observations" in said and len(list((tmp_path / "embeddings").glob("*.f16"))) == 1


@pytest.mark.slow
def test_memory_is_kept_or_refused(bag, train, tmp_path):
    status, said = train(bag(count=100), "--steps", 1, "--size", 4, "--output", tmp_path / "token.onnx", "--memory", 0.1)
    assert status == 2 and f"--memory: 0.10 GB are too little for embeddings of {small_robot.ROWS} x {small_robot.WIDTH}; write " in said
    enough = 0.1 + float(re.search(r"write ([\d.]+)", said)[1])  # the tests' own process grows meanwhile
    assert train(tmp_path / "bag", "--steps", 1, "--size", 4, "--output", tmp_path / "token.onnx", "--memory", enough)[0] == 0


@pytest.mark.slow
def test_a_training_that_was_cut_off_goes_on(bag, train, tmp_path, monkeypatch):
    path = tmp_path / "token.onnx"
    out = ("--steps", 20, "--size", 4, "--output", path)
    assert train(bag(count=100), *out)[0] == 0
    whole = TokenEncoder(path, 4)
    path.unlink()
    assert not path.with_suffix(".checkpoint").exists()  # of no more use
    taken = Trainer.train

    def cut_off(self) -> None:
        taken(self, until=7)
        raise BagError("cut off")

    monkeypatch.setattr(Trainer, "train", cut_off)
    assert train(tmp_path / "bag", *out)[0] == 2 and not path.exists()
    monkeypatch.setattr(Trainer, "train", taken)
    status, said = train(tmp_path / "bag", *out[:-2], "--output", path, "--rate", 0.1, "--resume")
    assert status == 2 and "is of a training with rate 0.0003, not 0.1" in said
    status, said = train(tmp_path / "bag", *out, "--resume")
    assert status == 0 and "resumed after 7 of 20 steps" in said, said
    seen = np.ones((small_robot.ROWS, small_robot.WIDTH), np.float32)
    np.testing.assert_array_equal(TokenEncoder(path, 4).run(seen), whole.run(seen))
    status, said = train(tmp_path / "bag", *out, "--resume")
    assert status == 2 and "there is no checkpoint" in said


@pytest.mark.slow
def test_bags_without_enough_end_with_a_sentence(bag, train, tmp_path):
    out = ("--output", tmp_path / "token.onnx")
    assert "the bag has no 'vla/embedding'" in train(bag("a", leave_out="vla/embedding"), *out)[1]
    assert "hold 10 observations" in train(bag("b", count=10), *out)[1]
    status, said = train(bag("c"), "--vla", tmp_path / "nothing", *out)
    assert status == 2 and "there is no file" in said
    status, said = train(bag("e", count=60), "--size", 128, *out)
    assert status == 2 and "a token of 128 is wider than what 48 observations of 15 values can fill; write --size 15" in said
    status, said = train(bag("d", leave_out=SETTINGS), "--steps", 2, "--size", 4, *out)
    assert status == 0 and "fingerprint is not known" in said and "no measurement and no outcome" in said


def test_a_bag_with_tokens_of_the_server_says_so(bag, train, tmp_path):
    status, said = train(bag(count=3, tokens=True), "--output", tmp_path / "token.onnx")
    assert status == 2 and "'vla/embedding' holds tokens of the encoder with SHA-256 eeeeeeeeeeee..., made at the VLA's server" in said
    assert "record with 'embeddings: float16' for vla_node" in said and not (tmp_path / "token.onnx").exists()


def test_a_token_wider_than_what_varies_is_refused():
    three = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(0)).repeat(40, 1, 1)
    with pytest.raises(ValueError, match="a token of 4 is wider than the 2 directions in which these embeddings vary; take 2 or less"):
        fit(three, Settings(4, steps=1, batch=8))


def test_joints_of_several_drivers_are_measured_once_all_are_there():
    control = parameters.build(Control, {**small_robot.control(), "joint_names": ["a", "b"], "token_encoder": "", "vla_model": ""})
    collector = Collector(["joint_position"], [].append)
    collector.settings(control, "")

    def say(ns: int, name: str, position: float) -> None:
        stamp = SimpleNamespace(sec=0, nanosec=ns)
        message = SimpleNamespace(header=SimpleNamespace(stamp=stamp), name=[name], position=[position], velocity=[], effort=[])
        collector.measurement("joint_states", message, ns)

    say(10, "a", 1.0)
    collector.embedding(10, np.ones((2, 3), np.float32))
    say(20, "b", 2.0)
    collector.embedding(20, np.ones((2, 3), np.float32))
    np.testing.assert_array_equal(collector.observations().measured["joint_position"], [[1.0, 2.0], [1.0, 2.0]])
