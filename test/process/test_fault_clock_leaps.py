"""A clock that jumps or loops, with real processes and a domain of their own."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("mcap")

from damage import CLOCK_FAULTS
from fault_bench import ClockBench


@pytest.mark.parametrize("fault", CLOCK_FAULTS)
def test_it_stops_the_arm_until_it_is_reset(tmp_path, domain, fault):
    with ClockBench(tmp_path, domain) as bench:
        CLOCK_FAULTS[fault](bench, np.random.default_rng(0))
        bench.audited()
