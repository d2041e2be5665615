"""LeRobot's pi0, pi05 and SmolVLA with random weights, shrunk to a second's work, as checkpoints. Their code is theirs; sizes and tokenizer are not.

pi0 and pi05 of LeRobot 0.4 want a patched transformers, which they ask for by importing a module; without the patch a pass over the prefix is the
same, and one step of denoising runs (pi05's without its conditioning on time).
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import small_paligemma
import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, SmolVLMConfig

JOINTS, WORDS = 6, 12
MEAN, DEVIATION = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.1] * JOINTS
INPUTS = {
    "observation.images.front": PolicyFeature(FeatureType.VISUAL, (3, 48, 64)),
    "observation.images.wrist": PolicyFeature(FeatureType.VISUAL, (3, 48, 64)),
    "observation.state": PolicyFeature(FeatureType.STATE, (JOINTS,)),
}
OUTPUTS = {"action": PolicyFeature(FeatureType.ACTION, (JOINTS,))}
COMMON: dict[str, Any] = {
    "device": "cpu", "chunk_size": 10, "n_action_steps": 10, "tokenizer_max_length": WORDS, "push_to_hub": False,
    "input_features": INPUTS, "output_features": OUTPUTS,
}  # fmt: skip


def shrink(monkeypatch, family: str, folder: Path) -> dict[str, Any]:
    """Makes the classes small; returns what their configuration needs."""
    import lerobot.processor.tokenizer_processor as tokenizing

    letters = Tokenizer(models.WordLevel({"<unk>": 0, "<pad>": 1, "insert": 2, "the": 3, "peg": 4}, "<unk>"))
    letters.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=letters, unk_token="<unk>", pad_token="<pad>")
    monkeypatch.setattr(tokenizing, "AutoTokenizer", SimpleNamespace(from_pretrained=lambda *_, **__: tokenizer))
    if family == "smolvla":
        return _smolvla(monkeypatch, folder)
    patch = ModuleType("transformers.models.siglip.check")
    patch.check_whether_transformers_replace_is_installed_correctly = lambda: True
    monkeypatch.setitem(sys.modules, patch.__name__, patch)
    monkeypatch.setattr(importlib.import_module("transformers.models.siglip"), "check", patch, raising=False)
    module = importlib.import_module(f"lerobot.policies.{family}.modeling_{family}")
    small = {"mlp_dim": 64, "num_heads": 2, "num_kv_heads": 1, "head_dim": 16, "depth": 2}
    monkeypatch.setattr(module, "get_gemma_config", lambda name: module.GemmaConfig(width=32 if name == "gemma_300m" else 48, **small))
    small_paligemma.shrink(monkeypatch, module, 300)
    return {"image_resolution": (56, 56), "num_inference_steps": 1}


def _smolvla(monkeypatch, folder: Path) -> dict[str, Any]:
    import lerobot.policies.smolvla.smolvlm_with_expert as module

    text = {
        "model_type": "llama", "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 12, "vocab_size": 300, "pad_token_id": 1,
    }  # fmt: skip
    vision = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 64, "patch_size": 16}
    SmolVLMConfig(text_config=text, vision_config=vision, scale_factor=2, pad_token_id=1).save_pretrained(folder / "vlm")
    processor = SimpleNamespace(tokenizer=SimpleNamespace(fake_image_token_id=5, global_image_token_id=6))
    monkeypatch.setattr(module, "AutoProcessor", SimpleNamespace(from_pretrained=lambda *_: processor))
    return {"vlm_model_name": str(folder / "vlm"), "resize_imgs_with_padding": (64, 64), "num_steps": 2, "num_vlm_layers": 2}


def save(folder: Path, family: str, sizes: dict[str, Any]) -> None:
    """A checkpoint of these sizes, with processors and made-up statistics."""
    torch.manual_seed(0)
    config = make_policy_config(family, **COMMON, **sizes)
    numbers = {"mean": torch.tensor(MEAN), "std": torch.tensor(DEVIATION), "q01": torch.tensor(MEAN) - 0.2, "q99": torch.tensor(MEAN) + 0.2}
    get_policy_class(family)(config).save_pretrained(folder)
    for processor in make_pre_post_processors(config, dataset_stats={"observation.state": numbers, "action": numbers}):
        processor.save_pretrained(folder)
    (folder / "meta").mkdir()
    (folder / "meta" / "info.json").write_text(json.dumps({"fps": 30, "features": {}}))
