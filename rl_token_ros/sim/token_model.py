"""The RL token (METHOD.md, stage 1): an encoder whose one output must suffice to reconstruct a VLA's embeddings."""

from __future__ import annotations

import torch
from torch import nn

from rl_token_ros.sim.vla_model import Block


class Placed(nn.Module):
    """Tells a transformer where each of its inputs is: a learned gain and a learned offset per position.

    The gain is what an offset alone lacks: with it, attention can read another mixture of channels at every position.
    """

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(1.0 + 0.5 * torch.randn(tokens, width))
        self.offset = nn.Parameter(0.02 * torch.randn(tokens, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gain + self.offset


class Readout(nn.Module):
    """The last transformer layer at the query's position, the only one that is used: attention of e_rl to all, then its MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.randn(heads, 1, width // heads))
        self.kv, self.out = nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, m, d = x.shape
        k, v = self.kv(x).reshape(n, m, 2, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        score = self.query @ k.transpose(-1, -2) * (d // self.heads) ** -0.5
        z = self.out((score.softmax(-1) @ v).reshape(n, d))
        return z + self.mlp(z)


class TokenEncoder(nn.Module):
    """A light transformer over [e_1 .. e_M, e_rl]; the token is its output at the learned query e_rl.

    Whitening is part of the graph: the mean of each position and channel is taken off (what never changes says nothing) and each
    channel is scaled to unit variance. `settle` scales the token itself once training is over.
    """

    def __init__(self, tokens: int, channels: int, size: int, width: int = 128, layers: int = 1) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(tokens, channels))
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("token_mean", torch.zeros(size))
        self.register_buffer("token_scale", torch.ones(size))
        self.enter = nn.Linear(channels, width)
        self.place = Placed(tokens, width)
        self.layers = nn.ModuleList(Block(width) for _ in range(layers))
        self.readout = Readout(width, heads=16)
        self.leave = nn.Linear(width, size)

    def whiten(self, embeddings: torch.Tensor) -> torch.Tensor:
        """[N, M, D] -> [N, M, D]."""
        return (embeddings - self.mean) / self.scale

    def encode(self, white: torch.Tensor) -> torch.Tensor:
        """Whitened embeddings [N, M, D] -> z [N, Dz]."""
        x = self.place(self.enter(white))
        for layer in self.layers:
            x = layer(x)
        return self.leave(self.readout(x))

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Embeddings [N, M, D] -> token [N, Dz], about unit variance."""
        return (self.encode(self.whiten(embeddings)) - self.token_mean) / self.token_scale

    def fit_whitening(self, embeddings: torch.Tensor) -> None:
        """Means and scales from all embeddings [N, M, D]."""
        self.mean.copy_(embeddings.mean(0))
        self.scale.copy_((embeddings - self.mean).square().mean((0, 1)).sqrt().clamp_min(1e-4))

    def settle(self, tokens: torch.Tensor) -> None:
        """Give the token zero mean and unit variance, from the z [N, Dz] of the training data."""
        self.token_mean.copy_(tokens.mean(0))
        self.token_scale.copy_(tokens.std(0).clamp_min(1e-3))


class TokenDecoder(nn.Module):
    """Autoregressive reconstruction of e_1 .. e_M from [z, e_1 .. e_{M-1}].

    Each e_i is kept from the decoder with probability `dropout`: with all of them in sight it can do without z (METHOD.md). With
    dropout 1 it is a parallel decoder that has only z.
    """

    def __init__(self, tokens: int, channels: int, size: int, dropout: float, width: int = 128, layers: int = 1) -> None:
        super().__init__()
        self.dropout = dropout
        self.enter, self.seed = nn.Linear(channels, width), nn.Linear(size, width)
        self.place = Placed(tokens, width)
        self.missing = nn.Parameter(torch.zeros(width))
        self.layers = nn.ModuleList(Block(width) for _ in range(layers))
        self.leave = nn.Linear(width, channels)
        self.register_buffer("mask", torch.full((tokens, tokens), float("-inf")).triu(1))

    def forward(self, z: torch.Tensor, white: torch.Tensor) -> torch.Tensor:
        """z [N, Dz] and whitened embeddings [N, M, D] -> their reconstruction [N, M, D]."""
        seed = self.seed(z)[:, None]
        seen = self.enter(white[:, :-1])
        drop = (torch.rand(seen.shape[:2]) < self.dropout)[..., None]
        seen = torch.where(drop, self.missing, seen)
        # z is added everywhere, so that a position far from the first need not fetch it.
        x = torch.cat([torch.zeros_like(seed), seen], 1) + self.place(seed)
        for layer in self.layers:
            x = layer(x, self.mask)
        return self.leave(x)
