"""A driver that says what is not so, once the true one is silent: whatever stopped the arm, the false one does not lead it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import small_robot
from test_plausibility import MS, START, settings

from rl_token_ros.control.pipeline import Pipeline
from rl_token_ros.control.tick_record import Event
from rl_token_ros.interfaces.stamps import ns_to_stamp
from rl_token_ros.robot.readings import StateError

NAMES = ["a", "b", "finger"]
TRUE, FALSE = [0.3, -0.5, 0.0], [0.0, 0.0, 0.0]  # rad
SIDE = SimpleNamespace(live=True, taken=True, settled=True, acknowledged=True, silent=False, others=list, doubled=list)


class Robot:
    """A pipeline that is asked for no motion, every 20 ms, with drivers that speak every 10 ms."""

    def __init__(self, **changes) -> None:
        self.pipeline = Pipeline(settings(hold_timeout=100.0, **changes), lambda error: None)
        self.now, self.commands = START, []

    def go_on(self, seconds: float, *drivers: list[float]) -> None:
        for step in range(round(seconds * 100)):
            for position in drivers:
                self.now += 10 * MS // len(drivers)
                try:
                    message = SimpleNamespace(
                        header=SimpleNamespace(stamp=ns_to_stamp(self.now)), name=NAMES, position=position, velocity=[], effort=[]
                    )
                    self.pipeline.measure("joint_states", message, self.now)
                except StateError:
                    pass
            self.now += 0 if drivers else 10 * MS
            if step % 2:
                self.pipeline.propose(small_robot.reference(self.now, np.zeros((small_robot.HORIZON, 2)), names=["a", "b"]), self.now)
                self.step(Event.TICK)

    def step(self, event: Event) -> None:
        outputs = self.pipeline.step(event, self.now, SIDE)
        self.pipeline.watch(self.now, SIDE)
        if outputs.command is not None:
            self.commands.append(outputs.command.position)


@pytest.fixture
def robot() -> Robot:
    made = Robot()
    made.go_on(0.2, TRUE)
    made.step(Event.ENABLE)
    made.go_on(0.2, TRUE)
    return made


def stay(robot: Robot) -> float:
    """rad: how far the commands went from where the arm is."""
    return float(np.abs(np.array(robot.commands) - TRUE[:2]).max())


@pytest.mark.parametrize("silence", [0.0, 0.6, 5.0])
@pytest.mark.parametrize("event", [Event.STOP, Event.TICK, Event.DISABLE])
def test_it_does_not_lead_the_arm(robot, event, silence):
    robot.step(event)
    robot.go_on(silence)
    robot.go_on(3.0, FALSE)
    assert stay(robot) < 1e-9


@pytest.mark.parametrize("silence", [0.0, 5.0])
def test_nor_once_the_stop_is_reset(robot, silence):
    robot.go_on(0.5, TRUE, FALSE)
    assert robot.pipeline.controller.stopped
    robot.go_on(silence)
    robot.go_on(0.1, FALSE)
    robot.step(Event.RESET_STOP)
    robot.go_on(3.0, FALSE)
    assert stay(robot) < 1e-9 and not robot.pipeline.controller.holding.leaving


def test_of_two_that_were_told_apart_by_their_names_before_a_leap_was_heard(robot, monkeypatch):
    monkeypatch.setattr(SIDE, "doubled", lambda: ["two publishers bring a"])
    robot.go_on(0.1, TRUE)
    assert robot.pipeline.controller.stop_reason == "two publishers bring a"
    robot.go_on(5.0, FALSE)
    assert stay(robot) < 1e-9
