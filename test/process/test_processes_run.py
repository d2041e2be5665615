"""The four nodes as real processes: an episode, replay rows, weights that are accepted; interrupted, each ends by itself."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import small_robot

pytest.importorskip("mujoco")
pytest.importorskip("torch")

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from graph import ENVIRONMENT, Listener, quick_learner
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import UInt8, UInt8MultiArray

from rl_token_ros.interfaces import replay_table
from rl_token_ros.interfaces.codes import Ended
from rl_token_ros.interfaces.stamps import stamp_to_ns
from rl_token_ros.launching.compositions import COMPOSITIONS, compose
from rl_token_ros.launching.runner import Runner
from rl_token_ros.policy import actor_weights
from rl_token_ros.settings import node_settings
from rl_token_ros.settings.files import resolve_path
from rl_token_ros.settings.proprioception_groups import size

TOPICS = {
    "command": PoseStamped,
    "replay": PointCloud2,
    "episode_ended": UInt8,
    "actor/weights": UInt8MultiArray,
    "/diagnostics": DiagnosticArray,
}
SHORT = {"episode_time_limit": 2.0, "reset_time": 1.0, "state_timeout": 2.0}  # a busy machine stalls


def write_config(folder: Path) -> Path:
    """The simulated robot with short episodes, a quick learner and a token encoder made here for the VLA that ships."""
    path = quick_learner(folder)
    vla, token = resolve_path(node_settings.load("vla_node", path).vla_model), node_settings.load("control_node", path).token_size
    encoder = small_robot.write_encoder(folder / "encoder.onnx", vla, token=token, rows=98, size=98 * 128)
    text = re.sub(r"token_encoder: .*", f"token_encoder: {encoder}", path.read_text())
    for name, value in SHORT.items():
        text = re.sub(rf" *\b{name}: .*\n", "", text)
        node = "sim_node" if name == "reset_time" else "control_node"
        text = re.sub(rf"(/\*\*/{node}:\n  ros__parameters:\n)", rf"\g<1>    {name}: {value}\n", text)
    path.write_text(text)
    return path


def control_report(listener: Listener) -> dict[str, str]:
    """The newest `/diagnostics` of control_node, with its sentence as `message`."""
    newest = [s for array in listener.messages["/diagnostics"] for s in array.status if s.name == "/control_node"][-1:]
    return {} if not newest else {"message": newest[0].message, **{value.key: value.value for value in newest[0].values}}


def test_the_loop_runs_and_every_process_ends_cleanly_when_interrupted(tmp_path):
    config = write_config(tmp_path)
    robot = node_settings.load("control_node", config)
    dtype = replay_table.row_dtype(robot.token_size, size(robot.proprioception, 6, 3), robot.chunk_length, 3)
    commands = {process.executable: process.command() for process in compose("sim", config)}
    with Listener(TOPICS) as listener, Runner(commands, tmp_path / "logs", ENVIRONMENT) as runner:

        def wait(condition, what: str) -> None:
            listener.wait(lambda: condition() or runner.ended(), what)
            assert not runner.ended(), "\n".join(process.report() for process in runner.ended())

        wait(lambda: control_report(listener).get("message", "").startswith("enabled"), "an enabled controller")
        wait(lambda: listener.messages["episode_ended"], "an episode")
        wait(lambda: listener.messages["actor/weights"], "weights")
        wait(lambda: int(control_report(listener)["weights_version"]) > 0, "weights accepted")
        rows = len(listener.messages["replay"])
        wait(lambda: len(listener.messages["replay"]) > rows, "an episode after that")

        interrupted = time.time_ns()
        for name in reversed(COMPOSITIONS["sim"]):
            child = runner._children[name]
            child.send_signal(signal.SIGINT)
            assert child.wait(60) == 0, runner.log(name).read_text()
            with pytest.raises(ProcessLookupError):  # its process group is empty: no worker was left behind
                os.killpg(child.pid, 0)
        listener.wait(lambda: stamp_to_ns(listener.messages["command"][-1].header.stamp) > interrupted, "a last command")

        def newest_row() -> np.ndarray:
            return replay_table.decode(listener.messages["replay"][-1], dtype)[-1]

        listener.wait(lambda: newest_row()["ended"] != Ended.NO, "the ending of the last episode")
        rows = np.concatenate([replay_table.decode(message, dtype) for message in listener.messages["replay"]])
        for episode in np.unique(rows["episode"]):
            assert rows[rows["episode"] == episode]["ended"][-1] != Ended.NO
        assert actor_weights.decode(bytes(listener.messages["actor/weights"][-1].data)).version > 0
        assert int(control_report(listener)["weights_refused"]) == 0
        sent = np.array([[m.pose.position.x, m.pose.position.y, m.pose.position.z] for m in listener.messages["command"]])
        assert (sent >= robot.position_min).all() and (sent <= robot.position_max).all()
