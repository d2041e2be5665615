"""The protocol of an environment: our simulation and a bridge to Gymnasium's API fit it, and what does not fit is refused by a sentence."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_robot
from reach import STEP, PointEnv, Reach, parameter_file

from rl_token_ros.interfaces.codes import Ended
from rl_token_ros.settings import node_settings
from rl_token_ros.settings.files import config_file
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.proprioception_groups import GROUPS as GROUPS_OF_ALL
from rl_token_ros.sim.closed_loop import ClosedLoop
from rl_token_ros.sim.environment import load, refuse_misfit
from rl_token_ros.sim.timed import Timed


@pytest.fixture
def config(tmp_path, models):
    """Writes the parameter file of the small robot in the small environment."""
    return functools.partial(parameter_file, tmp_path, models)


def robot(config: Path) -> Any:
    return node_settings.load("gym_node", config)


@pytest.mark.parametrize("name", ["sim", "sim_plug"])
def test_our_simulation_is_an_environment(name):
    simulation = pytest.importorskip("rl_token_ros.sim.simulation")
    made = simulation.Simulation(node_settings.load("sim_node", config_file(name), render_backend="raycast"))
    made.reset(0)
    settings = node_settings.load("control_node", config_file(name))
    measured = [group for group, topic in GROUPS_OF_ALL.items() if topic]
    refuse_misfit(made, settings, measured)
    here = made.tool_pose
    made.step(None, 0.02)
    np.testing.assert_allclose(made.tool_pose, here, atol=1e-3)
    made.close()


def test_a_simulation_owes_what_is_no_whole_timestep():
    """A control period of 25 ms is 12.5 timesteps: 12 and 13 of them, and never 12 for ever."""
    simulation = pytest.importorskip("rl_token_ros.sim.simulation")
    made = simulation.Simulation()
    made.reset(0)
    for _ in range(40):
        made.step(None, 0.025)
    assert made._data.time == pytest.approx(1.0, abs=simulation.TIMESTEP)


def test_a_bridge_maps_commands_pictures_and_success():
    env = PointEnv()
    bridge = Reach(env)
    bridge.reset(3)
    begun = env.point
    bridge.step(None, 1.0)
    assert env.steps == 0  # nobody commands: it stays
    bridge.step(begun + [0.5 * STEP, 0.0, -9.0], small_robot.PERIOD)
    np.testing.assert_allclose(env.actions, [[0.5, 0.0, -1.0]], atol=1e-6)  # from where it is, within the bounds
    assert not bridge.critical and bridge.outcome is None
    bridge.step(begun + [0.5 * STEP, 0.0, -9.0], 2.5 * small_robot.PERIOD)
    assert env.steps == 3 and bridge.critical
    bridge.step(begun + [0.5 * STEP, 0.0, -9.0], 0.5 * small_robot.PERIOD)
    assert env.steps == 4  # with the half that was owed
    for _ in range(5):
        bridge.step(begun - 9.0, small_robot.PERIOD)
    assert bridge.outcome is True and env.steps == 7  # what is decided moves no more
    assert bridge.images()["base"].dtype == np.uint8
    bridge.reset()
    assert bridge.outcome is None and not bridge.critical and (env.point != begun).any()
    bridge.reset(3)
    np.testing.assert_array_equal(env.point, begun)
    bridge.close()
    assert env.closed


def test_grippers_are_handed_on_as_they_are():
    bridge = Reach()
    bridge.action_names = ("x", "y", "z", "jaw")
    bridge.reset(0)
    np.testing.assert_allclose(bridge.action(np.append(bridge.observation, 0.7)), [0.0, 0.0, 0.0, 0.7], atol=1e-9)


def test_a_position_to_be_at_is_no_delta():
    bridge = Reach()
    bridge.deltas, bridge.action_scale = False, np.array(2.0)
    bridge.reset(0)
    np.testing.assert_allclose(bridge.action(np.array([0.4, 0.0, 0.1])), [0.2, 0.0, 0.05], rtol=1e-6)


def test_a_reset_takes_robot_time_in_which_commands_do_not_count():
    env = PointEnv()
    timed = Timed(Reach(env), 0, 0.5)
    command = env.point - 9.0
    timed.step(command, 20_000_000)
    assert env.steps == 1 and not timed.resetting
    timed.reset()
    ticks = 0
    while timed.resetting:
        timed.step(command, 20_000_000)
        ticks += 1
    assert ticks == 26 and env.steps == 0
    timed.step(command, 20_000_000)
    assert env.steps == 1


def test_the_loop_runs_episodes_of_it_with_state_during_resets(config):
    loop = ClosedLoop(config())
    seen: list[int] = []
    take = loop.pipeline.measure

    def measured(topic: str, message: Any, now_ns: int) -> None:
        seen.append(now_ns)
        take(topic, message, now_ns)

    loop._takers["ee_pose"][0] = measured
    results = [loop.episode() for _ in range(3)]
    assert [result.ended for result in results] == [Ended.SUCCESS] * 3
    assert all(result.reached and result.decided and len(result.rows) > 10 for result in results)
    assert set(np.diff(seen)) == {20_000_000}
    loop.close()
    assert loop.environment.env.closed


def test_an_episode_that_is_critical_from_the_start_is_recorded(config):
    """The very first as well: it begins when the base acts."""
    loop = ClosedLoop(config(env="reach:Whole"))
    first, second = loop.episode(), loop.episode()
    loop.close()
    for result in (first, second):
        assert result.ended == Ended.SUCCESS and result.reached and len(result.rows) > 10


def test_a_gripper_follows_the_vla(tmp_path, config):
    vla = small_robot.write_vla(tmp_path / "vla.onnx", step=np.append(small_robot.STEP, 0.6), action_names=["x", "y", "z", "jaw"])
    grip = {"gripper_names": ["jaw"], "gripper_min": [0.0], "gripper_max": [0.5], "vla_model": str(vla)}
    encoder = small_robot.write_encoder(tmp_path / "encoder.onnx", vla)
    loop = ClosedLoop(config(env="reach:Jaws", token_encoder=str(encoder), **grip))
    results = [loop.episode() for _ in range(2)]
    loop.close()
    assert [result.ended for result in results] == [Ended.SUCCESS] * 2
    assert set(loop.environment.jaw) == {0.5}  # within its limits; before the first chunk nothing moves


class Torn(Reach):
    """Its measurements end while it moves."""

    def measured(self) -> dict[str, np.ndarray]:
        found = super().measured()
        return found if self.env.steps < 10 else {**found, "ee_position": np.full(3, np.nan)}


class Other(Reach):
    """Something is otherwise."""

    def __init__(self, **changes: Any) -> None:
        super().__init__()
        self.changes = changes
        self.action_names = changes.get("names", self.action_names)

    def reset(self, seed: int | None = None) -> None:
        super().reset(seed)
        self.outcome = self.changes.get("outcome")
        if self.changes.get("undecided"):
            del self.outcome, self.critical

    def measured(self) -> dict[str, Any]:
        found = {**super().measured(), **self.changes.get("measured", {})}
        return {group: values for group, values in found.items() if values is not None}

    def images(self) -> Any:
        return self.changes.get("images", super().images())


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"undecided": True}, r"has no critical, outcome after reset\(seed\); give it"),
        ({"outcome": False}, r"outcome is False after reset\(seed\); let it be None"),
        ({"names": ("x", "z", "y")}, r"action_names are \['x', 'z', 'y'\], but .* \['x', 'y', 'z'\]; write the same names in the same order"),
        ({"names": ("x", "y", "z", "jaw")}, "'gripper_names'"),
        ({"measured": {"ee_position": None, "ee_orientation": None}}, "has no ee_position, which the parameter file asks for"),
        ({"measured": {"ee_orientation": None}}, "has ee_position alone; .*ee_orientation: give both"),
        ({"measured": {"ee_positon": np.zeros(3)}}, "has 'ee_positon'; write groups of proprioception: joint_position, .*wrench_torque"),
        ({"measured": {"joint_position": np.zeros(2)}}, r"joint_position of shape \(2,\); give 1 numbers, one for each of joint_names \['a'\]"),
        ({"measured": {"ee_position": np.array([0.4, np.nan, 0.1])}}, r"ee_position that is not finite after reset\(seed\)"),
        ({"images": {"front": np.zeros((8, 8, 3), np.uint8)}}, "has no base; it has front: write these in 'cameras'"),
        ({"images": {"base": np.zeros((8, 8, 3))}}, r"gives float64 \[8, 8, 3\] for 'base'; give uint8 \[h, w, 3\], rgb"),
        ({"images": {"base": None}}, "gives None for 'base'"),
    ],
)
def test_what_does_not_fit_the_parameter_file_is_refused(config, changes, sentence):
    made = Other(**changes)
    made.reset(0)
    with pytest.raises(ParameterError, match=sentence):
        refuse_misfit(made, robot(config(joint_names=["a"])), ["ee_position"])


@pytest.mark.parametrize(
    "name, sentence",
    [
        ("reach", "is no MODULE:NAME; write MODULE:CLASS of your environment"),
        ("reech:Reach", "'reech:Reach' cannot be imported: No module named 'reech'"),
        ("reach:Reech", "'reach:Reech' cannot be imported: .*no attribute 'Reech'"),
        ("reach:Silent", r"has no step\(\), measured\(\), images\(\), close\(\); write them"),
    ],
)
def test_a_class_that_is_none_is_refused(name, sentence):
    with pytest.raises(ParameterError, match=sentence):
        load(name)


def told(make: Any) -> str:
    with pytest.raises((ParameterError, NotImplementedError)) as refused:
        make()
    return str(refused.value)


def test_a_bridge_says_what_is_missing_of_it():
    class Bare(Reach):
        def measured(self) -> dict[str, np.ndarray]:
            return super(Reach, self).measured()  # the one of the base class

    bare = Bare()
    bare.reset(0)
    assert "Bare has no measured(); write it" in told(bare.position)

    blind = Reach()
    blind.env.render = lambda: None
    assert "make env with render_mode='rgb_array', or write images()" in told(blind.images)

    short = Reach(PointEnv(limit=2))
    short.reset(0)
    assert "max_episode_steps=-1" in told(lambda: short.step(np.zeros(3), 3 * small_robot.PERIOD))

    untold = Reach()
    untold.reset(0)
    untold.env.step = lambda action: (untold.observation, 0.0, False, False, {"reward_run": 1.0})
    assert "info has no 'success'; it has reward_run: write succeeded()" in told(lambda: untold.step(np.zeros(3), small_robot.PERIOD))

    wide = Reach()
    wide.action_names = ("x", "y")
    wide.reset(0)
    assert "write action()" in told(lambda: wide.step(np.zeros(2), small_robot.PERIOD))

    turning = Reach()
    turning.action_names = ("x", "yaw")
    turning.reset(0)
    assert "where the robot is in x, yaw is not known; write position()" in told(turning.position)


# --- practise ---------------------------------------------------------------------------------------------------------------


def practise(*arguments: object) -> int:
    pytest.importorskip("torch")
    from rl_token_ros.commands import practise

    return practise.main([str(argument) for argument in arguments])


@pytest.mark.slow
def test_practice_prints_base_and_practised_and_keeps_the_actor(config, tmp_path, capsys):
    out = tmp_path / "out"
    assert practise("--env", "reach:Reach", "--config", config(), "--seconds", 20, "--episodes", 3, "--out", out) == 0
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines() if "[" in line and "success [" not in line] == ["the", "base", "practised"]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["throughput_over_base"]["value"] > 0.0 and summary["base_reached"] == 1.0
    assert summary["base"]["episodes"] == summary["practised"]["episodes"] == 3 and summary["robot_seconds"] >= 20
    loop = ClosedLoop(config())
    loop.pipeline.admit((out / "actor.safetensors").read_bytes())
    loop.close()
    from rl_token_ros.sim.training import best_of_run

    assert best_of_run(config(), out / "learner")


@pytest.mark.parametrize(
    "changes, arguments, code, sentence",
    [
        ({"cameras": ["front"]}, (), 2, "images() has no front; it has base"),
        ({"backend": "openpi"}, (), 2, "parameter 'backend' is openpi; practise asks an ONNX file"),
        ({}, ("--env", "reach:Lost"), 2, "in 3 episodes of the base alone the critical phase never began; 3 were decided before it"),
        ({"position_max": [0.38, 0.1, 0.2]}, (), 2, "the robot cannot be enabled: the measured position"),
        ({}, ("--env", "test_environment:Torn"), 2, "'ee_pose' holds a ee_position that is not finite"),
        ({"workspace_min": [0.0, -1.0, 0.0991], "workspace_max": [1.0, 1.0, 1.0]}, (), 1, "the arm was stopped: the tool at ["),
        ({}, ("--env", "reach:Silent"), 2, "'reach:Silent' has no step()"),
        ({}, ("--seconds", 1, "--episodes", 1), 1, "the warm-up was not over after"),
    ],
)
def test_practice_that_cannot_be_is_refused(config, tmp_path, capsys, changes, arguments, code, sentence):
    assert practise("--config", config(**changes), "--out", tmp_path / "out", *arguments) == code
    assert sentence in capsys.readouterr().err


def test_a_ratio_of_throughputs_is_that_of_the_episodes():
    from rl_token_ros.evaluation.scores import ScoredEpisode
    from rl_token_ros.evaluation.statistics import ratio

    def episodes(successes: int, seconds: float) -> list[ScoredEpisode]:
        return [ScoredEpisode(i, Ended.SUCCESS if i < successes else Ended.TIME_LIMIT, seconds, 10.0 * i, False, 0) for i in range(20)]

    found = ratio(episodes(18, 2.0), episodes(9, 7.0))
    assert found.value == pytest.approx(4.0) and 2.5 < found.low < 4.0 < found.high < 8.0
    assert np.isnan(ratio(episodes(18, 2.0), episodes(0, 7.0)).value) and np.isnan(ratio([], episodes(9, 7.0)).value)
