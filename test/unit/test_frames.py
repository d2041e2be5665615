"""What a frame of an episode holds: absolute positions, grippers, cameras that jitter and fail, and commands with breaks."""

from __future__ import annotations

import numpy as np
import pytest
import small_robot

pytest.importorskip("rosbags")

from frames_in_memory import FramesInMemory

from rl_token_ros.adapters import lerobot_columns as columns
from rl_token_ros.adapters.lerobot_demonstrations import Demonstrations, Mapping
from rl_token_ros.bags.episodes import Commands, Episode
from rl_token_ros.bags.frames import EpisodeFrames, LeftOut
from rl_token_ros.interfaces.codes import Ended, Source
from rl_token_ros.settings import parameters
from rl_token_ros.settings.control import Control
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.vla.backend import Observation

MS = 1_000_000
BEGIN = 1_000_000 * MS


def commands(count: int = 100, grip_from: int = 0, without: range = range(0)) -> Commands:
    """One in 20 ms, from BEGIN - 200 ms on: its number in x."""
    kept = np.array([i for i in range(count) if i not in without])
    position = np.zeros((len(kept), 3))
    position[:, 0] = kept
    gripper = np.where(kept[:, None] >= grip_from, 0.01 * kept[:, None], np.nan)
    return Commands(BEGIN - 200 * MS + 20 * MS * kept, position, gripper, np.full(len(kept), Source.ACTOR))


def seen(stamp_ns: int) -> Observation:
    return Observation(stamp_ns, {}, np.zeros(3, np.float32), "")


def frames_of(stamps: list[float], commanded: Commands, seconds: float = 0.4, **changes):
    """Frames at 25 per second of an episode, from observations at these times after its beginning, in ms."""
    settings = small_robot.settings(**changes)
    made = EpisodeFrames(Episode(BEGIN, BEGIN + round(seconds * 1000 * MS), Ended.FAILURE), commanded, settings, 25.0, 0.2)
    found = [frame for stamp in stamps for frame in made.take(seen(BEGIN + round(stamp * MS)))]
    return [*found, *made.finish()], made


def test_positions_are_those_of_the_moment_and_increments_lead_to_the_next_frame():
    stamps = [40.0 * i for i in range(11)]
    absolute, _ = frames_of(stamps, commands(), action_type="absolute")
    assert [frame.action[0] for frame in absolute] == [10 + 2 * i for i in range(10)]
    delta, _ = frames_of(stamps, commands())
    assert [frame.action[0] for frame in delta] == [2.0] * 10 and delta[0].command[0] == 9
    assert [frame.ended for frame in delta] == [0] * 9 + [Ended.FAILURE] and sum(frame.reward for frame in delta) == 0


def test_pictures_that_come_early_and_late_are_one_frame_each():
    random = np.random.default_rng(0)
    stamps = sorted(40.0 * i + random.uniform(-15.0, 15.0) for i in range(-1, 12))
    frames, made = frames_of(stamps, commands())
    assert len({frame.observation.stamp_ns for frame in frames}) == len(frames) and made.counts["repeated"] == 0
    assert sum(frame.action[0] for frame in frames) == pytest.approx(20, abs=1)


def test_a_picture_that_is_lost_is_replaced_by_its_neighbour_and_counted():
    frames, made = frames_of([40.0 * i for i in range(11) if i != 4], commands())
    assert len(frames) == 10 and made.counts["repeated"] == 1
    assert sum(frame.action[0] for frame in frames) == 20


def test_grippers_keep_what_they_were_sent_to():
    own = dict(gripper_names=["g"], gripper_min=[0.0], gripper_max=[1.0])
    frames, _ = frames_of([40.0 * i for i in range(11)], commands(), **own)
    np.testing.assert_allclose([frame.action[3] for frame in frames], [0.1 + 0.02 * i for i in range(10)], rtol=1e-6)
    with pytest.raises(LeftOut, match="the grippers had not been commanded"):
        frames_of([40.0 * i for i in range(11)], commands(grip_from=50), **own)


def test_an_increment_does_not_reach_back_to_before_the_arm_was_disabled():
    """Half a second without a command, ended 20 ms before the critical phase: the first frame begins a frame after the first command."""
    frames, _ = frames_of([40.0 * i - 20 for i in range(12)], commands(140, without=range(9)))
    assert frames[0].observation.stamp_ns >= BEGIN
    frames, _ = frames_of([40.0 * i - 20 for i in range(12)], Commands(*_with_break()))
    assert max(frame.action[0] for frame in frames) <= 2.0


def _with_break():
    late = commands(100, without=range(9))
    early = BEGIN - 2000 * MS
    return (
        np.concatenate([[early], late.now_ns]),
        np.concatenate([[[-500.0, 0.0, 0.0]], late.position]),
        np.zeros((len(late.now_ns) + 1, 0)),
        np.full(len(late.now_ns) + 1, Source.VLA),
    )


@pytest.mark.parametrize(
    "stamps, without, says",
    [
        ([], range(0), "no observation in it"),
        ([1000.0], range(0), "no observation within 0.2 s"),
        ([40.0 * i for i in range(6)], range(0), None),
        ([40.0 * i for i in range(3)], range(0), "no observation within 0.2 s"),
        ([40.0 * i for i in range(11)], range(100), "nothing was commanded"),
    ],
)
def test_what_an_episode_lacks_leaves_it_out_with_the_reason(stamps, without, says):
    if says is None:
        assert len(frames_of(stamps, commands(without=without))[0]) == 10
        return
    with pytest.raises(LeftOut, match=says):
        frames_of(stamps, commands(without=without))


# --- joints -------------------------------------------------------------------------------------------------------------------


JOINTS = ["pan", "lift", "gripper"]


def arm() -> Control:
    shared = dict(joint_names=JOINTS, action_names=JOINTS, action_type="absolute", cameras=["front"], proprioception=["joint_position"], token_size=0)
    limits = {name: [9.0] * 3 for name in ("position_max", "velocity_limit", "acceleration_limit", "lead_limit")}
    return parameters.build(Control, {**shared, **limits, "residual_scale": [0.1] * 3, "position_min": [-9.0] * 3})


def of_joints(names: list[str], state: list[str]) -> FramesInMemory:
    """Two frames in degrees, as LeRobot's robots name them."""
    features = {
        "observation.images.front": {"dtype": "image", "shape": (8, 8, 3), "names": None},
        "observation.state": {"dtype": "float32", "shape": (len(state),), "names": state},
        "action": {"dtype": "float32", "shape": (len(names),), "names": names},
        columns.SUCCESS: {"dtype": "bool", "shape": (1,), "names": None},
    }
    made = FramesInMemory(30.0, features)
    for i in range(2):
        frame = {"observation.state": np.arange(len(state)) + 90.0 * i, "action": 10.0 * np.arange(len(names)) + i}
        made.add({**frame, columns.SUCCESS: i == 1, "observation.images.front": np.zeros((8, 8, 3), np.uint8)}, "push")
    made.save()
    return made


def test_joints_are_taken_by_lerobots_names_in_any_order_and_in_degrees():
    theirs = of_joints(["gripper.pos", "lift.pos", "pan.pos"], ["lift.pos", "gripper.pos", "pan.pos"])
    found = Demonstrations(theirs, arm(), ["joint_position"], ["joint_position"], ["front"], Mapping(scale=[57.29578]))
    np.testing.assert_allclose(found.action, np.radians([[20, 10, 0], [21, 11, 1]]), rtol=1e-6)
    np.testing.assert_allclose(found.groups["joint_position"], np.radians([[2, 0, 1], [92, 90, 91]]), rtol=1e-6)
    assert found.command is None and found.notes == [] and found.demonstration(found.episodes()[0]).ended == Ended.SUCCESS


def test_a_state_without_names_is_the_vlas_and_that_is_said():
    found = Demonstrations(of_joints(["p", "q", "r"], ["a", "b", "c"]), arm(), ["joint_position"], ["joint_position"], ["front"], Mapping())
    assert any("is taken for joint_position, the vla_proprioception" in note for note in found.notes)
    assert any("actions are taken in their order: p as pan, q as lift, r as gripper" in note for note in found.notes)


def test_an_action_of_another_size_is_refused():
    theirs = of_joints(["p", "q", "r", "s"], ["pan.pos", "lift.pos", "gripper.pos"])
    with pytest.raises(ParameterError, match=r"has 4 values \(p, q, r, s\), this robot's 3 \(pan, lift, gripper\).*--action-columns"):
        Demonstrations(theirs, arm(), ["joint_position"], ["joint_position"], ["front"], Mapping())
    found = Demonstrations(theirs, arm(), ["joint_position"], ["joint_position"], ["front"], Mapping(action_columns="1:4"))
    assert found.action.tolist() == [[10, 20, 30], [11, 21, 31]]
