"""The damage: each fault, done for real to a running graph (fault_bench), and what has to come of it.

A fault is a function of the graph and a random generator. It does its damage, waits for the arm to move again (as an operator, where a stop
latched), and says what the arm did meanwhile, what was lost and how long recovery took. test_faults.py does each once, benchmark/faults.py
often.
"""

from __future__ import annotations

import array
import resource
import signal
import time
from collections.abc import Callable

import numpy as np
from audit import SECOND
from fault_bench import ClockBench, FaultBench, Outcome, SimulatorBench, circling
from fuzzing import damaged_messages, damaged_weights
from scripted_arm import HORIZON, STATE_TIMEOUT
from std_msgs.msg import UInt8MultiArray

from rl_token_ros.policy import actor_weights

# --- deaths ---------------------------------------------------------------------------------------------------------------


def kill_learner(bench: FaultBench, random: np.random.Generator) -> Outcome:
    """kill -9 of learner_node at any moment; control goes on, what was synced is there again."""
    bench.wait(lambda: int(bench.report("learner_node").get("pushes", 0)) > 0, "weights", practising=True)
    known = bench.journal.read()
    bench.spin(float(random.uniform(0.0, 3.0)))
    commands = len(bench.arm.audit.commands)
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
    return Outcome(f"went on ({len(bench.arm.audit.commands) - commands} commands)", f"0 of {bench.journal.checked} synced rows", took)


def newest_version(bench: FaultBench) -> int:
    """Of the weights that went over the topic."""
    return max((actor_weights.decode(blob).version for blob in bench.arm.blobs[-1:]), default=0)


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
    bench.arm.audit.begin()
    begun = time.monotonic()
    bench.restart("control_node")
    bench.moves_again()
    first = bench.arm.audit.arrivals[bench.arm.audit.begins[-1]] - begun
    if "learner_node" in bench.nodes and version:
        bench.wait(
            lambda: int(bench.report("control_node").get("weights_version", 0)) >= version,
            "the newest weights, though they were sent before",
            practising=True,
        )
    return Outcome("stood still, began at rest", "the running episode", first)


def terminate_control(bench: FaultBench, random: np.random.Generator) -> Outcome:
    """SIGTERM and Ctrl-C of control_node while it moves: it comes to rest, the last command is at rest, and it ends."""
    for number in (signal.SIGTERM, signal.SIGINT):
        bench.moves_again()
        bench.end("control_node", number)
        assert [ended.code for ended in bench.runner.ended() if ended.name == "control_node"] == [0]
        bench.spin(0.3)
        assert bench.rests(2), "the last command was not at rest"
        bench.arm.audit.begin()
        bench.restart("control_node")
        took = bench.moves_again()
    return Outcome("came to rest, began at rest", "nothing", took)


def kill_simulator(bench: FaultBench, random: np.random.Generator) -> Outcome:
    """kill -9 of the arm's own node, here sim_node: a stop, and then the arm begins at rest where the new one is."""
    bench.spin(float(random.uniform(0.0, 0.5)))
    bench.kill("sim_node")
    bench.wait(bench.stopped, "the stop")
    assert "state_timeout" in bench.stopped() or "nobody takes 'command'" in bench.stopped(), bench.stopped()
    bench.wait(bench.rests, "rest")
    bench.wait(lambda: bench.arm.operator.reset(), "the stop is reset")
    bench.spin(0.3)
    bench.arm.audit.begin(np.full(3, np.nan))
    bench.restart("sim_node")
    return Outcome("stopped, began at rest where the new one was", "the running episode", bench.moves_again())


def stall_vla(bench: FaultBench, random: np.random.Generator) -> Outcome:
    """vla_node stands still and goes on. For 2.2 s, after which a lease of 2 s was lost, and mostly topics with it, for good."""
    for seconds in (0.0, 2.2, 2.2, 2.2, 2.2):
        bench.moves_again()
        bench.runner.send("vla_node", signal.SIGSTOP)
        try:
            bench.wait(bench.rests, "the arm holds")
            bench.spin(seconds)
        finally:
            bench.runner.send("vla_node", signal.SIGCONT)
        took = bench.moves_again()
    return Outcome("old chunk, held", recovery=took)


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
        for garbage in (
            np.full((HORIZON, 3), np.nan),
            np.full((HORIZON, 3), 1e300),
            np.full((HORIZON, 3), -1e300),
            random.normal(0, 1e3, (HORIZON, 3)),
            np.zeros((0, 3)),
        ):
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
    for change in (
        changed(height=4),
        changed(height=200, width=3),
        changed(encoding="bayer_rggb8"),
        changed(encoding="mono8"),
        changed(step=0),
        changed(data=b""),
    ):
        arm.image = change
        bench.spin(0.2)
    refused = int(bench.report("vla_node").get("bad_images", 0))
    bench.wait(lambda: int(bench.report("vla_node").get("bad_images", 0)) > refused, "the refusals", practising=True)
    arm.image = None
    return Outcome("held", recovery=bench.moves_again())


# --- an arm that says wrong things ----------------------------------------------------------------------------------------


def odd_joints(bench: FaultBench, random: np.random.Generator) -> Outcome:
    """Joint states that reorder go on; that stop, go back in time, or carry NaN stop the arm."""
    arm = bench.arm
    right = arm.joints
    turn = []
    arm.joints = lambda stamp, position: (stamp - (30_000_000 if turn.append(1) or len(turn) % 2 else 0), position)
    bench.spin(STATE_TIMEOUT + 0.5)
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
    arm = bench.arm
    bench.wait(lambda: arm.blobs, "weights to damage", practising=True)
    good = arm.blobs[-1]
    before, sent = _refusals(bench), 0

    def told() -> bool:
        return all(now > then for now, then in zip(_refusals(bench), before))

    for _ in range(20):  # where this machine stalls, what waits in a queue is lost to what comes next
        for publisher, stream in (
            (arm.weights, (UInt8MultiArray(data=array.array("B", blob)) for blob in damaged_weights(random, good, messages))),
            (arm.replay, damaged_messages(random, "replay", messages, arm.now_ns)),
            (arm.reference, damaged_messages(random, "vla/reference", messages, arm.now_ns)),
            (arm.embedding, damaged_messages(random, "vla/embedding", messages, arm.now_ns)),
        ):
            sent += bench.send(publisher, stream)
            bench.spin(0.2)
        bench.spin(2.0, practising=True)  # reports come each second
        if told():
            break
    assert told(), f"refusals of the VLA's messages, of weights, of rows: {_refusals(bench)}, before {before}"
    refused = sum(_refusals(bench)) - sum(before)
    return Outcome(f"within limits; {sent} messages, {refused} refused", recovery=bench.moves_again())


def _refusals(bench: FaultBench) -> list[int]:
    """Of the VLA's messages, of weights, of rows."""
    control, learner = bench.report("control_node"), bench.report("learner_node")
    return [int(found.get(name, 0)) for found, name in ((control, "refused_inputs"), (control, "weights_refused"), (learner, "rows_refused"))]


def two_controllers(bench: FaultBench, random: np.random.Generator) -> Outcome:
    """A second control_node on the same arm: the first holds, the second is not enabled."""
    bench.runner.restart("control_node_2", bench.command("control_node", "control_node_2"))
    try:
        bench.wait(lambda: bench.stopped() == "'command' is also published by /control_node_2; stop that first", "the first one stops and says why")
        bench.wait(lambda: "also published by /control_node" in bench.report("control_node_2").get("message", ""), "the second one refuses")
        bench.wait(bench.rests, "the arm holds")
        held = len(bench.arm.audit.commands)
        bench.wait(lambda: len(bench.arm.audit.commands) >= held + 20, "more commands")
        assert bench.rests(20), "it did not go on holding"
        assert "enabled" not in bench.runner.log("control_node_2").read_text()
    finally:
        bench.end("control_node_2", signal.SIGINT)
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


Fault = Callable[[FaultBench, np.random.Generator], Outcome]
FAULTS: dict[str, Fault] = {
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
SIMULATOR_FAULTS: dict[str, Fault] = {"kill -9 sim_node": kill_simulator}
CLOCK_FAULTS: dict[str, Fault] = {"clock leaps back and ahead, a bag loops": clock_jumps}
GRAPHS: dict[type[FaultBench], dict[str, Fault]] = {FaultBench: FAULTS, SimulatorBench: SIMULATOR_FAULTS, ClockBench: CLOCK_FAULTS}
