"""A data set that is made and read as LeRobot's are, and lies in memory: for a machine without LeRobot."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from rl_token_ros.adapters import lerobot_columns as columns
from rl_token_ros.adapters.lerobot_checkpoint import ACTION, STATE


class FramesInMemory:
    """What `adapters.lerobot_writer.DatasetWriter` takes, and `adapters.lerobot_dataset.Dataset` gives."""

    name = "memory"

    def __init__(self, rate: float, features: dict[str, Any]) -> None:
        self.rate, self._features = rate, features
        self.cameras = {key: tuple(each["shape"][:2]) for key, each in features.items() if each["dtype"] in ("image", "video")}
        self._begun: list[dict[str, Any]] = []
        self.frames: list[dict[str, Any]] = []
        self._tasks: list[str] = []
        self._episodes: list[int] = []
        self._seconds: list[float] = []
        self.dropped = 0

    def add(self, values: dict[str, Any], task: str) -> None:
        self._begun.append({**values, "task": task})

    def save(self) -> None:
        number = len(set(self._episodes))
        self._episodes += [number] * len(self._begun)
        self._seconds += [i / self.rate for i in range(len(self._begun))]
        self.frames += self._begun
        self._begun = []

    def drop(self) -> None:
        self.dropped += 1
        self._begun = []

    def close(self) -> None: ...

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def episode(self) -> np.ndarray:
        return np.array(self._episodes)

    @property
    def seconds(self) -> np.ndarray:
        return np.array(self._seconds)

    @property
    def state_names(self) -> tuple[str, ...]:
        return tuple(self._features[STATE]["names"])

    @property
    def action_names(self) -> tuple[str, ...]:
        return tuple(self._features[ACTION]["names"])

    @property
    def state(self) -> np.ndarray:
        return np.stack([frame[STATE] for frame in self.frames])

    @property
    def action(self) -> np.ndarray:
        return np.stack([frame[ACTION] for frame in self.frames])

    @property
    def success(self) -> np.ndarray:
        return np.array([bool(frame[columns.SUCCESS]) for frame in self.frames])

    def column(self, key: str) -> np.ndarray | None:
        if key not in self._features:
            return None
        return np.stack([np.atleast_1d(frame[key]) for frame in self.frames])

    def look(self, index: int, features: Iterable[str] | None = None) -> tuple[dict[str, np.ndarray], str]:
        frame = self.frames[index]
        return {feature: frame[feature] for feature in (self.cameras if features is None else features)}, frame["task"]
