"""When the VLA is asked: as often as `query_rate` says, whatever the cameras' jitter."""

from __future__ import annotations

import numpy as np
import pytest
import small_robot

from rl_token_ros.settings import parameters
from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla.query_scheduler import QueryScheduler

MS = 1_000_000
START = 10**12


def scheduler(rate: float = 10.0) -> QueryScheduler:
    return QueryScheduler(parameters.build(Vla, small_robot.shared(query_rate=rate, vla_proprioception=["ee_position"])))


@pytest.mark.parametrize("jitter", [0, 5, 15])
def test_jitter_costs_no_query(jitter):
    """Pictures at 30 Hz that come up to 15 ms late."""
    random, made, asked = np.random.default_rng(0), scheduler(), []
    for n in range(900):
        now = START + n * 1000 * MS // 30 + int(random.integers(0, jitter + 1)) * MS
        if made.due(now):
            made.asked(now)
            made.answered()
            asked.append(now)
    assert 297 <= len(asked) <= 301
    assert max(np.diff(asked)) < 160 * MS


def test_no_query_begins_while_one_is_under_way_and_lost_time_is_not_made_up_for():
    made = scheduler()
    assert made.due(START)
    made.asked(START)
    assert not made.due(START + 100 * MS)
    made.answered()
    assert not made.due(START + 80 * MS) and made.due(START + 450 * MS)
    made.asked(START + 450 * MS)
    made.answered()
    assert not made.due(START + 500 * MS) and made.due(START + 550 * MS)


def test_a_clock_that_was_set_back_keeps_nothing_waiting():
    made = scheduler()
    made.asked(START)
    made.answered()
    assert made.due(START - 1000 * MS)


def test_a_query_that_began_a_little_early_is_not_followed_by_another_at_once():
    """As of a VLA that answers within milliseconds, or of a bag, where an answer takes no time."""
    made = scheduler()
    for early in (0, 5, 9):
        made.asked(START + (100 - early) * MS)
        made.answered()
        assert not made.due(START + (100 - early) * MS) and not made.due(START + 110 * MS)
        assert made.due(START + 195 * MS)
        made = scheduler()
        made.asked(START)
        made.answered()
