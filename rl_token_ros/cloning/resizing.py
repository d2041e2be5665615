"""Pictures brought to the size that the network sees, by the same matrices where demonstrations are read and in the exported file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from rl_token_ros.cloning.network import PATCH, VisionPolicy

Size = tuple[int, int]  # rows and columns


def view_of(given: Size, shorter: int) -> Size:
    """The size that the network sees of a camera's pictures: the shorter side as asked for, their aspect kept as far as whole patches allow."""
    factor = shorter / min(given)
    rows, columns = (max(round(factor * side / PATCH), 1) * PATCH for side in given)
    return rows, columns


def weights(given: int, wanted: int) -> np.ndarray:
    """float32 [wanted, given]: what each pixel of a row takes of those it is made of: a triangle as wide as two of the wider pixels."""
    scale = given / wanted
    support = max(scale, 1.0)
    centre = (np.arange(wanted) + 0.5) * scale
    found = np.maximum(1.0 - np.abs(np.arange(given) + 0.5 - centre[:, None]) / support, 0.0)
    return (found / found.sum(1, keepdims=True)).astype(np.float32)


class Resizer:
    """Makes uint8 [h, w, 3] of one size uint8 of another."""

    def __init__(self, given: Size, wanted: Size) -> None:
        self.given, self.wanted = given, wanted
        self._rows, self._columns = (weights(*sizes) for sizes in zip(given, wanted))

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        if self.given == self.wanted:
            return picture
        rows = (self._rows @ picture.reshape(self.given[0], -1).astype(np.float32)).reshape(-1, self.given[1], 3)
        return np.rint(np.einsum("hwc,vw->hvc", rows, self._columns, optimize=True)).astype(np.uint8)


class _Resize(nn.Module):
    rows: torch.Tensor
    columns: torch.Tensor

    def __init__(self, given: Size, wanted: Size) -> None:
        super().__init__()
        self.register_buffer("rows", torch.from_numpy(weights(given[0], wanted[0])))
        self.register_buffer("columns", torch.from_numpy(weights(given[1], wanted[1]).T.copy()))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        n, height, width, colours = pictures.shape
        x = self.rows @ pictures.to(torch.float32).reshape(n, height, width * colours)
        x = x.reshape(n, -1, width, colours).transpose(2, 3) @ self.columns
        return x.transpose(2, 3).round()


class FromCameras(nn.Module):
    """The policy with pictures as cameras give them.

    Args:
        given: rows and columns of each camera's pictures.
        views: those that the policy takes.
    """

    def __init__(self, policy: VisionPolicy, given: Sequence[Size], views: Sequence[Size]) -> None:
        super().__init__()
        self.policy = policy
        self.resize = nn.ModuleList(nn.Identity() if theirs == ours else _Resize(theirs, ours) for theirs, ours in zip(given, views))

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As :meth:`VisionPolicy.forward`."""
        *images, proprio = inputs
        return self.policy(*(resize(image) for resize, image in zip(self.resize, images)), proprio)
