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

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gain + self.offset


class Readout(nn.Module):
    """The last transformer layer at the position of e_rl, the only one that is used: its attention to all, wide, then its MLP.

    One head reads one mixture of positions, so that a token of 128 from few heads would know few places: hence many of them.
    """

    def __init__(self, width: int, size: int, groups: int = 8, heads: int = 16) -> None:
        super().__init__()
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

    def fit_whitening(self, embeddings: torch.Tensor) -> None:
        """Means and scales from all embeddings [N, M, D]."""
        seen = embeddings[:, self.rows]
        self.mean.copy_(seen.mean(0))
        self.scale.copy_((seen - self.mean).square().mean((0, 1)).sqrt().clamp_min(1e-4))

    def settle(self, tokens: torch.Tensor) -> None:
        """Give the token zero mean and unit variance over all components together, from the z [N, Dz] of the training data.

        Not each component for itself: what varies little is mostly noise, and equal variances would hand it to the learner as large
        as what matters (measured: the lateral offset from 20 episodes, 0.48 mm instead of 0.82).
        """
        self.token_mean.copy_(tokens.mean(0))
        self.token_scale.copy_(tokens.var(0).mean().sqrt().expand_as(self.token_scale))


class DecoderNetwork(nn.Module):
    """Autoregressive reconstruction of e_1 .. e_M from [z, e_1 .. e_{M-1}].

    Each e_i is kept from the decoder with probability `dropout`: with all of them in sight it can do without z (docs/method.md, stage 1). With
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
        self.direct = nn.Linear(size, tokens * channels)
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
        return self.leave(x) + self.direct(z).reshape(white.shape)


@torch.no_grad()
def warm_start(encoder: EncoderNetwork, decoder: DecoderNetwork, embeddings: torch.Tensor) -> float:
    """Set the linear maps into and out of z to the best ones for reconstruction; gradient descent goes on from there.

    Reduced-rank regression from what e_rl reads with its random attention to all whitened embeddings. Small components, in which
    the last millimetre hides, come late in gradient descent; here they come at once.

    Args:
        embeddings: [N, M, D].

    Returns:
        The share of the embeddings' variance that is not reconstructed.

    Raises:
        ValueError: the token is wider than what varies in these embeddings.
    """
    white = torch.cat([encoder.whiten(part) for part in embeddings.split(256)]).flatten(1)
    read = torch.cat([encoder.readout.attend(encoder.mixed(encoder.whiten(part))) for part in embeddings.split(256)])
    middle, size, count = read.mean(0), encoder.readout.out.out_features, len(read)
    read = (read - middle).double()
    power, axes = torch.linalg.eigh(read.T @ read)
    firm = power > 1e-6 * power[-1]  # what is weaker is rounding
    if (rank := min(int(firm.sum()), white.shape[1])) < size:
        raise ValueError(f"a token of {size} is wider than the {rank} directions in which these embeddings vary; take {rank} or less, or record more")
    to_unit = axes[:, firm] / power[firm].sqrt()
    left, strength, right = torch.linalg.svd((read @ to_unit).T.float() @ white, full_matrices=False)
    # As large as its share in the reconstruction makes each component, and unit variance on average.
    large = (strength[:size] / strength[:size].square().mean().sqrt())[:, None]
    encoder.readout.out.weight.copy_((to_unit.float() @ left[:, :size]).T * count**0.5 * large)
    encoder.readout.out.bias.copy_(-encoder.readout.out.weight @ middle)
    decoder.direct.weight.copy_((right[:size] * (strength[:size, None] / count**0.5) / large).T)
    decoder.direct.bias.zero_()
    decoder.leave.weight.zero_()
    decoder.leave.bias.zero_()
    z = read.float() @ encoder.readout.out.weight.T
    return float((z @ decoder.direct.weight.T - white).square().mean() / white.square().mean())
