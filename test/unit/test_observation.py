"""Measurements and pictures in time: what is not newer, not whole or not finite is not used."""

from __future__ import annotations

import numpy as np
import pytest
import small_robot
from hypothesis import given
from hypothesis import strategies as st

from rl_token_ros.robot.proprioception import RobotState
from rl_token_ros.robot.readings import StateError
from rl_token_ros.settings import parameters
from rl_token_ros.settings.proprioception_groups import size
from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla.observation import Synchroniser

SECOND = 1_000_000_000
PICTURE = np.zeros((small_robot.IMAGE, small_robot.IMAGE, 3), np.uint8)


@pytest.fixture
def state() -> RobotState:
    return RobotState(["a", "b"], ["joint_position", "joint_velocity", "ee_position", "wrench_force"])


@pytest.fixture
def synchroniser() -> Synchroniser:
    made = Synchroniser(parameters.build(Vla, small_robot.shared(cameras=["base", "wrist"], vla_proprioception=["ee_position"])))
    pose(made, SECOND)
    return made


def pose(synchroniser: Synchroniser, stamp_ns: int, position=small_robot.HOME) -> None:
    synchroniser.accept(synchroniser.state.reader.pose(stamp_ns, position, small_robot.DOWN))


def test_joints_are_mapped_by_name_and_extra_ones_ignored(state):
    state.update_joints(1, ["gripper", "b", "a"], [9.0, 2.0, 1.0], [90.0, 20.0, 10.0])
    np.testing.assert_array_equal(state.vector(["joint_position", "joint_velocity"]), [1, 2, 10, 20])


@pytest.mark.parametrize(
    "names, position, velocity, says",
    [
        (["a", "b"], [1.0], [1.0, 1.0], "2 names and 1 values of joint_position"),
        (["a", "b"], [], [1.0, 1.0], "2 names and 0 values of joint_position"),
        (["a", "b"], [1.0, 1.0], [], "0 values of joint_velocity"),
        (["a", "b"], [1.0, np.nan], [1.0, 1.0], "not finite"),
        (["a", "b"], [1.0, 1.0], [np.inf, 1.0], "not finite"),
    ],
)
def test_joint_states_that_lack_what_is_needed_are_refused_whole(state, names, position, velocity, says):
    state.update_joints(1, ["a", "b"], [5.0, 6.0], [7.0, 8.0])
    with pytest.raises(StateError, match=says):
        state.update_joints(2, names, position, velocity)
    np.testing.assert_array_equal(state.values["joint_position"], [5.0, 6.0])
    assert state.stamps == {"joint_states": 1}


def test_joints_of_several_drivers_have_stamps_of_their_own(state):
    """Arm and gripper, or two arms, on one topic: each message brings a part, and the stamps of the two cross."""
    state.update_joints(50, ["gripper"], [9.0])
    assert state.missing(["joint_position"])
    assert "brings a, b; there is gripper" in state.why_missing(["joint_position"])
    state.update_joints(100, ["b"], [2.0], [20.0])
    assert "brings a; there are b, gripper" in state.why_missing(["joint_position"])
    state.update_joints(90, ["a", "gripper"], [1.0, 9.0], [10.0, 0.0])
    np.testing.assert_array_equal(state.vector(["joint_position", "joint_velocity"]), [1, 2, 10, 20])
    assert state.stamps == {"joint_states": 90} and state.age_ns(["joint_position"], 120) == 30
    assert state.oldest(["joint_position"]) == "joint a"
    held = state.values["joint_position"]
    state.update_joints(95, ["a"], [1.5], [10.0])
    assert state.stamps == {"joint_states": 95} and held.tolist() == [1.0, 2.0]
    state.update_joints(97, ["a", "b"], [3.0, 4.0], [10.0, 20.0])  # newer for one of them
    np.testing.assert_array_equal(state.values["joint_position"], [3.0, 2.0])
    assert state.joint_stamps == [97, 100] and state.out_of_order == 1
    state.forget()
    state.update_joints(98, ["a"], [1.0], [1.0])
    assert state.missing(["joint_position"])


def test_what_is_not_needed_may_be_missing_or_nan():
    """ros2_control's broadcaster fills interfaces that an arm does not have with NaN."""
    state = RobotState(["a"], ["joint_position"])
    state.update_joints(1, ["a"], [1.0], [np.nan], [np.nan])
    state.update_joints(2, ["a"], [2.0])
    np.testing.assert_array_equal(state.vector(["joint_position"]), [2.0])


@pytest.mark.parametrize("orientation", [(0, 0, 0, 0), (1, 1, 0, 0), (np.nan, 0, 0, 1)])
def test_an_orientation_that_is_none_is_refused(state, orientation):
    with pytest.raises(StateError, match="no unit quaternion"):
        state.update_pose(1, (0, 0, 0), orientation)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_measurements_never_go_back_in_time(stamps):
    state = RobotState([], ["wrench_force"])
    for stamp in stamps:
        state.update_wrench(stamp, (stamp, 0, 0), (0, 0, 0))
    assert state.stamps["wrench"] == state.values["wrench_force"][0] == max(stamps)


def test_the_age_is_that_of_the_oldest_group(state):
    state.update_pose(10, (0, 0, 0), (0, 0, 0, 1))
    state.update_wrench(30, (0, 0, 0), (0, 0, 0))
    assert state.age_ns(["wrench_force", "ee_position", "command_lead"], 100) == 90
    assert state.missing(["joint_position", "wrench_force", "command_lead"]) == ["joint_position"]


def test_the_size_of_proprioception_is_that_of_its_vector(state):
    groups = ["joint_position", "ee_position", "command_lead", "wrench_force"]
    state.update_joints(1, ["a", "b"], [0.0, 0.0], [0.0, 0.0])
    state.update_pose(1, (0, 0, 0), (0, 0, 0, 1))
    state.update_wrench(1, (0, 0, 0), (0, 0, 0))
    assert size(groups, joints=2, actions=3) == state.vector(groups, np.zeros(3)).size == 11


def test_an_observation_takes_the_stamp_of_its_oldest_image(synchroniser):
    synchroniser.set_image("base", SECOND + 10, PICTURE)
    assert synchroniser.observation(SECOND) == (None, "no image on 'camera/wrist/image_raw' yet")
    synchroniser.set_image("wrist", SECOND + 20, PICTURE + 1)
    pose(synchroniser, SECOND + 10)
    assert synchroniser.observation(SECOND + 30) == (None, "")  # how often they come is not known: a closer pair may come
    observation, _ = synchroniser.observation(SECOND + 30 + SECOND // 20)
    assert observation.stamp_ns == SECOND + 10
    assert observation.images["wrist"].max() == 1
    np.testing.assert_allclose(observation.proprio, small_robot.HOME)


def test_the_same_images_are_not_asked_about_twice(synchroniser):
    for camera in ("base", "wrist"):
        synchroniser.set_image(camera, SECOND, PICTURE)
    assert synchroniser.observation(SECOND)[0] is not None
    assert synchroniser.observation(SECOND) == (None, "")
    synchroniser.set_image("wrist", SECOND + 1, PICTURE)  # one new image is no new observation: the other is as old as before
    assert synchroniser.observation(SECOND)[0] is None


@pytest.mark.parametrize(
    "base, wrist, now, says",
    [
        (1.0, 1.06, 1.1, "stamps lie 0.060 s apart"),
        (1.0, 1.0, 1.501, "'camera/base/image_raw' is 0.50 s old"),
        (1.4, 1.4, 1.6, "newest measurement of 'ee_pose' is 0.60 s old"),
    ],
)
def test_what_does_not_belong_together_is_no_observation(synchroniser, base, wrist, now, says):
    synchroniser.set_image("base", round(base * SECOND), PICTURE)
    synchroniser.set_image("wrist", round(wrist * SECOND), PICTURE)
    observation, why = synchroniser.observation(round(now * SECOND))
    assert observation is None and says in why


def test_ages_exactly_at_the_limit_are_allowed(synchroniser):
    synchroniser.set_image("base", SECOND, PICTURE)
    synchroniser.set_image("wrist", SECOND + SECOND // 20, PICTURE)
    synchroniser.observation(SECOND + SECOND // 10)
    assert synchroniser.observation(SECOND + SECOND // 2)[0] is not None


def test_an_older_image_does_not_replace_a_newer_one(synchroniser):
    synchroniser.set_image("wrist", SECOND, PICTURE)
    synchroniser.set_image("base", SECOND, PICTURE + 1)
    synchroniser.set_image("base", SECOND - 1, PICTURE + 2)
    assert synchroniser.observation(SECOND)[0].images["base"].max() == 1


def test_after_forgetting_older_stamps_count_again(synchroniser):
    for second in (5, 1):
        synchroniser.forget()
        pose(synchroniser, second * SECOND)
        for camera in ("base", "wrist"):
            synchroniser.set_image(camera, second * SECOND, PICTURE)
        assert synchroniser.observation(second * SECOND)[0].stamp_ns == second * SECOND
