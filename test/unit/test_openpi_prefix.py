"""The prefix's hidden states out of a pass that drops them: models called as openpi calls its own, of numpy and of torch."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from rl_token_ros.adapters.openpi_prefix import OTHER_VERSION, Prefix, listen, with_prefix

REAL, ROWS, WIDTH, HORIZON = 3, 5, 4, 6


class JaxLike:
    """Calls `PaliGemma.llm` as openpi's Pi0 does: words alone, the prefix alone, and the suffix in every step."""

    def __init__(self) -> None:
        self.passes = 0
        self.hidden = np.arange(1.0, 1.0 + ROWS * WIDTH, dtype=np.float32).reshape(1, ROWS, WIDTH)
        self.PaliGemma = SimpleNamespace(llm=self.llm, img=lambda picture: picture + 1)

    def llm(self, embedded, **named):
        if named.get("method") == "embed":
            return embedded
        self.passes += embedded[0] is not None
        return [None if embedded[0] is None else self.hidden, embedded[1]], "cache"

    def sample_actions(self, key, observation, steps=2):
        assert self.PaliGemma.img(1) == 2 and self.PaliGemma.llm("words", method="embed") == "words"
        real = np.arange(ROWS) < REAL
        (prefix, _), cache = self.PaliGemma.llm([observation, None], mask=(real[:, None] & real[None])[None], positions=None)
        assert prefix is not None and cache == "cache"
        for _ in range(steps):
            (prefix, suffix), _ = self.PaliGemma.llm([None, key], mask=np.ones((1, HORIZON, ROWS + HORIZON), bool), kv_cache=cache)
            assert prefix is None
        return suffix


def test_a_jax_model_gives_actions_prefix_and_mask_from_one_pass():
    model = JaxLike()
    actions, hidden, mask = with_prefix(JaxLike.sample_actions)(model, "actions", np.zeros(1), steps=3)
    assert actions == "actions" and model.passes == 1 and hidden is model.hidden
    prefix = Prefix()
    prefix.keep(hidden, mask)
    embeddings, rows = prefix.take()
    np.testing.assert_array_equal(rows, [True] * REAL + [False] * (ROWS - REAL))
    np.testing.assert_array_equal(embeddings[:REAL], model.hidden[0, :REAL])
    assert embeddings.dtype == np.float32 and not embeddings[REAL:].any() and model.hidden[0, REAL:].all(), "a copy"


def test_another_version_is_named_not_an_old_answer_taken():
    with pytest.raises(ValueError, match=OTHER_VERSION):
        with_prefix(lambda model: "actions")(JaxLike())
    prefix = Prefix()
    prefix.keep(np.ones((1, 2, 2)), np.ones((1, 2), bool))
    prefix.take()
    prefix.forget()
    with pytest.raises(ValueError, match=OTHER_VERSION):
        prefix.take()


@pytest.fixture(params=["eager", pytest.param("compiled", marks=pytest.mark.slow)])
def torch_model(request):
    """Calls `paligemma_with_expert.forward` as openpi's PI0Pytorch does, compiled as it compiles itself, with a break of the graph in its loop."""
    torch = pytest.importorskip("torch")

    class Both(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(WIDTH, WIDTH).to(torch.bfloat16)
            self.passes = 0

        def forward(self, attention_mask, inputs_embeds, past_key_values=None):
            if inputs_embeds[1] is None:
                return [self.layer(inputs_embeds[0]), None], self.layer(inputs_embeds[0])
            return [None, self.layer(inputs_embeds[1]) + past_key_values.mean()], None

    class TorchLike(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.paligemma_with_expert = Both()
            if request.param == "compiled":
                self.sample_actions = torch.compile(self.sample_actions, backend="eager")  # what traces it, without a C++ compiler

        @torch.no_grad()
        def sample_actions(self, device, prefix, mask, x):
            allowed = mask[:, None, :] & mask[:, :, None]
            added = torch.where(allowed[:, None], 0.0, -2.3819763e38)
            _, cache = self.paligemma_with_expert.forward(attention_mask=added, inputs_embeds=[prefix, None])
            time = torch.tensor(1.0)
            while time >= 0.25:
                outputs, _ = self.paligemma_with_expert.forward(attention_mask=None, inputs_embeds=[None, x], past_key_values=cache)
                x, time = outputs[1], time - 0.5
            return x

    torch.manual_seed(0)
    return TorchLike()


def test_a_torch_model_keeps_its_prefix_also_when_compiled(torch_model):
    import torch

    prefix = Prefix()
    listen(torch_model, prefix)
    for seed, real in ((1, REAL), (2, REAL + 1)):  # the second time what was compiled runs
        torch.manual_seed(seed)
        embedded, x = torch.randn(1, ROWS, WIDTH, dtype=torch.bfloat16), torch.randn(1, HORIZON, WIDTH, dtype=torch.bfloat16)
        prefix.forget()
        torch_model.sample_actions("cpu", embedded, torch.arange(ROWS)[None] < real, x)
        embeddings, rows = prefix.take()
        np.testing.assert_array_equal(rows, np.arange(ROWS) < real)
        expected = torch_model.paligemma_with_expert.layer(embedded)[0].float().detach().numpy()
        np.testing.assert_array_equal(embeddings[:real], expected[:real])
        assert embeddings.dtype == np.float32 and not embeddings[real:].any()
