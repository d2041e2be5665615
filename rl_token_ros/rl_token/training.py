"""Trains the RL token's encoder and decoder on a VLA's embeddings (docs/method.md, stage 1), and writes the encoder as ONNX. Needs torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rl_token_ros.policy.actor_weights import fingerprint
from rl_token_ros.rl_token import onnx_file, training_state
from rl_token_ros.rl_token.budget import LIBRARIES, UNBOUNDED, Budget, observations_for, share
from rl_token_ros.rl_token.network import DecoderNetwork, EncoderNetwork
from rl_token_ros.rl_token.warm_start import Source, fit_whitening, pieces, warm_start, white_of
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.system.ahead import ahead
from rl_token_ros.system.progress import Progress

CHECKPOINT_STEPS = 100
PIECE_BYTES = 64_000_000  # of float32 at once on a processor: the less of a batch, the more of it stays in its caches
JUDGED = 512  # observations that the share of the variance is measured on


class CannotResume(ValueError):
    """A checkpoint that is not there, not whole, or of another training; the message says what to do."""


@dataclass(frozen=True)
class Settings:
    """What a training does, the same on every machine.

    Attributes:
        size: Dz.
        steps: gradient steps.
        batch: observations per step.
        rate: learning rate.
        dropout: share of the embeddings kept from the decoder.
        rows: first and last (exclusive) of the embeddings that are looked at; all by default.
        targets: positions that are reconstructed in a step, drawn anew for each; all where there are no more.
        seed: of everything that is drawn.
    """

    size: int
    steps: int = 2000
    batch: int = 32
    rate: float = 3e-4
    dropout: float = 0.9
    rows: tuple[int, int] | None = None
    targets: int = 64
    seed: int = 0


class Trainer:
    """Encoder and decoder by reconstruction of whitened embeddings.

    Args:
        source: embeddings [N, M, D] to train on.
        memory: bytes for the process, as far as this can help it.
        device: where the networks are; on CUDA in mixed precision.
        checkpoint: file of what training needs to go on, written every `CHECKPOINT_STEPS` steps.
        libraries: of the memory, what the interpreter and its libraries take.

    Raises:
        TooLittleMemory: `memory` holds not one observation.
    """

    def __init__(
        self, source: Source, settings: Settings, memory: float = math.inf, device: str = "cpu", checkpoint: Path | None = None,
        libraries: int = LIBRARIES,
    ) -> None:  # fmt: skip
        self._source, self._settings, self._checkpoint = source, settings, checkpoint
        self._device = torch.device(device)
        torch.manual_seed(settings.seed)
        _, tokens, channels = source.shape
        self.encoder = EncoderNetwork(tokens, channels, settings.size, settings.rows).to(self._device)
        self.decoder = DecoderNetwork(len(self.encoder.mean), channels, settings.size, settings.dropout).to(self._device)
        self._both = [*self.encoder.parameters(), *self.decoder.parameters()]
        features, weights = self.encoder.readout.out.in_features, sum(weight.numel() for weight in self._both)
        most = settings.batch if self._device.type == "cuda" else max(1, PIECE_BYTES // (4 * tokens * channels))
        self.budget: Budget = replace(UNBOUNDED, piece=most)
        if math.isfinite(memory):
            width = self.encoder.enter.out_features
            self.budget = share(memory, tuple(source.shape), settings.size, features, width, weights, min(most, settings.batch), libraries)
        self._optimizer = torch.optim.AdamW(self._both, lr=settings.rate, weight_decay=1e-4)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda i: min((i + 1) / 50, 0.5 * (1.0 + math.cos(math.pi * min(1.0, i / settings.steps))) + 0.005)
        )
        self._sample = spread(len(source), observations_for(features))
        self._done, self._smooth = 0, math.nan

    def start(self) -> None:
        """Set the networks to where gradient descent begins.

        Raises:
            TooWide: the token is wider than what varies in the embeddings.
        """
        fit_whitening(self.encoder, self._source, self._sample, self.budget.piece)
        lost = warm_start(self.encoder, self.decoder, self._source, self._sample, self.budget.piece, self.budget.columns, self._settings.seed)
        print(f"warm start: {lost:.4f} of the variance not reconstructed")

    def resume(self) -> None:
        """Go on where a checkpoint was written.

        Raises:
            CannotResume: there is none, or it is of another training.
        """
        path = self._checkpoint
        if path is None or not path.is_file():
            raise CannotResume(f"there is no checkpoint '{path}' to go on from; leave --resume out")
        try:
            tensors, saved = training_state.load(path)
        except (OSError, ValueError) as error:
            raise CannotResume(f"checkpoint '{path}' cannot be read ({error}); leave --resume out") from None
        for name, mine in self._identity().items():
            if saved["of"][name] != mine:
                raise CannotResume(
                    f"checkpoint '{path}' is of a training with {name} {saved['of'][name]}, not {mine}; leave --resume out to begin anew"
                )
        training_state.restore(tensors, saved, self._networks, self._optimizer)
        self._schedule.load_state_dict(saved["schedule"])
        self._done, self._smooth = saved["done"], saved["smooth"]
        print(f"resumed after {self._done} of {self._settings.steps} steps")

    def train(self, until: int | None = None) -> None:
        """Take the gradient steps that are left, or those before step ``until``; after the last one, scale the token."""
        settings, first = self._settings, self._done
        end = settings.steps if until is None else min(until, settings.steps)
        progress = Progress("token", settings.steps - first)
        parts = -(-settings.batch // self.budget.piece)
        drawn = (np.random.default_rng([settings.seed, step]).integers(len(self._source), size=settings.batch) for step in range(first, end))
        reading = ahead(self._source[part] for batch in drawn for part in np.array_split(np.sort(batch), parts))
        for step in range(first, end):
            loss = self._step(step, itertools.islice(reading, parts))
            self._done = step + 1
            self._smooth = loss if math.isnan(self._smooth) else 0.98 * self._smooth + 0.02 * loss
            progress(self._done - first, f"(reconstruction {self._smooth:.4f} of the variance)")
            if self._done % CHECKPOINT_STEPS == 0 or self._done == end:
                self._save()
        if self._done == settings.steps:
            self._settle()

    def _step(self, step: int, batch: Iterable[Any]) -> float:
        """One gradient step on a batch that comes in pieces; its loss. What is drawn at random depends on the step alone."""
        torch.manual_seed(self._settings.seed * 1_000_003 + step)
        rows = len(self.encoder.mean)
        at = torch.randperm(rows)[: self._settings.targets].sort().values.to(self._device)
        self._optimizer.zero_grad()
        loss = 0.0
        for piece in batch:
            white = white_of(self.encoder, torch.as_tensor(piece).to(self._device, torch.float32))
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"):
                made = self.decoder(self.encoder.encode(white), white, at)
            part = (made.float() - white[:, at]).square().mean() * (len(piece) / self._settings.batch)
            part.backward()
            loss += part.item()
        torch.nn.utils.clip_grad_norm_(self._both, 1.0)
        self._optimizer.step()
        self._schedule.step()
        return loss

    @torch.no_grad()
    def _settle(self) -> None:
        numbers, tokens = self._sample, []
        for _, part in pieces(self._source, numbers, self.budget.piece, self._device):
            tokens.append(self.encoder.encode(white_of(self.encoder, part)))
        self.encoder.settle(torch.cat(tokens))
        self.encoder.eval()
        self.decoder.eval()

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a training to go on."""
        of = {**asdict(self._settings), "observations": list(self._source.shape)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in of.items()}

    def _save(self) -> None:
        if self._checkpoint is None:
            return
        schedule = {name: value for name, value in self._schedule.state_dict().items() if name != "lr_lambdas"}
        told = {"of": self._identity(), "done": self._done, "smooth": self._smooth, "schedule": {**schedule, "lr_lambdas": [None]}}
        training_state.save(self._checkpoint, self._networks, self._optimizer, told)

    @property
    def _networks(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, "decoder": self.decoder}


def choose_device(name: str) -> str:
    """The torch device of an option `--device`: auto, cpu or cuda.

    Raises:
        ParameterError: cuda, where there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ParameterError("--device cuda: torch finds none here; write --device cpu")
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"


def spread(count: int, most: int) -> np.ndarray:
    """All numbers below a count, or as many as may be, evenly among them."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).astype(np.int64)


def fit(source: Source, settings: Settings) -> tuple[EncoderNetwork, DecoderNetwork]:
    """Encoder and decoder from embeddings [N, M, D], from beginning to end, on this machine's processor."""
    trainer = Trainer(source, settings)
    trainer.start()
    trainer.train()
    return trainer.encoder, trainer.decoder


@torch.no_grad()
def not_reconstructed(encoder: EncoderNetwork, decoder: DecoderNetwork, source: Source, piece: int = 64, targets: int = 64) -> float:
    """Share of the variance of embeddings [N, M, D] that the decoder cannot make from the token alone: their context is kept from it.

    Of many, `JUDGED` are looked at; every position of them, ``targets`` at a time.
    """
    usual, decoder.dropout = decoder.dropout, 1.0
    error = power = 0.0
    rows, device = len(encoder.mean), encoder.mean.device
    parts = -(-rows // targets)
    for _, part in pieces(source, spread(len(source), JUDGED), piece, device):
        white = white_of(encoder, part)
        z = encoder.encode(white)
        for first in range(parts):
            at = torch.arange(first, rows, parts, device=device)
            error += float((decoder(z, white, at) - white[:, at]).square().sum())
        power += float(white.square().sum())
    decoder.dropout = usual
    return error / max(power, 1e-12)


@torch.no_grad()
def tokens_of(encoder: EncoderNetwork, source: Source, numbers: np.ndarray | None = None, piece: int = 256) -> np.ndarray:
    """Tokens float32 [n, Dz] of some of the embeddings [N, M, D]; of all by default."""
    numbers = np.arange(len(source)) if numbers is None else numbers
    return torch.cat([encoder(part).cpu() for _, part in pieces(source, numbers, piece, encoder.mean.device)]).numpy()


def export(encoder: EncoderNetwork, vla: Path | str, path: Path) -> None:
    """Write the ONNX file, with the fingerprint of the VLA it was made for; ``vla`` is its file, or the fingerprint itself."""
    sha256 = vla if isinstance(vla, str) else fingerprint(vla)
    encoder = encoder.cpu()
    example = {"embeddings": torch.zeros(1, encoder.whole, encoder.mean.shape[1])}
    onnx_file.write(encoder, example, ["token"], path, vla_sha256=sha256, token_size=len(encoder.token_mean))
