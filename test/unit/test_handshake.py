"""When commands are known to arrive."""

from __future__ import annotations

import pytest

from rl_token_ros.control.handshake import Handshake


def waiting(rate: float, steps: int) -> Handshake:
    handshake = Handshake(rate)
    handshake.steps = 1
    for _ in range(steps):
        handshake.step()
    return handshake


@pytest.mark.parametrize("rate, between", [(50.0, 5), (200.0, 20), (5.0, 1)])
def test_the_measured_position_is_said_ten_times_a_second_from_the_first_step_on(rate, between):
    handshake = Handshake(rate)
    handshake.steps = 1
    said = [step for step in range(100) if handshake.step()]
    assert said == list(range(0, 100, between))


def test_nothing_is_proven_before_something_was_said():
    assert not waiting(50.0, 0).proven(acknowledged=True, silent=False)
    assert waiting(50.0, 1).proven(acknowledged=True, silent=False)


def test_what_is_not_acknowledged_has_not_arrived():
    assert not waiting(50.0, 100).proven(acknowledged=False, silent=False)
    assert not waiting(50.0, 100).proven(acknowledged=False, silent=True)


def test_who_does_not_acknowledge_is_given_half_a_second():
    assert not waiting(50.0, 24).proven(acknowledged=True, silent=True)
    assert waiting(50.0, 25).proven(acknowledged=True, silent=True)


def test_after_ten_seconds_it_is_too_late():
    assert not waiting(50.0, 499).overdue
    assert waiting(50.0, 500).overdue
