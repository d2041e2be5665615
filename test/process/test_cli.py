"""The command `rl_token` and its table of verbs."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from rl_token_ros import cli
from rl_token_ros.system import packages

ROOT = Path(__file__).resolve().parents[2]


def rl_token(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "rl_token_ros.cli", *arguments], capture_output=True, text=True, timeout=60)


def test_help_names_every_verb():
    result = rl_token("--help")
    assert result.returncode == 0
    for verb, (_, about) in cli.VERBS.items():
        assert f"  {verb}" in result.stdout and about in result.stdout


@pytest.mark.parametrize("verb", cli.VERBS)
def test_module_of_every_verb_exists(verb):
    assert importlib.util.find_spec(cli.VERBS[verb][0]) is not None


def test_unknown_verb_is_refused_with_the_nearest_one():
    result = rl_token("controlnode")
    assert result.returncode == 2
    assert "no verb 'controlnode'; did you mean 'control_node'?" in result.stderr


def test_missing_packages_are_answered_with_what_to_install():
    assert "rl_token_ros[learner]" in packages.missing("torch.nn")
    assert "rl_token_ros[sim]" in packages.missing("mujoco")
    assert "rl_token_ros[ros]" in packages.missing("rclpy.node")
    assert "rl_token_ros[ros]" in packages.missing("std_msgs.msg")


def test_every_executable_of_ros2_run_is_a_verb():
    executables = {path.name for path in (ROOT / "scripts").iterdir() if path.suffix != ".sh"}
    assert executables == cli.VERBS.keys() - {"up"}  # up is what launch files are to ROS
