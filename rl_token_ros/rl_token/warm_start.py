"""Where gradient descent begins: whitening, and the best linear maps into and out of the token, from a sample read piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from rl_token_ros.rl_token.network import DecoderNetwork, EncoderNetwork
from rl_token_ros.rl_token.shards import Part, Shards
from rl_token_ros.system.progress import Progress

Source = Shards | Part | np.ndarray | torch.Tensor  # [N, M, D], of which source[numbers] are some
PATTERNS_FROM = 1024  # observations that the patterns of positions and of channels are found in
LOOKED_AT = 64  # channels or positions of each of those, drawn anew for each piece
BLOCK = 8192  # columns


class TooWide(ValueError):
    """A token wider than what varies in the embeddings; the message says how wide it may be."""


def pieces(source: Source, numbers: np.ndarray, piece: int, device: torch.device, what: str = "") -> Iterator[tuple[slice, torch.Tensor]]:
    """Observations by number, ``piece`` at a time: where they stand among the numbers, and float32 [n, M, D].

    Args:
        what: the job, for its progress; empty: none is shown.
    """
    progress: Callable[[int], None] = Progress(what, len(numbers)) if what else lambda done: None
    for first in range(0, len(numbers), piece):
        part = slice(first, min(first + piece, len(numbers)))
        yield part, torch.as_tensor(source[numbers[part]]).to(device, torch.float32)
        progress(part.stop)


def white_of(encoder: EncoderNetwork, piece: torch.Tensor) -> torch.Tensor:
    """`EncoderNetwork.whiten` without a gradient, in place: the piece is gone."""
    return piece[:, encoder.rows].sub_(encoder.mean).div_(encoder.scale)


@torch.no_grad()
def fit_whitening(encoder: EncoderNetwork, source: Source, numbers: np.ndarray, piece: int) -> None:
    """Means and scales from some observations."""
    device = encoder.mean.device
    first = torch.as_tensor(source[numbers[:1]]).to(device, torch.float32)[0, encoder.rows]
    total = torch.zeros_like(first, dtype=torch.float64)
    squares = torch.zeros(first.shape[1], dtype=torch.float64, device=device)
    for _, part in pieces(source, numbers, piece, device, "means and scales"):
        apart = part[:, encoder.rows] - first  # near zero, so that squares keep their digits
        total += apart.sum(0)
        squares += apart.square_().sum((0, 1))
    mean = total / len(numbers)
    variance = squares / (len(numbers) * len(first)) - mean.square().mean(0)
    encoder.mean.copy_(first + mean)
    encoder.scale.copy_(variance.clamp_min(0.0).sqrt().clamp_min(1e-4))


@torch.no_grad()
def warm_start(encoder: EncoderNetwork, decoder: DecoderNetwork, source: Source, numbers: np.ndarray, piece: int, columns: int, seed: int) -> float:
    """Set the linear maps into and out of z to the best ones for reconstruction; gradient descent goes on from there.

    Reduced-rank regression from what e_rl reads with its random attention to all whitened embeddings, or to ``columns`` of their M x D
    values, drawn at random: they span the same directions. Small components, in which the last millimetre hides, come late in gradient
    descent; here they come at once. The way out goes through the decoder's patterns.

    Args:
        source: [N, M, D].
        numbers: which observations it is computed from.
        piece: how many are in memory at once.

    Returns:
        The share of the embeddings' variance that is not reconstructed.

    Raises:
        TooWide: the token is wider than what varies in these embeddings.
    """
    device, readout, count = encoder.mean.device, encoder.readout, len(numbers)
    random = np.random.default_rng(seed)
    read = torch.empty(count, readout.out.in_features, device=device)
    for part, some in pieces(source, numbers, piece, device, "warm start, reading"):
        read[part] = readout.attend(encoder.mixed(white_of(encoder, some)))
    middle, size = read.mean(0), readout.out.out_features
    exact = (read - middle).double()
    power, axes = torch.linalg.eigh(exact.T @ exact)
    firm = power > 1e-6 * power[-1]  # what is weaker is rounding
    if (rank := min(int(firm.sum()), encoder.mean.numel())) < size:
        raise TooWide(f"a token of {size} is wider than the {rank} directions in which these embeddings vary; take {rank} or less, or record more")
    to_unit = axes[:, firm] / power[firm].sqrt()
    unit = (exact @ to_unit).float()  # orthonormal columns
    del read, exact, axes

    _find_patterns(encoder, decoder, source, numbers, piece, random)
    values = encoder.mean.numel()
    chosen = torch.from_numpy(np.sort(random.choice(values, columns, replace=False))).to(device) if columns < values else None
    seen = torch.zeros(unit.shape[1], min(columns, values), device=device)
    tables = torch.zeros(unit.shape[1], decoder.lift.out_features, device=device)
    whole = 0.0
    for part, some in pieces(source, numbers, piece, device, "warm start, regression"):
        white = white_of(encoder, some)
        whole += float(white.square().sum())
        tables.addmm_(unit[part].T, (decoder.positions.T @ (white @ decoder.channels.T)).flatten(1))
        flat = white.flatten(1)
        seen.addmm_(unit[part].T, flat if chosen is None else flat[:, chosen])
    gram = torch.zeros(len(seen), len(seen), dtype=torch.float64, device=device)
    for block in seen.split(BLOCK, 1):
        gram.addmm_(block.double(), block.double().T)
    strength, left = torch.linalg.eigh(gram)
    strength, left = strength.flip(0)[:size].clamp_min(0.0).sqrt().float(), left.flip(1)[:, :size].float()
    # As large as its share in the reconstruction makes each component, and unit variance on average.
    large = (strength / strength.square().mean().sqrt()).clamp_min(1e-6)
    readout.out.weight.copy_((to_unit.float() @ left).T * count**0.5 * large[:, None])
    readout.out.bias.copy_(-readout.out.weight @ middle)
    table = left.T @ tables
    decoder.lift.weight.copy_((table / (large[:, None] * count**0.5)).T)
    decoder.lift.bias.zero_()
    decoder.leave.weight.zero_()
    decoder.leave.bias.zero_()
    return 1.0 - float(table.square().sum()) / whole


def _find_patterns(
    encoder: EncoderNetwork, decoder: DecoderNetwork, source: Source, numbers: np.ndarray, piece: int, random: np.random.Generator
) -> None:
    """The principal patterns of positions and of channels, from a few channels and positions of some observations."""
    (rows, columns), device = encoder.mean.shape, encoder.mean.device
    by_position = torch.zeros(rows, rows, device=device)
    by_channel = torch.zeros(columns, columns, device=device)
    some = np.sort(random.choice(numbers, min(len(numbers), PATTERNS_FROM), replace=False))
    for _, part in pieces(source, some, piece, device, "warm start, patterns"):
        white = white_of(encoder, part)
        places = white[:, random.permutation(rows)[:LOOKED_AT]].flatten(0, 1)
        by_channel.addmm_(places.T, places)
        kinds = white[:, :, random.permutation(columns)[:LOOKED_AT]].transpose(0, 1).flatten(1)
        by_position.addmm_(kinds, kinds.T)
    for power, patterns in ((by_position, decoder.positions), (by_channel, decoder.channels.T)):
        patterns.copy_(torch.linalg.eigh(power.double())[1].flip(1)[:, : patterns.shape[1]])
