"""Horizon, chunk length, rates and latency held against each other, and what is said of steps that are not recorded."""

from __future__ import annotations

import numpy as np
import pytest
import small_robot

from rl_token_ros.control.chunk import Chunk
from rl_token_ros.control.condition import LEAST_STEPS, unrecorded
from rl_token_ros.settings import parameters
from rl_token_ros.settings.horizon import most_age, refusal, shortfall
from rl_token_ros.settings.vla import Vla

MS = 1_000_000


def vla(**changes) -> Vla:
    return parameters.build(Vla, small_robot.shared(vla_proprioception=["ee_position"], **changes))


@pytest.mark.parametrize("steps", [8, 10, 16, 50])
@pytest.mark.parametrize("rate", [5.0, 15.0, 50.0])
@pytest.mark.parametrize("control_rate, chunk_length", [(50.0, 10), (60.0, 10), (20.0, 5), (200.0, 40)])
def test_a_window_exists_exactly_up_to_that_age(steps, rate, control_rate, chunk_length):
    """Real policies' horizons and rates against windows of the robot's: by the chunk itself, not by the formula."""
    settings = vla(chunk_dt=1.0 / rate, control_rate=control_rate, chunk_length=chunk_length)
    chunk, period_ns = Chunk(0, round(1e9 / rate), np.zeros((steps, 1))), round(1e9 / control_rate)
    age_ns = round(most_age(settings, steps) * 1e9)
    assert bool(refusal(settings, steps)) == (age_ns <= 0)
    if age_ns > 0:
        assert chunk.window(age_ns - MS, period_ns, chunk_length) is not None
    assert chunk.window(max(age_ns, 0) + MS, period_ns, chunk_length) is None


def test_a_slow_policy_reaches_further_than_its_number_of_steps():
    """Eight steps at 15 Hz are half a second: ten control steps at 60 Hz fit."""
    settings = vla(chunk_dt=1 / 15, control_rate=60.0, chunk_length=10, query_rate=10.0)
    assert not refusal(settings, 8) and not shortfall(settings, 8, 0.1)
    assert most_age(settings, 8) == pytest.approx(0.383, abs=1e-3)


def test_a_horizon_that_records_next_to_nothing_is_said_with_what_to_write():
    settings = vla(chunk_dt=0.02, control_rate=50.0, chunk_length=10, query_rate=10.0)
    said = shortfall(settings, 10, 0.03)
    assert "about 100 % of control steps" in said and "write chunk_length 4 or less" in said
    assert not shortfall(vla(chunk_dt=0.02, control_rate=50.0, chunk_length=4, query_rate=10.0), 10, 0.03)
    assert "about 40 %" in shortfall(settings, 14, 0.04)
    assert "query faster" in shortfall(vla(chunk_dt=0.02, chunk_length=1, query_rate=1.0), 10, 0.03)


def test_steps_that_are_not_recorded_are_said_when_they_are_many():
    assert not unrecorded({"short_window": LEAST_STEPS - 1}, 0)
    assert not unrecorded({"short_window": LEAST_STEPS, "held": 10_000}, 10_000)
    said = unrecorded({"short_window": 300, "no_token": 20, "held": 5}, 80)
    assert said.startswith("320 of 400 critical steps were not recorded, mostly for chunks that do not reach chunk_length steps")
