"""The audit of the fault tests finds what it is there to find, and nothing else."""

from __future__ import annotations

import time

import numpy as np
import pytest
from audit import SECOND, CommandAudit

from rl_token_ros.control.safety_filter import Limits

PERIOD = 20_000_000  # ns
STEP = 0.002  # of a command from rest: 5 rad/s^2 for a period of 0.02 s, for a period
LIMITS = Limits(np.full(1, -1.0), np.full(1, 1.0), np.full(1, 0.5), np.full(1, 5.0), np.full(1, np.inf))


@pytest.fixture
def audit() -> CommandAudit:
    """Of an arm that was told to be at 0 in time for every period, the last at 1000 s; measurements and chunks are as fresh."""
    made = CommandAudit(LIMITS, 0.02, np.zeros(1), {"chunk": 0.8, "measurement": 0.5})
    for i in range(-5, 1):
        hear(made, i, 0.0)
    return made


def hear(audit: CommandAudit, period: float, position: float, known: float | None = None) -> None:
    """A command of a control step so many periods after 1000 s, when chunks and measurements of the step ``known`` were there."""
    stamp, sent = 1000 * SECOND + round(period * PERIOD), time.time_ns()
    for what in ("chunk", "measurement"):
        audit.said(what, sent, 1000 * SECOND + round((period if known is None else known) * PERIOD))
    audit.take(stamp, np.full(1, position), sent)


@pytest.mark.parametrize(
    "heard, says",
    [
        ([(1, 1.0 + 1e-6)], "position"),
        ([(1, np.nan)], "position [nan]"),
        ([(1, 1.0001 * STEP)], "velocity [0.] then [0.10001]"),
        ([(1, STEP), (2, 3 * STEP), (3, 6 * STEP), (4, 10 * STEP), (5, 15 * STEP), (6, 20.001 * STEP)], "velocity [0.5001"),
        ([(1, STEP), (2, 0.0)], "velocity [0.1] then [-0.1]"),
        ([(3, 15.01 * STEP)], "in 3 periods"),
    ],
)
def test_it_tells_a_command_outside_limits(audit, heard, says):
    for period, position in heard[:-1]:
        hear(audit, period, position)
    audit.finish()
    hear(audit, *heard[-1])
    with pytest.raises(AssertionError, match="outside limits"):
        audit.finish()
    assert says in audit.broken[0]


@pytest.mark.parametrize("age, what", [(26, ["measurement"]), (41, ["chunk", "measurement"])])
def test_it_tells_a_command_that_moves_on_what_is_too_old(audit, age, what):
    audit._said = {"chunk": [], "measurement": []}
    hear(audit, 1, STEP, known=1 - age)
    with pytest.raises(AssertionError):
        audit.finish()
    assert [sentence.split()[5] for sentence in audit.broken] == what


@pytest.mark.parametrize("said", [True, False])
def test_what_a_command_followed_may_be_heard_after_it(audit, said):
    audit._said = {"chunk": [], "measurement": []}
    stamp = 1000 * SECOND + PERIOD
    audit.take(stamp, np.full(1, STEP), 2 * PERIOD)
    audit.finish(until_ns=PERIOD)
    if said:
        audit.said("chunk", PERIOD, stamp)
        audit.said("measurement", PERIOD, stamp)
        audit.finish(until_ns=2 * PERIOD)
    else:
        with pytest.raises(AssertionError, match="outside limits"):
            audit.finish(until_ns=2 * PERIOD)


def test_an_arm_that_rests_may_do_so_on_old_data(audit):
    hear(audit, 1, 0.0, known=-1000)
    audit.finish()


@pytest.mark.parametrize("late", [0.0, 0.3, 0.7, 0.85])
def test_late_steps_and_lost_messages_are_no_broken_limits(audit, late):
    """A step may be late by nearly a period, while those around it are in time; the first here was sent and has not arrived."""
    hear(audit, 1 + late, STEP)
    hear(audit, 3, 6 * STEP)  # 2 is lost
    hear(audit, 4, 10 * STEP)
    hear(audit, 5, 15 * STEP)
    audit.finish()
    assert audit.gaps == 1


def test_who_begins_anew_begins_at_rest_where_the_arm_is(audit):
    hear(audit, 1, STEP)
    audit.begin()
    hear(audit, 500, STEP)
    hear(audit, 501, 2 * STEP)
    audit.finish()
    audit.begin()
    hear(audit, 900, 3.5 * STEP)
    with pytest.raises(AssertionError):
        audit.finish()


def test_what_a_killed_node_sent_last_is_not_its_successors(audit):
    """It arrives after the death; a successor that began at rest is judged from there."""
    sent = time.time_ns()
    audit.said("chunk", sent, 1000 * SECOND)
    audit.said("measurement", sent, 1000 * SECOND)
    hear(audit, 1, STEP)
    audit.begin()
    audit.take(1000 * SECOND + 2 * PERIOD, np.full(1, 3 * STEP), sent)
    hear(audit, 200, 3 * STEP)
    hear(audit, 201, 4 * STEP)
    audit.finish()
