"""PaliGemma and its action expert, as LeRobot and openpi build them in PyTorch, made small before they are built."""

from __future__ import annotations

from types import ModuleType

VISION = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "patch_size": 14}


def shrink(monkeypatch, module: ModuleType, vocabulary: int) -> None:
    """In place of ``PaliGemmaForConditionalGeneration`` and ``GemmaForCausalLM`` of a module, which takes their configurations for granted."""
    whole, expert = module.PaliGemmaForConditionalGeneration, module.GemmaForCausalLM

    def paligemma(config):
        config.text_config.vocab_size = config._vocab_size = vocabulary
        config.projection_dim = config.vision_config.projection_dim = config.text_config.hidden_size
        for name, value in VISION.items():
            setattr(config.vision_config, name, value)
        return whole(config)

    def gemma(config):
        config.vocab_size = vocabulary
        return expert(config)

    monkeypatch.setattr(module, "PaliGemmaForConditionalGeneration", paligemma)
    monkeypatch.setattr(module, "GemmaForCausalLM", gemma)
