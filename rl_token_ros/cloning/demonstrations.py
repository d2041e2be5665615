"""Demonstrations as training takes them: pictures on the disk, at the size that the network sees; all else in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rl_token_ros.cloning.resizing import Resizer, Size, view_of

TENTH = 10  # of the episodes one in so many is held out


class NotUsable(ValueError):
    """Demonstrations of which nothing can be learned; the message says why, and what to write."""


class Demonstrations:
    """Takes episodes, step by step, and gives random ones of them.

    A sample is a picture set, the state of that moment, and the actions from then on. Pictures are appended to a file that has no name, so that
    nothing of it is left however the process ends.

    Args:
        folder: on whose disk that file is.
        cameras: names, in the order of the network's inputs.
        shorter: pixels of a picture's shorter side as the network sees it.

    Attributes:
        given: rows and columns of each camera's pictures, once there are some.
        views: those that the network sees.
        steps: of each episode that was kept.
        example: pictures of the last sample, by camera, as they came.
        ahead: int [N], of each sample, once closed: how many actions were shown from there on, without a break.
    """

    def __init__(self, folder: Path, cameras: Sequence[str], shorter: int) -> None:
        self.cameras, self._shorter = list(cameras), shorter
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder, buffering=1 << 20)
        self._resizers: dict[str, Resizer] = {}
        self.steps: list[int] = []
        self.example: dict[str, np.ndarray] = {}
        self._newest: dict[str, np.ndarray] = {}
        self._at: list[int] = []  # step of each sample
        self._proprio: list[np.ndarray] = []  # of each sample
        self._action: list[np.ndarray] = []  # of each step
        self._taught: list[bool] = []
        self._kept = (0, 0)  # samples and steps of the episodes that are whole
        self._step = self.ahead = np.zeros(0, int)

    def add(self, images: Mapping[str, np.ndarray] | None, proprio: np.ndarray, action: np.ndarray, taught: bool = True) -> None:
        """The next step.

        Args:
            images: uint8 [h, w, 3] by camera; None: nothing new was seen, so that no sample begins here.
            proprio: [P].
            action: [A].
            taught: whether the action is to be learned.

        Raises:
            NotUsable: a picture of another size than the first of its camera.
        """
        if images is not None and taught:
            for camera in self.cameras:
                self._file.write(self._small(camera, images[camera]).tobytes())
            self._at.append(len(self._action))
            self._proprio.append(np.asarray(proprio, np.float32))
        self._action.append(np.asarray(action, np.float32))
        self._taught.append(taught)

    def _small(self, camera: str, picture: np.ndarray) -> np.ndarray:
        size: Size = (picture.shape[0], picture.shape[1])
        if (resizer := self._resizers.get(camera)) is None:
            resizer = self._resizers[camera] = Resizer(size, view_of(size, self._shorter))
        if size != resizer.given:
            raise NotUsable(
                f"a picture of camera '{camera}' is {size[0]} x {size[1]}, the first {resizer.given[0]} x {resizer.given[1]}; record all of one size"
            )
        self._newest[camera] = picture
        return resizer(picture)

    def save(self) -> bool:
        """The steps since the last are an episode; False where nothing of it was to be learned, so that it is dropped."""
        if len(self._at) == self._kept[0]:
            self.drop()
            return False
        self.steps.append(len(self._action) - self._kept[1])
        self._kept, self.example = (len(self._at), len(self._action)), dict(self._newest)
        return True

    def drop(self) -> None:
        """They are forgotten."""
        samples, steps = self._kept
        del self._at[samples:], self._proprio[samples:], self._action[steps:], self._taught[steps:]
        if self._resizers:
            self._file.seek(samples * self._record)
            self._file.truncate()

    @property
    def given(self) -> list[Size]:
        return [self._resizers[camera].given for camera in self.cameras]

    @property
    def views(self) -> list[Size]:
        return [self._resizers[camera].wanted for camera in self.cameras]

    @property
    def _record(self) -> int:
        return sum(3 * rows * columns for rows, columns in self.views)

    def close(self) -> None:
        """No more comes: what follows may be asked."""
        self._file.flush()
        ends, self._step = np.cumsum(self.steps), np.array(self._at)
        self.episode = np.searchsorted(ends, self._step, side="right")
        untaught = np.where(self._taught, len(self._taught), np.arange(len(self._taught)))
        following = np.minimum.accumulate(untaught[::-1])[::-1][self._step]  # the next step that nobody taught
        self.ahead = np.minimum(ends[self.episode], following) - self._step
        self.proprio = np.stack(self._proprio)
        self.action = np.stack(self._action)
        self.weight = np.ones(len(self), np.float32)
        self._proprio, self._action = [], []

    def __len__(self) -> int:
        return len(self._at)

    @property
    def held(self) -> np.ndarray:
        """bool [N]: samples of the episodes that are held out, one in ten, at least one."""
        numbers = np.arange(len(self.steps))
        chosen = numbers % TENTH == TENTH - 1 if len(numbers) >= TENTH else numbers == len(numbers) - 1
        return chosen[self.episode]

    def pictures(self, at: np.ndarray) -> list[np.ndarray]:
        """uint8 [n, rows, columns, 3] of each camera."""
        views, size = self.views, self._record
        found = np.empty((len(at), size), np.uint8)
        for row, number in enumerate(at.tolist()):
            found[row] = np.frombuffer(os.pread(self._file.fileno(), size, number * size), np.uint8)
        parts = np.split(found, np.cumsum([3 * rows * columns for rows, columns in views])[:-1], axis=1)
        return [part.reshape(-1, *view, 3) for part, view in zip(parts, views)]

    def chunks(self, at: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
        """The actions from each sample on, float32 [n, H, A], and which of them are there to be learned from, bool [n, H].

        A chunk ends with its episode, and before the first action that is not taught: what would come after it nobody showed.
        """
        ahead = self.ahead[at, None]
        steps = np.arange(horizon)
        return self.action[self._step[at, None] + np.minimum(steps, ahead - 1)], steps < ahead
