"""Faults, each done to real processes: no command leaves a limit or follows old data, what was synced is kept, and the arm moves again."""

from __future__ import annotations

import signal
import time

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("mcap")

import fault_bench
from fault_bench import FAULTS, FaultBench


@pytest.fixture(scope="module")
def bench(tmp_path_factory, domain):
    """One graph for all: what a fault leaves behind is the next one's beginning."""
    with FaultBench(tmp_path_factory.mktemp("faults"), domain) as made:
        yield made


@pytest.mark.parametrize("fault", FAULTS)
def test_the_arm_keeps_its_limits_and_moves_again_after(bench, fault):
    bench.moves_again()
    begun = len(bench.arm.commands)
    FAULTS[fault](bench, np.random.default_rng(0))
    bench.moves_again()
    assert len(bench.arm.commands) > begun
    bench.arm.audit()


def test_afterwards_rows_reach_the_disk(bench):
    """Whatever happened: the learner takes every row again, and its journal too."""
    bench.spin(1.0)
    recent = {stamp for _, stamp, _ in bench.arm.rows[-20:]}
    bench.wait(lambda: bench.journal.read() and recent <= bench.journal.rows.keys(), "the newest rows on the disk")
    assert bench.report("learner_node")["rows_not_taken"] == "0"


def test_the_bench_would_notice_a_broken_limit(bench):
    """The audit is no test that cannot fail."""
    arm = bench.arm
    broken, (stamp, position) = list(arm.broken), arm.commands[-1]
    try:
        arm._check(stamp + 20_000_000, arm.position - np.copysign(0.1, arm.position), 0)  # away from the limits of position
        arm._check(stamp + 20_000_000, arm.position * np.nan, 0)
        arm._moved = [(time.time_ns(), stamp + 10 * fault_bench.SECOND, 7)]
        with pytest.raises(AssertionError, match="outside limits"):
            arm.audit()
        told = arm.broken[len(broken) :]
        assert len(told) in (4, 5), told  # a jump of an arm that moved is told twice: its speed, and how that changed
        for fault in ("velocity", "position [nan", "command 7: moved on a chunk 10.", "command 7: moved on a measurement"):
            assert any(fault in sentence for sentence in told), (fault, told)
    finally:
        arm.broken[:] = broken
        arm.begin()


def test_a_killed_simulator_stops_the_arm_and_may_come_back(tmp_path):
    pytest.importorskip("mujoco")
    from graph import ENVIRONMENT, Listener
    from std_srvs.srv import SetBool, Trigger
    from test_processes_run import TOPICS, control_report, write_config

    from rl_token_ros.processes import NodeProcess
    from rl_token_ros.runner import Runner

    config = write_config(tmp_path)
    commands = {name: NodeProcess(name, (config,)).command() for name in ("sim_node", "vla_node", "control_node")}
    with Listener(TOPICS) as listener, Runner(commands, tmp_path / "logs", ENVIRONMENT) as runner:
        enable = listener._node.create_client(SetBool, "control_node/enable")
        reset = listener._node.create_client(Trigger, "control_node/reset_stop")

        def message() -> str:
            return control_report(listener).get("message", "")

        listener.wait(lambda: message().startswith("enabled") and len(listener.messages["command"]) > 50, "an enabled controller")
        runner.send("sim_node", signal.SIGKILL)
        listener.wait(lambda: message().startswith("stopped: the newest measurement is"), "the stop")
        held = [m.pose.position for m in listener.messages["command"][-10:]]
        assert np.ptp([[p.x, p.y, p.z] for p in held], axis=0).max() < 1e-9
        runner.restart("sim_node")
        listener.wait(lambda: any(p.name == "sim_node" for p in runner.ended()) or reset.service_is_ready(), "the simulator again")
        moving: list = []

        def moves() -> bool:
            """As an operator: reset, enable, and see it enabled."""
            if not moving or all(call.done() for call in moving):
                moving[:] = [reset.call_async(Trigger.Request()), enable.call_async(SetBool.Request(data=True))] if message().startswith(("stopped", "disabled")) else moving
            return message().startswith("enabled")

        listener.wait(moves, "enabled again")
