"""Faults, each done to real processes: no command leaves a limit or follows old data, what was synced is kept, and the arm moves again."""

from __future__ import annotations

import signal

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("mcap")

from damage import FAULTS
from fault_bench import FaultBench


@pytest.fixture(scope="module")
def bench(tmp_path_factory, domain):
    """One graph for all: what a fault leaves behind is the next one's beginning."""
    with FaultBench(tmp_path_factory.mktemp("faults"), domain) as made:
        yield made


@pytest.mark.parametrize("fault", FAULTS)
def test_the_arm_keeps_its_limits_and_moves_again_after(bench, fault):
    bench.moves_again()
    begun = len(bench.arm.audit.commands)
    FAULTS[fault](bench, np.random.default_rng(0))
    bench.moves_again()
    assert len(bench.arm.audit.commands) > begun
    bench.audited()


def test_afterwards_rows_reach_the_disk(bench):
    """Whatever happened: the learner takes every row again, and its journal too."""
    bench.spin(1.0, practising=True)
    recent = {stamp for _, stamp, _ in bench.arm.rows[-20:]}
    bench.wait(lambda: bench.journal.read() and recent <= bench.journal.rows.keys(), "the newest rows on the disk")
    assert bench.report("learner_node")["rows_not_taken"] == "0"


def test_an_operator_is_obeyed_by_a_node_that_stood_still_meanwhile(bench):
    """Calls that wait side by side are answered in any order: enabled and then reset, it would be disabled again, time after time."""
    bench.moves_again()
    bench.arm.joints, right = lambda stamp, position: (stamp, position * np.nan), bench.arm.joints
    bench.wait(bench.stopped, "the stop")
    bench.arm.joints = right
    bench.wait(bench.arm.operator.reset, "the stop is reset")
    bench.wait(lambda: bench.report("control_node").get("message") == "disabled: call ~/enable", "ready to be enabled")

    def count() -> int:
        return bench.runner.log("control_node").read_text().count("enabled: the arm may move")

    enabled = count()
    bench.runner.send("control_node", signal.SIGSTOP)
    bench.spin(0.2, practising=True)
    bench.runner.send("control_node", signal.SIGCONT)
    bench.wait(lambda: count() > enabled, "enabled", practising=True)
    bench.moves_again()
    assert count() == enabled + 1
