"""All that control_node decides about the side that takes its commands, without a graph: who else sends, who listens, when to begin."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import small_robot
from small_robot import DOWN, HOME

from rl_token_ros.control.arming import Refused
from rl_token_ros.control.command import Outputs
from rl_token_ros.control.command_side import UNNAMED
from rl_token_ros.control.condition import condition
from rl_token_ros.control.pipeline import Pipeline
from rl_token_ros.control.tick_record import Event

PERIOD = 20_000_000


@dataclass
class Side:
    """A live arm's side of `command`, as told."""

    taken: bool = True
    settled: bool = True
    acknowledged: bool = True
    silent: bool = False
    names: list[str] = field(default_factory=list)
    live: bool = True
    twice: list[str] = field(default_factory=list)

    def others(self) -> list[str]:
        return self.names

    def doubled(self) -> list[str]:
        return self.twice


class Robot:
    """A pipeline with measurements and chunks, and the side that takes its commands."""

    def __init__(self, models: dict, **changes) -> None:
        settings = small_robot.settings(token_encoder=str(models["encoder"]), vla_model="", **changes)
        self.pipeline, self.side, self.now = Pipeline(settings, lambda error: None), Side(), 10**12
        self.events: list[int] = []

    def step(self, event: Event = Event.TICK) -> Outputs:
        self.now += PERIOD
        controller = self.pipeline.controller
        controller.state.update_pose(self.now, HOME, DOWN)
        controller.state.update_wrench(self.now, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
        self.pipeline.propose(small_robot.reference(self.now, np.full((small_robot.HORIZON, 3), 0.0005)), self.now)
        return self._noted(self.pipeline.step(event, self.now, self.side))

    def watch(self) -> Outputs:
        return self._noted(self.pipeline.watch(self.now, self.side))

    def _noted(self, outputs: Outputs) -> Outputs:
        self.events += [self.pipeline.layout.unpack(raw).event for raw in outputs.ticks]
        return outputs


@pytest.fixture
def robot(models) -> Robot:
    made = Robot(models)
    made.step()
    return made


def test_enabling_a_live_arm_waits_until_a_command_is_acknowledged(robot):
    robot.side.acknowledged = False
    robot.step(Event.ENABLE)
    assert condition(robot.pipeline, robot.now, robot.side) == ("warn", "enabled, waiting until 'command' is acknowledged")
    first = robot.step()
    assert first.command.holding and first.command.position.tolist() == HOME.tolist()
    assert not any(robot.step().command is not None and robot.pipeline.controller.filter.moving for _ in range(10))
    robot.side.acknowledged = True
    assert robot.step().command is not None and robot.pipeline.controller.handshake.steps == 0
    assert robot.events[:3] == [Event.TICK, Event.ENABLE, Event.AWAIT_HANDSHAKE] and robot.events[-2:] == [Event.HANDSHAKE, Event.TICK]
    assert condition(robot.pipeline, robot.now, robot.side) == ("ok", "enabled, mode vla")


@pytest.mark.parametrize(
    "side, says",
    [
        ({"taken": False}, "nobody takes 'command'; start the arm's controller"),
        ({"settled": False}, "who else publishes 'command' is not known yet"),
        ({"names": ["/servo"]}, "'command' is also published by /servo; stop that first"),
        ({"twice": ["'ee_pose' has two publishers, /a and /b"]}, "'ee_pose' has two publishers"),
        ({"twice": ["'ee_pose' has two publishers"], "names": ["/servo"]}, "'ee_pose' has two publishers; 'command' is also published by /servo"),
    ],
)
def test_it_is_refused_and_nothing_is_logged(robot, side, says):
    robot.side = Side(**side)
    before = list(robot.events)
    with pytest.raises(Refused, match=says):
        robot.step(Event.ENABLE)
    robot.side = Side()
    robot.watch()
    assert robot.events == before and not robot.pipeline.controller.enabled


def test_enabling_twice_is_one_call(robot):
    robot.step(Event.ENABLE)
    count = len(robot.events)
    robot.step(Event.ENABLE)
    assert len(robot.events) == count


@pytest.mark.parametrize(
    "change, says",
    [
        ({"names": ["/servo"]}, "'command' is also published by /servo; stop that first"),
        ({"taken": False}, "nobody takes 'command' any more"),
        ({"twice": ["'ee_pose' has two publishers, /a and /b"]}, "'ee_pose' has two publishers"),
    ],
)
def test_a_moving_arm_is_stopped_in_the_log(robot, change, says):
    robot.step(Event.ENABLE)
    robot.step()
    robot.watch()
    assert not robot.pipeline.controller.stopped
    robot.side = Side(**change)
    robot.watch()
    assert robot.pipeline.controller.stop_reason.startswith(says) and robot.events[-1] == Event.STOP
    robot.watch()
    assert robot.events.count(Event.STOP) == 1  # latched
    robot.side = Side()
    robot.watch()
    assert robot.pipeline.controller.stopped


def test_a_name_that_comes_later_is_told(robot):
    robot.step(Event.ENABLE)
    robot.side = Side(names=[f"/{UNNAMED}"])
    robot.watch()
    robot.side = Side(names=["/servo"])
    robot.watch()
    assert robot.pipeline.controller.stop_reason == "'command' is also published by /servo; stop that first"


def test_with_enable_on_start_it_begins_by_itself_once(models):
    robot = Robot(models, enable_on_start=True)
    robot.side = Side(taken=False)
    assert robot.step().said == "waiting to enable: nobody takes 'command'; start the arm's controller"
    robot.side = Side()
    robot.step()
    assert robot.pipeline.controller.enabled
    robot.step(Event.DISABLE)
    for _ in range(200):
        robot.step()
    assert not robot.pipeline.controller.enabled


def test_grippers_that_are_not_in_the_chunk_are_said(models):
    said: list[str] = []
    settings = small_robot.settings(
        token_encoder=str(models["encoder"]), vla_model="", gripper_names=["finger"], gripper_min=[0.0], gripper_max=[1.0]
    )
    pipeline = Pipeline(settings, lambda error: said.append(str(error)))
    pipeline.propose(small_robot.reference(10**12, np.zeros((small_robot.HORIZON, 3))), 10**12)
    assert said == [
        "'vla/reference' has no finite positions of finger; they keep their grip. Write the same 'gripper_names' for vla_node and control_node"
    ]
    assert pipeline.controller.proposals.base(10**12) is not None  # the arm goes on
