"""A small VLA as a network: any number of views and the measured state -> an action chunk, and the patch embeddings it came from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from rl_token_ros.rl_token.transformer import Block

EMBEDDING = 128  # D
PATCH = 12  # rows and columns of a picture that one embedding is of


class VisionPolicy(nn.Module):
    """A small convolutional network per camera, one transformer layer over the patches of all, one head.

    The head sees the embeddings only through their means over each camera's patches and through a narrow view of each patch: what
    the actions need has to be in the embeddings.

    Args:
        horizon: H.
        views: rows and columns of each camera's pictures, multiples of `PATCH`.
        proprio_mean, proprio_scale: [P], to which the state is normalised.
        action_scale: [A], a typical action.
        action_mean: [A]; None: 0, as of deltas.
    """

    proprio_mean: torch.Tensor
    proprio_scale: torch.Tensor
    action_scale: torch.Tensor
    action_mean: torch.Tensor | None

    def __init__(
        self, horizon: int, views: Sequence[tuple[int, int]], proprio_mean: torch.Tensor, proprio_scale: torch.Tensor, action_scale: torch.Tensor,
        action_mean: torch.Tensor | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.horizon, self.actions = horizon, len(action_scale)
        self.register_buffer("proprio_mean", proprio_mean)
        self.register_buffer("proprio_scale", proprio_scale)
        self.register_buffer("action_scale", action_scale)
        self.register_buffer("action_mean", action_mean)
        self.patches = [rows // PATCH * (columns // PATCH) for rows, columns in views]  # of each camera; M is their sum
        self.eyes = nn.ModuleList(self._eye() for _ in views)
        self.place = nn.Parameter(0.02 * torch.randn(sum(self.patches), EMBEDDING))
        self.mix = Block(EMBEDDING)
        self.norm = nn.LayerNorm(EMBEDDING)
        self.narrow = nn.Linear(EMBEDDING, 8)
        self.head = nn.Sequential(
            nn.Linear(len(views) * EMBEDDING + 8 * sum(self.patches) + len(proprio_mean), 256), nn.GELU(), nn.Linear(256, 256), nn.GELU(),
            nn.Linear(256, horizon * self.actions),
        )  # fmt: skip

    @staticmethod
    def _eye() -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(3, 24, 4, 2, 1), nn.ReLU(), nn.Conv2d(24, 48, 3, 2, 1), nn.ReLU(), nn.Conv2d(48, EMBEDDING, 3, 3), nn.ReLU(),
            nn.Conv2d(EMBEDDING, EMBEDDING, 1),
        )  # fmt: skip

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            inputs: a picture of each camera, uint8 or float [N, rows, columns, 3], 0..255; then the state, float [N, P].

        Returns:
            actions [N, H, A]; embeddings [N, M, D].
        """
        *images, proprio = inputs
        seen = []
        for eye, image in zip(self.eyes, images):
            x = image.permute(0, 3, 1, 2).to(torch.float32) * (1 / 127.5) - 1.0
            seen.append(eye(x).flatten(2).transpose(1, 2))
        embeddings = self.norm(self.mix(torch.cat(seen, 1) + self.place))
        pooled = [patches.mean(1) for patches in embeddings.split(self.patches, 1)]
        here = (proprio - self.proprio_mean) / self.proprio_scale
        steps = self.head(torch.cat([*pooled, self.narrow(embeddings).flatten(1), here], 1))
        actions = steps.reshape(-1, self.horizon, self.actions) * self.action_scale
        return actions if self.action_mean is None else actions + self.action_mean, embeddings
