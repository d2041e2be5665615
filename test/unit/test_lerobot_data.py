"""The commands `export` and `import` with LeRobot itself, as a user would give them. Needs LeRobot: run it in an environment of its own."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lerobot")
pytest.importorskip("rosbags")

import lerobot_act
import onnx
import small_robot
import small_run
import yaml
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.datasets.utils import dataset_to_policy_features
from small_run import RATE, SmallRun

from rl_token_ros.adapters import lerobot, lerobot_checkpoint
from rl_token_ros.bags.seeds import Seed
from rl_token_ros.commands import export, import_demonstrations
from rl_token_ros.control.tick_record import Event
from rl_token_ros.interfaces.codes import Ended, Source
from rl_token_ros.learning.identity import find_identity
from rl_token_ros.rl_token.encoder import TokenEncoder
from rl_token_ros.settings import node_settings
from rl_token_ros.settings.files import config_file
from rl_token_ros.vla.server import PolicyServer, load

LARGE = 64  # pixels: videos have a least size


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    return small_run.models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def config(tmp_path_factory, named) -> Path:
    return write_config(tmp_path_factory.mktemp("config") / "robot.yaml", named)


def write_config(path: Path, named, **vla) -> Path:
    own = {name: value for name, value in small_robot.control().items() if name not in small_robot.shared()}
    sections = {
        "/**": {**small_robot.shared(), **named},
        "/**/control_node": own,
        "/**/vla_node": {"vla_proprioception": ["ee_position"], "query_rate": RATE, "task": "insert", **vla},
    }
    path.write_text(yaml.safe_dump({node: {"ros__parameters": values} for node, values in sections.items()}))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory, named):
    live = SmallRun(tmp_path_factory.mktemp("run") / "bag", named)
    live.episode(30, Event.SUCCESS)
    live.episode(24, Event.FAILURE)
    live.episode(20, Event.DISCARD)
    return live.bag.folder, live.close()


@pytest.fixture
def give(monkeypatch, capsys):
    """Gives a command and returns its status and all it printed."""

    def call(module, *arguments: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["rl_token", *map(str, arguments)])
        status = module.main()
        said = capsys.readouterr()
        return status, said.out + said.err

    return call


@pytest.fixture
def dataset(run, config, give, tmp_path) -> Path:
    status, said = give(export, "--lerobot", run[0], tmp_path / "dataset", "--config", config, "--images")
    assert status == 0, said
    return tmp_path / "dataset"


def test_lerobot_loads_what_export_made(run, config, give, tmp_path):
    status, said = give(export, "--lerobot", run[0], tmp_path / "made", "--config", config, "--images")
    assert status == 0, said
    assert "2 of 3 episodes (success 1, failure 1)" in said and "1 episodes left out: it ended as aborted" in said
    made = LeRobotDataset("any", root=tmp_path / "made")
    assert made.num_episodes == 2 and made.fps == RATE and made[0]["task"] == "insert"
    last = [int(end) - 1 for end in made.meta.episodes["dataset_to_index"]]
    assert [bool(made[i]["next.success"]) for i in last] == [True, False] and [float(made[i]["next.reward"]) for i in last] == [1.0, 0.0]
    assert made[0]["observation.images.base"].shape == (3, 8, 8) and made.meta.stats["action"]["mean"].shape == (3,)
    # What is measured beside the state is no input of a policy.
    assert set(dataset_to_policy_features(made.meta.features)) == {"observation.images.base", "observation.state", "action"}


def test_pictures_become_a_video_where_nothing_else_is_asked_for(give, tmp_path, monkeypatch):
    monkeypatch.setattr(small_robot, "IMAGE", LARGE)
    live = SmallRun(tmp_path / "bag", small_run.models(tmp_path), picture=LARGE)
    live.episode(20, Event.SUCCESS)
    live.close()
    status, said = give(export, "--lerobot", tmp_path / "bag", tmp_path / "made", "--task", "push")
    assert status == 0, said
    made = LeRobotDataset("any", root=tmp_path / "made", video_backend="pyav")
    assert made.meta.video_keys == ["observation.images.base"] and made[5]["observation.images.base"].shape == (3, LARGE, LARGE)
    assert made[0]["task"] == "push"


def test_rows_come_back_as_a_seed(run, config, dataset, give, tmp_path):
    status, said = give(import_demonstrations, "--lerobot", dataset, "--config", config, tmp_path / "seed", "--vla-latency", 0.03)
    assert status == 0, said
    learner = node_settings.load("learner_node", config)
    rows = np.concatenate([rows for rows, _ in Seed(str(tmp_path / "seed"), learner, run[1].dtype, find_identity(learner))])
    assert f"read again as seed_bags: {len(rows)} steps" in said
    assert [int(row["ended"]) for row in rows if row["ended"]] == [Ended.SUCCESS, Ended.FAILURE] and (rows["source"] == Source.HUMAN).all()
    known = {row["token"].tobytes() for row in run[1]}
    assert np.mean([row["token"].tobytes() in known for row in rows]) > 0.9
    assert "of the actions are further from the VLA's than 'residual_scale' lets a residual go: x " in said


@pytest.fixture
def served(named, tmp_path):
    """Serves the VLA with this encoder behind it; gives the parameter file of a robot that asks it."""
    ends = []

    def serve(encoder: Path) -> Path:
        server = PolicyServer(load(named["vla_model"]), encoder=TokenEncoder(encoder)).listen("127.0.0.1", 0)
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        ends.append((server, serving))
        address = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        return write_config(tmp_path / "robot.yaml", named, backend="openpi", server=address, image_height=0, image_width=0)

    yield serve
    for server, serving in ends:
        server.shutdown()
        serving.join()


def test_a_server_makes_the_tokens_that_are_made_here(dataset, named, config, served, give, tmp_path):
    robot = served(Path(named["token_encoder"]))
    for where, file in (("here", config), ("there", robot)):
        status, said = give(import_demonstrations, "--lerobot", dataset, "--config", file, tmp_path / where)
        assert status == 0, said
    learner = node_settings.load("learner_node", config)
    dtype, identity = small_run.row_dtype(learner), find_identity(learner)
    here, there = (np.concatenate([rows for rows, _ in Seed(str(tmp_path / each), learner, dtype, identity)]) for each in ("here", "there"))
    for name in ("token", "reference", "action", "proprio"):
        np.testing.assert_allclose(there[name], here[name], atol=1e-5)


def test_a_server_of_another_encoder_is_refused(dataset, named, served, give, tmp_path):
    other = onnx.load(named["token_encoder"])
    other.doc_string = "another file"
    onnx.save(other, tmp_path / "other.onnx")
    status, said = give(import_demonstrations, "--lerobot", dataset, "--config", served(tmp_path / "other.onnx"), tmp_path / "seed")
    assert status == 2 and "makes tokens with an encoder of SHA-256" in said and not (tmp_path / "seed").exists(), said


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"cameras": ["base", "wrist"]}, "no pictures of camera wrist; it has observation.images.base"),
        ({"proprioception": ["wrench_torque"]}, "has no wrench_torque, needed for"),
    ],
)
def test_what_does_not_fit_the_robot_is_refused(dataset, named, give, tmp_path, changes, says):
    own = {"encoder_sha256": "e" * 64, "vla_sha256": "f" * 64, "token_encoder": "", "vla_model": ""}
    robot = write_config(tmp_path / "robot.yaml", {**own, **changes})
    status, said = give(import_demonstrations, "--lerobot", dataset, "--config", robot, tmp_path / "seed")
    assert status == 2 and says in said and not (tmp_path / "seed").exists(), said


def test_a_data_set_of_others_is_taken_by_order_and_all_its_episodes_for_successes(config, give, tmp_path):
    features = {
        "observation.images.base": {"dtype": "image", "shape": (8, 8, 3), "names": ["height", "width", "channels"]},
        "observation.state": {"dtype": "float32", "shape": (6,), "names": ["a", "b", "c", "d", "e", "f"]},
        "action": {"dtype": "float32", "shape": (3,), "names": ["p", "q", "r"]},
    }
    theirs = LeRobotDataset.create("theirs", 10, features, root=tmp_path / "theirs", use_videos=False)
    for _ in range(2):
        for i in range(12):
            state = np.array([*small_robot.HOME, 0.0, 0.0, 0.1 * i], np.float32)
            frame = {"observation.images.base": np.full((8, 8, 3), i, np.uint8), "observation.state": state}
            theirs.add_frame({**frame, "action": np.array([0.0002, 0.0, 0.0], np.float32), "task": "push"})
        theirs.save_episode()
    if hasattr(theirs, "finalize"):
        theirs.finalize()
    command = ["--lerobot", tmp_path / "theirs", "--config", config, tmp_path / "seed"]
    status, said = give(import_demonstrations, *command)
    assert status == 2 and "observation.state holds a, b, c, d, e, f: say what that is with --state-groups" in said
    status, said = give(import_demonstrations, *command, "--state-groups", "ee_position", "wrench_force")
    assert status == 0, said
    assert "actions are taken in their order: p as x, q as y, r as z" in said and "all are taken for success" in said
    assert "2 episodes (success 2), 120 steps" in said and "10 frames per second became 50 steps" in said
    status, said = give(import_demonstrations, *command, "--state-groups", "ee_position", "wrench_force")
    assert status == 2 and "is there already" in said


def test_what_is_not_there_is_said(config, give, tmp_path, run):
    status, said = give(export, "--lerobot", tmp_path / "none", tmp_path / "made")
    assert status == 2 and "there is no bag" in said
    status, said = give(export, "--lerobot", run[0], tmp_path)
    assert status == 2 and "is there already" in said
    status, said = give(export, "--lerobot", run[0], tmp_path / "made", "--outcomes", "time_limit")
    assert status == 2 and "no episode is whole" in said and not (tmp_path / "made").exists()
    status, said = give(import_demonstrations, "--lerobot", tmp_path / "none", "--config", config, tmp_path / "seed")
    assert status == 2 and "there is no folder" in said


def test_demonstrations_of_an_so101_in_degrees_with_its_act(give, tmp_path):
    """As LeRobot records them: joints by name, in degrees, 30 frames per second; the policy is a real, small ACT that counts in them, too."""
    lerobot_act.save(tmp_path / "act")
    server = PolicyServer(lerobot.load(str(tmp_path / "act"), device="cpu")).listen("127.0.0.1", 0)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    names = [f"{joint}.pos" for joint in lerobot_act.JOINTS]
    picture = {"dtype": "image", "shape": (lerobot_act.HEIGHT, lerobot_act.WIDTH, 3), "names": ["height", "width", "channels"]}
    features = {f"observation.images.{camera}": picture for camera in lerobot_act.CAMERAS}
    features |= {key: {"dtype": "float32", "shape": (6,), "names": names} for key in ("observation.state", "action")}
    theirs = LeRobotDataset.create("theirs", lerobot_act.RATE, features, root=tmp_path / "theirs", use_videos=False)
    seconds = np.arange(40) / lerobot_act.RATE
    path = np.degrees(np.array(lerobot_act.MEAN) + 0.1 * np.sin(seconds)[:, None])
    for leader in path:
        frame = {key: np.zeros(picture["shape"], np.uint8) for key in features if "images" in key}
        theirs.add_frame({**frame, "observation.state": (leader - 1.0).astype(np.float32), "action": leader.astype(np.float32), "task": "push"})
    theirs.save_episode()
    if hasattr(theirs, "finalize"):
        theirs.finalize()
    robot = yaml.safe_load(config_file("so101").read_text())
    robot["/**"]["ros__parameters"]["vla_sha256"] = "0" * 64
    robot["/**/vla_node"]["ros__parameters"]["server"] = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
    command = ["--lerobot", tmp_path / "theirs", "--config", tmp_path / "robot.yaml", tmp_path / "seed", "--scale", 57.29578]
    try:
        (tmp_path / "robot.yaml").write_text(yaml.safe_dump(robot))
        status, said = give(import_demonstrations, *command)
        assert status == 2 and "the VLA server serves a VLA with SHA-256" in said and not (tmp_path / "seed").exists(), said
        robot["/**"]["ros__parameters"]["vla_sha256"] = lerobot_checkpoint.digest(tmp_path / "act")
        (tmp_path / "robot.yaml").write_text(yaml.safe_dump(robot))
        status, said = give(import_demonstrations, *command)
    finally:
        server.shutdown()
        serving.join()
    assert status == 0 and "1 episodes (success 1), 40 steps" in said, said
    learner = node_settings.load("learner_node", tmp_path / "robot.yaml")
    rows = np.concatenate([rows for rows, _ in Seed(str(tmp_path / "seed"), learner, small_run.row_dtype(learner), find_identity(learner))])
    np.testing.assert_allclose(rows["action"], np.radians(path), atol=2e-3)
    np.testing.assert_allclose(rows["proprio"][:, :6], np.radians(path - 1.0), atol=1e-5)
    assert np.abs(rows["reference"]).max() > 0.1 and (rows["source"] == Source.HUMAN).all()
