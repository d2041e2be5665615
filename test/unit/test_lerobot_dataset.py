"""A data set made by LeRobot itself, read, put to a real ACT behind our server, and made a token of. Needs LeRobot: run it in its environment."""

from __future__ import annotations

import json
import shutil
import threading

import numpy as np
import pytest

pytest.importorskip("lerobot", reason="LeRobot is not installed here")
pytest.importorskip("websockets")
pytest.importorskip("rosbags")

import lerobot_act
import lerobot_data
from lerobot_act import CAMERAS, HEIGHT, JOINTS, RATE, WIDTH

from rl_token_ros.adapters import lerobot, lerobot_dataset
from rl_token_ros.commands import train_token
from rl_token_ros.rl_token.encoder import TokenEncoder
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.vla.server import PolicyServer

FRONT, WRIST = (f"observation.images.{camera}" for camera in CAMERAS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("demos") / "cube"
    lerobot_data.save(made)
    return made


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def test_a_data_set_is_read_as_it_was_recorded(folder):
    data = lerobot_dataset.load(str(folder))
    assert data.rate == RATE and data.cameras == {FRONT: (HEIGHT, WIDTH), WRIST: (HEIGHT, WIDTH)} and len(data) == 180
    assert data.state_names == data.action_names == tuple(f"{joint}.pos" for joint in JOINTS) and data.success is None
    assert data.episode[[0, 59, 60, 179]].tolist() == [0, 0, 1, 2]
    np.testing.assert_allclose(data.seconds[[0, 1, 60, 62]], [0, 1 / RATE, 0, 2 / RATE], atol=1e-6)
    np.testing.assert_allclose(data.action, data.state + 0.01, atol=1e-6)
    for index in (0, 61, 179):
        pictures, task = data.look(index)
        assert task == lerobot_data.TASK
        for camera, feature in zip(CAMERAS, (FRONT, WRIST)):
            np.testing.assert_array_equal(pictures[feature], lerobot_data.picture(camera, data.state[index]))


def test_videos_and_outcomes_are_read(tmp_path):
    lerobot_data.save(tmp_path / "cube", episodes=2, frames=20, videos=True, successes=[False, True])
    data = lerobot_dataset.load(str(tmp_path / "cube"))
    assert data.success is not None and np.flatnonzero(data.success).tolist() == [39]
    wanted = lerobot_data.picture("front", data.state[25]).astype(int)
    assert np.abs(data.look(25, [FRONT])[0][FRONT] - wanted).mean() < 10.0  # compressed


def test_what_is_not_whole_is_said(copy):
    (copy / "meta" / "tasks.parquet").unlink()
    with pytest.raises(ParameterError, match=r"LeRobot cannot read the data set .*: FileNotFoundError: .*tasks.parquet"):
        lerobot_dataset.load(str(copy))


def test_a_data_set_without_statistics_is_refused(copy):
    (copy / "meta" / "stats.json").unlink()
    with pytest.raises(ParameterError, match=rf"has no statistics of {FRONT}, {WRIST}, observation.state, action \(meta/stats.json\)"):
        lerobot_dataset.load(str(copy))


def test_a_data_set_of_another_version_names_the_converter(copy):
    info = json.loads((copy / "meta" / "info.json").read_text())
    (copy / "meta" / "info.json").write_text(json.dumps(info | {"codebase_version": "v2.1"}))
    with pytest.raises(ParameterError, match=r"python -m lerobot.datasets.v30.convert_dataset_v21_to_v30 --repo-id=copy --root="):
        lerobot_dataset.load(str(copy))


@pytest.mark.slow
def test_from_a_data_set_and_a_checkpoint_to_a_token_that_the_server_makes(folder, tmp_path, monkeypatch, capsys):
    lerobot_act.save(tmp_path / "act")
    policy = lerobot.load(str(tmp_path / "act"), device="cpu")
    server = PolicyServer(policy).listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
    arguments = ["--lerobot", folder, "--server", url, "--size", 8, "--steps", 20, "--threads", 1, "--output", tmp_path / "token.onnx"]
    monkeypatch.setattr("sys.argv", ["train_token", *map(str, arguments)])
    try:
        status = train_token.main()
    finally:
        server.shutdown()
        thread.join(60.0)
    printed = capsys.readouterr()
    assert status == 0, printed.err
    assert f"image_front            {FRONT}  {HEIGHT} x {WIDTH}" in printed.out and "60 observations of 26 x 64" in printed.out
    encoder = TokenEncoder(tmp_path / "token.onnx", 8)
    assert encoder.vla_sha256 == policy.metadata["vla_sha256"]
    PolicyServer(policy, encoder=encoder)  # which refuses the encoder of another VLA
    # What lies on the disk is what the policy gives for that frame.
    data = lerobot_dataset.load(str(folder))
    (shard,) = (tmp_path / "embeddings").glob("*.f16")
    found = np.fromfile(shard, np.float16).reshape(60, 26, 64)
    for place, frame in ((0, 0), (20, 60), (59, 177)):
        pictures, task = data.look(frame)
        answer = policy.infer({**pictures, "observation.state": data.state[frame], "task": task})
        np.testing.assert_allclose(found[place], answer["embeddings"], rtol=2e-3, atol=2e-3)
