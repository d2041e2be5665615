"""The stand-in VLA as a network: two views and the tool's position -> an action chunk, and the patch embeddings it came from."""

from __future__ import annotations

import torch
from torch import nn

from rl_token_ros.rl_token.transformer import Block

EMBEDDING = 128  # D
PATCHES = 7  # per side and camera; M = 2 * 49


class VisionPolicy(nn.Module):
    """A small convolutional network per camera, one transformer layer over the patches of both, one head.

    The head sees the embeddings only through their means over each camera's patches and through a narrow view of each patch: what
    the actions need has to be in the embeddings.
    """

    proprio_mean: torch.Tensor
    proprio_scale: torch.Tensor
    action_scale: torch.Tensor

    def __init__(self, horizon: int, proprio_mean: torch.Tensor, proprio_scale: torch.Tensor, action_scale: torch.Tensor) -> None:
        """Means and scales also say how many values there are: proprio_mean and proprio_scale [P], action_scale [A]."""
        super().__init__()
        self.horizon, self.actions = horizon, len(action_scale)
        self.register_buffer("proprio_mean", proprio_mean)
        self.register_buffer("proprio_scale", proprio_scale)
        self.register_buffer("action_scale", action_scale)
        self.eyes = nn.ModuleList(self._eye() for _ in range(2))
        self.place = nn.Parameter(0.02 * torch.randn(2 * PATCHES**2, EMBEDDING))
        self.mix = Block(EMBEDDING)
        self.norm = nn.LayerNorm(EMBEDDING)
        self.narrow = nn.Linear(EMBEDDING, 8)
        self.head = nn.Sequential(
            nn.Linear(2 * EMBEDDING + 8 * 2 * PATCHES**2 + len(proprio_mean), 256), nn.GELU(), nn.Linear(256, 256), nn.GELU(),
            nn.Linear(256, horizon * self.actions),
        )  # fmt: skip

    @staticmethod
    def _eye() -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(3, 24, 4, 2, 1), nn.ReLU(), nn.Conv2d(24, 48, 3, 2, 1), nn.ReLU(), nn.Conv2d(48, EMBEDDING, 3, 3), nn.ReLU(),
            nn.Conv2d(EMBEDDING, EMBEDDING, 1),
        )  # fmt: skip

    def forward(self, image_base: torch.Tensor, image_wrist: torch.Tensor, proprio: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            image_base, image_wrist: uint8 or float [N, 84, 84, 3], 0..255.
            proprio: float [N, P], ee_position, m, and what else was given a scale.

        Returns:
            actions [N, H, A], m and rad per step; embeddings [N, M, D].
        """
        seen = []
        for eye, image in zip(self.eyes, (image_base, image_wrist)):
            x = image.permute(0, 3, 1, 2).to(torch.float32) * (1 / 127.5) - 1.0
            seen.append(eye(x).flatten(2).transpose(1, 2))
        embeddings = self.norm(self.mix(torch.cat(seen, 1) + self.place))
        base, wrist = embeddings[:, : PATCHES**2].mean(1), embeddings[:, PATCHES**2 :].mean(1)
        here = (proprio - self.proprio_mean) / self.proprio_scale
        steps = self.head(torch.cat([base, wrist, self.narrow(embeddings).flatten(1), here], 1))
        return steps.reshape(-1, self.horizon, self.actions) * self.action_scale, embeddings
