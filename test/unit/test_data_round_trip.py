"""A run's bag becomes a data set, and that a seed of the replay: the rows that control_node made live come back. Without LeRobot and ROS."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import itertools
from collections import Counter

import numpy as np
import pytest
import small_robot
import small_run

pytest.importorskip("rosbags")

from frames_in_memory import FramesInMemory
from small_run import PERIOD, RATE, SmallRun
from test_bag_pipeline import STORE, M

from rl_token_ros.adapters import lerobot_columns as columns
from rl_token_ros.adapters.lerobot_demonstrations import Demonstrations, Mapping
from rl_token_ros.bags import message_types
from rl_token_ros.bags.dataset_sink import DatasetSink
from rl_token_ros.bags.reader import Bag
from rl_token_ros.bags.recorded_run import NotARun, RecordedRun
from rl_token_ros.bags.row_writer import RowWriter
from rl_token_ros.bags.seeds import Seed
from rl_token_ros.bags.writer import BagWriter
from rl_token_ros.commands import export, import_demonstrations
from rl_token_ros.commands.import_demonstrations import write
from rl_token_ros.control.tick_record import Event
from rl_token_ros.interfaces import images
from rl_token_ros.interfaces.codes import Ended, Source
from rl_token_ros.learning.identity import find_identity
from rl_token_ros.resimulation.demonstrations import Demonstrator, NotLived
from rl_token_ros.settings import parameters
from rl_token_ros.settings.learner import Learner
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.vla.backend import BackendError
from rl_token_ros.vla.make_backend import make_backend

KEEP = {int(Ended.SUCCESS), int(Ended.FAILURE), int(Ended.TIME_LIMIT)}
NEEDED = ["ee_position", "wrench_force"]


class Cut:
    """A data set in memory, cut out of a bag."""

    def __init__(self, bag, rate: float = RATE, before: float = 0.0, keep=KEEP, **named) -> None:
        self.recorded = RecordedRun(bag, small_run.vla_settings(**named) if named else None)
        made: list[FramesInMemory] = []

        def make(features):
            made.append(FramesInMemory(rate, features))
            return made[0]

        sink = DatasetSink(self.recorded, False, "by default", make)
        self.counts, self.left_out = self.recorded.cut(sink, rate, keep, before)
        self.whole = sink.close()
        self.frames, self.lengths = made[0] if made else None, sink.frames


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    return small_run.models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def run(tmp_path_factory, named):
    """A bag with a success, a failure, an episode that somebody discarded and one whose time was up, and the run."""
    live = SmallRun(tmp_path_factory.mktemp("run") / "bag", named, episode_time_limit=1.5)
    live.episode(50, Event.SUCCESS)
    live.episode(41, Event.FAILURE)
    live.episode(20, Event.DISCARD)
    live.episode(80, Event.SUCCESS)  # too late
    live.episode(10, None)
    live.close()
    return live


@pytest.fixture(scope="module")
def cut(run, named):
    return Cut(run.bag.folder, **named)


def demonstrations(frames, named, **mapping) -> Demonstrations:
    return Demonstrations(frames, small_robot.settings(**named), NEEDED, ["ee_position"], ["base"], Mapping(**mapping))


def live_again(frames, run, named, backend=None, **changes):
    """The rows of each demonstration, and who lived them."""
    control, vla = small_robot.settings(**named, **changes), small_run.vla_settings(**named)
    lived = Demonstrator(control, vla, backend or make_backend(vla), 0.03)
    found = demonstrations(frames, named)
    return [lived.live(found.demonstration(each)) for each in found.episodes()], lived


def test_episodes_are_cut_out_as_they_ended(cut):
    assert [int(frames[columns.ENDED]) for frames in cut.frames.frames if frames[columns.DONE]] == [Ended.SUCCESS, Ended.FAILURE, Ended.TIME_LIMIT]
    assert cut.left_out == Counter({"it ended as aborted": 1, "its end is not in the bag": 1})
    np.testing.assert_allclose(cut.lengths, [25, 20.5, 37.5], atol=1)  # of 50, 41 and 75 control steps
    assert cut.counts == Counter(frames=sum(cut.lengths), repeated=0, unused=0)
    rewards = np.array([frame[columns.REWARD] for frame in cut.frames.frames])
    assert rewards.sum() == 1 and rewards[cut.lengths[0] - 1] == 1 and cut.frames.success.sum() == 1
    assert {frame["task"] for frame in cut.frames.frames} == {"insert"}


def test_a_frame_is_one_picture_the_state_of_its_moment_and_what_was_commanded_until_the_next(cut, run):
    frames = cut.frames.frames
    commands = cut.recorded.run.commands
    for frame, after in itertools.pairwise(frames[:20]):
        stamp = frame[columns.STAMP]
        assert after[columns.STAMP] - stamp == round(1e9 / RATE)
        ticks = (commands.now_ns >= stamp) & (commands.now_ns < after[columns.STAMP])
        assert ticks.sum() == 2
        np.testing.assert_allclose(frame[columns.COMMAND] + frame["action"], commands.position[ticks][-1], atol=1e-7)
        np.testing.assert_allclose(after[columns.COMMAND], frame[columns.COMMAND] + frame["action"], atol=1e-7)
        assert frame["observation.images.base"].shape == (8, 8, 3)
    assert [frame[columns.SOURCE] for frame in frames[1:25]] == [Source.HUMAN] * 24
    assert cut.frames.state_names == ("ee.x", "ee.y", "ee.z") and cut.frames.action_names == ("x", "y", "z")


def test_rows_of_the_run_come_back(cut, run, named):
    """Same states, tokens and references where the VLA's answer is the same one; actions that each frame spreads evenly over its control steps."""
    again, lived = live_again(cut.frames, run, named)
    assert [each["ended"][-1] for each in again] == [Ended.SUCCESS, Ended.FAILURE, Ended.TIME_LIMIT]
    assert [each["reward"].sum() for each in again] == [1, 0, 0]
    live = np.concatenate(run.rows)
    known = {row["token"].tobytes() for row in live}
    for number, each, first in zip((1, 2, 4), again, np.cumsum([0, *cut.lengths])):
        theirs = live[live["episode"] == number]
        # Frames begin with a picture, up to half a period from where the critical phase began.
        begin = cut.frames.frames[first][columns.STAMP]
        at = (theirs["stamp_sec"].astype(int) * 10**9 + theirs["stamp_nanosec"] - begin) // PERIOD
        theirs, at = theirs[(at >= 0) & (at < len(each))], at[(at >= 0) & (at < len(each))]
        mine, frames = each[at], at % small_run.CAMERA == 0
        assert len(at) >= 37 and frames.sum() >= 18 and (each["source"] == Source.HUMAN).all() and (each["critical"] == 1).all()
        assert all(row["token"].tobytes() in known for row in mine)  # the very answers of then
        assert (mine["token"] == theirs["token"]).all(axis=1).mean() > 0.9
        np.testing.assert_allclose(mine["reference"], theirs["reference"], atol=1e-7)
        np.testing.assert_allclose(mine["proprio"][frames], theirs["proprio"][frames], rtol=1e-5, atol=2e-6)  # measured, lead and force
        whole = at[:-1][frames[:-1] & (np.diff(at) == 1)]  # control steps of a frame of which both are rows
        took = [sum(rows["action"][np.searchsorted(at, whole) + k] for k in (0, 1)) for rows in (mine, theirs)]
        np.testing.assert_allclose(*took, atol=2e-6)
    assert lived.figures.steps == sum(map(len, again)) and lived.figures.queries == sum(cut.lengths)


def test_the_approach_is_taken_where_asked_for_and_is_no_critical_phase(run, named):
    with_approach = Cut(run.bag.folder, before=0.08, **named).frames
    critical = with_approach.column(columns.CRITICAL)[:27, 0].tolist()
    assert critical[:2] == [False] * 2 and critical[3:] == [True] * 24
    again, _ = live_again(with_approach, run, named)
    assert 49 <= len(again[0]) <= 52


def test_at_half_the_rate_no_motion_is_lost_and_observations_are_counted(run, named):
    half = Cut(run.bag.folder, rate=RATE / 2, **named)
    np.testing.assert_allclose(half.lengths, [13, 11, 19], atol=1)
    assert abs(half.counts["unused"] - sum(half.lengths)) <= 3
    first = half.frames.frames[0]
    total = first[columns.COMMAND] + sum(frame["action"] for frame in half.frames.frames[: half.lengths[0]])
    live = run.rows[49]
    np.testing.assert_allclose(total, half.recorded.run.commands.before(half.recorded.run.episodes[0].end_ns), atol=1e-6)
    assert live["ended"][0] == Ended.SUCCESS


def test_twice_the_rate_repeats_pictures_and_says_so(run, named):
    assert Cut(run.bag.folder, rate=2 * RATE, **named).counts["repeated"] > 80


def test_an_episode_without_pictures_is_left_out(tmp_path, named):
    live = SmallRun(tmp_path / "bag", named)
    live.episode(50, Event.SUCCESS)
    live.episode(60, Event.SUCCESS, camera=False, by_hand=False)
    live.close()
    cut = Cut(tmp_path / "bag", **named)
    assert len(cut.lengths) == 1 and cut.left_out == Counter({"no observation within 0.5 s of a frame": 1})
    assert cut.frames.dropped == 1


def test_a_bag_without_pictures_or_commands_is_refused(tmp_path, named):
    live = SmallRun(tmp_path / "bag", named)
    for _ in range(5):
        live.step(camera=False)
    live.close()
    with pytest.raises(NotARun, match="the bag has no 'camera/base/image_raw'.*\n.*record"):
        RecordedRun(tmp_path / "bag", small_run.vla_settings(**named))


@pytest.mark.parametrize(
    "change, says",
    [
        ({"cameras": ["wrist=observation.images.base"]}, "no pictures of camera base; it has observation.images.base: write --camera base="),
        ({"state": ["joint_position"]}, "--state-groups joint_position are 0 values"),
        ({"state": ["ee_position", "wrench_force"]}, "--state-groups ee_position wrench_force are 6 values, observation.state of 'memory' has 3"),
        ({"action_columns": "0:2"}, r"has 2 values \(x, y, z\), this robot's 3 \(x, y, z\); say which with --action-columns"),
        ({"scale": [1.0, 2.0]}, "--scale has 2 numbers; write one, or 3"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_write(cut, named, change, says):
    with pytest.raises(ParameterError, match=says):
        demonstrations(cut.frames, named, **change)


def test_a_measurement_that_is_not_in_the_data_set_is_named(cut, named):
    with pytest.raises(ParameterError, match="has no wrench_torque, needed for .*--state-groups"):
        Demonstrations(cut.frames, small_robot.settings(**named), [*NEEDED, "wrench_torque"], ["ee_position"], ["base"], Mapping())


def test_actions_are_taken_by_name_in_any_order_and_units(cut, named):
    plain = demonstrations(cut.frames, named)
    turned = dataclasses.replace(small_robot.settings(**named), action_names=["z", "x", "y"])
    mixed = Demonstrations(cut.frames, turned, NEEDED, ["ee_position"], ["base"], Mapping(scale=[2.0]))
    np.testing.assert_allclose(mixed.action, plain.action[:, [2, 0, 1]] / 2.0)


def test_what_the_vla_or_the_robot_refuses_ends_the_demonstration_with_the_reason(cut, run, named):
    class Away:
        warning = ""

        def query(self, observation):
            raise BackendError("nobody answers")

        def reset(self): ...

    with pytest.raises(BackendError, match="nobody answers"):
        live_again(cut.frames, run, named, Away())
    with pytest.raises(NotLived, match="outside position_min"):
        live_again(cut.frames, run, named, position_min=[0.41, -0.1, 0.0])


def test_actions_beyond_the_residual_and_beyond_the_limits_are_counted(cut, run, named):
    _, lived = live_again(cut.frames, run, named, residual_scale=[1e-7] * 3, velocity_limit=[0.001] * 3)
    figures = lived.figures
    assert figures.beyond_any > 0.9 * figures.steps and (figures.farthest > 100).all() and figures.clipped > 0.9 * figures.steps


def test_a_seed_is_read_as_live_rows_are_and_by_nobody_else(cut, named, tmp_path):
    control, vla = small_robot.settings(**named), small_run.vla_settings(**named)
    lived = Demonstrator(control, vla, make_backend(vla), 0.03)
    with RowWriter(tmp_path / "seed", lived.pipeline.settings_text()) as bag:
        endings, left_out = write(bag, demonstrations(cut.frames, named), lived, "")
    assert endings == Counter({"success": 1, "failure": 1, "time limit": 1}) and not left_out
    learner = parameters.build(Learner, small_robot.shared(**named))
    dtype = lived.pipeline.controller.row_dtype
    rows = np.concatenate([rows for rows, _ in Seed(str(tmp_path / "seed"), learner, dtype, find_identity(learner))])
    assert len(rows) == lived.figures.steps and rows["reward"].sum() == 1
    for change in ({"control_rate": 100.0}, {"action_type": "absolute"}, {"residual_scale": [1.0] * 3}):
        with pytest.raises(ParameterError, match=f"it was recorded with {next(iter(change))}"):
            Seed(str(tmp_path / "seed"), dataclasses.replace(learner, **change), dtype, find_identity(learner))
    with pytest.raises(ParameterError, match="it was recorded with another vla"):
        Seed(str(tmp_path / "seed"), learner, dtype, dataclasses.replace(find_identity(learner), vla_sha256="f" * 64))


def test_an_episode_that_is_broken_costs_no_other(cut, named, tmp_path):
    """One with a number that is none, one about which the VLA does not answer; with three in a row of those the rest is not tried."""
    control, vla = small_robot.settings(**named), small_run.vla_settings(**named)
    found = demonstrations(cut.frames, named)
    found.action[3] = np.nan

    class Sometimes:
        warning = ""
        asked = 0

        def __init__(self) -> None:
            self.backend = make_backend(vla)

        def query(self, observation):
            self.asked += 1
            if self.asked == 1:
                raise BackendError("nobody answers")
            return self.backend.query(observation)

        def reset(self): ...

    with RowWriter(tmp_path / "seed", "") as bag:
        endings, left_out = write(bag, found, Demonstrator(control, vla, Sometimes(), 0.03), "")
    assert endings == Counter({"time limit": 1})
    assert left_out == Counter({"its numbers are not all finite": 1, "nobody answers": 1})


def test_compressed_pictures_are_taken_as_raw_ones_are(run, cut, named, tmp_path):
    image = pytest.importorskip("PIL.Image")
    original, kind = Bag(run.bag.folder), "sensor_msgs/msg/CompressedImage"
    decode = message_types.decoder("sensor_msgs/msg/Image")
    with BagWriter(tmp_path / "bag") as bag:
        for record in original.read():
            if record.topic != "/camera/base/image_raw":
                bag.write(record.topic, original.topics[record.topic].type, record.stamp_ns, record.data)
                continue
            message, png = decode(record.data), io.BytesIO()
            image.fromarray(images.to_rgb(message)).save(png, "png")
            packed = M[kind](message.header, "rgb8; png compressed rgb8", np.frombuffer(png.getvalue(), np.uint8))
            bag.write(f"{record.topic}/compressed", kind, record.stamp_ns, bytes(STORE.serialize_cdr(packed, kind)))
    again = Cut(tmp_path / "bag", **named)
    assert again.lengths == cut.lengths
    for one, other in zip(again.frames.frames, cut.frames.frames):
        np.testing.assert_array_equal(one["observation.images.base"], other["observation.images.base"])


@pytest.mark.skipif(importlib.util.find_spec("lerobot") is not None, reason="LeRobot is here")
def test_without_lerobot_both_commands_say_what_to_install(run, named, tmp_path, monkeypatch, capsys):
    for module, arguments in (
        (export, [run.bag.folder, tmp_path / "made"]),
        (import_demonstrations, [tmp_path, "--config", "sim", tmp_path / "seed"]),
    ):
        monkeypatch.setattr("sys.argv", ["rl_token", "--lerobot", *map(str, arguments)])
        (tmp_path / "meta").mkdir(exist_ok=True)
        (tmp_path / "meta" / "info.json").write_text("{}")
        assert module.main() == 2
        assert "install LeRobot (pip install lerobot)" in capsys.readouterr().err
