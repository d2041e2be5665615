"""The map from an observation to the names that a policy server wants."""

from __future__ import annotations

import re

import numpy as np
import pytest

from rl_token_ros.interfaces.images import resize_with_padding
from rl_token_ros.settings import parameters
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla.backend import Observation
from rl_token_ros.vla.keys import KeyMap

RANDOM = np.random.default_rng(0)


def settings(**changes) -> Vla:
    values = {
        "action_names": ["x", "y", "z"],
        "residual_scale": [0.1] * 3,
        "cameras": ["outer", "wrist"],
        "proprioception": ["ee_position"],
        "vla_proprioception": ["ee_position"],
        **changes,
    }
    return parameters.build(Vla, values)


def observation(cameras=("outer", "wrist"), size=8) -> Observation:
    images = {name: RANDOM.integers(0, 255, (224, 224, 3), np.uint8) for name in cameras}
    return Observation(1, images, np.arange(size, dtype=np.float32), "insert the peg")


def test_droid_names_are_those_of_openpi():
    seen = observation()
    request = KeyMap(settings(observation_preset="droid"), 8).request(seen)
    assert set(request) == {
        "observation/exterior_image_1_left", "observation/wrist_image_left", "observation/joint_position",
        "observation/gripper_position", "prompt",
    }  # fmt: skip
    assert request["observation/exterior_image_1_left"] is seen.images["outer"]
    assert request["observation/joint_position"].tolist() == list(range(7))
    assert request["observation/gripper_position"].tolist() == [7.0]
    assert request["prompt"] == "insert the peg"


def test_libero_names_are_those_of_openpi():
    request = KeyMap(settings(observation_preset="libero"), 8).request(observation())
    assert set(request) == {"observation/image", "observation/wrist_image", "observation/state", "prompt"}
    assert request["observation/state"].shape == (8,)


def test_aloha_nests_its_cameras_with_channels_first():
    cameras = ["cam_high", "cam_left_wrist", "cam_right_wrist"]
    seen = observation(cameras, 14)
    request = KeyMap(settings(observation_preset="aloha", cameras=cameras), 14).request(seen)
    assert set(request) == {"state", "images", "prompt"} and set(request["images"]) == set(cameras)
    np.testing.assert_array_equal(request["images"]["cam_high"], np.moveaxis(seen.images["cam_high"], 2, 0))
    with pytest.raises(ParameterError, match="ALOHA policies know cam_high"):
        KeyMap(settings(observation_preset="aloha"), 14)


def test_entries_of_the_file_win_over_the_preset():
    keys = ["observation/joint_position: proprio[1:3,0]", "extra>deep>name: task", "observation.state: proprio"]
    request = KeyMap(settings(observation_preset="droid", observation_keys=keys), 8).request(observation())
    assert request["observation/joint_position"].tolist() == [1.0, 2.0, 0.0]
    assert request["extra"] == {"deep": {"name": "insert the peg"}}
    assert set(KeyMap(settings(observation_preset="", observation_keys=["p: proprio"]), 8).request(observation())) == {"p"}


@pytest.mark.parametrize(
    "keys, says",
    [
        (["prompt"], 'write "NAME: SOURCE" in quotes'),
        (["prompt:task"], 'write "NAME: SOURCE" in quotes'),
        (["a: joints"], "has the source 'joints'; write camera/<name>"),
        (["a: camera/left"], "names camera 'left'; 'cameras' has outer, wrist"),
        (["a: proprio[0:9]"], "takes the columns '0:9' of 8 values"),
        (["a: proprio[3:3]"], "takes the columns"),
        (["a: proprio[1-2]"], "has the source"),
        (["a: task", "a>b: task"], "gives 'a>b' and a name above it"),
    ],
)
def test_an_entry_that_cannot_be_used_says_what_to_write(keys, says):
    with pytest.raises(ParameterError, match=re.escape(says)):
        KeyMap(settings(observation_keys=keys), 8)


def test_a_preset_says_how_many_cameras_it_wants():
    with pytest.raises(ParameterError, match="'cameras' has 1 name"):
        KeyMap(settings(observation_preset="droid", cameras=["outer"]), 8)


@pytest.mark.parametrize("h, w", [(480, 640), (640, 480), (100, 50), (1, 1000), (224, 223), (224, 224)])
def test_pictures_are_resized_as_openpi_client_does(h, w):
    picture = RANDOM.integers(0, 255, (h, w, 3), np.uint8)
    ours = resize_with_padding(picture, 224, 224)
    assert ours.shape == (224, 224, 3) and ours.dtype == np.uint8
    if (h, w) == (480, 640):  # recorded: rows above and below are padding, and the picture fills the rest
        assert not ours[:28].any() and not ours[196:].any() and ours[28:196].all(axis=2).mean() > 0.9
    theirs = pytest.importorskip("openpi_client.image_tools")
    if min(h, w) > 4:  # theirs has no rows left for a line of a picture
        np.testing.assert_array_equal(ours, theirs.resize_with_pad(picture, 224, 224))


def test_a_size_of_zero_leaves_the_picture():
    picture = RANDOM.integers(0, 255, (5, 7, 3), np.uint8)
    assert resize_with_padding(picture, 0, 224) is picture
