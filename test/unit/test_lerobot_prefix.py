"""The prefix's hidden states of LeRobot's own pi0, pi05 and SmolVLA classes, small and with random weights. Needs LeRobot and transformers."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("lerobot")
pytest.importorskip("transformers")

import lerobot_vlas
from safetensors.torch import load_file, save_file

from rl_token_ros.adapters import lerobot
from rl_token_ros.settings.parameters import ParameterError

FAMILIES = ("pi0", "pi05", "smolvla")
LANGUAGE = {"pi0": slice(-lerobot_vlas.WORDS, None), "smolvla": slice(-lerobot_vlas.WORDS - 1, -1)}  # smolvla's state comes last


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def folder(family, monkeypatch, tmp_path):
    lerobot_vlas.save(tmp_path, family, lerobot_vlas.shrink(monkeypatch, family, tmp_path))
    return tmp_path


def request(task: str = "insert the peg", seed: int = 0):
    random = np.random.default_rng(seed)
    pictures = {f"image_{camera}": random.integers(0, 255, (48, 64, 3), np.uint8) for camera in ("front", "wrist")}
    return pictures | {"proprio": np.array(lerobot_vlas.MEAN, np.float32), "task": task}


def final_norm(policy):
    """The module through which the prefix leaves the language model, whichever the family."""
    model = policy._policy.model
    if hasattr(model, "vlm_with_expert"):
        return model.vlm_with_expert.vlm.model.text_model.norm
    return model.paligemma_with_expert.paligemma.language_model.norm


def test_embeddings_are_the_final_hidden_states_of_one_pass_over_the_prefix(family, folder):
    policy = lerobot.load(str(folder), dataset=folder, device="cpu")
    left = []
    final_norm(policy).register_forward_hook(lambda _, inputs, output: left.append(output[0] if isinstance(output, tuple) else output))
    answer = policy.infer(request())
    mask, hidden = answer["embeddings_mask"], answer["embeddings"]
    assert len(left) == 1 and list(hidden.shape) == policy.metadata["embeddings"]
    np.testing.assert_array_equal(hidden[mask], left[0][0].float().numpy()[mask])
    assert not hidden[~mask].any() and np.abs(hidden[mask]).max(axis=1).min() > 0.0
    assert answer["actions"].shape == (10, lerobot_vlas.JOINTS) and np.isfinite(answer["actions"]).all()


def test_m_is_the_same_for_every_task_and_padding_is_zero(family, folder):
    if family == "pi05":
        pytest.skip("its words are the state, too: the mask is full with so few of them")
    policy = lerobot.load(str(folder), dataset=folder, device="cpu")
    for task, words in (("insert", 1), ("insert the peg", 3)):
        answer = policy.infer(request(task))
        assert list(answer["embeddings"].shape) == policy.metadata["embeddings"]
        assert answer["embeddings_mask"][LANGUAGE[family]].sum() == words
        assert not answer["embeddings"][~answer["embeddings_mask"]].any()


def test_a_camera_that_is_missing_is_masked(family, folder):
    if family == "smolvla":
        pytest.skip("it leaves the picture out")
    whole = lerobot.load(str(folder), dataset=folder, device="cpu").infer(request())
    fewer = lerobot.load(str(folder), ["none=observation.images.wrist"], dataset=folder, device="cpu").infer(request())
    assert fewer["embeddings"].shape == whole["embeddings"].shape
    assert whole["embeddings_mask"].sum() - fewer["embeddings_mask"].sum() == 16  # 56 x 56 in patches of 14


def test_weights_that_lerobot_did_not_take_are_refused(family, folder):
    """pi0 and pi05 print it and go on with random weights."""
    if family == "smolvla":
        pytest.skip("it raises")
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: value[:-1].clone() if name.endswith("action_out_proj.bias") else value for name, value in weights.items()},
        folder / "model.safetensors",
    )
    with pytest.raises(ParameterError, match="LeRobot did not take the weights"):
        lerobot.load(str(folder), dataset=folder, device="cpu")
