"""A real ACT checkpoint of LeRobot, small and with random weights, behind our server. Needs LeRobot: run it in an environment of its own."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest

pytest.importorskip("lerobot")

import lerobot_act
import torch
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.factory import make_pre_post_processors
from safetensors.torch import load_file, save_file

from rl_token_ros.adapters import lerobot, lerobot_checkpoint
from rl_token_ros.settings import parameters
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla.backend import BackendError, Observation
from rl_token_ros.vla.openpi import OpenPiBackend
from rl_token_ros.vla.server import PolicyServer

JOINTS = list(lerobot_act.JOINTS)
HOME = np.array(lerobot_act.MEAN, np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("act")
    lerobot_act.save(made)
    return made


@pytest.fixture(scope="module")
def policy(folder):
    return lerobot.load(str(folder), device="cpu")


def pictures(seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {camera: random.integers(0, 255, (lerobot_act.HEIGHT, lerobot_act.WIDTH, 3), np.uint8) for camera in lerobot_act.CAMERAS}


def request(seed: int = 0, state: np.ndarray = HOME):
    return {f"image_{camera}": picture for camera, picture in pictures(seed).items()} | {"proprio": state, "task": "insert"}


def test_a_chunk_is_what_lerobot_gives_step_by_step(folder, policy):
    """LeRobot's own way: one action after the other out of its queue, each post-processed alone."""
    theirs = ACTPolicy.from_pretrained(folder)
    before, after = make_pre_post_processors(theirs.config, str(folder))
    frame = {f"observation.images.{c}": torch.from_numpy(p).permute(2, 0, 1)[None] / 255 for c, p in pictures().items()}
    frame |= {"observation.state": torch.from_numpy(HOME)[None], "task": "insert"}
    theirs.reset()
    expected = [after(theirs.select_action(before(dict(frame))))[0].numpy() for _ in range(lerobot_act.HORIZON)]
    answer = policy.infer(request())
    np.testing.assert_allclose(answer["actions"], expected, rtol=1e-4, atol=1e-5)
    assert answer["actions"].shape == (lerobot_act.HORIZON, len(JOINTS))


def test_embeddings_are_what_the_decoder_attends_to(policy):
    attended = []
    hook = policy._policy.model.decoder.register_forward_pre_hook(lambda _, inputs: attended.append(inputs[1]))
    answer = policy.infer(request(1))
    hook.remove()
    np.testing.assert_array_equal(answer["embeddings"], attended[0][:, 0].numpy())
    assert len(attended) == 1, "one pass"
    assert answer["embeddings_mask"].all() and len(answer["embeddings_mask"]) == len(answer["embeddings"])


def test_pictures_and_state_are_seen(policy):
    one = policy.infer(request(1))
    assert np.abs(policy.infer(request(2))["embeddings"] - one["embeddings"]).max() > 1e-3
    assert np.abs(policy.infer(request(1, HOME + 0.1))["embeddings"] - one["embeddings"]).max() > 1e-3
    np.testing.assert_array_equal(policy.infer(request(1))["embeddings"], one["embeddings"])


def test_a_policy_in_degrees_serves_a_robot_in_rad(folder, policy):
    degrees = lerobot.load(str(folder), scale="57.29578", device="cpu")
    answer = degrees.infer(request(1, HOME / np.float32(57.29578)))
    expected = policy.infer(request(1, HOME))
    np.testing.assert_allclose(answer["actions"] * 57.29578, expected["actions"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(answer["embeddings"], expected["embeddings"], rtol=1e-3, atol=1e-4)


def test_the_metadata_says_what_is_served(folder, policy):
    expected = {
        "policy": "LeRobot act", "horizon": lerobot_act.HORIZON, "action_size": 6, "action_names": [f"{joint}.pos" for joint in JOINTS],
        "embeddings": list(policy.infer(request())["embeddings"].shape), "cameras": list(lerobot_act.CAMERAS),
        "vla_sha256": lerobot_checkpoint.digest(folder),
    }  # fmt: skip
    assert expected.items() <= policy.metadata.items()
    assert policy.metadata["chunk_dt"] == pytest.approx(1 / lerobot_act.RATE)
    assert lerobot.load(str(folder), rate=50.0, device="cpu").metadata["chunk_dt"] == pytest.approx(0.02)


def test_our_client_is_served(policy):
    server = PolicyServer(policy).listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    values = {
        "joint_names": JOINTS, "cameras": list(lerobot_act.CAMERAS), "action_names": JOINTS, "action_type": "absolute", "base_frame": "base",
        "residual_scale": [0.05] * 6, "chunk_length": 8, "control_rate": 30.0, "chunk_dt": 1 / 30, "vla_proprioception": ["joint_position"],
        "proprioception": ["joint_position"], "backend": "openpi", "server": f"ws://127.0.0.1:{server.socket.getsockname()[1]}",
        "image_height": 0, "query_timeout": 60.0,
        "vla_sha256": policy.metadata["vla_sha256"], "token_encoder": "token.onnx",
    }  # fmt: skip
    client = OpenPiBackend(parameters.build(Vla, values), len(JOINTS))
    try:
        answer = client.query(Observation(1, pictures(3), HOME, "insert"))
        expected = policy.infer(request(3))
        np.testing.assert_allclose(answer.actions, expected["actions"], rtol=1e-6)
        np.testing.assert_array_equal(answer.embeddings, expected["embeddings"])
        with pytest.raises(BackendError, match="'image_front' is 90 x 90, the policy learned with 96 x 128: write image_height: 96"):
            client.query(Observation(1, {name: picture[:90, :90] for name, picture in pictures(3).items()}, HOME, "insert"))
    finally:
        client.close()
        server.shutdown()
        thread.join(30.0)


def test_a_checkpoint_without_statistics_is_refused(tmp_path):
    lerobot_act.save(tmp_path, statistics=False)
    with pytest.raises(ParameterError, match=r"policy_preprocessor.json of .* has no statistics observation.images.front.mean"):
        lerobot.load(str(tmp_path), device="cpu")


def test_weights_that_are_missing_are_refused(folder, tmp_path):
    for path in folder.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.encoder.layers.0.linear1.bias"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ParameterError, match="lacks 1 weights of this policy, model.encoder.layers.0.linear1.bias among them"):
        lerobot.load(str(tmp_path), rate=30.0, device="cpu")


def test_what_lerobot_itself_refuses_is_said_in_a_sentence(folder, tmp_path):
    for path in folder.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"vision_backbone": "vgg"}))
    with pytest.raises(ParameterError, match="LeRobot cannot load .*: ValueError: .* must be one of the ResNet variants"):
        lerobot.load(str(tmp_path), rate=30.0, device="cpu")
