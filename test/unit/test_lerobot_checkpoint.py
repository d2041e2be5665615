"""LeRobot checkpoints as files: what is read of them, mapped and refused, without LeRobot."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from rl_token_ros.adapters import lerobot_checkpoint
from rl_token_ros.adapters.lerobot_inputs import Inputs, parse_scale
from rl_token_ros.commands import vla_server
from rl_token_ros.settings.parameters import ParameterError

FRONT, WRIST, STATE = "observation.images.front", "observation.images.wrist", "observation.state"
ZERO = np.zeros(6, np.float32)


def made(folder: Path, family: str = "act", **changes) -> Path:
    """A checkpoint whose weights are none."""
    inputs = {name: {"type": "VISUAL", "shape": [3, 96, 128]} for name in changes.pop("cameras", (FRONT, WRIST))}
    modes = {"VISUAL": "IDENTITY", "STATE": "MEAN_STD", "ACTION": "MIN_MAX"}
    config = {
        "type": family,
        "input_features": inputs | {STATE: {"type": "STATE", "shape": [6]}},
        "output_features": {"action": {"type": "ACTION", "shape": [6]}},
        "normalization_mapping": modes,
    }
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config | changes))
    save_file({"w": ZERO}, folder / "model.safetensors")
    save_file({f"{STATE}.mean": ZERO, f"{STATE}.std": ZERO}, folder / "before.safetensors")
    save_file({"action.min": ZERO, "action.max": ZERO}, folder / "after.safetensors")
    for file, step, state in (
        ("policy_preprocessor.json", "normalizer_processor", "before"), ("policy_postprocessor.json", "unnormalizer_processor", "after"),
    ):  # fmt: skip
        (folder / file).write_text(json.dumps({"steps": [{"registry_name": step, "state_file": f"{state}.safetensors"}]}))
    return folder


def inputs(folder: Path, *overrides: str, **changes) -> Inputs:
    return Inputs(lerobot_checkpoint.read(made(folder, **changes)), overrides)


def seen(**changes):
    picture = np.zeros((96, 128, 3), np.uint8)
    return {"image_front": picture, "image_wrist": picture + 1, "proprio": np.arange(6.0), "task": "insert"} | changes


def test_what_a_policy_takes_is_read_from_its_configuration(tmp_path):
    found = lerobot_checkpoint.read(made(tmp_path))
    assert (found.family, found.cameras, found.state, found.actions) == ("act", {FRONT: (96, 128), WRIST: (96, 128)}, 6, 6)
    assert not found.resizes and not found.optional
    assert lerobot_checkpoint.read(made(tmp_path, "pi05")).resizes


def test_a_folder_of_the_training_run_leads_to_the_checkpoint(tmp_path):
    made(tmp_path / "pretrained_model")
    assert lerobot_checkpoint.read(tmp_path).folder == tmp_path / "pretrained_model"


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"family": "diffusion"}, "is of type 'diffusion', whose embeddings are not known here; known are act, pi0, pi05, smolvla"),
        ({"use_peft": True}, "holds an adapter"),
        ({"input_features": {"observation.environment_state": {"type": "ENV", "shape": [3]}}}, "takes 'observation.environment_state'"),
        ({"input_features": {FRONT: {"type": "VISUAL", "shape": [1, 9, 9]}}}, r"of shape \[1, 9, 9\]"),
        ({"output_features": {}}, "a feature 'action' is needed"),
        (
            {"normalization_mapping": {"STATE": "QUANTILES"}},
            "policy_preprocessor.json .* has no statistics observation.state.q01, observation.state.q99",
        ),
        ({"normalization_mapping": {"VISUAL": "MEAN_STD"}}, f"has no statistics {FRONT}.mean"),
    ],
)
def test_what_cannot_be_served_is_refused(tmp_path, changes, says):
    with pytest.raises(ParameterError, match=says):
        lerobot_checkpoint.read(made(tmp_path, **changes))


@pytest.mark.parametrize(
    "file, says",
    [
        ("config.json", "there is no .*config.json"),
        ("model.safetensors", "has no model.safetensors"),
        ("policy_preprocessor.json", "has no policy_preprocessor.json; LeRobot before 0.4 made it"),
        ("after.safetensors", "after.safetensors' cannot be read"),
    ],
)
def test_a_missing_file_is_named(tmp_path, file, says):
    (made(tmp_path) / file).unlink()
    with pytest.raises(ParameterError, match=says):
        lerobot_checkpoint.read(tmp_path)


def test_processors_without_their_statistics_are_refused(tmp_path):
    made(tmp_path)
    (tmp_path / "policy_postprocessor.json").write_text('{"steps": [{"registry_name": "unnormalizer_processor", "config": {}}]}')
    with pytest.raises(ParameterError, match="policy_postprocessor.json .* has no statistics action.min, action.max"):
        lerobot_checkpoint.read(tmp_path)


def test_the_fingerprint_is_of_weights_and_statistics_and_of_nothing_else(tmp_path):
    first = lerobot_checkpoint.digest(made(tmp_path))
    lines = "".join(
        f"{name} {hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()}\n" for name in sorted(p.name for p in tmp_path.glob("*.s*"))
    )
    assert first == hashlib.sha256(lines.encode()).hexdigest()
    (tmp_path / "README.md").write_text("mine")
    assert lerobot_checkpoint.digest(tmp_path) == first
    for file in ("model.safetensors", "before.safetensors"):
        save_file({"w": ZERO + 1}, tmp_path / file)
        second = lerobot_checkpoint.digest(tmp_path)
        assert second != first
        first = second


@pytest.mark.parametrize("names", [["a", "b"], {"motors": ["a", "b"]}])
def test_rate_and_names_come_from_the_data_set(tmp_path, monkeypatch, names):
    monkeypatch.setenv("HF_LEROBOT_HOME", str(tmp_path / "home"))
    folder = made(tmp_path / "checkpoint")
    assert lerobot_checkpoint.recorded(folder) == lerobot_checkpoint.Recorded()
    (folder / "train_config.json").write_text('{"dataset": {"repo_id": "me/cube", "root": null}}')
    assert lerobot_checkpoint.recorded(folder).rate == 0.0
    meta = tmp_path / "home" / "me" / "cube" / "meta"
    meta.mkdir(parents=True)
    (meta / "info.json").write_text(json.dumps({"fps": 30, "features": {"action": {"names": names}}}))
    assert lerobot_checkpoint.recorded(folder) == lerobot_checkpoint.Recorded(30.0, ("a", "b"))
    with pytest.raises(ParameterError, match="there is no .*info.json"):
        lerobot_checkpoint.recorded(folder, tmp_path)


def test_a_request_is_read_under_plain_names_and_under_the_policys_own(tmp_path):
    taken = inputs(tmp_path)
    pictures, state, task = taken.read(seen())
    assert pictures[WRIST].max() == 1 and task == "insert"
    np.testing.assert_array_equal(state, np.arange(6, dtype=np.float32))
    own = {FRONT: pictures[FRONT], WRIST: pictures[WRIST], STATE: state, "prompt": "turn"}
    assert taken.read(own)[2] == "turn"
    assert taken.read(taken.blank())[0].keys() == {FRONT, WRIST}


def test_a_camera_of_another_name_is_mapped_and_the_table_says_so(tmp_path):
    taken = inputs(tmp_path, f"base={FRONT}")
    request = seen()
    request["image_base"] = request.pop("image_front") + 7
    assert taken.read(request)[0][FRONT].max() == 7
    assert f"{FRONT}  image_base or {FRONT}" in taken.table() and "96 x 128" in taken.table()


def test_a_camera_that_the_robot_lacks_is_left_to_a_policy_that_can_do_without(tmp_path):
    taken = inputs(tmp_path, f"none={WRIST}", family="pi0", cameras=(FRONT, WRIST, "observation.images.empty_camera_0"))
    request = seen()
    del request["image_wrist"]
    assert taken.read(request)[0].keys() == {FRONT}
    assert taken.table().count("an empty picture") == 2


@pytest.mark.parametrize(
    "overrides, says",
    [
        (["base"], "write CAMERA=FEATURE"),
        (["base=observation.images.top"], f"the checkpoint takes {FRONT}, {WRIST}"),
        ([f"a={FRONT}", f"b={FRONT}"], "twice"),
        ([f"wrist={FRONT}"], f"camera 'wrist' would be {FRONT} and {WRIST}"),
        ([f"none={FRONT}"], "a policy of type act needs every picture"),
    ],
)
def test_overrides_that_do_not_fit_are_refused(tmp_path, overrides, says):
    with pytest.raises(ParameterError, match=says):
        inputs(tmp_path, *overrides)


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"image_front": None}, "has no image_front, the policy's observation.images.front; it has image_wrist, proprio, task"),
        ({"image_front": np.zeros((3, 96, 128), np.uint8)}, r"'image_front' is uint8 \[3, 96, 128\]; send uint8 \[h, w, 3\]"),
        ({"image_front": np.zeros((96, 128, 3), np.float32)}, "'image_front' is float32"),
        ({"image_front": np.zeros((224, 224, 3), np.uint8)}, "224 x 224, the policy learned with 96 x 128: write image_height: 96, image_width: 128"),
        ({"proprio": None}, "has no proprio"),
        ({"proprio": np.zeros(7)}, r"'proprio' has shape \[7\], the policy takes \[6\]"),
    ],
)
def test_observations_that_do_not_fit_are_refused(tmp_path, changes, says):
    request = {name: value for name, value in seen(**changes).items() if value is not None}
    with pytest.raises(ValueError, match=says):
        inputs(tmp_path).read(request)


@pytest.mark.parametrize("arguments", [[], ["a.onnx", "--lerobot", "folder"]])
def test_the_command_serves_one_thing(arguments):
    with pytest.raises(ParameterError, match="write either FILE.onnx, or MODULE:NAME, or --lerobot"):
        vla_server.policy_of(vla_server.parse(arguments))


@pytest.mark.parametrize("what, says", [("./nowhere", "there is no folder './nowhere'"), ("nowhere", "a name on the Hugging Face Hub is OWNER/NAME")])
def test_a_checkpoint_that_is_not_there_is_refused(what, says):
    with pytest.raises(ParameterError, match=says):
        vla_server.policy_of(vla_server.parse(["--lerobot", what]))


def test_a_checkpoint_without_a_rate_is_refused_before_it_is_loaded(tmp_path):
    with pytest.raises(ParameterError, match="write --fps, or --dataset FOLDER"):
        vla_server.policy_of(vla_server.parse(["--lerobot", str(made(tmp_path))]))


def test_where_lerobot_is_not_installed_the_command_says_so(tmp_path, monkeypatch, capsys):
    for module in ("lerobot", "lerobot.configs.policies"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ParameterError, match="--lerobot runs in LeRobot's own environment, with what act needs; here: .*lerobot"):
        vla_server.policy_of(vla_server.parse(["--lerobot", str(made(tmp_path)), "--fps", "30"]))
    assert "image_front" in capsys.readouterr().out  # the table comes first


def test_units_are_one_factor_for_all_or_one_for_each():
    np.testing.assert_allclose(parse_scale("57.29578", 6, 6), [57.29578])
    np.testing.assert_allclose(parse_scale("1,2,3,4,5,100", 6, 6), [1, 2, 3, 4, 5, 100])


@pytest.mark.parametrize(
    "text, says", [("deg", "write numbers other than 0"), ("0", "other than 0"), ("nan", "other than 0"), ("1,2", "has 2 numbers; the state has 6")]
)
def test_units_that_are_none_are_refused(text, says):
    with pytest.raises(ParameterError, match=says):
        parse_scale(text, 6, 6)
