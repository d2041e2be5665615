"""`rl_token clone`: a policy learned from demonstrations, loaded by the backend that the robot has, and what is refused."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("rosbags")

from rl_token_ros.commands import clone
from rl_token_ros.rl_token import encoder
from rl_token_ros.settings import node_settings
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.system.onnx_session import session
from rl_token_ros.vla.backend import Observation
from rl_token_ros.vla.make_backend import make_backend

HORIZON, DT, GAIN = 4, 0.05, 0.1
FRONT, WRIST = (30, 40), (24, 24)  # rows and columns; the first is no multiple of a patch
ROBOT = {
    "cameras": ["front", "wrist"], "joint_names": ["a", "b"], "action_names": ["a", "b"], "residual_scale": [0.01, 0.01],
    "vla_proprioception": ["joint_position"], "chunk_dt": DT, "chunk_length": 2, "token_size": 0,
}  # fmt: skip


def picture(size: tuple[int, int], place: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3]: a bright dot at a place in 0..1 on a dark ground."""
    rows, columns = (np.arange(n)[:, None] if i == 0 else np.arange(n)[None] for i, n in enumerate(size))
    far = (rows - place[0] * size[0]) ** 2 + (columns - place[1] * size[1]) ** 2
    return (30 + 200 * np.exp(-far / 40.0))[..., None].repeat(3, 2).astype(np.uint8)


def demonstration(seed: int, steps: int = 30) -> dict[str, np.ndarray]:
    """The arm follows the dot that the front camera shows; the other camera shows nothing of use."""
    random = np.random.default_rng(seed)
    phase, turn = random.uniform(0.0, 6.0, 2), random.uniform(0.05, 0.15, 2)
    arm, rows = random.uniform(0.0, 1.0, 2), []
    for t in range(steps):
        dot = 0.5 + 0.4 * np.sin(phase + turn * t)
        action = GAIN * (dot - arm)
        rows.append((picture(FRONT, dot), random.integers(0, 255, (*WRIST, 3), np.uint8), arm, action))
        arm = arm + action
    front, wrist, proprio, actions = map(np.array, zip(*rows))
    return {"image_front": front, "image_wrist": wrist, "proprio": proprio.astype(np.float32), "action": actions.astype(np.float32)}


def write(folder: Path, count: int, **changes) -> Path:
    folder.mkdir(exist_ok=True)
    for seed in range(count):
        np.savez(folder / f"{seed:03}.npz", **{**demonstration(seed), **changes})
    return folder


def run(*arguments: object) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["rl_token clone", *map(str, arguments)])
        return clone.main()


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("robot") / "robot.yaml"
    path.write_text(yaml.safe_dump({"/**": {"ros__parameters": ROBOT}}))
    return path


def cloned(folder: Path, config: Path, iterations: int) -> tuple[Path, str]:
    """The file, and what was said."""
    demos, said = write(folder / "demos", 30), io.StringIO()
    trained = ("--horizon", HORIZON, "--size", 24, "--iterations", iterations, "--batch", 32, "--threads", 1)
    with contextlib.redirect_stdout(said):
        assert run(demos, "--config", config, "--output", folder / "vla.onnx", *trained) == 0
    return folder / "vla.onnx", said.getvalue()


@pytest.fixture(scope="module")
def untrained(tmp_path_factory, config):
    return cloned(tmp_path_factory.mktemp("untrained"), config, 1)


def backend_of(path: Path, config: Path, **changes):
    return make_backend(node_settings.load("vla_node", config, vla_model=str(path), **changes))


@pytest.mark.slow
def test_it_acts_on_what_it_sees_in_episodes_it_has_not_seen(tmp_path, config):
    path, said = cloned(tmp_path, config, 250)
    shares = [float(value) for value in re.findall(r"^  [ab] +\S+ +(\S+)$", said, re.M)]
    assert len(shares) == 2 and max(shares) < 0.4, said
    backend, errors, sizes = backend_of(path, config), [], []
    for seed in range(1000, 1010):
        shown = demonstration(seed)
        for t in range(0, 30 - HORIZON, 5):
            images = {camera: shown[f"image_{camera}"][t] for camera in ROBOT["cameras"]}
            answer = backend.query(Observation(0, images, shown["proprio"][t], ""))
            assert answer.actions.shape == (HORIZON, 2) and answer.embeddings.shape == (2 * 3 + 2 * 2, 128)
            errors.append(answer.actions - shown["action"][t : t + HORIZON])
            sizes.append(shown["action"][t : t + HORIZON])
    assert np.square(errors).mean() < 0.2 * np.square(sizes - np.mean(sizes, 0)).mean()


def test_it_says_what_to_write_and_how_near_the_file_is(untrained):
    path, said = untrained
    assert f"vla_model: {path}, cameras: [front, wrist], action_names: [a, b], action_type: delta, chunk_dt: 0.05" in said
    assert "vla_proprioception: [joint_position]" in said and "30 demonstrations, 900 samples, 45 s; 3 held out" in said
    assert "front 30 x 40 seen as 24 x 36" in said
    assert float(re.search(r"within (\S+) of what was trained", said)[1]) < 1e-3
    assert not list(path.parent.glob("tmp*"))


@pytest.mark.parametrize(
    "change, says",
    [
        ({"chunk_dt": 0.02}, "'chunk_dt' is 0.02"),
        ({"action_type": "absolute"}, "'action_type' is absolute, but .* was trained with delta; write that"),
        ({"cameras": ["front"]}, "takes the cameras \\['front', 'wrist'\\]"),
        ({"vla_proprioception": ["joint_velocity"]}, 'was trained with \\["joint_position"\\]'),
    ],
)
def test_a_robot_of_another_form_is_refused(untrained, config, change, says):
    with pytest.raises(ParameterError, match=says):
        backend_of(untrained[0], config, **change)


def test_the_token_is_of_the_same_policy(tmp_path, config, capsys):
    write(tmp_path / "demos", 4)
    files = ("--output", tmp_path / "vla.onnx", "--token", tmp_path / "token.onnx")
    trained = ("--horizon", 3, "--size", 24, "--iterations", 2, "--batch", 4, "--threads", 1, "--token-size", 6, "--token-steps", 5)
    assert run(tmp_path / "demos", "--config", config, *files, *trained) == 0
    said = capsys.readouterr().out
    assert f"token_encoder: {tmp_path / 'token.onnx'}, token_size: 6" in said
    assert 0.0 < float(re.search(r"held out: (\S+) % of the embeddings", said)[1]) <= 100.0
    named = {"vla_model": str(tmp_path / "vla.onnx"), "token_encoder": str(tmp_path / "token.onnx"), "token_size": 6}
    limits = {"position_min": [0.0] * 2, "position_max": [1.0] * 2, "velocity_limit": [1.0] * 2, "acceleration_limit": [9.0] * 2}
    made_for = encoder.load(
        node_settings.load("control_node", config, lead_limit=[0.1] * 2, replan_interval=2, **limits, **named)
    )  # refuses that of another VLA
    shown = demonstration(9)
    images = {camera: shown[f"image_{camera}"][0] for camera in ROBOT["cameras"]}
    answer = backend_of(tmp_path / "vla.onnx", config).query(Observation(0, images, shown["proprio"][0], ""))
    assert made_for.run(answer.embeddings).shape == (6,)


def test_a_token_wider_than_the_demonstrations_is_refused(tmp_path, config, capsys):
    write(tmp_path / "demos", 3)
    trained = ("--horizon", 3, "--size", 24, "--iterations", 1, "--threads", 1, "--token", tmp_path / "token.onnx", "--token-size", 64)
    assert run(tmp_path / "demos", "--config", config, "--output", tmp_path / "vla.onnx", *trained) == clone.EXIT_BAD_INPUT
    assert "60 samples are too few for a token of 64; write a smaller --token-size" in capsys.readouterr().err
    assert not (tmp_path / "vla.onnx").exists()  # before training


def test_without_a_parameter_file_names_are_written(tmp_path, capsys):
    write(tmp_path / "demos", 2)
    out = tmp_path / "vla.onnx"
    names = ("--actions", "a", "b", "--dt", DT, "--cameras", "wrist", "--action-type", "absolute")
    assert run(tmp_path / "demos", "--output", out, *names, "--horizon", 3, "--size", 24, "--iterations", 2, "--batch", 4, "--threads", 1) == 0
    assert "pictures of camera 'front' in 2 demonstrations are not used" in capsys.readouterr().err
    assert [value.name for value in session(out).get_inputs()] == ["image_wrist", "proprio"]
    metadata = session(out).get_modelmeta().custom_metadata_map
    assert (metadata["action_type"], metadata["action_names"], metadata["dt"]) == ("absolute", '["a", "b"]', "0.05")


def test_a_chunk_that_is_hardly_shown_is_said(tmp_path, config, capsys):
    write(tmp_path / "demos", 2)
    trained = ("--horizon", 25, "--size", 24, "--iterations", 1, "--batch", 4, "--threads", 1)
    assert run(tmp_path / "demos", "--config", config, "--output", tmp_path / "vla.onnx", *trained) == 0
    assert "only 20 % of the samples show a whole chunk of 25 actions" in capsys.readouterr().err


def test_the_same_seed_gives_the_same_policy(tmp_path):
    write(tmp_path / "demos", 3)
    feed = {"image_wrist": demonstration(9)["image_wrist"][:1], "proprio": np.zeros((1, 2), np.float32)}
    answers = []
    for number, seed in enumerate((0, 0, 1)):
        out = tmp_path / f"{number}.onnx"
        names = ("--actions", "a", "b", "--dt", DT, "--cameras", "wrist", "--seed", seed)
        assert run(tmp_path / "demos", "--output", out, *names, "--horizon", 3, "--size", 24, "--iterations", 2, "--batch", 4, "--threads", 1) == 0
        answers.append(session(out).run(["actions"], feed)[0])
    np.testing.assert_array_equal(answers[0], answers[1])
    assert np.abs(answers[0] - answers[2]).max() > 0.0


def _without(name):
    return {key: value for key, value in demonstration(1).items() if key != name}


SHOWN = demonstration(1)
BROKEN = {
    "no_action": (_without("action"), "has no action, but .*; write np.savez"),
    "no_camera": ({key: value for key, value in SHOWN.items() if "image" not in key}, "has no image_<camera>"),
    "other_cameras": (_without("image_wrist"), "no pictures of camera wrist, but of front; write the same cameras in every"),
    "lengths": ({**SHOWN, "action": SHOWN["action"][:-1]}, "different lengths.*proprio 30, action 29"),
    "nan": ({**SHOWN, "action": np.where(np.arange(30)[:, None] == 7, np.nan, SHOWN["action"])}, "'action' that are not finite, first in step 7"),
    "floats": ({**SHOWN, "image_front": SHOWN["image_front"] / 255.0}, "'image_front' float64 .*; write uint8 \\[T, h, w, 3\\]"),
    "objects": ({**SHOWN, "proprio": np.array([None] * 30)}, "cannot be read .*Object arrays cannot be loaded.*; write it again"),
    "actions": ({**SHOWN, "action": SHOWN["action"].repeat(2, 1)}, "actions of 4 values; write 2, one for each of a, b"),
    "state": ({**SHOWN, "proprio": SHOWN["proprio"].repeat(2, 1)}, "state of 4 values; write 2: joint_position"),
    "size": ({**SHOWN, "image_front": SHOWN["image_front"][:, :20]}, "camera 'front' is 20 x 40, the first 30 x 40; record all of one size"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_demonstrations_that_cannot_be_used_are_refused(tmp_path, config, capsys, fault):
    arrays, says = BROKEN[fault]
    write(tmp_path, 1)
    np.savez(tmp_path / "broken.npz", **arrays)
    assert run(tmp_path, "--config", config, "--output", tmp_path / "out" / "vla.onnx", "--horizon", HORIZON) == clone.EXIT_BAD_INPUT
    said = capsys.readouterr().err
    assert "broken.npz" in said and re.search(says, said), said
    assert not (tmp_path / "out" / "vla.onnx").exists()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("damage", ["cut off", "overwritten"])
def test_a_file_that_is_damaged_is_refused(tmp_path, config, capsys, save, damage):
    write(tmp_path, 2)
    save(tmp_path / "001.npz", **demonstration(1))
    whole = (tmp_path / "001.npz").read_bytes()
    middle = len(whole) // 3
    (tmp_path / "001.npz").write_bytes(whole[:middle] if damage == "cut off" else whole[:middle] + bytes(200) + whole[middle + 200 :])
    assert run(tmp_path, "--config", config, "--output", tmp_path / "vla.onnx") == clone.EXIT_BAD_INPUT
    assert re.search(r"001.npz' cannot be read .*; write it again", capsys.readouterr().err)


@pytest.mark.parametrize(
    "count, arguments, says",
    [
        (0, (), "holds no demonstrations; write an .npz file for each"),
        (1, (), "1 demonstration.* at least 2"),
        (2, ("--horizon", 40), "at most 30 actions are shown one after the other, a chunk has 40; write --horizon 15"),
        (2, ("--config", ""), "does not say what its actions are called.*--actions"),
    ],
)
def test_too_little_is_refused(tmp_path, config, capsys, count, arguments, says):
    write(tmp_path, count)
    assert run(tmp_path, "--config", config, "--output", tmp_path / "vla.onnx", *arguments) == clone.EXIT_BAD_INPUT
    assert re.search(says, capsys.readouterr().err)


@pytest.mark.parametrize(
    "arguments, says",
    [
        ((), "name demonstrations"),
        (("--lerobot", "me/cube"), "--lerobot: name the robot's parameter file"),
        (("demos", "--config", "robot.yaml", "--dt", "0.1"), "leave --actions, --dt and --cameras out"),
        (("demos", "--size", "8"), "--size must be at least 24"),
    ],
)
def test_options_that_say_too_little_or_too_much_are_refused(capsys, arguments, says):
    with pytest.raises(SystemExit) as ended:
        run(*arguments, "--output", "vla.onnx")
    assert ended.value.code == 2 and says in capsys.readouterr().err
