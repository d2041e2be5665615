"""The command `rl_token` and its table of verbs."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import rl_token_ros
from rl_token_ros import cli

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


@pytest.mark.parametrize("arguments", [("--help",), ("check", "--help"), ("--version",)])
def test_a_pipe_that_nobody_reads_ends_it_quietly(arguments):
    """As `rl_token check --help | head -1` may leave it: no traceback, and the status of a program that the signal ended."""
    command = [sys.executable, "-m", "rl_token_ros.cli", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}  # argparse hears of a closed pipe at once, then
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        result = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, text=True, timeout=60, env=environment)
    finally:
        os.close(theirs)
    assert (result.stderr, result.returncode) == ("", 128 + signal.SIGPIPE)


def test_a_pipe_that_breaks_elsewhere_is_told(monkeypatch):
    """A socket's end is no reader that has seen enough."""

    def fail() -> int:
        raise BrokenPipeError("the socket")

    monkeypatch.setattr("sys.argv", ["rl_token", "check"])
    monkeypatch.setattr("rl_token_ros.commands.check.main", fail)
    with pytest.raises(BrokenPipeError, match="the socket"):
        cli.main()


def test_version_is_that_of_the_package():
    result = rl_token("--version")
    assert (result.returncode, result.stdout) == (0, f"rl_token {rl_token_ros.__version__}\n")


@pytest.mark.parametrize(
    "verb, module, extra",
    [("report", "matplotlib", "report"), ("train_token", "rosbags", "token"), ("record", "mcap", "bags"), ("demo", "rclpy", "ros")],
)
def test_a_missing_package_is_answered_with_the_extra_of_the_verb(verb, module, extra):
    code = f"import sys; sys.modules['{module}'] = None; sys.argv = ['rl_token', '{verb}']; from rl_token_ros import cli; sys.exit(cli.main())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith(f"rl_token {verb}: ") and f"pip install 'rl_token_ros[{extra}]'" in result.stderr


def test_every_executable_of_ros2_run_is_a_verb():
    executables = {path.name for path in (ROOT / "scripts").iterdir() if path.suffix != ".sh"}
    assert executables == cli.VERBS.keys() - {"up"}  # up is what launch files are to ROS
