"""Behaviour cloning: a policy's chunks are drawn to those of demonstrations, some of which are kept aside to judge it by."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional

from rl_token_ros.cloning.network import VisionPolicy
from rl_token_ros.system.ahead import ahead
from rl_token_ros.system.progress import Progress

JUDGED = 2048  # samples that are kept aside are looked at, where there are more
PIECE = 256  # of them at once


class Samples(Protocol):
    """What is learned from: N samples, of each a set of pictures, the state, and the actions from then on."""

    @property
    def proprio(self) -> np.ndarray:
        """float32 [N, P]."""

    @property
    def weight(self) -> np.ndarray:
        """float32 [N], of each in the loss."""

    def pictures(self, at: np.ndarray) -> list[np.ndarray]:
        """uint8 [n, rows, columns, 3] of each camera, of some samples."""

    def chunks(self, at: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
        """float32 [n, H, A], and which of these actions are known, bool [n, H]; the first always is."""


@dataclass(frozen=True)
class Settings:
    """How a training goes.

    Attributes:
        iterations: gradient steps.
        batch: samples of each.
        rate: learning rate, at most.
        seed: of what is drawn.
        device: of torch.
    """

    iterations: int
    batch: int = 96
    rate: float = 1.5e-3
    seed: int = 0
    device: str = "cpu"


def vary(images: torch.Tensor) -> torch.Tensor:
    """Another exposure, another white balance and noise for each image: uint8 [N, h, w, 3] -> float of 0..255."""
    n, device = len(images), images.device
    gain = torch.empty(n, 1, 1, 1, device=device).uniform_(0.85, 1.15) * torch.empty(n, 1, 1, 3, device=device).uniform_(0.95, 1.05)
    return (images.to(torch.float32) * gain + 2.0 * torch.randn(images.shape, device=device)).clamp_(0.0, 255.0)


def _loss(model: VisionPolicy, images: list[torch.Tensor], rest: list[torch.Tensor]) -> torch.Tensor:
    """Huber loss in units of the action's scale, of the known actions of each sample."""
    proprio, actions, known, weight = rest
    steps, _ = model(*images, proprio)
    error = functional.smooth_l1_loss(steps / model.action_scale, actions / model.action_scale, reduction="none", beta=0.2).mean(2)
    return ((error * known).sum(1) / known.sum(1) * weight).mean()


def _batches(samples: Samples, numbers: np.ndarray, settings: Settings, horizon: int) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
    random = np.random.default_rng(settings.seed)
    batch, order = min(settings.batch, len(numbers)), np.zeros(0, int)
    for _ in range(settings.iterations):
        if len(order) < batch:
            order = random.permutation(numbers)
        at, order = np.sort(order[:batch]), order[batch:]
        yield samples.pictures(at), _rest(samples, at, horizon)


def _rest(samples: Samples, at: np.ndarray, horizon: int) -> list[np.ndarray]:
    actions, known = samples.chunks(at, horizon)
    return [samples.proprio[at], actions, known.astype(np.float32), samples.weight[at]]


def clone(model: VisionPolicy, samples: Samples, held: np.ndarray, settings: Settings) -> float:
    """Train the policy on the samples that are not held out; the loss at the end, smoothed.

    Args:
        held: bool [N].
    """
    device = torch.device(settings.device)
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.rate, weight_decay=1e-4)
    iterations = settings.iterations
    warm = max(1, iterations // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min((i + 1) / warm, 0.5 * (1.0 + math.cos(math.pi * min(1.0, i / iterations))) + 0.002)
    )
    progress, smooth = Progress("cloning", iterations), math.nan
    for i, (images, rest) in enumerate(ahead(_batches(samples, np.flatnonzero(~held), settings, model.horizon))):
        seen = [vary(torch.from_numpy(view).to(device)) for view in images]
        loss = _loss(model, seen, [torch.from_numpy(each).to(device) for each in rest])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        smooth = loss.item() if math.isnan(smooth) else 0.98 * smooth + 0.02 * loss.item()
        progress(i + 1, f"(loss {smooth:.4f})")
    model.eval()
    return smooth


@dataclass(frozen=True)
class Judgement:
    """What a policy is worth on samples that it has not seen.

    Attributes:
        loss: as in training.
        error: [A], root of the mean squared error of an action of the chunk.
        mean_error: [A], that of the mean action of what was trained on.
    """

    loss: float
    error: np.ndarray
    mean_error: np.ndarray


@torch.no_grad()
def judge(model: VisionPolicy, samples: Samples, held: np.ndarray) -> Judgement:
    """Compare the policy with the mean action on what was held out, in its own units. Of many samples, `JUDGED` are looked at."""
    device = next(model.parameters()).device
    train, test = np.flatnonzero(~held), np.flatnonzero(held)
    train, test = (numbers[np.linspace(0, len(numbers) - 1, min(len(numbers), JUDGED)).astype(int)] for numbers in (train, test))
    actions, known = samples.chunks(train, model.horizon)
    mean = actions[known].mean(0)
    squares, mean_squares, losses, count = np.zeros(model.actions), np.zeros(model.actions), [], 0
    for at in np.array_split(test, -(-len(test) // PIECE)):
        images = [torch.from_numpy(view).to(device) for view in samples.pictures(at)]
        rest = [torch.from_numpy(each).to(device) for each in _rest(samples, at, model.horizon)]
        losses += [float(_loss(model, images, rest))] * len(at)
        steps = model(*images, rest[0])[0].cpu().numpy()
        actions, known = samples.chunks(at, model.horizon)
        squares += ((steps - actions)[known].astype(float) ** 2).sum(0)
        mean_squares += ((mean - actions)[known].astype(float) ** 2).sum(0)
        count += int(known.sum())
    return Judgement(float(np.mean(losses)), np.sqrt(squares / count), np.sqrt(mean_squares / count))
