"""The state at the stamp of a picture: interpolated between the samples around it, each joint by itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl_token_ros.robot.history import MOST, SPAN_NS, StateHistory
from rl_token_ros.robot.proprioception import RobotState
from rl_token_ros.robot.readings import Reader

MS = 1_000_000
JOINTS = ["a", "b", "gripper"]
GROUPS = ["joint_position", "joint_velocity", "ee_position", "ee_orientation", "wrench_force"]


@pytest.fixture
def reader() -> Reader:
    return Reader(JOINTS, GROUPS)


@pytest.fixture
def history() -> StateHistory:
    return StateHistory(len(JOINTS))


def joints(history, reader, stamp_ns, **position):
    history.accept(reader.joints(stamp_ns, list(position), list(position.values()), [10.0 * value for value in position.values()]))


def test_each_joint_is_interpolated_between_its_own_samples(history, reader):
    """Arm and gripper from drivers of their own, whose stamps cross."""
    joints(history, reader, 100 * MS, a=1.0, b=2.0)
    joints(history, reader, 90 * MS, gripper=5.0)
    assert history.at(100 * MS, ["joint_position"]).values["joint_position"].tolist() == [1.0, 2.0, 5.0]
    joints(history, reader, 110 * MS, a=2.0, b=0.0)
    joints(history, reader, 190 * MS, gripper=6.0)
    moment = history.at(104 * MS, ["joint_position", "joint_velocity"])
    np.testing.assert_allclose(moment.values["joint_position"], [1.4, 1.2, 5.14])
    np.testing.assert_allclose(moment.values["joint_velocity"], [14.0, 12.0, 51.4])
    assert (moment.off_ns, moment.sample_ns) == (0, 14 * MS)
    assert moment.vector(["joint_velocity", "joint_position"]).tolist() == np.float32([14.0, 12.0, 51.4, 1.4, 1.2, 5.14]).tolist()


def test_nothing_is_extrapolated(history, reader):
    joints(history, reader, 100 * MS, a=1.0, b=2.0, gripper=3.0)
    joints(history, reader, 110 * MS, a=2.0, b=3.0)
    late = history.at(112 * MS, ["joint_position"])
    assert late.values["joint_position"].tolist() == [2.0, 3.0, 3.0] and (late.off_ns, late.sample_ns) == (12 * MS, 12 * MS)
    early = history.at(97 * MS, ["joint_position"])
    assert early.values["joint_position"].tolist() == [1.0, 2.0, 3.0] and (early.off_ns, early.sample_ns) == (3 * MS, 3 * MS)


def test_there_is_no_moment_before_every_joint_and_topic_has_come(history, reader):
    joints(history, reader, 1, a=1.0, b=2.0)
    assert history.at(1, ["joint_position"]) is None
    joints(history, reader, 1, gripper=1.0)
    assert history.at(1, ["joint_position"]) is not None
    assert history.at(1, ["joint_position", "wrench_force"]) is None
    assert history.at(1, []).vector([]).shape == (0,)
    assert StateHistory(0).at(1, ["joint_position"]) is None


@given(st.lists(st.floats(-10, 10), min_size=3, max_size=3), st.integers(0, 4))
def test_a_sample_of_the_very_stamp_is_not_touched(values, at):
    """The loop that is faster than real time stamps pictures and state alike: to the last bit it sees what was measured."""
    reader, history, state = Reader(JOINTS, GROUPS), StateHistory(len(JOINTS)), RobotState(JOINTS, GROUPS)
    wanted = None
    for k in range(5):
        turned = np.array([values[0] + k, values[1], values[2], 11.0])
        for reading in (
            reader.joints(k * MS, JOINTS, np.array(values) / (k + 1), np.array(values) * k),
            reader.pose(k * MS, np.array(values) + k, turned / np.linalg.norm(turned)),
            reader.wrench(k * MS, np.array(values) / 3, values),
        ):
            state.accept(reading)
            history.accept(reading)
        if k == at:
            wanted = state.vector(GROUPS)
    moment = history.at(at * MS, GROUPS)
    assert moment.vector(GROUPS).tobytes() == wanted.tobytes() and moment.off_ns == moment.sample_ns == 0


def test_an_orientation_turns_the_short_way_and_stays_a_unit_quaternion(history, reader):
    def about_z(angle):
        return np.array([0.0, 0.0, np.sin(angle / 2), np.cos(angle / 2)])

    history.accept(reader.pose(0, (0, 0, 0), about_z(0.2)))
    history.accept(reader.pose(10 * MS, (1, 0, 0), -about_z(0.4)))  # the same orientation as with the other sign
    moment = history.at(5 * MS, ["ee_position", "ee_orientation"])
    np.testing.assert_allclose(moment.values["ee_orientation"], about_z(0.3), atol=1e-12)
    np.testing.assert_allclose(moment.values["ee_position"], [0.5, 0, 0])


def test_a_joint_that_goes_over_from_pi_to_minus_pi_is_not_at_zero_between(history, reader):
    joints(history, reader, 0, a=3.14, b=0.0, gripper=0.0)
    joints(history, reader, 10 * MS, a=-3.14, b=1.0, gripper=0.0)
    assert history.at(4 * MS, ["joint_position"]).values["joint_position"].tolist() == [3.14, 0.4, 0.0]
    assert history.at(6 * MS, ["joint_position"]).values["joint_position"][0] == -3.14


def test_what_is_not_newer_is_left_out_and_after_forgetting_older_stamps_count_again(history, reader):
    joints(history, reader, 100 * MS, a=1.0, b=1.0, gripper=1.0)
    joints(history, reader, 100 * MS, a=2.0, b=2.0, gripper=2.0)
    joints(history, reader, 50 * MS, a=3.0, b=3.0, gripper=3.0)
    assert history.at(50 * MS, ["joint_position"]).values["joint_position"].tolist() == [1.0, 1.0, 1.0]
    history.forget()
    assert history.at(50 * MS, ["joint_position"]) is None
    joints(history, reader, 50 * MS, a=3.0, b=3.0, gripper=3.0)
    assert history.at(50 * MS, ["joint_position"]).values["joint_position"].tolist() == [3.0, 3.0, 3.0]


@pytest.mark.parametrize("period_ns, oldest_ns", [(10 * MS, 5000 * MS - SPAN_NS), (MS // 20, 5000 * MS - (MOST - 1) * MS // 20)])
def test_it_is_bounded_in_time_and_number(history, reader, period_ns, oldest_ns):
    for stamp in range(4400 * MS if period_ns < MS else 0, 5000 * MS + 1, period_ns):
        history.accept(reader.wrench(stamp, (stamp, 0, 0), (0, 0, 0)))
    assert history.at(0, ["wrench_force"]).values["wrench_force"][0] == oldest_ns


@given(st.lists(st.tuples(st.integers(0, 60), st.sets(st.sampled_from(range(3)), min_size=1)), min_size=1, max_size=20), st.integers(0, 60))
def test_joints_on_straight_lines_are_where_they_are(messages, stamp):
    """Whatever parts come in whatever order: a joint that moves evenly is found where it is, or at its nearest sample."""
    reader, history, state = Reader(JOINTS, ["joint_position"]), StateHistory(len(JOINTS)), RobotState(JOINTS, ["joint_position"])
    for at, brought in messages:
        reading = reader.joints(at, [JOINTS[joint] for joint in brought], [at * (joint + 1) / 60 for joint in brought])
        history.accept(reading)
        state.accept(reading)
    moment = history.at(stamp, ["joint_position"])
    assert (moment is None) == bool(state.missing(["joint_position"]))
    if moment is not None:
        for joint, value in enumerate(moment.values["joint_position"]):
            assert abs(value - stamp * (joint + 1) / 60) <= moment.off_ns * (joint + 1) / 60 + 1e-9
        assert max(0, stamp - state.stamps["joint_states"]) <= moment.off_ns <= moment.sample_ns
