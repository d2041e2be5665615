"""Goals of a gripper's action: few, one at a time, the newest command wins, and what fails is counted, said and tried again."""

from __future__ import annotations

import pytest

from rl_token_ros.control.gripper_goals import ABORTED, ANSWER_NS, CANCELED, RETRY_NS, SUCCEEDED, GripperGoals

TICK = 20_000_000


@pytest.fixture
def goals() -> GripperGoals:
    return GripperGoals("/gripper/command", 0.005)


def accepted(goals: GripperGoals, position: float, now: int) -> int:
    assert goals.due(position, now)
    number = goals.begin(position, now)
    goals.answered(number, True, now)
    return number


def test_a_command_that_hardly_changes_is_one_goal(goals):
    accepted(goals, 0.040, 0)
    assert not any(goals.due(0.040 + drift, TICK) for drift in (0.0, 0.0049, -0.0049))
    assert goals.due(0.0451, TICK) and goals.due(0.0349, TICK)
    assert goals.sent == 1


def test_drift_in_small_steps_is_followed(goals):
    """Compared with the newest goal, not with the command of the tick before."""
    accepted(goals, 0.0, 0)
    for step in range(1, 101):
        position = 0.0004 * step
        if goals.due(position, step * TICK):
            accepted(goals, position, step * TICK)
        assert abs(position - goals._target) <= 0.005
    assert 1 < goals.sent <= 1 + 0.04 / 0.005


def test_one_is_on_its_way_at_a_time_and_then_the_newest_command_goes(goals):
    goals.begin(0.04, 0)
    assert not goals.due(0.0, TICK) and not goals.due(0.08, 2 * TICK)
    goals.answered(1, True, 3 * TICK)
    assert goals.due(0.08, 4 * TICK)
    assert goals.begin(0.08, 4 * TICK) == 2
    goals.ended(1, CANCELED, False)  # replaced
    goals.ended(1, ABORTED, False)  # as some servers call it
    assert (goals.aborted, goals.trouble) == (0, "")


def test_what_was_aborted_is_said_and_not_repeated(goals):
    number = accepted(goals, 0.0, 0)
    goals.ended(number, ABORTED, False)
    assert goals.aborted == 1 and "'/gripper/command' has aborted the goal 0;" in goals.trouble
    assert not goals.due(0.001, 100 * RETRY_NS), "it may hold a part"
    goals.ended(accepted(goals, 0.08, 100 * RETRY_NS), SUCCEEDED, False)
    assert goals.trouble == ""


@pytest.mark.parametrize("status", [SUCCEEDED, ABORTED])
def test_a_grip_is_no_trouble(goals, status):
    """The gripper stalls at the part: with the controller's allow_stalling that is a success, without it is aborted."""
    goals.ended(accepted(goals, 0.0, 0), status, True)
    assert (goals.stalled, goals.aborted, goals.trouble) == (1, 0, "")
    assert not goals.due(0.0, 100 * RETRY_NS)


def test_what_was_rejected_is_said_and_tried_again_after_a_while(goals):
    goals.begin(0.04, 0)
    goals.answered(1, False, TICK)
    assert goals.rejected == 1 and "'/gripper/command' rejects the goal 0.04: is its controller active" in goals.trouble
    assert not goals.due(0.04, 2 * TICK) and not goals.due(0.08, 2 * TICK)
    assert goals.due(0.04, TICK + RETRY_NS)
    accepted(goals, 0.04, TICK + RETRY_NS)
    assert goals.trouble == ""


def test_without_a_server_nothing_is_sent_and_it_is_said(goals):
    assert goals.due(0.04, 0)
    goals.no_server(0)
    assert (goals.absent, goals.sent) == (1, 0) and "nobody serves '/gripper/command'" in goals.trouble
    assert not goals.due(0.04, TICK) and goals.due(0.04, RETRY_NS)


def test_a_server_that_does_not_answer_is_given_up(goals):
    goals.begin(0.04, 0)
    assert not goals.due(0.04, ANSWER_NS - 1) and goals.unanswered == 0
    assert not goals.due(0.04, ANSWER_NS), "not at once"
    assert goals.unanswered == 1 and "has not answered to the goal 0.04" in goals.trouble
    accepted(goals, 0.04, ANSWER_NS + RETRY_NS)
    goals.answered(1, False, ANSWER_NS + RETRY_NS)  # at last
    assert (goals.rejected, goals.trouble) == (0, "")


def test_a_clock_that_goes_back_does_not_hold_goals_up(goals):
    goals.begin(0.04, 10 * ANSWER_NS)
    goals.due(0.04, 0)
    assert goals.due(0.04, RETRY_NS)


def test_after_somebody_else_moved_it_the_same_command_is_a_goal_again(goals):
    accepted(goals, 0.04, 0)
    assert not goals.due(0.04, TICK)
    goals.forget()
    assert goals.due(0.04, TICK)
