"""All nodes as real processes through `rl_token up`: they talk, they end cleanly, and bad input ends them with a reason."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("mujoco")
pytest.importorskip("torch")

import reach
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from graph import ENVIRONMENT, Listener, quick_learner
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import UInt8, UInt8MultiArray
from trajectory_msgs.msg import JointTrajectory

from rl_token_ros.interfaces.codes import Ended
from rl_token_ros.launching.compositions import COMPOSITIONS
from rl_token_ros.settings.files import config_file

LOOP = {
    "camera/base/image_raw": Image,
    "camera/wrist/image_raw": Image,
    "vla/reference": JointTrajectory,
    "vla/embedding": Image,
    "command": PoseStamped,
    "replay": PointCloud2,
    "actor/weights": UInt8MultiArray,
}


@pytest.fixture
def up(tmp_path, monkeypatch):
    """Starts `rl_token up` on this test's domain; whatever still runs at the end is killed, nodes and all."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    started = []

    def start(*arguments: object) -> subprocess.Popen:
        command = [sys.executable, "-m", "rl_token_ros.cli", "up", *map(str, arguments), "--log-folder", str(tmp_path / "logs")]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": python_path()}, **streams)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def python_path() -> str:
    """This process's own, made absolute: the nodes run in another folder."""
    return os.pathsep.join(str(Path(path).resolve()) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path)


def reported_and_ended(process: subprocess.Popen, listener: Listener, composition: str, namespace: str = "") -> set[str]:
    """Wait until every node has reported, then Ctrl-C, which must end all of them with status 0; their full names."""
    nodes = {f"{namespace}/{node}" for node in COMPOSITIONS[composition]}
    listener.wait(lambda: nodes <= listener.reporting() or process.poll() is not None, "diagnostics of every node")
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    return nodes


def test_the_whole_loop_in_a_namespace(up, tmp_path):
    """Images to actions to commands to replay to weights, by the four nodes; Ctrl-C ends all of them with status 0."""
    process = up("sim", "--config", quick_learner(tmp_path), "--namespace", "left")
    topics = {f"/left/{topic}": message_type for topic, message_type in LOOP.items()}
    with Listener({**topics, "/diagnostics": DiagnosticArray}) as listener:
        listener.wait(lambda: all(listener.counts().values()) or process.poll() is not None, "a message on every topic")
        nodes = reported_and_ended(process, listener, "sim", "/left")
    assert all(listener.counts().values()) and nodes <= listener.reporting()


def test_an_environment_of_ones_own(up, tmp_path, models, monkeypatch):
    """The same of a class that a parameter file names, and which it asks for episode after episode."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [python_path(), str(Path(reach.__file__).parent)])))
    process = up("gym", "--config", reach.parameter_file(tmp_path, models))
    with Listener({"replay": PointCloud2, "actor/weights": UInt8MultiArray, "episode_ended": UInt8, "/diagnostics": DiagnosticArray}) as listener:
        listener.wait(lambda: all(listener.counts().values()) or process.poll() is not None, "a message on every topic")
        listener.wait(lambda: listener.counts()["episode_ended"] > 5 or process.poll() is not None, "episodes")
        reported_and_ended(process, listener, "gym")
    assert {message.data for message in listener.messages["episode_ended"]} == {int(Ended.SUCCESS)}


def test_a_bad_parameter_ends_all_nodes_and_says_what_to_write(up, tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text(config_file("sim").read_text().replace("control_rate:", "controll_rate:"))
    output, _ = (process := up("sim", "--config", bad)).communicate(timeout=120)
    assert process.returncode == 1
    assert "unknown parameter 'controll_rate'; did you mean 'control_rate'?" in output
    assert "ended with exit status 2" in output


def test_a_robot_is_not_the_simulated_one_by_default(up):
    output, _ = (process := up("robot")).communicate(timeout=60)
    assert process.returncode == 2
    assert "needs --config" in output
