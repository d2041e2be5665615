"""The tool's pose of a described robot: as old as the oldest joint that carries the tool, and of the newest description."""

from __future__ import annotations

from types import SimpleNamespace as Message

import numpy as np
import pytest
from test_kinematics import joint, link, robot

from rl_token_ros.interfaces.stamps import ns_to_stamp
from rl_token_ros.interfaces.tool_pose import DescribedPose
from rl_token_ros.robot.kinematics import DescriptionError

SECOND = 1_000_000_000
SLIDE = robot(*map(link, ("base", "a", "tool")), joint("reach", "base", "a", "prismatic", xyz="0 0 0", axis="1 0 0"), joint("turn", "a", "tool"))


def joints(stamp_ns: int, **positions: float) -> Message:
    return Message(header=Message(stamp=ns_to_stamp(stamp_ns)), name=list(positions), position=list(positions.values()), velocity=[], effort=[])


@pytest.fixture
def pose() -> DescribedPose:
    made = DescribedPose("base", "tool")
    made.describe(SLIDE)
    return made


def test_it_has_position_orientation_and_the_stamp_of_its_joints(pose):
    assert pose.pose(SECOND) is None and pose.missing() == "no measurement of joint_position yet; check the topics joint_states"
    pose.measure(joints(SECOND, other=9.0, turn=np.pi, reach=0.3), SECOND + 5)
    found = pose.pose(SECOND + 10)
    assert (found.stamp_ns, pose.missing()) == (SECOND, "")
    np.testing.assert_allclose(found.position, [0.3, 0.0, 0.1])
    np.testing.assert_allclose(found.orientation, [0.0, 0.0, 1.0, 0.0], atol=1e-12)


def test_before_its_description_it_knows_nothing():
    pose = DescribedPose("base", "tool")
    pose.measure(joints(SECOND, turn=0.0, reach=0.3), SECOND)
    assert pose.pose(SECOND) is None and pose.missing() == "no 'robot_description' yet"


def test_joints_that_are_no_measurement_are_refused_as_everywhere(pose):
    pose.measure(joints(SECOND, turn=0.0, reach=0.3), SECOND)
    for message, says in ((joints(2 * SECOND, turn=0.0, reach=np.nan), "not finite"), (joints(9 * SECOND, turn=0.0, reach=0.4), "in the future")):
        with pytest.raises(ValueError, match=says):
            pose.measure(message, 2 * SECOND)
    assert pose.pose(2 * SECOND).position[0] == 0.3


def test_a_clock_that_goes_back_begins_anew(pose):
    """A bag that loops: what is measured then must not wait until the old stamps come again."""
    pose.measure(joints(100 * SECOND, turn=0.0, reach=0.3), 100 * SECOND)
    pose.measure(joints(50 * SECOND, turn=0.0, reach=0.4), 50 * SECOND)
    found = pose.pose(50 * SECOND)
    assert (found.stamp_ns, found.position[0]) == (50 * SECOND, 0.4)


def test_a_bad_description_is_no_reason_to_go_on_with_the_old_one(pose):
    pose.measure(joints(SECOND, turn=0.0, reach=0.3), SECOND)
    with pytest.raises(DescriptionError, match="has no frame 'tool'"):
        pose.describe(SLIDE.replace('"tool"', '"hand"'))
    assert pose.pose(SECOND) is None
    pose.describe(SLIDE)
    pose.measure(joints(2 * SECOND, turn=0.0, reach=0.5), 2 * SECOND)
    assert pose.pose(2 * SECOND).position[0] == 0.5


def test_it_is_written_as_a_message():
    pose = DescribedPose("base", "tool")
    pose.describe(SLIDE)
    pose.measure(joints(3 * SECOND + 7, turn=0.0, reach=0.3), 3 * SECOND + 7)
    blank = Message(header=Message(stamp=Message(sec=0, nanosec=0), frame_id=""), pose=Message(position=Message(), orientation=Message()))
    made = pose.pose(3 * SECOND + 7).write(blank, "base")
    assert (made.header.stamp.sec, made.header.stamp.nanosec, made.header.frame_id) == (3, 7, "base")
    assert made.pose.position.x == 0.3 and made.pose.orientation.w == 1.0
