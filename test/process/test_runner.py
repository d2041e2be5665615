"""The runner, on real child processes: order, deaths, stubborn children, orphans."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import wait_for

from rl_token_ros.launching.runner import Runner

# A child that ends at SIGINT and then writes its name; it says when it can be interrupted.
POLITE = """
import signal, sys
try:
    print("ready", flush=True)
    while True:
        signal.pause()
except KeyboardInterrupt:
    open(sys.argv[2], "a").write(sys.argv[1] + "\\n")
"""

STUBBORN = """
import signal, sys
for name in sys.argv[1:]:
    signal.signal(signal.Signals[name], signal.SIG_IGN)
print("ready", flush=True)
while True:
    signal.pause()
"""

# A child with a worker that ignores signals and holds a FIFO open as long as it lives.
WITH_WORKER = """
import subprocess, sys
worker = "import signal, sys; signal.signal(2, signal.SIG_IGN); f = open(sys.argv[1], 'w'); signal.pause()"
subprocess.Popen([sys.executable, "-c", worker, sys.argv[1]])
"""


def python(source: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", source, *map(str, arguments)]


def wait_until_ready(runner: Runner, *names: str) -> None:
    for name in names:
        wait_for(lambda: "ready" in runner.log(name).read_text(), f"{name} ready")


def wait_for_end_of_writers(reader: int) -> None:
    """Block until no process has the FIFO open for writing any more."""
    while True:
        readable, _, _ = select.select([reader], [], [], 60.0)
        assert readable, "a process still holds the FIFO open"
        if not os.read(reader, 100):
            return


def test_children_are_interrupted_in_reverse_order_and_end_cleanly(tmp_path):
    said = tmp_path / "said"
    runner = Runner({name: python(POLITE, name, said) for name in "abc"}, tmp_path)
    with runner:
        wait_until_ready(runner, *"abc")
        assert runner.ended() == []
    assert said.read_text().split() == ["c", "b", "a"]
    assert [(process.name, process.code, process.clean) for process in runner.ended()] == [(name, 0, True) for name in "abc"]


def test_a_child_that_dies_is_noticed_with_its_status_and_last_words(tmp_path):
    dying = "import sys; print('\\n'.join(map(str, range(100)))); sys.exit('no such joint')"
    with Runner({"alive": python(POLITE, "alive", tmp_path / "said"), "dying": python(dying)}, tmp_path) as runner:
        wait_for(runner.ended, "the death")
        (dead,) = runner.ended()
    assert (dead.name, dead.code, dead.clean) == ("dying", 1, False)
    lines = dead.report().splitlines()
    assert lines[0].startswith("dying ended with exit status 1")
    assert lines[-1].strip() == "no such joint" and lines[-2].strip() == "99" and len(lines) < 30


@pytest.mark.parametrize("ignored, last", [([], "SIGINT"), (["SIGINT"], "SIGTERM"), (["SIGINT", "SIGTERM"], "SIGKILL")])
def test_signals_get_harder(tmp_path, ignored, last):
    default_sigint = "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
    with Runner({"node": python(default_sigint + STUBBORN, *ignored)}, tmp_path, patience=0.2) as runner:
        wait_until_ready(runner, "node")
    (ended,) = runner.ended()
    assert ended.code == -signal.Signals[last]
    assert str(ended) == f"node was ended by {last}"


def test_a_worker_that_outlives_its_node_is_ended_too(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with Runner({"node": python(WITH_WORKER, fifo)}, tmp_path) as runner:
        reader = os.open(fifo, os.O_RDONLY)  # returns when the worker has opened it
        wait_for(runner.ended, "the node's own end")
    wait_for_end_of_writers(reader)
    os.close(reader)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_no_orphan_when_the_runner_itself_is_killed(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    node = "import signal, sys; f = open(sys.argv[1], 'w'); signal.pause()"
    main = "import sys; from rl_token_ros.launching.runner import Runner\n"
    main += "with Runner({'node': sys.argv[2:]}, sys.argv[1]):\n    sys.stdin.read()"
    parent = subprocess.Popen(python(main, tmp_path, *python(node, fifo)), stdin=subprocess.PIPE)
    reader = os.open(fifo, os.O_RDONLY)
    parent.kill()
    wait_for_end_of_writers(reader)
    parent.stdin.close()
    assert parent.wait() == -signal.SIGKILL
    os.close(reader)


def test_when_one_cannot_be_started_the_others_are_stopped(tmp_path):
    runner = Runner({"first": python(POLITE, "first", tmp_path / "said"), "second": ["/no/such/program"]}, tmp_path)
    with pytest.raises(FileNotFoundError, match="/no/such/program"):
        runner.start()
    assert [process.name for process in runner.ended()] == ["first"]


def test_a_second_interrupt_kills_at_once(tmp_path):
    deaf = "import signal\nsignal.signal(signal.SIGINT, lambda *_: print('interrupted', flush=True))\n" + STUBBORN
    main = "import signal, sys; from rl_token_ros.launching.runner import Runner\n"
    main += "with Runner({'node': sys.argv[2:]}, sys.argv[1], patience=1e6):\n    signal.pause()"
    parent = subprocess.Popen(python(main, tmp_path, *python(deaf)), stderr=subprocess.DEVNULL)
    log = tmp_path / "node.log"
    wait_for(lambda: log.is_file() and "ready" in log.read_text(), "node ready")
    parent.send_signal(signal.SIGINT)
    wait_for(lambda: "interrupted" in log.read_text(), "the first interrupt")
    parent.send_signal(signal.SIGINT)
    assert parent.wait(60) == -signal.SIGINT


def test_environment_is_passed_on_top_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", "77")
    source = "import os; print(os.environ['ROS_DOMAIN_ID'], os.environ['OURS'])"
    with Runner({"node": python(source)}, tmp_path, environment={"OURS": "42"}) as runner:
        wait_for(runner.ended, "its end")
    assert runner.log("node").read_text().split() == ["77", "42"]


def test_logs_stay_after_the_end(tmp_path):
    with Runner({"node": python("print('seen')")}, tmp_path / "new" / "folder") as runner:
        wait_for(runner.ended, "its end")
    assert (Path(tmp_path) / "new" / "folder" / "node.log").read_text() == "seen\n"
