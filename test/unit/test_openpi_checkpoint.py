"""openpi checkpoints as files, their configs' observations mapped, and what is refused, without openpi."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from rl_token_ros.adapters import openpi_checkpoint
from rl_token_ros.adapters.openpi_inputs import Inputs
from rl_token_ros.commands import vla_server
from rl_token_ros.settings.parameters import ParameterError

ONE = np.ones(1, np.float32)
STATISTICS = "assets/me/peg/norm_stats.json"


def numbers(count: int, padded: int = 0) -> dict[str, list[float]]:
    return {"mean": [0.5] * count + [0.0] * padded, "std": [1.0] * count + [0.0] * padded}


def made(folder: Path, *, pytorch: bool = False, **statistics) -> Path:
    """A checkpoint whose weights are none."""
    for name in ("model.safetensors",) if pytorch else ("params/_METADATA", "params/d/0"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / STATISTICS).parent.mkdir(parents=True)
    (folder / STATISTICS).write_text(json.dumps({"norm_stats": {"state": numbers(8), "actions": numbers(7)} | statistics}))
    return folder


def droid(**changes):
    picture = np.zeros((48, 64, 3), np.uint8)
    request = {"image_base": picture, "image_wrist": picture + 1, "proprio": np.arange(8.0), "task": "insert"} | changes
    return {name: value for name, value in request.items() if value is not None}


def serve(*arguments: str):
    return vla_server.policy_of(vla_server.parse(["--openpi", *arguments]))


def test_weights_of_pytorch_win_over_those_of_jax(tmp_path):
    assert not openpi_checkpoint.read(made(tmp_path / "jax")).pytorch
    assert openpi_checkpoint.read(made(tmp_path / "torch", pytorch=True)).pytorch
    (tmp_path / "jax" / "model.safetensors").write_text("both")
    assert openpi_checkpoint.read(tmp_path / "jax").pytorch


@pytest.mark.parametrize("step, says", [("", "neither params/ \\(JAX\\) nor model.safetensors \\(PyTorch\\)$"), ("29999", "a step, .*/29999$")])
def test_a_checkpoint_without_weights_is_refused(tmp_path, step, says):
    (tmp_path / step / "params").mkdir(parents=True)
    (tmp_path / "500").mkdir()
    if not step:
        (tmp_path / "500").rmdir()
    with pytest.raises(ParameterError, match=says):
        serve("pi0_libero", str(tmp_path))


def test_a_folder_that_is_not_there_is_refused():
    with pytest.raises(ParameterError, match="there is no folder 'nowhere'; write that of a step, as checkpoints/CONFIG/EXPERIMENT/29999"):
        serve("pi0_libero", "nowhere")


def test_sizes_come_from_the_statistics_and_padding_is_none(tmp_path):
    checkpoint = openpi_checkpoint.read(made(tmp_path / "own"))
    assert openpi_checkpoint.statistics(checkpoint, "me/peg", 32) == openpi_checkpoint.Sizes(8, 7)
    padded = openpi_checkpoint.read(made(tmp_path / "older", state=numbers(8, 24), actions=numbers(7, 25)))
    assert openpi_checkpoint.statistics(padded, "me/peg", 32) == openpi_checkpoint.Sizes(8, 0)


def test_a_checkpoint_without_the_statistics_is_refused(tmp_path):
    checkpoint = openpi_checkpoint.read(made(tmp_path))
    with pytest.raises(ParameterError, match=r"no statistics '.*assets/droid/norm_stats.json', which .*; it has those of me/peg\. Copy them"):
        openpi_checkpoint.statistics(checkpoint, "droid", 32)
    with pytest.raises(ParameterError, match="the config names no data set"):
        openpi_checkpoint.statistics(checkpoint, None, 32)
    (tmp_path / STATISTICS).write_text(json.dumps({"norm_stats": {"state": numbers(8)}}))
    with pytest.raises(ParameterError, match="has no statistics of actions; openpi would leave them unscaled"):
        openpi_checkpoint.statistics(checkpoint, "me/peg", 32)


@pytest.mark.parametrize("pytorch, weights", [(True, ["model.safetensors"]), (False, ["params/_METADATA", "params/d/0"])])
def test_the_fingerprint_is_of_weights_and_statistics_and_of_nothing_else(tmp_path, pytorch, weights):
    checkpoint = openpi_checkpoint.read(made(tmp_path, pytorch=pytorch))
    first = openpi_checkpoint.digest(checkpoint, "me/peg")
    lines = "".join(f"{name} {hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()}\n" for name in sorted([*weights, STATISTICS]))
    assert first == hashlib.sha256(lines.encode()).hexdigest()
    (tmp_path / "train_state").mkdir()
    (tmp_path / "train_state" / "0").write_text("not served")
    assert openpi_checkpoint.digest(checkpoint, "me/peg") == first
    for name in (*weights, STATISTICS):
        (tmp_path / name).write_text("changed")
        second = openpi_checkpoint.digest(checkpoint, "me/peg")
        assert second != first
        first = second


def test_where_openpi_is_not_installed_the_command_says_how_to(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openpi", None)
    with pytest.raises(ParameterError, match="--openpi runs in openpi's own environment: clone openpi, 'uv sync' in it, .*; here: .*openpi"):
        serve("pi0_libero", str(made(tmp_path)))


def test_plain_names_become_those_of_openpi():
    seen = Inputs(["DroidInputs"], 8).read(droid(), ONE)
    assert set(seen) == {
        "observation/exterior_image_1_left", "observation/wrist_image_left", "observation/joint_position", "observation/gripper_position", "prompt",
    }  # fmt: skip
    assert seen["observation/wrist_image_left"].min() == 1 and seen["prompt"] == "insert"
    assert seen["observation/joint_position"].tolist() == list(range(7)) and seen["observation/gripper_position"].tolist() == [7.0]


def test_openpis_own_names_are_taken_as_they_are():
    request = Inputs(["DroidInputs"], 8).read(droid(), ONE)
    again = Inputs(["DroidInputs"], 8).read(request, ONE)
    assert again.keys() == request.keys() and all(np.array_equal(again[name], request[name]) for name in request)


def test_alohas_pictures_are_nested_with_channels_first_and_its_wrists_may_be_missing():
    inputs = Inputs(["AlohaInputs", "DeltaActions"], 14, ["top=images>cam_high", "none=images>cam_right_wrist"])
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, :, 1] = 9
    seen = inputs.read({"image_top": picture, "image_cam_left_wrist": picture, "proprio": np.zeros(14), "task": "fold"}, ONE)
    assert set(seen["images"]) == {"cam_high", "cam_left_wrist"}
    assert seen["images"]["cam_high"].shape == (3, 48, 64) and (seen["images"]["cam_high"][1] == 9).all()
    own = inputs.read({"images": seen["images"], "state": np.zeros(14), "prompt": "fold"}, ONE)
    np.testing.assert_array_equal(own["images"]["cam_left_wrist"], seen["images"]["cam_left_wrist"])
    assert "images>cam_right_wrist  nothing: it is masked" in inputs.table() and "image_top or images>cam_high" in inputs.table()
    assert inputs.read(inputs.blank(), ONE)["state"].shape == (14,)


def test_a_transform_of_your_own_is_described_and_one_that_is_known_corrected():
    entries = ["base_rgb: camera/front", "joints: proprio[0:6]", "gripper: proprio[6]", "prompt: task"]
    seen = Inputs(["UR5Inputs"], 7, entries=entries).read({"image_front": droid()["image_base"], "proprio": np.arange(7.0), "task": "x"}, ONE)
    assert set(seen) == {"base_rgb", "joints", "gripper", "prompt"} and seen["gripper"].tolist() == [6.0]
    assert Inputs([], 7, entries=entries).read(Inputs([], 7, entries=entries).blank(), ONE).keys() == seen.keys()
    six = Inputs(["LiberoInputs"], 8, entries=["observation/state: proprio[0:6]"])
    assert six.read(droid(proprio=np.zeros(6)), ONE)["observation/state"].shape == (6,)
    assert Inputs(["LiberoInputs"], 9).read(droid(proprio=np.zeros(9)), ONE)["observation/state"].shape == (9,), "as the statistics say"


def test_the_policys_units_are_those_of_its_state():
    scale = np.array([2.0] * 7 + [100.0], np.float32)
    seen = Inputs(["DroidInputs"], 8).read(droid(proprio=np.ones(8)), scale)
    assert seen["observation/joint_position"].tolist() == [2.0] * 7 and seen["observation/gripper_position"].tolist() == [100.0]


def test_without_words_the_configs_own_are_used_if_it_has_some():
    assert "prompt" not in Inputs(["DroidInputs"], 8, default_task=True).read(droid(task=""), ONE)
    with pytest.raises(ValueError, match="has no task, and the config no default_prompt: write the parameter task of vla_node"):
        Inputs(["DroidInputs"], 8).read(droid(task=""), ONE)


@pytest.mark.parametrize(
    "names, cameras, entries, says",
    [
        (
            ["UR5Inputs"],
            [],
            [],
            "reads its observation by UR5Inputs; known are AlohaInputs, DroidInputs, LiberoInputs. Say what it takes, as --input",
        ),
        ([], [], [], "by no transform"),
        (["DroidInputs"], [], ["prompt=task"], "--input has the entry 'prompt=task'; write \"NAME: SOURCE\""),
        (["DroidInputs"], [], ["prompt: words"], "--input has the source 'words'"),
        (["DroidInputs"], [], ["prompt: proprio[7:2]"], "'--input' takes the columns '7:2'"),
        (["DroidInputs"], ["a=observation/image"], [], "the checkpoint takes observation/exterior_image_1_left, observation/wrist_image_left"),
        (["DroidInputs"], ["none=observation/wrist_image_left"], [], "a policy of type DroidInputs needs every picture"),
        (["DroidInputs"], ["wrist=observation/exterior_image_1_left"], [], "camera 'wrist' would be"),
    ],
)
def test_what_cannot_be_mapped_is_refused(names, cameras, entries, says):
    with pytest.raises(ParameterError, match=says):
        Inputs(names, 8, cameras, entries)


@pytest.mark.parametrize(
    "changes, says",
    [
        (
            {"image_base": None},
            "has no image_base, the policy's observation/exterior_image_1_left; it has image_wrist, proprio, task: name the robot's",
        ),
        ({"image_base": np.zeros((3, 48, 64), np.uint8)}, r"'image_base' is uint8 \[3, 48, 64\]; send uint8 \[h, w, 3\]"),
        ({"image_base": np.zeros((48, 64, 3), np.float32)}, "'image_base' is float32"),
        ({"proprio": None}, "has no proprio, the policy's observation/joint_position"),
        ({"proprio": np.zeros(7)}, r"'proprio' has shape \[7\], the policy takes \[8\]: change vla_proprioception"),
        ({"observation/joint_position": np.zeros(8)}, r"'observation/joint_position' has shape \[8\], the policy takes \[7\]"),
    ],
)
def test_observations_that_do_not_fit_are_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        Inputs(["DroidInputs"], 8).read(droid(**changes), ONE)


def test_the_command_serves_one_thing_and_takes_inputs_of_openpi_alone(tmp_path):
    with pytest.raises(ParameterError, match="or --openpi CONFIG CHECKPOINT"):
        serve("pi0_libero", str(tmp_path), "--lerobot", "folder")
    with pytest.raises(ParameterError, match="--input says what a config of openpi takes"):
        vla_server.policy_of(vla_server.parse(["a.onnx", "--input", "prompt: task"]))
