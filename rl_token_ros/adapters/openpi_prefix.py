"""The final hidden states of the prefix (pictures, words), taken out of the pass that openpi's `sample_actions` makes for its cache.

The model's own code runs; what its language model is asked, and what that answers, is listened to. Which rows are padding says the attention
mask of the same call: those that may not attend even to themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

OTHER_VERSION = "openpi's model answered without a pass over its prefix; is it another version of openpi?"


class Prefix:
    """What the newest pass left; arrays of JAX or tensors of torch."""

    def __init__(self) -> None:
        self._hidden: Any = None
        self._mask: Any = None

    def forget(self) -> None:
        """Before a pass, so that nothing old is taken for its output."""
        self._hidden = self._mask = None

    def keep(self, hidden: Any, mask: Any) -> None:
        """Hidden states [1, M, D] and which rows are no padding, bool [1, M]."""
        self._hidden, self._mask = hidden, mask

    def take(self) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings float32 [M, D], of which rows of padding are zero, and which are none, bool [M].

        Raises:
            ValueError: there was no pass over the prefix.
        """
        if self._hidden is None:
            raise ValueError(OTHER_VERSION)
        hidden, mask = self._hidden[0], self._mask[0]
        if hasattr(hidden, "cpu"):  # of torch, which numpy takes neither from a GPU nor as bfloat16
            hidden, mask = hidden.float().cpu().numpy(), mask.cpu().numpy()
        embeddings, rows = np.array(hidden, np.float32), np.array(mask, bool)
        embeddings[~rows] = 0.0
        return embeddings, rows


def with_prefix(sample_actions: Callable[..., Any]) -> Callable[..., tuple[Any, Any, Any]]:
    """JAX: a method that gives what ``sample_actions`` does, hidden states and mask. To be compiled as a whole: tracers cannot be kept.

    It changes its model, which is a copy where openpi's `module_jit` compiles it.
    """

    def sample(model: Any, *arguments: Any, **named: Any) -> tuple[Any, Any, Any]:
        listener = _Listener(model.PaliGemma)
        vars(model)["PaliGemma"] = listener  # past flax, which keeps modules alone in attributes of modules
        actions = sample_actions(model, *arguments, **named)
        if listener.prefix is None:
            raise ValueError(OTHER_VERSION)
        return actions, *listener.prefix

    return sample


class _Listener:
    """In place of a JAX model's PaliGemma: ``img`` and ``llm``, which is called once with a prefix alone."""

    def __init__(self, paligemma: Any) -> None:
        self._paligemma = paligemma
        self.prefix: tuple[Any, Any] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._paligemma, name)

    def llm(self, embedded: Any, *arguments: Any, **named: Any) -> Any:
        """What PaliGemma's own gives: [prefix, suffix], one of them None, and the cache."""
        answer = self._paligemma.llm(embedded, *arguments, **named)
        if isinstance(embedded, (list, tuple)) and embedded[0] is not None and embedded[1] is None:
            self.prefix = answer[0][0], named["mask"].diagonal(0, 1, 2)
        return answer


def listen(model: Any, prefix: Prefix) -> None:
    """PyTorch: has ``model`` keep its prefix in ``prefix`` from now on.

    It calls ``forward`` by its name, which hooks of torch do not see: that method is wrapped. `torch.compile` takes the wrapper in, since it compiles
    at the first call.
    """
    both = model.paligemma_with_expert
    forward = both.forward

    def forward_and_keep(*arguments: Any, **named: Any) -> Any:
        outputs, cache = forward(*arguments, **named)  # [prefix, suffix], one of them None
        if outputs[0] is not None:
            prefix.keep(outputs[0], named["attention_mask"][:, 0].diagonal(0, 1, 2) == 0)  # what is added to attention: 0, or -2e38
        return outputs, cache

    both.forward = forward_and_keep
