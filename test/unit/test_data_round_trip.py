"""A run's bag becomes a data set, and that a seed of the replay: the rows that control_node made live come back. Without LeRobot and ROS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("rosbags")

import recorded_loop
from frames_in_memory import FramesInMemory

from rl_token_ros.adapters.lerobot_demonstrations import Demonstrations, Mapping
from rl_token_ros.bags.dataset_sink import DatasetSink
from rl_token_ros.bags.recorded_run import RecordedRun
from rl_token_ros.commands.import_demonstrations import _demonstration
from rl_token_ros.interfaces.codes import Ended, Source
from rl_token_ros.resimulation.demonstrations import Demonstrator
from rl_token_ros.settings import node_settings
from rl_token_ros.settings.files import config_file
from rl_token_ros.vla.make_backend import make_backend

KEEP = {int(Ended.SUCCESS), int(Ended.FAILURE), int(Ended.TIME_LIMIT)}
CONTROL, VLA = (node_settings.load(node, config_file("sim"), **recorded_loop.QUICK[node]) for node in ("control_node", "vla_node"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A bag of the simulation, and the rows of `replay` in it."""
    folder = tmp_path_factory.mktemp("run") / "bag"
    with pytest.MonkeyPatch.context() as patch:
        rows = recorded_loop.record(folder, 3, patch)
    return folder, rows


def cut(bag: Path, rate: float) -> tuple[FramesInMemory, RecordedRun]:
    made = []

    def make(features):
        made.append(FramesInMemory(rate, features))
        return made[0]

    recorded = RecordedRun(bag, VLA)
    sink = DatasetSink(recorded, False, "", make)
    recorded.cut(sink, rate, KEEP)
    assert sink.close()
    return made[0], recorded


@pytest.mark.slow
def test_rows_come_back(run):
    bag, rows = run
    frames, recorded = cut(bag, recorded_loop.CAMERA_RATE)
    print(len(rows), len(frames), recorded.run.episodes, recorded.run.left_out, recorded.report)
    found = Demonstrations(frames, CONTROL, ["ee_position", "wrench_force"], VLA.vla_proprioception, VLA.cameras, Mapping())
    lived = Demonstrator(CONTROL, VLA, make_backend(VLA), 0.03)
    again = [lived.live(_demonstration(frames, found, indices, ended, "")) for _, indices, ended in found.episodes()]
    print([len(each) for each in again], lived.figures)
    for number, each in zip(np.unique(rows["episode"]), again):
        theirs = rows[rows["episode"] == number]
        print(number, len(theirs), len(each), theirs["ended"][-1], each["ended"][-1])
        n = min(len(theirs), len(each))
        for name in ("action", "proprio", "token", "reference"):
            d = np.abs(each[name][:n] - theirs[name][:n])
            print(name, d.max(axis=0).round(6)[:6], np.abs(theirs[name]).max(axis=0).round(6)[:6], np.median(d))
    assert all((each["source"] == Source.HUMAN).all() for each in again)
