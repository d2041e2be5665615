"""Tick clocks count what was missed; percentiles are those of the newest values."""

from __future__ import annotations

import pytest

from rl_token_ros.interfaces.stamps import AHEAD_NS, from_future
from rl_token_ros.system.timing import Percentiles, TickClock

PERIOD = 20_000_000


def clock(*times: float) -> TickClock:
    made = TickClock(PERIOD)
    for time in times:
        made.tick(round(time * PERIOD))
    return made


def test_regular_ticks_are_neither_late_nor_missed():
    made = clock(*range(10, 20))
    assert (made.ticks, made.missed, made.lateness.maximum) == (10, 0, 0.0)
    assert made.period.at(50) == [pytest.approx(0.02)]


def test_a_late_tick_is_late_but_not_missed():
    made = clock(10, 11.9, 12)
    assert made.missed == 0
    assert made.lateness.maximum == pytest.approx(0.9 * 0.02)


def test_a_stall_counts_each_missed_tick_once():
    assert clock(10, 11, 15.5, 16, 17).missed == 3


def test_the_schedule_is_that_of_the_earliest_tick():
    made = clock(10.5, 11, 12, 13)  # the first came late
    assert made.missed == 0
    assert made.lateness.at(100) == [0.0]
    assert clock(10.5, 11, 12.4).lateness.maximum == pytest.approx(0.4 * 0.02)


def test_a_clock_that_goes_back_misses_nothing():
    made = clock(1000, 1001, 5, 6)
    assert made.missed == 0
    assert made.lateness.maximum == 0.0


def test_percentiles_are_of_the_newest_values_and_the_maximum_of_all():
    values = Percentiles(size=10)
    assert values.at(50, 99) == [0.0, 0.0]
    for value in [1000, *range(1, 11)]:
        values.add(value)
    assert values.at(0, 50, 100) == [1, 5.5, 10]
    assert (values.count, values.maximum) == (11, 1000)
    assert values.report("x_ms", 2.0) == {"x_ms_p50": "11.000", "x_ms_p99": "19.820", "x_ms_max": "2000.000"}


def test_a_stamp_is_from_the_future_only_beyond_what_clocks_differ():
    assert not from_future(AHEAD_NS, 0)
    assert from_future(AHEAD_NS + 1, 0)
    assert not from_future(0, 10 * AHEAD_NS)
