"""Faults done for real to real processes: a graph of control_node, vla_node and learner_node around a scripted arm, and what is done to them.

Each fault is a function of a running graph. It does its damage, waits for the arm to move again (as an operator, where a stop latched),
and says what the arm did meanwhile, what was lost and how long recovery took. test_faults.py runs each once, benchmark/faults.py often.
"""

from __future__ import annotations

import array
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scripted_arm
import small_robot
from scripted_arm import HORIZON, SECOND, STATE_TIMEOUT, ScriptedArm
from std_msgs.msg import UInt8MultiArray
from std_srvs.srv import SetBool, Trigger

from rl_token_ros import weights
from rl_token_ros.processes import NodeProcess
from rl_token_ros.runner import Runner

NODES = ("learner_node", "vla_node", "control_node")
PATIENCE = 90.0  # s; a passing test needs a few


@dataclass
class Outcome:
    """What a fault came to. ``recovery``: s from the end of the fault to the arm's moving again; None where it never ceased to move."""

    arm: str
    lost: str = "nothing"
    recovery: float | None = None


class FaultBench:
    """The graph. Use as a context manager."""

    def __init__(self, folder: Path, domain: int, nodes: tuple[str, ...] = NODES, sim_time: bool = False, environment: dict[str, str] | None = None) -> None:
        self.folder, self.nodes, self.domain = folder, nodes, domain
        models = scripted_arm.write_models(folder)
        self.run_directory = folder / "run"
        self.parameters = scripted_arm.write_parameters(folder / "arm.yaml", scripted_arm.parameters(models, self.run_directory))
        self._sim_time = sim_time
        self._asked_at = 0.0  # system time
        self._started_at = dict.fromkeys(nodes, 0.0)  # system time
        self._calls: list = []  # of the operator, under way
        self.expected_dead: set[str] = set()
        self.journal = JournalReader(self.run_directory / "replay")
        environment = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", **(environment or {}), "ROS_DOMAIN_ID": str(domain)}
        self.runner = Runner({name: self.command(name) for name in nodes}, folder / "logs", environment)

    def command(self, executable: str, name: str = "") -> list[str]:
        """The command line of a node, under another name if one is given."""
        remappings = (("__node", name),) if name else ()
        return NodeProcess(executable, (self.parameters,), use_sim_time=self._sim_time or None, remappings=remappings).command()

    def __enter__(self) -> FaultBench:
        self.runner.start()
        self._graph = small_robot.Graph(self.domain)
        try:
            self.arm: ScriptedArm = self._graph.add(lambda **options: ScriptedArm(self._sim_time, **options))
            if "vla_node" not in self.nodes:
                self.arm.speak = circling(self.arm)
            self.moves_again()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.stop()
        self._graph.__exit__()

    # --- waiting and looking ------------------------------------------------------------------------------------------

    def wait(self, condition: Callable[[], object], what: str, practising: bool = False) -> float:
        """Let time go on until the condition holds; s that it took. A node that ends by itself fails.

        Args:
            condition: whether to go on.
            what: is waited for.
            practising: be the operator meanwhile, who resets a stop: this machine may stall, and then the arm rightly stops.
        """
        begun = time.monotonic()

        def held() -> object:
            if practising:
                self._operate()
            dead = [ended for ended in self.runner.ended() if ended.name not in self.expected_dead]
            assert not dead, "\n".join(ended.report() for ended in dead)
            return condition()

        try:
            self._graph.wait_for(held, what, PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"{error}; control_node: {self.report('control_node').get('message')}") from None
        return time.monotonic() - begun

    def spin(self, seconds: float) -> None:
        """Let time go on."""
        end = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() >= end, "time to go on")

    def report(self, node: str) -> dict[str, str]:
        """The newest figures of a node since it was started."""
        report = self.arm.reports.get(node, {})
        return report if report and float(report["at"]) > self._started_at.get(node, 0.0) else {}

    def moves(self, commands: int = 10) -> bool:
        """Whether the newest commands of this moment move the arm."""
        arm = self.arm
        newest = arm.commands[max([len(arm.commands) - commands, *arm.begins[-1:]]):]
        fresh = len(newest) == commands and time.monotonic() - arm.arrivals[-1] < 0.5
        return fresh and bool(np.ptp([position for _, position in newest], axis=0).max() > 1e-4)

    def rests(self, commands: int = 10) -> bool:
        """Whether the newest commands hold the arm."""
        newest = [position for _, position in self.arm.commands[-commands:]]
        return bool(np.ptp(newest, axis=0).max() < 1e-9)

    def stopped(self) -> str:
        """The reason of a latched stop, as control_node reports it."""
        message = self._message()
        return message.removeprefix("stopped: ") if message.startswith("stopped: ") else ""

    def _message(self) -> str:
        """What control_node says of its state, since the operator last asked it to change that."""
        report = self.report("control_node")
        return report["message"] if report and float(report["at"]) > self._asked_at else ""

    def moves_again(self) -> float:
        """Wait until the arm moves, as an operator who resets a stop; s that it took."""
        took = self.wait(self.moves, "the arm moves again", practising=True)
        self._asked_at = time.time()
        return took

    def _operate(self) -> None:
        """Reset a stop and enable, where that is due."""
        arm = self.arm
        if all(call.done() for call in self._calls) and self._message().startswith(("stopped", "disabled")) and arm._enable.service_is_ready():
            self._calls = [arm._reset_stop.call_async(Trigger.Request()), arm._enable.call_async(SetBool.Request(data=True))]
            self._asked_at = time.time() + 0.2  # reports under way are of before

    # --- processes ----------------------------------------------------------------------------------------------------

    def kill(self, name: str) -> None:
        """kill -9."""
        self.expected_dead = self.expected_dead | {name}
        self.runner.send(name, signal.SIGKILL)
        self.wait(lambda: [ended for ended in self.runner.ended() if ended.name == name], f"{name} dead")

    def restart(self, name: str) -> None:
        """Start it again."""
        self._started_at[name] = time.time()
        self._calls = []  # what it was asked before will not be answered
        self.runner.restart(name)
        self.expected_dead = self.expected_dead - {name}

    def workers(self, name: str) -> list[int]:
        """Process numbers of what a node started."""
        pid = self.runner.pid(name)
        return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]


class JournalReader:
    """What the learner's journal holds: stamps of its rows, read on from where it was read to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read_ns = self._checked_ns = 0
        self.rows: dict[int, int] = {}  # stamp of the row: stamp in the journal
        self.checked = 0

    def read(self) -> int:
        """Read on; the number of rows found so far."""
        self.rows.update(self._beyond(self._read_ns))
        self._read_ns = max(self.rows.values(), default=0)
        return len(self.rows)

    def lost(self) -> int:
        """How many of the rows found since the last time are not there any more."""
        before = {stamp for stamp, at in self.rows.items() if at > self._checked_ns}
        found = self._beyond(self._checked_ns)
        self.checked, self._checked_ns = self.checked + len(before), self._read_ns
        return len(before - found.keys())

    def all_lost(self) -> int:
        """How many of all rows ever found are not there any more."""
        return len(self.rows.keys() - self._beyond(0).keys())

    def _beyond(self, after_ns: int) -> dict[int, int]:
        from rl_token_ros.learning import journal

        found = journal.read(self._folder, scripted_arm.DTYPE, after_ns, 1 << 62)
        return {int(row["stamp_sec"]) * SECOND + int(row["stamp_nanosec"]): at for at, _, rows in found for row in rows}


def circling(arm: ScriptedArm, horizon: int = HORIZON) -> Callable[[int], tuple[np.ndarray, int]]:
    """What the VLA says, said by the arm itself."""
    step = scripted_arm.TURN

    def speak(_: int) -> tuple[np.ndarray, int]:
        x, y, _z = arm.position
        return np.tile([-step * y, step * x, 0.0], (horizon, 1)), 0

    return speak


# --- deaths ---------------------------------------------------------------------------------------------------------------


def kill_learner(bench: FaultBench, random: np.random.Generator) -> Outcome:
    """kill -9 of learner_node at any moment; control goes on, what was synced is there again."""
    bench.wait(lambda: int(bench.report("learner_node").get("pushes", 0)) > 0, "weights", practising=True)
    known = bench.journal.read()
    bench.spin(float(random.uniform(0.0, 3.0)))
    commands = len(bench.arm.commands)
    before = int(bench.report("learner_node")["steps"])
    version = newest_version(bench)
    bench.wait(lambda: bench.journal.read() > known, "more rows on the disk", practising=True)
    bench.kill("learner_node")
    bench.restart("learner_node")
    took = bench.wait(lambda: bench.report("learner_node").get("state") == "running" and "steps" in bench.report("learner_node"), "the learner again")
    assert int(bench.report("learner_node")["steps"]) >= before, f"{before} rows were learned from; {bench.report('learner_node')}"
    bench.moves_again()  # at once, unless this machine stalled
    bench.wait(lambda: newest_version(bench) > version, "newer weights than before", practising=True)
    bench.wait(lambda: int(bench.report("control_node").get("weights_version", 0)) > version, "newer weights in use", practising=True)
    lost = bench.journal.lost()
    assert not lost, f"{lost} synced rows lost"
    return Outcome(f"went on ({len(bench.arm.commands) - commands} commands)", f"0 of {bench.journal.checked} synced rows", took)


def newest_version(bench: FaultBench) -> int:
    """Of the weights that went over the topic."""
    return max((weights.decode(blob).version for blob in bench.arm.blobs[-1:]), default=0)


def kill_vla(bench: FaultBench, random: np.random.Generator) -> Outcome:
    """kill -9 of vla_node: the old chunk, then holding, then, after hold_timeout, a stop."""
    bench.spin(float(random.uniform(0.0, 0.5)))
    bench.kill("vla_node")
    bench.wait(bench.rests, "the arm holds")
    bench.wait(bench.stopped, "the stop after hold_timeout")
    bench.restart("vla_node")
    return Outcome("old chunk, held, stopped", recovery=bench.moves_again())


def kill_control(bench: FaultBench, random: np.random.Generator) -> Outcome:
    """kill -9 of control_node: no more commands; started again it waits until its predecessor is forgotten, and begins at rest."""
    bench.spin(float(random.uniform(0.0, 0.5)))
    version = newest_version(bench)
    bench.kill("control_node")
    bench.arm.begin()
    begun = time.monotonic()
    bench.restart("control_node")
    bench.moves_again()
    first = bench.arm.arrivals[bench.arm.begins[-1]] - begun
    if "learner_node" in bench.nodes and version:
        bench.wait(lambda: int(bench.report("control_node").get("weights_version", 0)) >= version, "the newest weights, though they were sent before", practising=True)
    return Outcome("stood still, began at rest", "the running episode", first)


def terminate_control(bench: FaultBench, random: np.random.Generator) -> Outcome:
    """SIGTERM and Ctrl-C of control_node while it moves: it comes to rest, the last command is at rest, and it ends."""
    for number in (signal.SIGTERM, signal.SIGINT):
        bench.moves_again()
        bench.expected_dead = bench.expected_dead | {"control_node"}
        bench.runner.send("control_node", number)
        bench.wait(lambda: [ended for ended in bench.runner.ended() if ended.name == "control_node"], "its end")
        assert [ended.code for ended in bench.runner.ended() if ended.name == "control_node"] == [0]
        bench.spin(0.3)
        assert bench.rests(2), "the last command was not at rest"
        bench.arm.begin()
        bench.restart("control_node")
        took = bench.moves_again()
    return Outcome("came to rest, began at rest", "nothing", took)


def stall_vla(bench: FaultBench, random: np.random.Generator) -> Outcome:
    """vla_node stands still for a second and goes on."""
    bench.runner.send("vla_node", signal.SIGSTOP)
    try:
        bench.wait(bench.rests, "the arm holds")
    finally:
        bench.runner.send("vla_node", signal.SIGCONT)
    return Outcome("old chunk, held", recovery=bench.moves_again())


# --- a VLA that says wrong things -----------------------------------------------------------------------------------------


def odd_vla(bench: FaultBench, random: np.random.Generator) -> Outcome:
    """Late answers, answers beyond their age, garbage, other horizons, in place of the VLA's."""
    arm, right = bench.arm, circling(bench.arm)
    freeze = "vla_node" in bench.nodes
    if freeze:
        bench.runner.send("vla_node", signal.SIGSTOP)
    try:
        arm.speak = lambda now: (right(now)[0], 200_000_000)
        bench.moves_again()
        bench.spin(0.5)
        arm.speak = lambda now: (right(now)[0], SECOND)
        bench.wait(bench.rests, "it holds on answers that are too late")
        for horizon in (50, 5):
            arm.speak = circling(arm, horizon)
            bench.moves_again() if horizon == 50 else bench.spin(0.5)
        refused = int(bench.report("control_node")["refused_inputs"])
        for garbage in (np.full((HORIZON, 3), np.nan), np.full((HORIZON, 3), 1e300), np.full((HORIZON, 3), -1e300), random.normal(0, 1e3, (HORIZON, 3)), np.zeros((0, 3))):
            arm.speak = lambda now, garbage=garbage: (garbage, 0)
            bench.spin(0.6)
        bench.wait(lambda: int(bench.report("control_node")["refused_inputs"]) > refused, "the refusals")
        arm.speak = lambda now: (right(now)[0], -10 * SECOND)
        bench.spin(0.3)
        arm.speak = right if not freeze else None
    finally:
        arm.speak = None if freeze else right
        if freeze:
            bench.runner.send("vla_node", signal.SIGCONT)
    return Outcome("within limits on garbage, held without", recovery=bench.moves_again())


def odd_cameras(bench: FaultBench, random: np.random.Generator) -> Outcome:
    """Cameras that freeze, change size, change encoding."""
    arm = bench.arm

    def changed(**values):
        def change(message):
            for name, value in values.items():
                setattr(message, name, value)
            return message

        return change

    frozen = []
    arm.image = lambda message: frozen[0] if frozen else frozen.append(message) or message
    bench.wait(bench.rests, "the arm holds on a frozen picture")
    for change in (changed(height=4), changed(height=200, width=3), changed(encoding="bayer_rggb8"), changed(encoding="mono8"), changed(step=0), changed(data=b"")):
        arm.image = change
        bench.spin(0.3)
    arm.image = None
    return Outcome("held", recovery=bench.moves_again())


# --- an arm that says wrong things ----------------------------------------------------------------------------------------


def odd_joints(bench: FaultBench, random: np.random.Generator) -> Outcome:
    """Joint states that reorder go on; that stop, go back in time, or carry NaN stop the arm."""
    arm = bench.arm
    right = arm.joints
    turn = []
    arm.joints = lambda stamp, position: (stamp - (30_000_000 if turn.append(1) or len(turn) % 2 else 0), position)
    bench.spin(STATE_TIMEOUT + 1.0)
    assert "state_timeout" not in bench.stopped(), "messages out of order stopped the arm"
    bench.moves_again()
    took = 0.0
    for wrong in (lambda stamp, position: (stamp - 10 * SECOND, position), lambda stamp, position: (stamp, position * np.nan),
                  lambda stamp, position: (stamp + 10 * SECOND, position), None):  # fmt: skip
        if wrong is None:
            arm.silent.add("joints")
        else:
            arm.joints = wrong
        bench.wait(bench.stopped, "the stop")
        assert "state_timeout" in bench.stopped()
        bench.wait(bench.rests, "rest")
        arm.joints = right
        arm.silent.clear()
        took = max(took, bench.moves_again())
    return Outcome(f"stopped within {STATE_TIMEOUT:g} s", "the running episode", took)


# --- disk, network, other nodes -------------------------------------------------------------------------------------------


def full_disk(bench: FaultBench, random: np.random.Generator) -> Outcome:
    """No file of the learner may grow: practice goes on, and what comes later is written again."""
    bench.wait(lambda: int(bench.report("learner_node").get("pushes", 0)) > 0, "weights", practising=True)
    processes = [bench.runner.pid("learner_node"), *bench.workers("learner_node")]
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in processes}
    before, version = int(bench.report("learner_node")["steps"]), newest_version(bench)
    for pid, (_, hard) in limits.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        bench.wait(lambda: int(bench.report("learner_node").get("disk_errors", 0)) > 0, "the disk's errors told", practising=True)
        bench.moves_again()
        bench.wait(lambda: int(bench.report("learner_node").get("steps", 0)) > before + 50, "learning goes on", practising=True)
        bench.wait(lambda: newest_version(bench) > version + 1, "weights go on", practising=True)
    finally:
        for pid, limit in limits.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)
    bench.moves_again()
    later = time.monotonic() + 1.0
    bench.wait(lambda: [1 for at, *_ in bench.arm.rows if at > later], "rows after it", practising=True)
    stamp = next(stamp for at, stamp, _ in bench.arm.rows if at > later)
    bench.wait(lambda: bench.journal.read() and stamp in bench.journal.rows, "rows are written again")
    return Outcome("went on", "rows of the time without disk, after a restart only")


def fuzz(bench: FaultBench, random: np.random.Generator, messages: int = 100) -> Outcome:
    """Malformed messages on every topic that the network may write: refused, counted, and nobody dies."""
    from fuzzing import damaged_messages, damaged_weights

    arm = bench.arm
    bench.wait(lambda: arm.blobs, "weights to damage")
    good = arm.blobs[-1]
    sent = 0
    for publisher, stream in (
        (arm.weights, (UInt8MultiArray(data=array.array("B", blob)) for blob in damaged_weights(random, good, messages))),
        (arm.replay, damaged_messages(random, "replay", messages, arm.now_ns)),
        (arm.reference, damaged_messages(random, "vla/reference", messages, arm.now_ns)),
        (arm.embedding, damaged_messages(random, "vla/embedding", messages, arm.now_ns)),
    ):
        for message in stream:
            publisher.publish(message)
            sent += 1
            bench._graph.executor.spin_once(timeout_sec=0.002)
        bench.spin(0.2)
    refused = int(bench.report("control_node").get("refused_inputs", 0)) + int(bench.report("control_node").get("weights_refused", 0))
    assert refused > 0
    return Outcome(f"within limits; {sent} messages, {refused} refused", recovery=bench.moves_again())


def two_controllers(bench: FaultBench, random: np.random.Generator) -> Outcome:
    """A second control_node on the same arm: the first holds, the second is not enabled."""
    bench.runner.restart("control_node_2", bench.command("control_node", "control_node_2"))
    try:
        bench.wait(lambda: bench.stopped() == "'command' is also published by /control_node_2; stop that first", "the first one stops and says why")
        bench.wait(lambda: "also published by /control_node" in bench.report("control_node_2").get("message", ""), "the second one refuses")
        bench.wait(bench.rests, "the arm holds")
        held = len(bench.arm.commands)
        bench.wait(lambda: len(bench.arm.commands) >= held + 20, "more commands")
        assert bench.rests(20), "it did not go on holding"
    finally:
        bench.expected_dead = bench.expected_dead | {"control_node_2"}
        bench.runner.send("control_node_2", signal.SIGINT)
        bench.wait(lambda: [ended for ended in bench.runner.ended() if ended.name == "control_node_2"], "its end")
    return Outcome("held; the second was not enabled", "the running episode", bench.moves_again())


# --- time -----------------------------------------------------------------------------------------------------------------


def clock_jumps(bench: FaultBench, random: np.random.Generator) -> Outcome:
    """/clock leaps back and ahead, and goes round in a loop as under a bag that loops: stopped each time, and fresh inputs needed."""
    arm = bench.arm
    took = 0.0
    for leap in (-60 * SECOND, 100 * SECOND):
        bench.moves_again()
        before = arm.clock_ns
        arm.leap(before + leap)
        bench.wait(bench.stopped, "the stop")
        assert leap > 0 or arm.clock_ns < before, "it stood still until its time came again"
        bench.wait(bench.rests, "rest")
        took = max(took, bench.moves_again())
    for _ in range(3):
        end = time.monotonic() + 0.7
        begin = arm.clock_ns
        bench.wait(lambda end=end: time.monotonic() > end, "the loop to go round")
        arm.leap(begin)
    bench.wait(bench.stopped, "the stop")
    bench.wait(bench.rests, "rest")
    return Outcome("stopped", "the running episode", max(took, bench.moves_again()))


FAULTS: dict[str, Callable[[FaultBench, np.random.Generator], Outcome]] = {
    "VLA stalls": stall_vla,
    "VLA late, too late, garbage, other horizon": odd_vla,
    "cameras freeze, change size and encoding": odd_cameras,
    "joint states reorder, go back, NaN, from the future, stop": odd_joints,
    "malformed messages": fuzz,
    "two control nodes": two_controllers,
    "full disk": full_disk,
    "kill -9 learner_node": kill_learner,
    "kill -9 vla_node": kill_vla,
    "kill -9 control_node, a late joiner then": kill_control,
    "SIGTERM and SIGINT of control_node": terminate_control,
}
