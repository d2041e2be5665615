"""A clock that jumps or loops, with real processes and a domain of their own."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("mcap")

import fault_bench


def test_a_clock_that_jumps_or_loops_stops_the_arm_until_it_is_reset(tmp_path, domain):
    with fault_bench.FaultBench(tmp_path, domain, nodes=("control_node",), sim_time=True) as bench:
        fault_bench.clock_jumps(bench, np.random.default_rng(0))
        bench.arm.audit()
