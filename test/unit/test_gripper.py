"""Grippers beside what is learned: the VLA's or the human's positions, clipped, and nothing while the arm holds."""

from __future__ import annotations

import numpy as np
import pytest
import small_robot
from builtin_interfaces.msg import Duration, Time
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from rl_token_ros.control.chunk import from_trajectory
from rl_token_ros.control.gripper import Gripper
from rl_token_ros.control.proposals import Proposals
from rl_token_ros.interfaces.codes import Source
from rl_token_ros.settings.parameters import ParameterError

SECOND = 1_000_000_000
NOW = 100 * SECOND


def reference(positions: list[float], sec: int = 100, names=("x", "y", "z", "finger")) -> JointTrajectory:
    message = JointTrajectory(joint_names=list(names))
    message.header.stamp = Time(sec=sec)
    message.points = [
        JointTrajectoryPoint(positions=[0.0, 0.0, 0.0, p], time_from_start=Duration(nanosec=20_000_000 * i)) for i, p in enumerate(positions)
    ]
    return message


class Grippers:
    """The pipeline's part that grippers need, without its models."""

    def __init__(self) -> None:
        self.settings = small_robot.settings(gripper_names=["finger"], gripper_min=[0.0], gripper_max=[0.8])
        self.proposals = Proposals(self.settings)
        self.gripper = Gripper(self.settings, self.proposals)

    def propose(self, message: JointTrajectory, now: int) -> None:
        self.proposals.set_chunk(from_trajectory(message, ["x", "y", "z"], self.settings.chunk_dt, ["finger"]), now)

    def intervene(self, message: JointState, now: int) -> None:
        self.proposals.set_human(now, np.zeros(3), self.gripper.of_human(message))

    def position(self, now: int, source: Source) -> list[float] | None:
        found = self.gripper.position(now, source)
        return None if found is None else found.tolist()


@pytest.fixture
def gripper() -> Grippers:
    return Grippers()


def test_the_chunks_column_is_followed_in_time_and_clipped(gripper):
    gripper.propose(reference([0.1, 0.2, 5.0]), NOW)
    for source in (Source.VLA, Source.ACTOR):
        assert gripper.position(NOW, source) == [0.1]
        assert gripper.position(NOW + 25_000_000, source) == [0.2]
        assert gripper.position(NOW + 45_000_000, source) == [0.8]
    assert gripper.position(NOW + 65_000_000, Source.VLA) is None  # the chunk is over: the grip stays


def test_older_chunks_change_nothing(gripper):
    gripper.propose(reference([0.1] * 50), NOW)
    gripper.propose(reference([0.7] * 50, sec=99), NOW)
    assert gripper.position(NOW, Source.VLA) == [0.1]


@pytest.mark.parametrize("broken", [reference([float("nan")] * 50, sec=101), reference([0.7] * 50, sec=101, names=("x", "y", "z", "thumb"))])
def test_a_chunk_whose_grippers_cannot_be_used_leaves_the_grip_as_it_is(gripper, broken):
    gripper.propose(reference([0.1] * 50), NOW)
    gripper.propose(broken, NOW + SECOND)
    assert gripper.position(NOW + SECOND, Source.VLA) is None
    assert gripper.proposals.base(NOW + SECOND).tolist() == [0.0, 0.0, 0.0]  # the arm goes on


def test_a_chunk_from_before_the_clock_was_set_back_does_not_keep_later_ones_out(gripper):
    gripper.propose(reference([0.1] * 50), NOW)
    gripper.propose(reference([0.2] * 50, sec=50), NOW - 50 * SECOND)
    assert gripper.position(NOW - 50 * SECOND, Source.VLA) == [0.2]


def test_a_human_moves_the_gripper_he_names_and_no_other(gripper):
    gripper.propose(reference([0.1] * 50), NOW)
    gripper.intervene(JointState(name=["x", "y", "z"], position=[0.0, 0.0, 0.0]), NOW)
    assert gripper.position(NOW, Source.HUMAN) is None
    gripper.intervene(JointState(name=["finger", "x"], position=[0.4, 0.0]), NOW)
    assert gripper.position(NOW + 100_000_000, Source.HUMAN) == [0.4]
    assert gripper.position(NOW + SECOND, Source.HUMAN) is None  # not fresh any more
    assert gripper.position(NOW, Source.VLA) == [0.1]


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"gripper_names": ["finger"]}, "'gripper_min' has 0 numbers; write 1"),
        ({"gripper_names": ["x"]}, "'gripper_names' has x, also in 'action_names'"),
    ],
)
def test_a_gripper_that_is_not_described_is_refused(changes, says):
    with pytest.raises(ParameterError, match=says):
        small_robot.settings(**changes)
