"""A LeRobot data set's frames are put to a VLA as its server wants them, and train_token learns from what it answers; without LeRobot itself."""

from __future__ import annotations

import numpy as np
import policy_servers
import pytest
from like_lerobot import CAMERAS, HEIGHT, RATE, WIDTH, LikeLeRobot

from rl_token_ros.adapters import lerobot_dataset
from rl_token_ros.adapters.lerobot_dataset import Dataset
from rl_token_ros.adapters.lerobot_questions import Questions, cameras_of, settings_for
from rl_token_ros.settings.parameters import ParameterError

FRONT, WRIST = (f"observation.images.{camera}" for camera in CAMERAS)
SERVER = "ws://127.0.0.1:9"


def dataset(**how) -> Dataset:
    return Dataset(LikeLeRobot(**how), "demos")


def questions(data: Dataset, cameras=CAMERAS, **how) -> Questions:
    return Questions(data, settings_for(data, SERVER, cameras), **how)


def test_a_data_set_is_what_its_frames_say():
    data = dataset(frames=40)
    assert data.rate == RATE and data.cameras == {FRONT: (HEIGHT, WIDTH), WRIST: (HEIGHT, WIDTH)} and len(data) == 120
    assert data.state_names == data.action_names == ("pan", "lift", "gripper") and data.success is None
    assert data.state.shape == (120, 3) and data.episode[[0, 39, 40, 119]].tolist() == [0, 0, 1, 2] and data.seconds[40] == 0.0
    pictures, task = data.look(7)
    np.testing.assert_array_equal(pictures[FRONT][3, 4], np.rint(255 * np.clip(0.5 + 0.4 * data.state[7], 0, 1)))
    assert pictures[FRONT].dtype == np.uint8 and pictures[WRIST].shape == (HEIGHT, WIDTH, 3) and task == "insert"
    assert dataset(channels_first=True).cameras == data.cameras
    assert dataset(successes=[True, False, True]).success.sum() == 2


def test_names_that_are_missing_or_of_an_older_data_set():
    odd = {"observation.state": {"dtype": "float32", "shape": (3,), "names": {"motors": ["a", "b", "c"]}}}
    assert dataset(**odd).state_names == ("a", "b", "c")
    odd["observation.state"]["names"] = None
    assert dataset(**odd).state_names[2] == "observation.state[2]"


def test_a_data_set_that_cannot_be_used_is_refused():
    def without(*names: str) -> LikeLeRobot:
        theirs = LikeLeRobot()
        for name in names:
            theirs.meta.stats.pop(name)
        return theirs

    with pytest.raises(ParameterError, match=rf"no statistics of {FRONT}, action \(meta/stats.json\), which LeRobot writes"):
        Dataset(without(FRONT, "action"), "demos")
    theirs = LikeLeRobot()
    theirs.meta.stats = None
    with pytest.raises(ParameterError, match="has no statistics"):
        Dataset(theirs, "demos")
    for camera in (FRONT, WRIST):
        del theirs.meta.features[camera]
    with pytest.raises(ParameterError, match="has no pictures; it has observation.state"):
        Dataset(theirs, "demos")
    with pytest.raises(ParameterError, match="shape .8, 10, 1.; colour pictures are needed"):
        dataset(**{FRONT: {"dtype": "video", "shape": (8, 10, 1), "names": None}})
    with pytest.raises(ParameterError, match="has no frames"):
        dataset(episodes=0)
    broken = LikeLeRobot()
    broken.__class__ = type("Broken", (LikeLeRobot,), {"__getitem__": lambda self, index: 1 / 0})
    with pytest.raises(ParameterError, match="LeRobot cannot read frame 3 of the data set 'demos': ZeroDivisionError"):
        Dataset(broken, "demos").look(3)


def test_what_is_no_data_set_is_said(tmp_path):
    with pytest.raises(ParameterError, match="there is no folder './nowhere', and a name on the Hugging Face Hub is OWNER/NAME"):
        lerobot_dataset.load("./nowhere")
    with pytest.raises(ParameterError, match="is no LeRobot data set: it has no meta/info.json"):
        lerobot_dataset.load(str(tmp_path))


def test_without_lerobot_it_is_said_what_to_install():
    try:
        import lerobot  # noqa: F401
    except ImportError:
        with pytest.raises(ParameterError, match="reads a data set with LeRobot itself, which is not here .*: install LeRobot .pip install lerobot."):
            lerobot_dataset.load("me/cube")
    else:
        pytest.skip("LeRobot is here")


@pytest.mark.parametrize(
    "version, reads, says",
    [
        ("v2.1", "v3.0", "convert it with LeRobot's own\n  python -m lerobot.datasets.v30.convert_dataset_v21_to_v30 --repo-id=cube --root="),
        ("v2.0", "v3.0", "is of version v2.0, LeRobot here reads v3.0; install a LeRobot that reads v2.0"),
        ("v3.0", "v2.1", "is of version v3.0, LeRobot here reads v2.1; install a LeRobot that reads v3.0"),
        ("v3.1", "v3.0", ""),
        ("v2.1", "v2.1", ""),
    ],
)
def test_a_data_set_of_another_version_says_what_to_do(tmp_path, version, reads, says):
    (tmp_path / "cube" / "meta").mkdir(parents=True)
    (tmp_path / "cube" / "meta" / "info.json").write_text(f'{{"codebase_version": "{version}"}}')
    if says:
        with pytest.raises(ParameterError) as refused:
            lerobot_dataset._refuse_version(tmp_path / "cube", reads)
        assert says in str(refused.value) and version in str(refused.value)
    else:
        lerobot_dataset._refuse_version(tmp_path / "cube", reads)


def test_frames_are_sent_under_the_names_of_the_server():
    data = dataset()
    asked = questions(data, scale=[2.0])
    seen = asked.observation(61)
    assert set(seen.images) == {"front", "wrist"} and seen.task == "insert" and seen.stamp_ns == round(1e9 * data.seconds[61])
    np.testing.assert_allclose(seen.proprio, data.state[61] / 2.0)
    assert asked.table().splitlines() == [
        "the VLA is asked with  from the data set's",
        "proprio                observation.state         pan, lift, gripper, divided by 2",
        "task                   task",
        "image_front            observation.images.front  8 x 10",
        "image_wrist            observation.images.wrist  8 x 10",
    ]
    part = questions(data, cameras=["base"], overrides=[f"base={WRIST}"], task="pull")
    assert part.observation(0).task == "pull" and list(part.observation(0).images) == ["base"]
    assert f"not sent               {FRONT}" in part.table() and "--task                    pull" in part.table()


def test_the_state_may_be_a_part():
    data = dataset()
    settings = settings_for(data, SERVER, CAMERAS)
    with pytest.raises(
        ParameterError, match=r"has 2 values .pan, lift, gripper., the VLA's vla_proprioception .* has 3; take some .* --state, as in 0:3"
    ):
        Questions(data, settings, columns="0:2")
    with pytest.raises(ParameterError, match="parameter '--state' takes the columns '5' of 3 values of observation.state"):
        Questions(data, settings, columns="5")
    with pytest.raises(ParameterError, match="--scale has 2 numbers, the state 3 values"):
        questions(data, scale=[1.0, 2.0])
    part = Questions(data, settings_for(data, SERVER, CAMERAS, "0:2"), columns="0:2", scale=[2.0, 4.0])
    np.testing.assert_array_equal(part.proprio(5), data.state[5, :2] / [2.0, 4.0])
    turned = questions(data, columns="2,1,0")
    np.testing.assert_array_equal(turned.proprio(5), data.state[5, ::-1])
    assert turned.shown != questions(data).shown


@pytest.mark.parametrize(
    "overrides, says",
    [
        ([], "the VLA takes the camera 'side', the data set 'demos' has front .observation.images.front., wrist .*; write --camera side=FEATURE"),
        (["side=up"], "--camera 'side=up': the data set 'demos' has observation.images.front, observation.images.wrist"),
        (["side"], "write CAMERA=FEATURE"),
        ([f"front={WRIST}"], "camera 'front' would be observation.images.front and observation.images.wrist"),
    ],
)
def test_a_camera_that_is_missing_is_refused(overrides, says):
    with pytest.raises(ParameterError, match=says):
        questions(dataset(), cameras=["side"], overrides=overrides)


def test_which_cameras_a_server_takes_its_metadata_say():
    data = dataset()
    assert cameras_of({"cameras": ["wrist"]}, data, []) == ["wrist"]
    assert cameras_of({"inputs": ["image_base", "proprio"]}, data, []) == ["base"]
    assert cameras_of({}, data, [f"none={FRONT}"]) == ["wrist"]


# --- train_token, from the command line to the encoder ------------------------------------------------------------------------------------------


class Seeing(policy_servers.Policy):
    """Its embeddings are what it is shown: three rows of mean colours and state, in different mixtures."""

    def infer(self, obs):
        self.requests.append(obs)
        self.before()
        colours = [obs[f"image_{camera}"].astype(float).mean((0, 1)) / 255.0 for camera in CAMERAS]
        seen = np.concatenate([*colours, obs["proprio"]])
        mixtures = np.random.default_rng(0).normal(size=(3, 5, len(seen)))
        return {"actions": np.zeros((4, 3), np.float32), "embeddings": (mixtures @ seen).astype(np.float32)}


@pytest.fixture
def train(monkeypatch, capsys, tmp_path):
    """Runs train_token on a data set like LeRobot's, and gives its status and all it printed."""
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    pytest.importorskip("rosbags")
    from rl_token_ros.commands import train_token

    def call(theirs: LikeLeRobot, *arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(lerobot_dataset, "load", lambda name: Dataset(theirs, name))
        common = ("--threads", 1, "--steps", 2, "--size", 4, "--output", tmp_path / "token.onnx", "--lerobot", "demos")
        monkeypatch.setattr("sys.argv", ["train_token", *map(str, (*common, *arguments))])
        status = train_token.main()
        said = capsys.readouterr()
        return status, said.out + said.err

    return call


@pytest.fixture
def policy():
    return Seeing()


@pytest.fixture
def server(policy):
    with policy_servers.running(policy_servers.OpenPi(policy, {"vla_sha256": "a" * 64, "cameras": list(CAMERAS), "scale": [2.0]})) as running:
        yield running.url


@pytest.mark.slow
def test_a_token_is_trained_from_a_data_set(train, policy, server, tmp_path):
    from rl_token_ros.rl_token.encoder import TokenEncoder

    theirs = LikeLeRobot()
    status, said = train(theirs, "--server", server)
    assert status == 0, said
    assert "60 observations of 3 x 5, 12 of them held out" in said  # 3 episodes of 2 s, 10 per second
    assert "success is assumed, as of demonstrations (--outcome unknown: not)" in said and "60/60" in said
    assert "  observation.state" in said and "divided by 2" in said
    assert TokenEncoder(tmp_path / "token.onnx", 4).vla_sha256 == "a" * 64
    assert theirs.read == [60 * episode + 3 * k for episode in range(3) for k in range(20)]
    np.testing.assert_allclose(policy.requests[21]["proprio"], Dataset(LikeLeRobot(), "").state[63] / 2.0, rtol=1e-6)
    status, said = train(theirs, "--server", server)
    assert status == 0 and "asked about before: 60 observations" in said and len(theirs.read) == len(policy.requests) == 60


@pytest.mark.slow
def test_asking_about_a_data_set_goes_on_where_it_was_cut_off(train, policy, server, tmp_path):
    def fail() -> None:
        if len(policy.requests) == 41:
            raise RuntimeError("out of memory")

    policy.before = fail
    theirs = LikeLeRobot()
    status, said = train(theirs, "--server", server)
    assert status == 2 and "out of memory" in said
    before = len(theirs.read)
    status, said = train(theirs, "--server", server)
    assert status == 0 and "40 observations were asked about before, 40 of them are in" in said
    assert len(policy.requests) == 61 and theirs.read[before:] == [120 + 3 * k for k in range(20)]
    (path,) = (tmp_path / "embeddings").glob("*.f16")
    assert train(LikeLeRobot(), "--server", server, "--cache", tmp_path / "whole")[0] == 0
    (whole,) = (tmp_path / "whole").glob("*.f16")
    assert path.read_bytes() == whole.read_bytes()


@pytest.mark.slow
def test_outcomes_are_those_that_the_data_set_says(train, server):
    status, said = train(LikeLeRobot(episodes=10, frames=30, successes=[True, False] * 5), "--server", server)
    assert status == 0 and "success is assumed" not in said and "100 observations" in said
    assert "outcome (0 or 1)" in said and "too little" not in said
    status, said = train(LikeLeRobot(), "--server", server, "--outcome", "unknown")
    assert status == 0 and "success is assumed, as" not in said and "outcome (0 or 1)" not in said


@pytest.mark.slow
def test_what_does_not_fit_a_data_set_ends_with_a_sentence(train, server, policy):
    assert "nothing listens there" in train(LikeLeRobot(), "--server", SERVER)[1]
    with policy_servers.running(policy_servers.OpenPi(policy, {"cameras": ["side"]})) as other:
        status, said = train(LikeLeRobot(), "--server", other.url)
    assert status == 2 and "the VLA takes the camera 'side'" in said and not policy.requests
    with policy_servers.running(policy_servers.OpenPi(policy, {"cameras": list(CAMERAS), "vla_sha256": "b" * 64})) as other:
        assert train(LikeLeRobot(), "--server", server)[0] == 0
        status, said = train(LikeLeRobot(), "--server", other.url, "--scale", "2")
    assert status == 2 and "is of a VLA with SHA-256 'aaaaaaaaaaaa', the one that answers has 'bbbbbbbbbbbb'" in said


@pytest.mark.slow
def test_a_disk_that_is_too_small_is_said_before_all_is_asked(train, server, monkeypatch):
    from rl_token_ros.adapters import lerobot_token

    monkeypatch.setattr(lerobot_token.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    status, said = train(LikeLeRobot(), "--server", server)
    assert status == 2 and "the embeddings take 0.0 GB in" in said and "make room, name another --cache, or ask about fewer" in said


def test_the_cameras_of_a_robots_file_are_those_that_are_asked_about():
    """With --config: names, sizes and proprioception are the robot's."""
    import small_robot

    from rl_token_ros.settings import parameters
    from rl_token_ros.settings.vla import Vla

    data = dataset()
    names = ["a", "b", "c"]
    settings = parameters.build(
        Vla,
        small_robot.shared(
            cameras=["wrist"], joint_names=names, action_names=names, backend="openpi", observation_preset="", proprioception=[],
            observation_keys=["images>cam: camera/wrist:chw", "state: proprio[0:2]", "prompt: task"],
        ),
    )  # fmt: skip
    table = Questions(data, settings).table()
    assert (
        "images>cam             observation.images.wrist  8 x 10" in table and "state                  observation.state         pan, lift\n" in table
    )
