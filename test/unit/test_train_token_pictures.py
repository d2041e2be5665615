"""train_token on bags with pictures and without embeddings: a VLA is asked, as live, once."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import policy_servers
import pytest
import small_robot

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("rosbags")

import picture_bag
from picture_bag import FRAME, START, colour, place
from small_robot import TOKEN

from rl_token_ros.commands import train_token
from rl_token_ros.policy.actor_weights import fingerprint
from rl_token_ros.rl_token.encoder import TokenEncoder
from rl_token_ros.rl_token.shards import ShardError, ShardWriter
from rl_token_ros.settings import parameters
from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla.backend import Observation
from rl_token_ros.vla.onnx import OnnxBackend
from rl_token_ros.vla.server import OnnxPolicy, PolicyServer

pytestmark = pytest.mark.slow


class Running:
    """A vla_server in a thread."""

    def __init__(self, policy, port: int = 0, encoder=None) -> None:
        self._server = PolicyServer(policy, encoder=encoder).listen("127.0.0.1", port)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}"

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(60.0)


@pytest.fixture(scope="module")
def vla(tmp_path_factory):
    return small_robot.write_vla(tmp_path_factory.mktemp("vla") / "vla.onnx")


@pytest.fixture
def config(vla, tmp_path):
    """Writes the robot's parameter file."""
    return lambda **changes: picture_bag.write_config(tmp_path / "robot.yaml", vla, **changes)


@pytest.fixture
def bag(tmp_path):
    """Writes a bag with pictures."""
    return lambda name="bag", **how: picture_bag.write_bag(tmp_path / name, **how)


@pytest.fixture
def train(monkeypatch, capsys, tmp_path):
    """Runs train_token and gives its status and all it printed."""

    def call(*arguments: object) -> tuple[int, str]:
        common = ("--threads", 1, "--steps", 2, "--size", TOKEN, "--output", tmp_path / "token.onnx")
        monkeypatch.setattr("sys.argv", ["train_token", *map(str, (*common, *arguments))])
        status = train_token.main()
        said = capsys.readouterr()
        return status, said.out + said.err

    return call


def shard(tmp_path: Path) -> np.ndarray:
    """The embeddings on the disk, [N, M, D]."""
    (path,) = (tmp_path / "embeddings").glob("*.f16")
    return np.fromfile(path, np.float16).reshape(-1, small_robot.ROWS, small_robot.WIDTH)


def test_a_vla_of_this_machine_is_asked_about_the_pictures_of_a_bag(bag, train, config, vla, tmp_path):
    status, said = train(bag(), "--config", config())
    assert status == 0, said
    assert "80 observations of 3 x 5" in said and "ask the VLA about bag" in said
    assert TokenEncoder(tmp_path / "token.onnx", TOKEN).vla_sha256 == fingerprint(vla)  # not the one of the bag's run
    # What it was asked: picture and place of that moment.
    settings = parameters.build(Vla, small_robot.shared(vla_model=str(vla), vla_proprioception=["ee_position"]))
    backend, found = OnnxBackend(settings, 3), shard(tmp_path)
    (journal,) = (tmp_path / "embeddings").glob("*.asked")
    stamps = [int(line.split()[0]) for line in journal.read_text().splitlines()[1:]]
    assert len(stamps) == len(found) and max(np.diff(stamps)) < 110_000_000
    for i in (0, 40, 78):
        frame, seconds = round((stamps[i] - START) / FRAME), (stamps[i] - START) * 1e-9
        wanted = backend.query(Observation(0, {"base": colour(frame)}, place(seconds).astype(np.float32), "")).embeddings
        np.testing.assert_allclose(found[i], wanted, rtol=2e-3, atol=0.1)
    assert "ee_position" in said and "wrench_force" not in said  # what was measured is probed


def test_it_is_asked_once(bag, train, config, tmp_path):
    made = bag()
    assert train(made, "--config", config())[0] == 0
    before = shard(tmp_path)
    status, said = train(made, "--config", config(backend="openpi", server="ws://127.0.0.1:9"))  # nobody is there
    assert status == 2 and "nothing listens there" in said  # it would be asked with pictures of another size
    status, said = train(made, "--config", config())
    assert status == 0 and "asked about before: 80 observations" in said and "ask the VLA" not in said
    (path,) = (tmp_path / "embeddings").glob("*.f16")
    path.write_bytes(path.read_bytes()[:1000])
    status, said = train(made, "--config", config())
    assert status == 0 and "is cut off: 1000 of 2400 bytes; what is missing is asked for again" in said
    np.testing.assert_array_equal(shard(tmp_path), before)
    assert train(made, "--config", config(task="another"))[0] == 0
    assert len(list((tmp_path / "embeddings").glob("*.f16"))) == 2  # another question, another file


def test_a_server_is_asked_for_embeddings_also_where_it_makes_tokens(bag, train, config, vla, tmp_path):
    made = bag()
    assert train(made, "--config", config())[0] == 0
    before = shard(tmp_path)
    encoder = TokenEncoder(tmp_path / "token.onnx", TOKEN)
    with Running(OnnxPolicy(vla), encoder=encoder) as server:
        file = config(backend="openpi", image_height=0, image_width=0, server="ws://127.0.0.1:9")
        status, said = train(made, "--config", file, "--server", server.url, "--cache", tmp_path / "of_server")
    assert status == 0, said
    (path,) = (tmp_path / "of_server").glob("*.f16")
    np.testing.assert_array_equal(np.fromfile(path, np.float16), before.ravel())
    status, said = train(made, "--config", file, "--server", server.url, "--cache", tmp_path / "of_server")  # which is gone
    assert status == 0 and "asked about before: 80 observations" in said


def test_a_training_goes_on_where_its_asking_was_cut_off(bag, train, config, vla, tmp_path):
    """And meanwhile nothing but the rest is asked about."""
    made = bag()
    policy = OnnxPolicy(vla)
    infer, asked = policy.infer, []

    def count(obs):
        asked.append(obs)
        if len(asked) == 30:
            raise RuntimeError("out of memory")
        return infer(obs)

    policy.infer = count
    with Running(policy) as server:
        file = config(backend="openpi", image_height=0, image_width=0, server=server.url)
        status, said = train(made, "--config", file)
        assert status == 2 and "the VLA server failed: RuntimeError: out of memory" in said
        status, said = train(made, "--config", file)
        assert status == 0 and "29 observations were asked about before, 29 of them are in" in said, said
    assert len(asked) == 80 + 1
    found = shard(tmp_path)
    assert len(found) == 80
    whole = asked_without_an_end(train, made, config, tmp_path)
    np.testing.assert_array_equal(found, whole)


def asked_without_an_end(train, made, config, tmp_path) -> np.ndarray:
    """What one asking without an end gives."""
    assert train(made, "--config", config(), "--cache", tmp_path / "whole")[0] == 0
    (path,) = (tmp_path / "whole").glob("*.f16")
    return np.fromfile(path, np.float16).reshape(-1, small_robot.ROWS, small_robot.WIDTH)


def test_embeddings_whose_shape_changes_are_refused_and_nothing_is_lost(bag, train, config, tmp_path):
    policy = policy_servers.Policy()
    with policy_servers.running(policy_servers.OpenPi(policy)) as server:
        file = config(backend="openpi", server=server.url)

        def grow() -> None:
            if len(policy.requests) == 20:
                policy.answer = {**policy.answer, "embeddings": np.ones((4, 5), np.float32)}

        policy.before = grow
        status, said = train(bag(), "--config", file)
        assert status == 2 and "the VLA gives embeddings (4, 5) now, before it (3, 5); one encoder is for one shape" in said
        assert "does not say its fingerprint" in said
        assert len(shard(tmp_path)) == 19


def test_a_picture_that_cannot_be_decoded_is_left_out_and_counted(bag, train, config, tmp_path):
    status, said = train(bag(broken=29), "--config", config())
    assert status == 0 and "79 observations of 3 x 5" in said
    assert "1 observations are left out" in said and "1 times: " in said and "'jpeg'" in said


def test_what_is_missing_to_ask_is_said(bag, train, config, capsys):
    made = bag(leave_out="camera/base/image_raw")
    status, said = train(made, "--config", config())
    assert status == 2 and "the bag has no 'camera/base/image_raw'" in said
    status, said = train(bag("second", leave_out="ee_pose"), "--config", config())
    assert status == 2 and "the bag has no 'ee_pose'" in said
    status, said = train(bag("third"))
    assert status == 2 and "the bag has no 'vla/embedding'" in said and "--config my_arm.yaml, the robot's parameters, and --server ADDRESS" in said
    for arguments, says in (
        ((), "name bags, or a data set with --lerobot"),
        ((made, "--server", "ws://gpu:8000"), "name the robot's parameter file, too"),
        (("--lerobot", "demos"), "name the VLA that is asked about its pictures"),
    ):
        with pytest.raises(SystemExit):
            train(*arguments)
        assert says in capsys.readouterr().err


def test_a_bag_without_pictures_gives_its_own_embeddings(bag, train, config):
    status, said = train(bag(leave_out="camera/base/image_raw", embeddings=True), "--config", config())
    assert status == 0 and "has no pictures to ask the VLA about; its own embeddings are taken" in said
    assert "240 observations of 3 x 5" in said


def test_a_full_disk_keeps_what_was_asked_for(bag, train, config, monkeypatch, tmp_path):
    write, written = ShardWriter.write, []

    def full(self, matrix) -> None:
        if len(written) == 25:
            raise ShardError("no space")
        written.append(matrix)
        write(self, matrix)

    monkeypatch.setattr(ShardWriter, "write", full)
    made = bag()
    assert train(made, "--config", config())[0] == 2
    monkeypatch.setattr(ShardWriter, "write", write)
    status, said = train(made, "--config", config())
    assert status == 0 and "25 observations were asked about before" in said
