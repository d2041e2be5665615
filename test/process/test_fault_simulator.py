"""The arm's own node is killed, here the simulator, with real processes and a domain of their own."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("mcap")
pytest.importorskip("mujoco")

from damage import SIMULATOR_FAULTS
from fault_bench import SimulatorBench


@pytest.mark.parametrize("fault", SIMULATOR_FAULTS)
def test_the_arm_keeps_its_limits_and_moves_again_after(tmp_path, domain, fault):
    with SimulatorBench(tmp_path, domain) as bench:
        SIMULATOR_FAULTS[fault](bench, np.random.default_rng(0))
        bench.audited()
