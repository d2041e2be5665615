"""What docs/your_simulation.md shows is run as it stands there."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from reach import PointEnv

from rl_token_ros.settings import node_settings
from rl_token_ros.sim.environment import ATTRIBUTES, METHODS, load, refuse_misfit
from rl_token_ros.sim.timed import Timed

PAGE = Path(__file__).parents[2] / "docs" / "your_simulation.md"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the files of the page, the present one."""
    shown = re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert [name for name, _ in shown] == ["my_task.py", "button.py", "button.yaml"]
    for name, text in shown:
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_bridge_of_gymnasium(folder, monkeypatch):
    """In the place of gymnasium, what makes an environment with its API."""
    monkeypatch.setitem(sys.modules, "gymnasium", SimpleNamespace(make=lambda name, render_mode, max_episode_steps: PointEnv()))
    made = load("my_task:MyTask")
    made.reset(0)
    refuse_misfit(made, node_settings.load("gym_node", folder / "button.yaml"), ["ee_position"])
    before = made.measured()["ee_position"]
    made.step(before - [0.0, 0.0, 0.005], 0.02)
    assert made.measured()["ee_position"][2] < before[2] and not made.critical


def test_the_button_is_pressed(folder):
    pytest.importorskip("mujoco")
    from rl_token_ros.sim import camera

    if camera.choose("auto") == "raycast":
        pytest.skip("no GL")
    settings = {node: node_settings.load(node, "button.yaml") for node in ("gym_node", "vla_node", "control_node", "learner_node")}
    made = load(settings["gym_node"].env)
    timed = Timed(made, 0, settings["gym_node"].reset_time)
    refuse_misfit(made, settings["control_node"], settings["control_node"].needed_groups)
    for beside, outcome in ((0.0, True), (0.01, False)):
        assert made.outcome is None and not made.critical
        goal = made.data.body("button").xpos + [beside, 0.0, 0.1]
        for _ in range(60):
            goal[2] -= 0.002
            timed.step(goal, 20_000_000)
        assert made.critical and made.outcome is outcome
        timed.reset()
        while timed.resetting:
            timed.step(goal, 20_000_000)
    picture = made.images()["base"].astype(int)
    assert picture.shape == (84, 84, 3) and (picture[..., 0] > picture[..., 1] + 60).any()  # the red button
    made.close()


def test_the_table_names_the_protocol():
    section = PAGE.read_text().partition("## 1.")[2].partition("## 2.")[0]
    assert {re.match(r"\w+", name)[0] for name in re.findall(r"(?m)^\| `([^`]+)`", section)} == {*METHODS, *ATTRIBUTES}
