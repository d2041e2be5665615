"""Where the learner computes: what `device` means, and that CPU and CUDA come to the same actor."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import learning_helpers

from rl_token_ros.learning import td3
from rl_token_ros.learning.learner import Learner
from rl_token_ros.settings.parameters import ParameterError

HERE = torch.cuda.is_available()


def learner(device: str, **changes) -> Learner:
    settings = learning_helpers.small_settings(device=device, **changes)
    made = Learner(settings, learning_helpers.PROPRIO, settings.encoder_sha256, settings.vla_sha256)
    made.add(learning_helpers.episodes(settings, 12))
    return made


class WithoutGenerator:
    """torch, but its own generator takes the place of one for a device that has none."""

    @staticmethod
    def Generator(_: torch.device) -> SimpleNamespace:
        return SimpleNamespace(manual_seed=lambda _: None)

    def __getattr__(self, name: str):
        return getattr(torch, name)


def test_auto_takes_cuda_where_it_is(monkeypatch):
    for there, kind in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert td3.choose_device("auto").type == kind
        assert td3.choose_device("cpu").type == "cpu"
    assert td3.choose_device("cuda").type == "cuda"


def test_cuda_where_there_is_none_is_refused_with_what_to_write(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ParameterError, match=r"'device' is cuda, but torch \S+ finds no CUDA device; write auto or cpu"):
        learner("cuda")


@pytest.mark.slow
def test_every_tensor_of_an_update_lies_on_the_device(monkeypatch):
    """Without a GPU: the device `meta` has tensors without content, which refuse to meet those of the CPU."""
    real = learner("cpu")
    block = real.replay.sample(np.random.default_rng(0), real._batches[1])
    block.human[:] = True
    monkeypatch.setattr(td3, "choose_device", torch.device)
    monkeypatch.setattr(td3, "torch", WithoutGenerator())
    made = td3.Td3(
        SimpleNamespace(**{**vars(real.settings), "device": "meta", "target_noise": 0.2, "step_residual_scale": [0.5, 0.25]}), real.architecture, 1
    )
    made.load(block)
    for _ in range(td3.ACTOR_DELAY):
        made.update(0, bc_weight=0.1)
    seen = [made.now, made.after, made.reward, made.discount, made.observed, made.bc_target, *made._state().values()]
    assert {tensor.device.type for tensor in seen} == {"meta"}


@pytest.mark.skipif(not HERE, reason="no CUDA device here")
def test_cpu_and_cuda_come_to_the_same_actor(tmp_path):
    """From the same checkpoint, on the same batches; float32 sums differ in their order alone."""
    begun = learner("cpu")
    while begun.phase == "pretraining":
        begun.update(100)
    begun.save(str(tmp_path))
    found = []
    for device in ("cpu", "cuda"):
        made = learner(device, target_noise=0.0, reference_dropout=0.0)
        assert made.restore(str(tmp_path))
        made.update(200)
        found.append(made.algorithm.actor_tensors())
    for name, value in found[0].items():
        np.testing.assert_allclose(value, found[1][name], rtol=1e-3, atol=1e-4, err_msg=name)
