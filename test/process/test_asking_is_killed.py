"""train_token is killed while it asks a server, and then that server: nothing on the disk is lost, and the end is that of an undisturbed run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_robot
from waiting import wait_for

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("rosbags")

import picture_bag

pytestmark = pytest.mark.slow
SLOW = '''
import time
from pathlib import Path
from rl_token_ros.vla.server import OnnxPolicy

class Slow(OnnxPolicy):
    """Takes a while for each answer."""
    def __init__(self):
        super().__init__(Path({vla!r}))
    def infer(self, obs):
        time.sleep(0.05)
        return super().infer(obs)
'''


class Process:
    """A command of ours, its output in a file."""

    def __init__(self, log: Path, *arguments: object) -> None:
        self._log = log
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(log.parent), *sys.path])}
        with open(log, "wb") as out:
            command = [sys.executable, "-m", "rl_token_ros.cli", *map(str, arguments)]
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)

    @property
    def said(self) -> str:
        return self._log.read_text()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60.0)


@pytest.fixture
def start(tmp_path):
    started = []

    def make(name: str, *arguments: object) -> Process:
        started.append(Process(tmp_path / f"{name}.log", *arguments))
        return started[-1]

    yield make
    for each in started:
        if each.process.poll() is None:
            each.kill()


def test_killed_while_it_asks(start, tmp_path):
    vla, made = small_robot.write_vla(tmp_path / "vla.onnx"), picture_bag.write_bag(tmp_path / "bag")
    file = picture_bag.write_config(tmp_path / "robot.yaml", vla, backend="openpi", image_height=0, image_width=0)
    (tmp_path / "slow.py").write_text(SLOW.format(vla=str(vla)))
    server = start("server", "vla_server", "slow:Slow", "--port", 0)
    wait_for(lambda: "serving" in server.said or server.process.poll() is not None, "the server")
    url = re.search(r"ws://\S+", server.said)[0]
    common = ("train_token", made, "--config", file, "--threads", 1, "--steps", 2, "--size", small_robot.TOKEN, "--output", tmp_path / "token.onnx")

    def asked() -> int:
        journals = list((tmp_path / "embeddings").glob("*.asked"))
        return len(journals[0].read_text().splitlines()) - 1 if journals else 0

    first = start("first", *common, "--server", url)
    wait_for(lambda: asked() >= 15 or first.process.poll() is not None, "15 answers", 120.0)
    first.kill()
    on_disk = asked()
    assert 15 <= on_disk < 80, first.said
    second = start("second", *common, "--server", url)
    wait_for(lambda: asked() >= on_disk + 10 or second.process.poll() is not None, "10 more", 120.0)
    server.kill()
    wait_for(lambda: "tried again for 600 s" in second.said or second.process.poll() is not None, "what it says of the server")
    again = start("again", "vla_server", "slow:Slow", "--port", url.rpartition(":")[2])
    assert second.process.wait(120.0) == 0, second.said + again.said
    assert f"{on_disk} observations were asked about before, {on_disk} of them are in" in second.said
    assert "the VLA answers again, after" in second.said and "the VLA was lost 1 times, and came back" in second.said
    assert "80 observations of 3 x 5" in second.said
    whole = start("whole", *common, "--server", url, "--cache", tmp_path / "whole")
    assert whole.process.wait(120.0) == 0, whole.said
    found, undisturbed = (np.fromfile(next((tmp_path / folder).glob("*.f16")), np.float16) for folder in ("embeddings", "whole"))
    np.testing.assert_array_equal(found, undisturbed)
