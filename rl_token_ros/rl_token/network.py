"""The RL token (docs/method.md, stage 1): an encoder whose one output must suffice to reconstruct a VLA's embeddings."""

from __future__ import annotations

import torch
from torch import nn

from rl_token_ros.rl_token.transformer import Block


class Placed(nn.Module):
    """Tells a transformer where each of its inputs is: a learned gain and a learned offset per position.

    The gain is what an offset alone lacks: with it, attention can read another mixture of channels at every position.
    """

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(1.0 + 0.5 * torch.randn(tokens, width))
        self.offset = nn.Parameter(0.02 * torch.randn(tokens, width))

    def forward(self, x: torch.Tensor, at: torch.Tensor | slice = slice(None)) -> torch.Tensor:
        """[N, K, width] or [N, 1, width], told to be at the positions ``at`` [K]."""
        return x * self.gain[at] + self.offset[at]


class Readout(nn.Module):
    """The last transformer layer at the position of e_rl, the only one that is used: its attention to all, wide, then its MLP.

    One head reads one mixture of positions, so that a token of 128 from few heads would know few places: hence many of them, and
    for a wide token half as many again as it has values.
    """

    def __init__(self, width: int, size: int, heads: int = 16) -> None:
        super().__init__()
        groups = max(8, -(-3 * size // (2 * width)))
        self.heads, self.groups = heads, groups
        self.query = nn.Parameter(torch.randn(heads, groups, width // heads))
        self.kv, self.out = nn.Linear(width, 2 * width), nn.Linear(groups * width, size)
        first, last = nn.Linear(size, 2 * size), nn.Linear(2 * size, size)
        self.mlp = nn.Sequential(nn.LayerNorm(size), first, nn.GELU(), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        """[N, M, width] -> [N, groups * width]."""
        n, m, d = x.shape
        k, v = self.kv(x).reshape(n, m, 2, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        score = self.query @ k.transpose(-1, -2) * (d // self.heads) ** -0.5
        return (score.softmax(-1) @ v).reshape(n, self.groups * d)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.out(self.attend(x))
        return z + self.mlp(z)


class EncoderNetwork(nn.Module):
    """A light transformer over [e_1 .. e_M, e_rl]; the token is its output at the learned query e_rl.

    One layer by default, of which only the query's position is computed; `layers` more may come before it.
    Whitening is part of the graph: the mean of each position and channel is taken off (what never changes says nothing) and each
    channel is scaled to unit variance. `settle` scales the token itself once training is over.

    Args:
        tokens, channels: M, D of the VLA's embeddings.
        size: Dz.
        rows: first and last (exclusive) of the embeddings it looks at: a camera's patches. All by default.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    token_mean: torch.Tensor
    token_scale: torch.Tensor

    def __init__(self, tokens: int, channels: int, size: int, rows: tuple[int, int] | None = None, width: int = 128, layers: int = 0) -> None:
        super().__init__()
        self.whole = tokens
        self.rows = slice(*(rows or (0, tokens)))
        tokens = self.rows.stop - self.rows.start
        self.register_buffer("mean", torch.zeros(tokens, channels))
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("token_mean", torch.zeros(size))
        self.register_buffer("token_scale", torch.ones(size))
        self.enter = nn.Linear(channels, width)
        self.place = Placed(tokens, width)
        self.layers = nn.ModuleList(Block(width) for _ in range(layers))
        self.readout = Readout(width, size)

    def whiten(self, embeddings: torch.Tensor) -> torch.Tensor:
        """[N, M, D] -> [N, rows, D]."""
        return (embeddings[:, self.rows] - self.mean) / self.scale

    def mixed(self, white: torch.Tensor) -> torch.Tensor:
        """Whitened embeddings [N, rows, D] -> [N, rows, width], as they are when e_rl attends to them."""
        x = self.place(self.enter(white))
        for layer in self.layers:
            x = layer(x)
        return x

    def encode(self, white: torch.Tensor) -> torch.Tensor:
        """Whitened embeddings [N, rows, D] -> z [N, Dz]."""
        return self.readout(self.mixed(white))

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Embeddings [N, M, D] -> token [N, Dz], unit variance on average over the components."""
        return (self.encode(self.whiten(embeddings)) - self.token_mean) / self.token_scale

    def settle(self, tokens: torch.Tensor) -> None:
        """Give the token zero mean and unit variance over all components together, from the z [N, Dz] of the training data.

        Not each component for itself: what varies little is mostly noise, and equal variances would hand it to the learner as large
        as what matters (measured: the lateral offset from 20 episodes, 0.48 mm instead of 0.82).
        """
        self.token_mean.copy_(tokens.mean(0))
        self.token_scale.copy_(tokens.var(0).mean().sqrt().expand_as(self.token_scale))


class DecoderNetwork(nn.Module):
    """Autoregressive reconstruction of e_1 .. e_M from [z, e_1 .. e_{M-1}], at all positions or at a few of them.

    Each e_i is kept from the decoder with probability `dropout`: with all of them in sight it can do without z (docs/method.md, stage 1). With
    dropout 1 it is a parallel decoder that has only z.

    Beside the transformer there is a linear way from z, where reconstruction begins: z is lifted to a small table [patterns of positions,
    patterns of channels], of which each embedding is a mixture. No weight has size x M x D values.
    """

    def __init__(self, tokens: int, channels: int, size: int, dropout: float, width: int = 128, layers: int = 1, patterns: int = 64) -> None:
        super().__init__()
        self.dropout = dropout
        self.enter, self.seed = nn.Linear(channels, width), nn.Linear(size, width)
        self.place = Placed(tokens, width)
        self.missing = nn.Parameter(torch.zeros(width))
        self.layers = nn.ModuleList(Block(width) for _ in range(layers))
        self.leave = nn.Linear(width, channels)
        self.positions = nn.Parameter(torch.zeros(tokens, min(patterns, tokens)))
        self.channels = nn.Parameter(torch.zeros(min(patterns, channels), channels))
        self.lift = nn.Linear(size, self.positions.shape[1] * self.channels.shape[0])

    def forward(self, z: torch.Tensor, white: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        """z [N, Dz] and whitened embeddings [N, M, D] -> their reconstruction [N, K, D] at the positions ``at`` [K], in rising order.

        What is not at one of them, or before one of them, is kept from the decoder like what it drops.
        """
        seed = self.seed(z)[:, None]
        seen = self.enter(white[:, (at - 1).clamp_min(0)])
        drop = torch.rand(seen.shape[:2], device=seen.device) < self.dropout
        seen = torch.where(drop[..., None], self.missing, seen)
        # z is added everywhere, so that a position far from the first need not fetch it.
        x = torch.where((at == 0)[:, None], 0.0, seen) + self.place(seed, at)
        later = torch.full((len(at), len(at)), float("-inf"), device=x.device).triu(1)
        for layer in self.layers:
            x = layer(x, later)
        table = self.lift(z).unflatten(1, (self.positions.shape[1], self.channels.shape[0]))
        return self.leave(x) + (self.positions[at] @ table) @ self.channels
