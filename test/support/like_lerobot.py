"""What is used of LeRobot's ``LeRobotDataset``, for machines without LeRobot; `test_lerobot_dataset.py` asks the same of the real one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

HEIGHT, WIDTH, RATE = 8, 10, 30
NAMES = ["pan", "lift", "gripper"]
CAMERAS = ("front", "wrist")


class _Rows:
    """Columns, as of ``datasets.Dataset``."""

    def __init__(self, columns: dict[str, np.ndarray]) -> None:
        self._columns = columns

    def select_columns(self, names: list[str]) -> _Rows:
        return _Rows({name: self._columns[name] for name in names})

    def with_format(self, kind: str) -> _Rows:
        assert kind == "numpy"
        return self

    def __getitem__(self, rows: slice) -> dict[str, np.ndarray]:
        return {name: column[rows] for name, column in self._columns.items()}


class LikeLeRobot:
    """Episodes of ``frames`` each; what the cameras show follows the state.

    Args:
        channels_first: how the features say the shape of pictures.
        successes: of each episode, where the data set says it.
    """

    def __init__(
        self, episodes: int = 3, frames: int = 60, *, channels_first: bool = False, successes: list[bool] | None = None, **features: Any
    ) -> None:  # fmt: skip
        self.read: list[int] = []  # frames that were decoded
        count = episodes * frames
        shape, names = (
            ((3, HEIGHT, WIDTH), ["channels", "height", "width"]) if channels_first else ((HEIGHT, WIDTH, 3), ["height", "width", "channels"])
        )
        kinds = {f"observation.images.{camera}": {"dtype": "video", "shape": shape, "names": names} for camera in CAMERAS}
        kinds |= {key: {"dtype": "float32", "shape": (len(NAMES),), "names": NAMES} for key in ("observation.state", "action")}
        kinds |= {key: {"dtype": "int64", "shape": (1,), "names": None} for key in ("episode_index", "timestamp")} | features
        time = np.arange(count) % frames / RATE
        episode = np.arange(count) // frames
        state = (np.sin(np.outer(time, [3.0, 5.0, 7.0])) + 0.1 * episode[:, None]).astype(np.float32)
        columns = {"episode_index": episode, "timestamp": time.astype(np.float32), "observation.state": state, "action": state + 0.5}
        if successes is not None:
            kinds["next.success"] = {"dtype": "bool", "shape": (1,), "names": None}
            columns["next.success"] = np.array(successes)[episode] & (np.arange(count) % frames == frames - 1)
        statistics = {key: {"mean": np.zeros(1), "std": np.ones(1)} for key in kinds}
        self.meta = SimpleNamespace(features=kinds, fps=RATE, stats=statistics)
        self.hf_dataset = _Rows({key: column for key, column in columns.items() if key in kinds})
        self._state = state

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.read.append(index)
        levels = np.clip(0.5 + 0.4 * self._state[index], 0.0, 1.0)
        front = np.broadcast_to(levels[:, None, None], (3, HEIGHT, WIDTH)).astype(np.float32)
        return {"observation.images.front": front, "observation.images.wrist": 1.0 - front, "task": "insert"}
