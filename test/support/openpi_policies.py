"""openpi's pi0 and pi05 with random weights, as checkpoints of JAX and of PyTorch. Their code is openpi's, their language models its variant `dummy`.

openpi's picture encoder is of full size in every variant (SigLIP So400m, 0.4 G weights), its PyTorch model made for the width of gemma_2b alone:
:func:`shrink` changes both.
"""

from __future__ import annotations

import io
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint
import sentencepiece
import small_paligemma
import torch
from flax import nnx
from openpi.models import siglip
from openpi.models.pi0_config import Pi0Config
from openpi.models_pytorch import gemma_pytorch, pi0_pytorch
from openpi.shared import normalize
from openpi.training.config import AssetsConfig, LeRobotLiberoDataConfig, TrainConfig
from safetensors.torch import save_model

HORIZON, WORDS, STATE, ACTIONS = 10, 80, 8, 7
PICTURES = 3 * 256  # rows of the prefix before the words; the third picture is masked
SPREAD = 0.05  # of the weights: openpi's initialisers make some zero, and what stands behind them invisible
MEAN, DEVIATION = np.linspace(-0.5, 0.5, STATE), np.linspace(0.1, 0.8, STATE)


def _config(pi05: bool) -> TrainConfig:
    model = Pi0Config(
        pi05=pi05, paligemma_variant="dummy", action_expert_variant="dummy", action_horizon=HORIZON, max_token_len=WORDS,
        pytorch_compile_mode=None if pi05 else "default",  # a minute of compiling is enough once
    )  # fmt: skip
    data = LeRobotLiberoDataConfig(repo_id="me/peg", assets=AssetsConfig(asset_id="peg"), extra_delta_transform=True)
    return TrainConfig(name="pi05_small" if pi05 else "pi0_small", exp_name="test", model=model, data=data)


PI0, PI05 = _config(False), _config(True)  # openpi_policies:PI0 on the command line


def shrink(monkeypatch) -> None:
    """Makes the picture encoders small, and the PyTorch model as narrow as its config says."""
    full = siglip.decode_variant
    monkeypatch.setattr(siglip, "decode_variant", lambda _: full("mu/14"))
    small_paligemma.shrink(monkeypatch, gemma_pytorch, 2000)


def tokenizer(home: Path) -> None:
    """In place of PaliGemma's tokenizer, which openpi downloads into ``home`` (OPENPI_DATA_HOME): one of letters, learned on the spot."""
    model = io.BytesIO()
    sentences = ["insert the peg", "Task: insert, State: 0 1 2 3 4 5 6 7 8 9;\nAction: ", "abcdefghijklmnopqrstuvwxyz"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=model, model_type="char", vocab_size=60, hard_vocab_limit=False, minloglevel=2
    )
    path = home / "big_vision" / "paligemma_tokenizer.model"
    path.parent.mkdir(parents=True)
    path.write_bytes(model.getvalue())


def save(folder: Path, config: TrainConfig, *, pytorch: bool, actions: int = ACTIONS) -> None:
    """A step's checkpoint with random weights and made-up statistics."""
    if pytorch:
        torch.manual_seed(0)
        folder.mkdir(parents=True, exist_ok=True)
        model = pi0_pytorch.PI0Pytorch(config.model)
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(SPREAD * torch.randn(weight.shape))
        save_model(model, str(folder / "model.safetensors"))
    else:
        shapes = nnx.state(nnx.eval_shape(config.model.create, jax.random.key(0)), nnx.Param).to_pure_dict()
        random = np.random.default_rng(0)
        weights = jax.tree.map(lambda shape: random.normal(0.0, SPREAD, shape.shape).astype(np.float32), shapes)
        with orbax.checkpoint.PyTreeCheckpointer() as checkpointer:
            checkpointer.save(folder.resolve() / "params", {"params": weights})
    statistics(folder, actions)


def statistics(folder: Path, actions: int = ACTIONS) -> None:
    """Into the checkpoint's assets."""
    known = {}
    for name, size in (("state", STATE), ("actions", actions)):
        mean, deviation = MEAN[:size], DEVIATION[:size]
        known[name] = normalize.NormStats(mean=mean, std=deviation, q01=mean - 2 * deviation, q99=mean + 2 * deviation)
    normalize.save(folder / "assets" / "peg", known)


def request(seed: int = 0, task: str = "insert the peg") -> dict[str, object]:
    """An observation by the names of the preset plain."""
    random = np.random.default_rng(seed)
    pictures = {f"image_{camera}": random.integers(0, 255, (48, 64, 3), np.uint8) for camera in ("base", "wrist")}
    return pictures | {"proprio": random.normal(MEAN, DEVIATION).astype(np.float32), "task": task}


def own_names(asked: dict[str, object]) -> dict[str, object]:
    """The same by the names that openpi's LIBERO policies take."""
    names = {
        "image_base": "observation/image", "image_wrist": "observation/wrist_image", "proprio": "observation/state", "task": "prompt",
    }  # fmt: skip
    return {names[name]: value for name, value in asked.items()}
