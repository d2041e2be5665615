"""The keyed plug: seven joints, goes in at one yaw only, and both scripted controllers and the learner's settings fit it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("mujoco")
pytest.importorskip("onnxruntime")

from rl_token_ros.interfaces.codes import Ended
from rl_token_ros.policy.actor_weights import fingerprint
from rl_token_ros.settings import node_settings
from rl_token_ros.settings.files import config_file
from rl_token_ros.settings.sim_task import SimParameters
from rl_token_ros.sim import demonstrator, peg
from rl_token_ros.sim.rollout import roll_out
from rl_token_ros.sim.simulation import Simulation
from rl_token_ros.system.onnx_session import session
from study import scripted

PERIOD = 0.02
LEAD = np.array([0.002, 0.002, 0.002, 0.02])  # m and rad
MODELS = Path(demonstrator.__file__).resolve().parent.parent / "models"
VLA, TOKEN = MODELS / "sim_plug_vla.onnx", MODELS / "sim_plug_token.onnx"


@pytest.fixture(scope="module")
def sim() -> Simulation:
    return Simulation(node_settings.load("sim_node", config_file("sim_plug"), render_backend="raycast"))


def lower(sim: Simulation, side=(0.0, 0.0), turn: float = 0.0) -> None:
    """Over the hole, `side` metres and `turn` radians beside it, then down, the command 2 mm ahead."""
    command = sim.tool_pose
    for i in range(400):
        offset, here = sim.offset, sim.tool_pose
        goal = here - np.insert(offset - [*side, turn], 2, 0.0)
        height = (sim.peg_position - sim.hole_position)[2]
        goal[2] = here[2] + (0.003 - height if i < 150 else -0.002)
        command = command + np.clip(goal - command, -0.3 * LEAD, 0.3 * LEAD)
        command = here + np.clip(command - here, -LEAD, LEAD)
        sim.step(command, PERIOD)
        if sim.outcome is not None:
            return


def test_the_peg_is_the_task_by_default_and_as_it_always_was():
    """Its model and the random numbers of its scenes: what the shipped models and measurements were made with."""
    assert node_settings.load("sim_node", config_file("sim")).task == "peg"
    model = hashlib.sha256(peg.mjcf(0.0004, 0.7, 84).encode()).hexdigest()
    assert model == "8811b1f9d52062cc5af1510e68d6a4f86f66e51c80cf9e1212bb8dc30c953989"
    simulation = Simulation(SimParameters(render_backend="raycast"))
    simulation.reset(5)
    np.testing.assert_allclose(simulation.hole_position, [0.44143206, -0.01784277, 0.03], atol=1e-8)
    np.testing.assert_allclose(simulation.ee_position, [0.46830018, 0.01847645, 0.09024521], atol=1e-8)
    np.testing.assert_allclose(simulation.lateral_offset, [0.02686811, 0.03805594], atol=1e-8)


@pytest.mark.slow
def test_it_goes_in_at_the_hole_s_yaw(sim):
    for seed in range(4):
        sim.reset(seed)
        assert abs(sim.offset[2]) > 0.0
        lower(sim)
        assert sim.outcome is True and sim.critical, seed


def grip(sim: Simulation, turn: float) -> None:
    """Turn the plug in the grip, so that it is `turn` radians beside the hole."""
    quat = sim._model.body_quat[sim._model.body("plug").id]
    slip = 2.0 * np.arctan2(quat[3], quat[0]) + turn - sim.offset[2]
    quat[:] = np.cos(slip / 2), 0.0, 0.0, np.sin(slip / 2)
    sim.step(sim.tool_pose, PERIOD)
    assert sim.offset[2] == pytest.approx(turn, abs=1e-3)


@pytest.mark.parametrize("turn", [-0.08, 0.06, 1.57, 3.13])  # the last: all but the key would fit
@pytest.mark.slow
def test_turned_it_stays_on_the_rim(sim, turn):
    sim.reset(1)
    grip(sim, turn)
    lower(sim, turn=turn)
    assert sim.outcome is None and sim.wrench[2] > 1.0
    assert (sim.peg_position - sim.hole_position)[2] > -0.002


@pytest.mark.parametrize("turn", [-0.02, 0.02])
def test_a_degree_is_allowed(sim, turn):
    sim.reset(2)
    lower(sim, turn=turn)
    assert sim.outcome is True


def test_beside_the_slot_it_stays_on_the_rim(sim):
    sim.reset(3)
    lower(sim, side=(0.0, 0.0012))
    assert sim.outcome is None and (sim.peg_position - sim.hole_position)[2] > -0.002


def test_a_reset_brings_it_back_in_yaw_and_turns_hole_and_plug_anew(sim):
    sim.reset(4)
    before, offset = sim.tool_pose, sim.offset
    sim.reset()
    fastest = 0.0
    while sim.resetting:
        last = sim.tool_pose[3]
        sim.step(np.zeros(4), PERIOD)
        fastest = max(fastest, abs(sim.tool_pose[3] - last) / PERIOD)
    assert fastest < 0.6
    assert abs(sim.tool_pose[3] - before[3]) > 1e-3 and abs(sim.offset[2] - offset[2]) > 1e-3
    assert abs(sim.tool_pose[3]) < sim.parameters.start_turn + 0.01
    assert sim.outcome is None and not sim.critical


def test_same_seed_same_numbers():
    traces = []
    for _ in range(2):
        sim = Simulation(node_settings.load("sim_node", config_file("sim_plug"), render_backend="raycast"))
        sim.reset(5)
        lower(sim, (0.0004, 0.0), 0.01)
        traces.append([sim.measured()["joint_position"], sim.wrench, sim.offset, sim.images()["wrist"]])
    for one, other in zip(*traces):
        np.testing.assert_array_equal(one, other)


def test_the_joint_to_spare_stays_where_it_was(sim):
    sim.reset(6)
    start, joints = sim.tool_pose, sim.measured()["joint_position"]
    for i in range(400):
        way = np.array([0.02 * np.sin(i / 30), 0.02 * np.sin(i / 20), 0.0, 0.2 * np.sin(i / 25)])
        sim.step(start + way * (i < 300), PERIOD)
    np.testing.assert_allclose(sim.tool_pose, start, atol=2e-4)
    np.testing.assert_allclose(sim.measured()["joint_position"], joints, atol=0.02)
    assert len(joints) == 7 and np.linalg.norm(sim.wrench[:3]) < 0.3


def test_a_target_without_yaw_or_far_away_is_refused_or_saturated(sim):
    sim.reset(0)
    with pytest.raises(ValueError, match="four finite numbers: x, y, z of the tool in metres, its yaw in rad"):
        sim.step(sim.ee_position, PERIOD)
    for _ in range(25):
        sim.step(np.array([1e9, -1e9, 1e9, 1e9]), PERIOD)
    assert np.isfinite(sim.measured()["joint_position"]).all() and np.isfinite(sim.measured()["joint_velocity"]).all()


def test_the_demonstrator_turns_before_it_goes_down():
    askew = demonstrator.velocity(np.array([0.0, 0.0, -0.1]), np.float64(0.004))
    assert askew.shape == (4,) and askew[3] < -0.1 and askew[2] >= 0.0
    straight = demonstrator.velocity(np.array([0.0, 0.0, 0.01]), np.float64(0.004))
    assert straight[2] < -0.003 and 0.0 < straight[3] < 0.1
    steps = demonstrator.intended(np.array([[0.002, -0.001, 0.1]]), np.array([0.01]), np.ones((1, 400)))
    np.testing.assert_allclose(steps[0].sum(axis=0)[[0, 1, 3]], [0.002, -0.001, 0.1], atol=2e-4)
    assert steps[0, :, 2].sum() < -0.01


def test_the_learner_has_the_settings_of_the_peg():
    peg, plug = (yaml.safe_load(config_file(name).read_text()) for name in ("sim", "sim_plug"))
    learners = [{**robot["/**/learner_node"]["ros__parameters"], "run_directory": ""} for robot in (peg, plug)]
    assert learners[0] == learners[1]
    shared = ("control_rate", "chunk_dt", "chunk_length", "token_size")
    acting = ("mode", "replan_interval", "exploration_sigma", "exploration_correlation", "exploration_late", "exploration_gain", "episode_time_limit")
    for node, names in (("/**", shared), ("/**/control_node", acting)):
        assert {name: peg[node]["ros__parameters"][name] for name in names} == {name: plug[node]["ros__parameters"][name] for name in names}


@pytest.mark.slow
def test_the_vla_turns_to_where_it_sees_the_hole(sim):
    vla = session(VLA)
    metadata = {key: json.loads(value) for key, value in vla.get_modelmeta().custom_metadata_map.items() if key != "action_type"}
    assert metadata["action_names"] == ["x", "y", "z", "yaw"] and metadata["proprioception"] == ["ee_position", "ee_orientation"]
    asked, wanted = [], []
    for seed in range(10):
        sim.reset(seed)
        yaw = sim.tool_pose[3]
        for _ in range(60):  # 10 mm above the hole and 2 mm beside it, turned as it was
            goal = sim.ee_position - sim.peg_position + sim.hole_position + [0.002 * np.cos(seed), 0.002 * np.sin(seed), 0.010]
            sim.step(np.append(goal, yaw), PERIOD)
        feed = {f"image_{name}": image[None] for name, image in sim.images().items()}
        proprio = np.concatenate([sim.ee_position, sim.ee_orientation]).astype(np.float32)
        (actions,) = vla.run(["actions"], {**feed, "proprio": proprio[None]})
        asked.append(actions[0].sum(axis=0)[[0, 1, 3]])
        wanted.append(-sim.offset)
    for there, way in zip(asked, wanted):
        assert there[:2] @ way[:2] > 0.8 * np.linalg.norm(there[:2]) * np.linalg.norm(way[:2])
    assert np.corrcoef(np.array(wanted)[:, 2], np.array(asked)[:, 2])[0, 1] > 0.9


@pytest.mark.slow
def test_the_base_reaches_the_hole_and_the_token_is_of_this_vla():
    recording = roll_out(VLA, range(3), {"render_backend": "raycast"}, config="sim_plug")
    assert sum(arrival < 0.005 for arrival in recording.arrival) >= 2
    assert np.array(recording.offset).shape[1] == 3 and recording.proprio[0].shape == (4 + 3,)
    encoder = session(TOKEN)
    assert encoder.get_modelmeta().custom_metadata_map["vla_sha256"] == fingerprint(VLA)
    tokens = np.concatenate([encoder.run(["token"], {"embeddings": one[None]})[0] for one in recording.embeddings])
    assert tokens.shape[1] == 48 and 0.1 < np.sqrt((tokens**2).mean()) < 4.0


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.slow
def test_who_knows_the_true_offset_inserts_in_time(bounded):
    robot = {"sim_node": {"render_backend": "raycast", "start_height": 0.03, "start_range": 0.0}}
    episodes = scripted.perform(config_file("sim_plug"), 0, 2, robot, bounded)
    assert [episode.ended for episode in episodes] == [Ended.SUCCESS] * 2
    assert max(episode.seconds for episode in episodes) < (3.0 if bounded else 1.5)
