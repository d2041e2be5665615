"""The shipped models of the simulated robot, and the code that makes them again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("onnxruntime")

from rl_token_ros.policy.actor_weights import fingerprint
from rl_token_ros.rl_token.probe import ridge_rmse
from rl_token_ros.settings.sim_task import SimParameters
from rl_token_ros.sim import demonstrator
from rl_token_ros.sim.rollout import roll_out
from rl_token_ros.sim.simulation import CAMERAS, SCENES, Simulation
from rl_token_ros.system.onnx_session import session

MODELS = Path(demonstrator.__file__).resolve().parent.parent / "models"
VLA, TOKEN = MODELS / "sim_vla.onnx", MODELS / "sim_token.onnx"
PARAMETERS = SimParameters(render_backend="raycast")


def look(sim: Simulation) -> dict[str, np.ndarray]:
    feed = {f"image_{name}": image[None] for name, image in sim.images().items()}
    return {**feed, "proprio": sim.ee_position.astype(np.float32)[None]}


@pytest.fixture(scope="module")
def vla():
    return session(VLA)


def test_vla_says_what_it_was_trained_for(vla):
    metadata = dict(vla.get_modelmeta().custom_metadata_map)
    assert metadata.pop("action_type") == "delta"
    metadata = {key: json.loads(value) for key, value in metadata.items()}
    assert metadata["cameras"] == list(CAMERAS)
    assert metadata["action_names"] == ["x", "y", "z"] and metadata["proprioception"] == ["ee_position"]
    assert metadata["dt"] == 0.02 and metadata["horizon"] == 50
    assert {value.name: (value.type, value.shape) for value in vla.get_inputs()} == {
        "image_base": ("tensor(uint8)", [1, 84, 84, 3]),
        "image_wrist": ("tensor(uint8)", [1, 84, 84, 3]),
        "proprio": ("tensor(float)", [1, 3]),
    }
    assert {value.name: value.shape for value in vla.get_outputs()} == {"actions": [1, 50, 3], "embeddings": [1, 98, 128]}
    assert VLA.stat().st_size < 5_000_000


@pytest.mark.parametrize("task", ["peg", "plug"])
def test_training_makes_the_networks_that_are_shipped(tmp_path, task):
    torch = pytest.importorskip("torch")
    onnx = pytest.importorskip("onnx")
    from rl_token_ros.sim import train_vla

    scene, view = SCENES[task], (84, 84)
    network = train_vla.network(scene, view)
    for parameter in network.parameters():  # those that are equal would be written once
        torch.nn.init.normal_(parameter)
    train_vla.write(network, scene, view, tmp_path / "vla.onnx")
    made, shipped = onnx.load(tmp_path / "vla.onnx"), onnx.load(MODELS / f"{train_vla.CONFIGS[task]}_vla.onnx")

    def form(model):
        return sorted(list(each.dims) for each in model.graph.initializer if each.data_type == onnx.TensorProto.FLOAT)

    def told(model):
        return {each.key: each.value for each in model.metadata_props}

    assert form(made) == form(shipped) and told(made) == told(shipped)


def test_vla_goes_to_where_it_sees_the_hole(vla):
    sim = Simulation(PARAMETERS)
    for seed in range(8):
        sim.reset(seed)
        (actions,) = vla.run(["actions"], look(sim))
        moved, way = actions[0].sum(axis=0)[:2], -sim.lateral_offset
        assert moved @ way > 0.8 * np.linalg.norm(moved) * np.linalg.norm(way)


@pytest.mark.slow
def test_base_policy_reaches_the_hole():
    recording = roll_out(VLA, range(3), {"render_backend": "raycast"}, keep_embeddings=False)
    assert sum(arrival < 0.005 for arrival in recording.arrival) >= 2


def test_token_encoder_was_made_for_this_vla(vla):
    encoder = session(TOKEN)
    assert encoder.get_modelmeta().custom_metadata_map["vla_sha256"] == fingerprint(VLA)
    sim, tokens = Simulation(PARAMETERS), []
    for seed in range(6):
        sim.reset(seed)
        for _ in range(60):  # down to where the token is used
            goal = sim.hole_position + [*np.random.default_rng(seed).normal(0.0, 0.001, 2), 0.004]
            sim.step(goal, 0.02)
        (embeddings,) = vla.run(["embeddings"], look(sim))
        tokens.append(encoder.run(["token"], {"embeddings": embeddings})[0])
    tokens = np.concatenate(tokens)
    assert tokens.shape == (6, 48) and np.isfinite(tokens).all()
    assert 0.1 < np.sqrt((tokens**2).mean()) < 4.0
    assert tokens.std(axis=0).mean() > 0.1


def test_demonstrator_lines_up_before_it_goes_down():
    sideways = demonstrator.velocity(np.array([0.003, 0.0]), np.float64(0.004))
    assert sideways[0] > 0.003 and sideways[1] == 0.0 and sideways[2] >= 0.0
    aligned = demonstrator.velocity(np.array([0.0001, 0.0]), np.float64(0.004))
    assert aligned[2] < -0.003
    stuck = demonstrator.velocity(np.array([0.0, 0.0015]), np.float64(0.0))
    assert stuck[2] > 0.0


def test_intended_actions_end_at_the_hole_and_pause_when_told_to():
    side, height = np.array([[0.002, -0.001], [0.002, -0.001]]), np.array([0.01, 0.01])
    pace = np.ones((2, 400))
    pace[1] = 0.0
    steps = demonstrator.intended(side, height, pace)
    np.testing.assert_allclose(steps[0].sum(axis=0)[:2], side[0], atol=1e-4)
    assert steps[0, :, 2].sum() < -0.01
    assert not steps[1].any()


@pytest.mark.slow
def test_demonstrations_succeed_slowly_and_repeat():
    day = demonstrator.that_day(replace(PARAMETERS, image_size=16), 0.0003)
    first, again = (demonstrator.record(day, range(4, 6)) for _ in range(2))
    np.testing.assert_array_equal(first.images["wrist"], again.images["wrist"])
    np.testing.assert_array_equal(first.actions, again.actions)
    assert len(first.seconds) == 1 and 4.0 < first.seconds[0] < 15.0
    assert first.actions.shape[1:] == (demonstrator.CHUNK, 3)


def test_probe_measures_what_is_there():
    random = np.random.default_rng(0)
    truth = random.normal(0.0, 1.0, (1000, 2))
    held = np.arange(1000) >= 800
    noisy = truth + random.normal(0.0, 0.1, truth.shape)
    assert ridge_rmse(np.zeros((1000, 0)), truth, held) == pytest.approx(np.sqrt(2), rel=0.1)
    assert ridge_rmse(np.hstack([noisy, random.normal(0.0, 1.0, (1000, 5))]), truth, held) == pytest.approx(0.1 * np.sqrt(2), rel=0.15)


@pytest.mark.parametrize("rows", [None, (2, 7)])
@pytest.mark.slow
def test_token_keeps_what_varies_and_its_graph_agrees(tmp_path, rows):
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from rl_token_ros.rl_token import training

    torch.manual_seed(0)
    torch.set_num_threads(1)
    hidden = torch.randn(600, 3)
    embeddings = torch.einsum("nk,kmd->nmd", hidden, torch.randn(3, 10, 16)) + 5.0 * torch.randn(10, 16)
    encoder, decoder = training.fit(embeddings[:500], training.Settings(8, steps=20, rate=3e-3, rows=rows))
    with torch.no_grad():
        tokens = encoder(embeddings).numpy()
    assert ridge_rmse(tokens, hidden.numpy(), np.arange(600) >= 500) < 0.5  # a token that knows nothing: 1.7
    assert tokens[:500].var(axis=0).mean() == pytest.approx(1.0, rel=0.1)  # one scale for all components
    assert training.not_reconstructed(encoder, decoder, embeddings[500:]) < 0.5
    training.export(encoder, VLA, Path(tmp_path) / "token.onnx")
    graph = session(Path(tmp_path) / "token.onnx")
    assert graph.get_modelmeta().custom_metadata_map["vla_sha256"] == fingerprint(VLA)
    whole = embeddings[:1].numpy().copy()
    if rows:
        whole[:, : rows[0]], whole[:, rows[1] :] = 1e3, -1e3  # it does not look there
    (ran,) = graph.run(["token"], {"embeddings": whole})
    np.testing.assert_allclose(ran, tokens[:1], atol=1e-4)
