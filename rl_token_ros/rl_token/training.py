"""Trains the RL token's encoder and decoder on a VLA's embeddings (docs/method.md, stage 1), and writes the encoder as ONNX. Needs torch."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from rl_token_ros.policy.actor_weights import fingerprint
from rl_token_ros.rl_token import onnx_file
from rl_token_ros.rl_token.network import DecoderNetwork, EncoderNetwork, warm_start
from rl_token_ros.system.progress import Progress


def fit(
    embeddings: torch.Tensor, size: int, steps: int, batch: int, rate: float, dropout: float, rows: tuple[int, int] | None = None
) -> tuple[EncoderNetwork, DecoderNetwork]:
    """Encoder and decoder by reconstruction of whitened embeddings [N, M, D], of ``rows`` of them if given."""
    _, tokens, channels = embeddings.shape
    encoder = EncoderNetwork(tokens, channels, size, rows)
    encoder.fit_whitening(embeddings)
    decoder = DecoderNetwork(len(encoder.mean), channels, size, dropout)
    print(f"warm start: {warm_start(encoder, decoder, embeddings):.4f} of the variance not reconstructed")
    both = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.AdamW(both, lr=rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min((i + 1) / 50, 0.5 * (1.0 + math.cos(math.pi * min(1.0, i / steps))) + 0.005)
    )
    progress, smooth = Progress("token", steps), None
    for i in range(steps):
        white = encoder.whiten(embeddings[torch.randint(len(embeddings), (batch,))])
        loss = (decoder(encoder.encode(white), white) - white).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(both, 1.0)
        optimizer.step()
        schedule.step()
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        progress(i + 1, f"(reconstruction {smooth:.4f} of the variance)")
    encoder.eval()
    with torch.no_grad():
        encoder.settle(torch.cat([encoder.encode(encoder.whiten(part)) for part in embeddings.split(256)]))
    decoder.eval()
    return encoder, decoder


@torch.no_grad()
def not_reconstructed(encoder: EncoderNetwork, decoder: DecoderNetwork, embeddings: torch.Tensor) -> float:
    """Share of the variance of embeddings [N, M, D] that the decoder cannot make from the token alone: their context is kept from it."""
    usual, decoder.dropout = decoder.dropout, 1.0
    error = power = 0.0
    for part in embeddings.split(64):
        white = encoder.whiten(part)
        error += float((decoder(encoder.encode(white), white) - white).square().sum())
        power += float(white.square().sum())
    decoder.dropout = usual
    return error / max(power, 1e-12)


@torch.no_grad()
def tokens_of(encoder: EncoderNetwork, embeddings: torch.Tensor) -> np.ndarray:
    """Tokens float32 [N, Dz] of embeddings [N, M, D]."""
    return torch.cat([encoder(part) for part in embeddings.split(256)]).numpy()


def export(encoder: EncoderNetwork, vla: Path | str, path: Path) -> None:
    """Write the ONNX file, with the fingerprint of the VLA it was made for; ``vla`` is its file, or the fingerprint itself."""
    sha256 = vla if isinstance(vla, str) else fingerprint(vla)
    example = {"embeddings": torch.zeros(1, encoder.whole, encoder.mean.shape[1])}
    onnx_file.write(encoder, example, ["token"], path, vla_sha256=sha256, token_size=len(encoder.token_mean))
