"""What a policy is cloned from: chunks, pictures on the disk and their sizes; bags of a human's hand, and LeRobot data sets."""

from __future__ import annotations

import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("rosbags")

import small_robot
import small_run
from small_run import SmallRun
from test_data_round_trip import Cut

from rl_token_ros.adapters.lerobot_demonstrations import Demonstrations as LeRobotDemonstrations
from rl_token_ros.adapters.lerobot_demonstrations import Mapping
from rl_token_ros.bags.recorded_run import RecordedRun
from rl_token_ros.cloning import npz_files, recorded
from rl_token_ros.cloning.demonstrations import Demonstrations
from rl_token_ros.cloning.network import VisionPolicy
from rl_token_ros.cloning.policy import Form, network
from rl_token_ros.cloning.resizing import FromCameras, Resizer, view_of
from rl_token_ros.commands import clone
from rl_token_ros.control.tick_record import Event
from rl_token_ros.vla.backend import Observation
from rl_token_ros.vla.make_backend import make_backend


def taken(folder, episodes, cameras=("front",), shorter=24, size=(24, 24)) -> Demonstrations:
    """Episodes of steps (whether a picture came, whether the action is taught); all numbers count the steps."""
    shown, count = Demonstrations(folder, cameras, shorter), 0
    for steps in episodes:
        for looked, taught in steps:
            images = {camera: np.full((*size, 3), count, np.uint8) for camera in cameras} if looked else None
            shown.add(images, np.full(2, count), np.full(3, count), taught)
            count += 1
        shown.save()
    shown.close()
    return shown


def test_a_chunk_ends_with_its_episode_and_before_what_nobody_taught(tmp_path):
    shown = taken(tmp_path, [[(True, True)] * 3, [(True, True), (False, True), (True, False), (True, True)]])
    actions, known = shown.chunks(np.arange(len(shown)), 3)
    assert [row[k].tolist() for row, k in zip(actions[:, :, 0], known)] == [[0, 1, 2], [1, 2], [2], [3, 4], [6]]
    assert shown.ahead.tolist() == [3, 2, 1, 2, 1]
    assert shown.episode.tolist() == [0, 0, 0, 1, 1] and shown.held.tolist() == [False] * 3 + [True] * 2
    assert [int(each.max()) for each in shown.pictures(np.arange(5))[0]] == [0, 1, 2, 3, 6]


def test_one_episode_in_ten_is_held_out_whole(tmp_path):
    shown = taken(tmp_path, [[(True, True)] * 2] * 25)
    assert set(shown.episode[shown.held].tolist()) == {9, 19} and shown.held.sum() == 4


def test_what_is_dropped_leaves_nothing_behind(tmp_path):
    shown = Demonstrations(tmp_path, ["front"], 24)
    for number, keep in enumerate((True, False, True)):
        shown.add({"front": np.full((24, 24, 3), number, np.uint8)}, np.zeros(1), np.full(1, number))
        if keep:
            assert shown.save()
        else:
            shown.drop()
    shown.add(None, np.zeros(1), np.zeros(1))
    assert not shown.save()  # nothing of it was seen
    shown.close()
    assert shown.example["front"].max() == 2  # of the last that was kept
    assert shown.pictures(np.arange(2))[0][:, 0, 0, 0].tolist() == [0, 2] and shown.action[:, 0].tolist() == [0.0, 2.0]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("given, view", [((84, 84), (84, 84)), ((480, 640), (84, 108)), ((31, 57), (36, 72)), ((640, 480), (108, 84))])
def test_the_file_sees_pictures_as_training_did(given, view):
    shorter = min(view)
    assert view_of(given, shorter) == view
    picture = np.random.default_rng(0).integers(0, 256, (*given, 3), np.uint8)
    small = Resizer(given, view)(picture)
    assert small.shape == (*view, 3) and small.dtype == np.uint8
    whole = FromCameras(VisionPolicy(2, [view], torch.zeros(1), torch.ones(1), torch.ones(1)), [given], [view])
    inside = whole.resize[0](torch.from_numpy(picture[None]))[0].numpy()
    assert np.abs(inside - small.astype(float)).max() <= 1.0 and (inside == small).mean() > 0.999  # ties round either way
    even = Resizer(given, view)(np.full((*given, 3), 77, np.uint8))
    assert (even == 77).all()
    ramp = np.broadcast_to(np.linspace(0, 255, given[1]).astype(np.uint8)[None, :, None], (*given, 3))
    assert (np.diff(Resizer(given, view)(ramp)[0, :, 0].astype(int)) >= 0).all()


def test_any_number_of_cameras_and_any_sizes():
    views = [(24, 36), (48, 48), (36, 24)]
    model = VisionPolicy(7, views, torch.zeros(5), torch.ones(5), torch.ones(3), torch.full((3,), 2.0))
    actions, embeddings = model(*(torch.zeros(2, *view, 3, dtype=torch.uint8) for view in views), torch.zeros(2, 5))
    assert actions.shape == (2, 7, 3) and embeddings.shape == (2, 2 * 3 + 4 * 4 + 3 * 2, 128)


def test_deltas_are_scaled_about_nothing_and_positions_about_their_mean(tmp_path):
    shown = taken(tmp_path, [[(True, True)] * 5] * 3)
    every = np.ones(len(shown), bool)
    steps = np.arange(15.0)
    delta = network(Form(("front",), ("a", "b", "c"), "delta", 0.1), shown, every, 2)
    absolute = network(Form(("front",), ("a", "b", "c"), "absolute", 0.1, ("joint_position",), (100.0, 1e-3)), shown, every, 2)
    assert delta.action_mean is None and delta.action_scale[0].item() == pytest.approx(np.sqrt(np.square(steps).mean()))
    assert absolute.action_mean[0].item() == pytest.approx(7.0) and absolute.action_scale[0].item() == pytest.approx(steps.std())
    np.testing.assert_allclose(absolute.proprio_scale, [100.0, steps.std()], rtol=1e-6)  # what hardly moves is not blown up


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_files_are_read_however_numpy_wrote_them(tmp_path, save, order):
    pictures = np.random.default_rng(0).integers(0, 256, (5, 24, 36, 3), np.uint8)
    save(tmp_path / "a.npz", image_top=np.array(pictures, order=order), proprio=np.ones((5, 2)), action=np.arange(10).reshape(5, 2))
    shown = Demonstrations(tmp_path, ["top"], 24)
    npz_files.read([tmp_path / "a.npz"], Form(("top",), ("a", "b"), "delta", 0.1), shown, print)
    shown.close()
    np.testing.assert_array_equal(shown.pictures(np.arange(5))[0], pictures)
    np.testing.assert_array_equal(shown.action, np.arange(10).reshape(5, 2))


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    return small_run.models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def bag(tmp_path_factory, named):
    """A success by hand, a failure by hand, a success of the VLA, and one that the hand led in part."""
    live = SmallRun(tmp_path_factory.mktemp("run") / "bag", named)
    live.episode(40, Event.SUCCESS)
    live.episode(40, Event.FAILURE)
    live.episode(30, Event.SUCCESS, by_hand=False)
    live.episode(40, Event.SUCCESS)
    live.close()
    return live.bag.folder


def test_of_a_bag_the_hand_is_learned(tmp_path, bag, named):
    run = RecordedRun(bag, small_run.vla_settings(**named))
    shown, notes = Demonstrations(tmp_path, ["base"], 24), []
    recorded.read_bag(run, shown, 0.0, False, notes.append)
    shown.close()
    assert len(shown.steps) == 2 and sum(shown.steps) == pytest.approx(80, abs=4)
    assert len(shown) == pytest.approx(40, abs=4)  # a picture every other control step
    assert any("1 episodes left out: it ended as failure" in note for note in notes)
    assert any("1 episodes left out: no human acted in it" in note for note in notes)
    commands = run.run.commands
    first = run.run.episodes[0]
    at = (commands.now_ns >= first.begin_ns) & (commands.now_ns < first.end_ns)
    whole = commands.position[at][-1] - commands.position[at][0]
    np.testing.assert_allclose(shown.action[: shown.steps[0]].sum(0), whole, atol=4e-4)  # the hand moves up to 0.2 mm a step
    assert shown.proprio.shape[1] == 3 and Form.of(run.control, ["base"], run.state).actions == ("x", "y", "z")


def test_everybody_is_learned_where_asked_for(tmp_path, bag, named):
    shown = Demonstrations(tmp_path, ["base"], 24)
    recorded.read_bag(RecordedRun(bag, small_run.vla_settings(**named)), shown, 0.0, True, print)
    assert len(shown.steps) == 3


def test_of_a_data_set_successes_are_learned(tmp_path, bag, named):
    frames = Cut(bag, **named).frames
    robot = small_robot.settings(**named)
    found = LeRobotDemonstrations(frames, robot, [], ["ee_position"], ["base"], Mapping())
    shown, notes = Demonstrations(tmp_path, ["base"], 24), []
    recorded.read_lerobot(found, Form.of(robot, ["base"], ["ee_position"]), shown, "memory", notes.append)
    shown.close()
    assert len(shown.steps) == 3 and len(shown) == sum(shown.steps) and any("it ended as failure" in note for note in notes)
    np.testing.assert_allclose(shown.action[0], frames.action[0], atol=1e-7)
    np.testing.assert_array_equal(shown.example["base"], frames.frames[-1]["observation.images.base"])


def test_a_bag_without_a_hand_is_refused(tmp_path, named, capsys, monkeypatch):
    live = SmallRun(tmp_path / "bag", named)
    live.episode(30, Event.SUCCESS, by_hand=False)
    live.close()
    monkeypatch.setattr(sys, "argv", ["rl_token clone", str(tmp_path / "bag"), "--output", str(tmp_path / "vla.onnx")])
    assert clone.main() == clone.EXIT_BAD_INPUT
    said = capsys.readouterr().err
    assert "no human acted in it while a picture came; --who anybody" in said and "no demonstration(s) that can be learned from" in said


def test_a_bag_says_by_itself_what_the_policy_is_called(tmp_path, bag, named, capsys, monkeypatch):
    trained = ("--horizon", "20", "--size", "24", "--iterations", "2", "--batch", "8", "--threads", "1")
    monkeypatch.setattr(sys, "argv", ["rl_token clone", str(bag), "--output", str(tmp_path / "vla.onnx"), *trained])
    assert clone.main() == 0
    said = capsys.readouterr().out
    assert "action_names: [x, y, z], action_type: delta, chunk_dt: 0.02, vla_proprioception: [ee_position]" in said
    backend = make_backend(small_run.vla_settings(vla_model=str(tmp_path / "vla.onnx")))
    shade = np.zeros((small_robot.IMAGE, small_robot.IMAGE, 3), np.uint8)
    assert backend.query(Observation(0, {"base": shade}, np.zeros(3, np.float32), "")).actions.shape == (20, 3)
