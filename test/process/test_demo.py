"""The demo, as a user starts and stops it: real processes, one of which hangs for a while, ended by Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import wait_for

pytest.importorskip("mujoco")
pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from rl_token_ros.bags.reader import Bag


def child(parent: int, name: str) -> int:
    """Process id of the child with this argument; others may name it in the path of a file."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent and f"\0{name}\0" in (entry / "cmdline").read_text():
                    return int(entry.name)
            except OSError:
                pass  # it has ended meanwhile
    raise AssertionError(f"no child {name}")


@pytest.mark.skipif(sys.platform != "linux", reason="finds the simulator's process in /proc")
def test_it_goes_on_after_a_stop_and_interrupted_ends_every_process_and_writes_its_summary(tmp_path):
    with open(tmp_path / "output", "w") as output:
        demo = subprocess.Popen(
            [sys.executable, "-m", "rl_token_ros.cli", "demo", "--minutes", "30", "--record", "--out", str(tmp_path / "run")],
            stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONUNBUFFERED": "1"}, start_new_session=True,
        )  # fmt: skip
    try:

        def tells(what: str) -> None:
            wait_for(lambda: demo.poll() is not None or what in (tmp_path / "output").read_text(), what, 180)
            assert what in (told := (tmp_path / "output").read_text()), told  # else it ended before

        tells("episode 1:")
        simulator = child(demo.pid, "sim_node")
        os.kill(simulator, signal.SIGSTOP)
        tells("control_node stopped the arm: the newest measurement of")
        os.kill(simulator, signal.SIGCONT)
        tells("episode 2:")
        demo.send_signal(signal.SIGINT)
        code = demo.wait(60)
    finally:
        demo.kill()
    told = (tmp_path / "output").read_text()
    assert code == 0, told
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["interrupted"] and summary["base"]["episodes"] >= 1
    assert summary["control"]["rate_hz"] == 50.0 and summary["control"]["ticks"] > 100
    assert len(summary["control"]["stops"]) >= 1
    assert (tmp_path / "run" / "learning_curve.png").stat().st_size > 1000
    logs = {path.stem for path in (tmp_path / "run" / "logs").glob("*.log")}
    assert logs == {"record", "sim_node", "vla_node", "control_node", "learner_node"}
    assert sum(1 for _ in Bag(tmp_path / "run" / "bag").read({"/control_node/ticks"})) > 100


def test_a_bad_argument_is_refused_with_what_to_write():
    done = subprocess.run([sys.executable, "-m", "rl_token_ros.cli", "demo", "--minutes", "-1"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "write a number above 0" in done.stderr
