"""openpi's own pi0 and pi05, JAX and PyTorch, with random weights behind our server. Needs openpi: run it in openpi's environment."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("openpi.training.config")

import jax
import jax.numpy as jnp
import openpi_policies
import torch
from openpi import transforms
from openpi.models import model as openpi_model
from openpi.models.pi0 import make_attn_mask
from openpi.models_pytorch.pi0_pytorch import make_att_2d_masks
from openpi.policies import policy_config
from openpi.training import config as openpi_config

from rl_token_ros.adapters import openpi, openpi_checkpoint
from rl_token_ros.settings import parameters
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla.backend import Observation
from rl_token_ros.vla.openpi import OpenPiBackend
from rl_token_ros.vla.server import PolicyServer

JAX, PYTORCH = ("PI0", False), ("PI0", True)
MODELS = {"pi0-jax": JAX, "pi05-jax": ("PI05", False), "pi0-pytorch": PYTORCH, "pi05-pytorch": ("PI05", True)}
WIDTH = 64  # of the dummy


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The folder of openpi's downloads, with classes made small."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("openpi")
        openpi_policies.tokenizer(folder)
        openpi_policies.shrink(patch)
        patch.setenv("OPENPI_DATA_HOME", str(folder))
        patch.setenv("HF_LEROBOT_HOME", str(folder / "lerobot"))
        yield folder


class Served:
    """A checkpoint, openpi's own policy of it and ours, which have made the same number of chunks."""

    def __init__(self, folder: Path, config: str, pytorch: bool) -> None:
        self.folder, self.config, self.pytorch = folder, getattr(openpi_policies, config), pytorch
        openpi_policies.save(folder, self.config, pytorch=pytorch)
        self.ours = openpi.load(f"openpi_policies:{config}", str(folder), rate=10.0)
        self.theirs = policy_config.create_trained_policy(self.config, folder)
        self.theirs.infer(openpi_policies.own_names(openpi_policies.request()))  # ours made one at its start

    def both(self, asked):
        """Ours and theirs for the same noise: of the same key in JAX, of the same seed in torch."""
        torch.manual_seed(1)
        ours = self.ours.infer(asked)
        torch.manual_seed(1)
        return ours, self.theirs.infer(openpi_policies.own_names(asked))


@pytest.fixture(scope="module", params=MODELS)
def served(request, home):
    return Served(home / request.param, *MODELS[request.param])


def prefix(policy, asked) -> tuple[np.ndarray, np.ndarray]:
    """Hidden states and mask of a pass over the prefix alone, made with openpi's pieces."""
    inputs = policy._input_transform(openpi_policies.own_names(asked))
    model = policy._model
    if policy._is_pytorch_model:
        inputs = jax.tree.map(lambda x: torch.from_numpy(np.array(x))[None], inputs)
        with torch.no_grad():
            seen = model._preprocess_observation(openpi_model.Observation.from_dict(inputs), train=False)
            tokens, mask, autoregressive = model.embed_prefix(*seen[:4])
            attention = model._prepare_attention_masks_4d(make_att_2d_masks(mask, autoregressive))
            model.paligemma_with_expert.paligemma.language_model.config._attn_implementation = "eager"
            outputs, _ = model.paligemma_with_expert.forward(
                attention_mask=attention, position_ids=torch.cumsum(mask, 1) - 1, inputs_embeds=[tokens, None], use_cache=True
            )
        return outputs[0][0].float().numpy(), mask[0].numpy()
    inputs = jax.tree.map(lambda x: jnp.asarray(x)[None], inputs)
    seen = openpi_model.preprocess_observation(None, openpi_model.Observation.from_dict(inputs), train=False)
    tokens, mask, autoregressive = model.embed_prefix(seen)
    (hidden, _), _ = model.PaliGemma.llm([tokens, None], mask=make_attn_mask(mask, autoregressive), positions=jnp.cumsum(mask, axis=1) - 1)
    return np.asarray(hidden[0], np.float32), np.asarray(mask[0])


def assert_same(ours: np.ndarray, theirs: np.ndarray) -> None:
    """But for the roundings of bfloat16, which two ways of compiling make elsewhere."""
    difference, spread = np.abs(ours - theirs), theirs.std()
    assert difference.max() < 0.1 * spread and difference.mean() < 0.02 * spread, (difference.max(), difference.mean(), spread)


def test_a_chunk_is_what_openpi_gives_for_the_same_noise(served):
    for seed in (1, 2):
        ours, theirs = served.both(openpi_policies.request(seed))
        assert ours["actions"].shape == (openpi_policies.HORIZON, openpi_policies.ACTIONS)
        np.testing.assert_allclose(ours["actions"], theirs["actions"], rtol=1e-5, atol=1e-5)
    again, _ = served.both(openpi_policies.request(3))
    assert np.abs(again["actions"] - ours["actions"]).max() > 1e-3, "another observation, another chunk"


def test_embeddings_are_those_of_a_separate_pass_over_the_prefix(served):
    asked = openpi_policies.request(4)
    ours, _ = served.both(asked)
    hidden, mask = prefix(served.theirs, asked)
    np.testing.assert_array_equal(ours["embeddings_mask"], mask)
    assert_same(ours["embeddings"][mask], hidden[mask])
    assert ours["embeddings"].dtype == np.float32 and not ours["embeddings"][~mask].any()


def test_m_is_the_same_for_every_task_and_what_is_masked_is_zero(served):
    one, _ = served.both(openpi_policies.request(5, "insert"))
    other, _ = served.both(openpi_policies.request(5, "insert the peg"))
    for answer in (one, other):
        assert answer["embeddings"].shape == (openpi_policies.PICTURES + openpi_policies.WORDS, WIDTH)
        mask = answer["embeddings_mask"]
        assert mask[:512].all() and not mask[512:768].any(), "the third picture, which LIBERO has not"
        assert not answer["embeddings"][~mask].any() and np.abs(answer["embeddings"][mask]).max(axis=1).min() > 0.0
    assert 512 < one["embeddings_mask"].sum() < other["embeddings_mask"].sum() < 512 + openpi_policies.WORDS


def test_pictures_and_state_are_seen(served):
    asked = openpi_policies.request(6)
    one, _ = served.both(asked)
    other, _ = served.both(asked | {"image_wrist": 255 - asked["image_wrist"]})
    assert np.abs(other["embeddings"] - one["embeddings"]).max() > 1e-2
    moved, _ = served.both(asked | {"proprio": asked["proprio"] + 0.3})
    assert np.abs(moved["actions"] - one["actions"]).max() > 1e-2


def test_the_metadata_says_what_is_served(served):
    rows = openpi_policies.PICTURES + openpi_policies.WORDS
    assert {
        "policy": f"openpi {served.config.model.model_type.value}", "horizon": openpi_policies.HORIZON, "action_size": openpi_policies.ACTIONS,
        "embeddings": [rows, WIDTH], "cameras": ["base", "wrist"], "chunk_dt": 0.1,
        "vla_sha256": openpi_checkpoint.digest(openpi_checkpoint.read(served.folder), "peg"),
    }.items() <= served.ours.metadata.items()  # fmt: skip
    assert served.ours.metadata["runs_on"].startswith("PyTorch" if served.pytorch else "JAX")


@pytest.mark.parametrize("preset, names", [("plain", ["base", "wrist"]), ("libero", ["outer", "hand"])])
def test_our_client_is_served(served, preset, names):
    server = PolicyServer(served.ours).listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    joints = [f"joint_{i}" for i in range(openpi_policies.ACTIONS)]
    values = {
        "joint_names": joints, "cameras": names, "action_names": joints, "action_type": "absolute", "base_frame": "base",
        "residual_scale": [0.05] * len(joints), "chunk_length": 4, "control_rate": 10.0, "chunk_dt": 0.1, "vla_proprioception": ["joint_position"],
        "proprioception": ["joint_position"], "backend": "openpi", "server": f"ws://127.0.0.1:{server.socket.getsockname()[1]}",
        "observation_preset": preset, "image_height": 0, "query_timeout": 120.0, "vla_sha256": served.ours.metadata["vla_sha256"],
        "token_encoder": "token.onnx",
    }  # fmt: skip
    client = OpenPiBackend(parameters.build(Vla, values), openpi_policies.STATE)
    asked = openpi_policies.request(7)
    try:
        pictures = {name: asked[f"image_{camera}"] for name, camera in zip(names, ("base", "wrist"))}
        answer = client.query(Observation(1, pictures, asked["proprio"], asked["task"]))
        served.theirs.infer(openpi_policies.own_names(asked))  # as many chunks as ours
        hidden, mask = prefix(served.theirs, asked)
        assert answer.actions.shape == (openpi_policies.HORIZON, len(joints)) and np.isfinite(answer.actions).all()
        assert_same(answer.embeddings[mask], hidden[mask])
    finally:
        client.close()
        server.shutdown()
        thread.join(30.0)


@pytest.fixture(scope="module")
def quick(home):
    """The checkpoint that is loaded fastest: it does not compile."""
    openpi_policies.save(home / "quick", openpi_policies.PI05, pytorch=True)
    return home / "quick"


def data_set(folder: Path, actions: int) -> Path:
    (folder / "meta").mkdir(parents=True)
    feature = {"names": list("abcdefg")[:actions], "shape": [actions]}
    (folder / "meta" / "info.json").write_text(json.dumps({"fps": 20, "features": {"actions": feature}}))
    return folder


def test_rate_and_names_come_from_the_data_set(quick, tmp_path, monkeypatch):
    data_set(tmp_path / "me" / "peg", 7)  # where LeRobot keeps what the config names
    monkeypatch.setenv("HF_LEROBOT_HOME", str(tmp_path))
    found = openpi.load("openpi_policies:PI05", str(quick)).metadata
    assert found["chunk_dt"] == 0.05 and found["action_names"] == list("abcdefg")


def test_a_data_set_of_other_actions_is_refused(quick, tmp_path):
    with pytest.raises(ParameterError, match="the data set has 6 values in an action, the policy gives 7"):
        openpi.load("openpi_policies:PI05", str(quick), dataset=data_set(tmp_path, 6))


def test_statistics_of_other_actions_than_the_policy_gives_are_refused(home):
    """LiberoOutputs gives seven values, whatever was learned: the last would be noise."""
    openpi_policies.save(home / "six", openpi_policies.PI05, pytorch=True, actions=6)
    with pytest.raises(ParameterError, match="statistics know 6 values in an action, the policy gives 7"):
        openpi.load("openpi_policies:PI05", str(home / "six"), rate=10.0)


def test_a_policy_in_degrees_serves_a_robot_in_rad(quick):
    asked = openpi_policies.request(8)
    answers = []
    for scale, state in (("1", asked["proprio"]), ("57.29578", asked["proprio"] / np.float32(57.29578))):
        policy = openpi.load("openpi_policies:PI05", str(quick), rate=10.0, scale=scale)
        torch.manual_seed(2)
        answers.append(policy.infer(asked | {"proprio": state}))
    np.testing.assert_allclose(answers[1]["actions"] * 57.29578, answers[0]["actions"], rtol=1e-3, atol=1e-3)


@pytest.fixture
def folder(home, tmp_path):
    """A checkpoint that is refused before its weights are read."""
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "_METADATA").write_text("{}")
    openpi_policies.statistics(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "config, options, says",
    [
        ("pi0_liberoo", {}, "Config 'pi0_liberoo' not found. Did you mean 'pi0_libero'"),
        ("openpi_policies:PI1", {}, "'openpi_policies:PI1' cannot be imported"),
        ("pi0_fast_libero", {}, "is of type 'pi0_fast', whose embeddings are not known here; known are pi0, pi05"),
        ("debug", {}, "the config names no data set"),
        ("pi0_libero", {}, "no statistics .*assets/physical-intelligence/libero/norm_stats.json', .* it has those of peg"),
        ("openpi_policies:PI0", {}, "write --fps, or --dataset FOLDER"),
        ("openpi_policies:PI0", {"device": "cuda"}, "--device 'cuda' is for PyTorch"),
        ("openpi_policies:PI0", {"scale": "1,2"}, "--scale has 2 numbers; the state has 8 values, an action 7: write one"),
        ("openpi_policies:PI0", {"cameras": ["none=observation/wrist_image"]}, "needs every picture that it learned with"),
        ("openpi_policies:PI0", {"rate": 10.0}, "openpi cannot serve .* with the config 'openpi_policies:PI0': "),
    ],
)
def test_what_cannot_be_served_is_refused(folder, config, options, says):
    with pytest.raises(ParameterError, match=says):
        openpi.load(config, str(folder), **options)


class UR5Inputs:
    """A transform of one's own."""

    def __call__(self, data):
        return data


def test_a_config_whose_observation_is_not_known_says_so(folder, monkeypatch):
    data = openpi_config.SimpleDataConfig(
        assets=openpi_config.AssetsConfig(asset_id="peg"), data_transforms=lambda _: transforms.Group(inputs=[UR5Inputs()])
    )
    own = openpi_config.TrainConfig(name="own", exp_name="test", model=openpi_policies.PI0.model, data=data)
    monkeypatch.setattr(openpi_policies, "OWN", own, raising=False)
    with pytest.raises(ParameterError, match="reads its observation by UR5Inputs; known are AlohaInputs"):
        openpi.load("openpi_policies:OWN", str(folder), rate=10.0)
