"""Writes a LeRobot data set with LeRobot's own library, in the environment where that is installed."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from rl_token_ros.adapters.lerobot_dataset import INSTALL
from rl_token_ros.settings.parameters import ParameterError

ROBOT = "rl_token_ros"  # robot_type in its meta/info.json
WRITERS = 4  # threads that write pictures


def library() -> Any:
    """The class LeRobotDataset.

    Raises:
        ParameterError: LeRobot is not here.
    """
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")  # one for each episode, of a second
    warnings.filterwarnings("ignore", "Cannot enable progress bars")  # LeRobot tries, again and again
    try:
        from lerobot.datasets.lerobot_dataset import LeRobotDataset
    except ImportError as error:
        raise ParameterError(f"--lerobot writes with LeRobot itself, which is not here ({error}): {INSTALL}") from error
    return LeRobotDataset


class DatasetWriter:
    """A data set that is being written. An episode is there once it is saved; :meth:`close` makes the data set whole.

    Args:
        folder: does not exist yet.
        rate: frames per second.
        features: see :func:`lerobot_columns.features`.

    Raises:
        ParameterError: LeRobot is not here, or refuses.
    """

    def __init__(self, folder: Path, rate: int, features: dict[str, Any]) -> None:
        videos = any(feature["dtype"] == "video" for feature in features.values())
        try:
            self._theirs = library().create(
                folder.name, rate, features, root=folder, robot_type=ROBOT, use_videos=videos, image_writer_threads=WRITERS
            )
        except Exception as error:  # of many kinds
            raise ParameterError(f"LeRobot cannot make the data set '{folder}': {type(error).__name__}: {error}") from error
        self._features, self._folder = features, folder

    def add(self, values: dict[str, Any], task: str) -> None:
        """A frame: every feature, pictures uint8 [h, w, 3], single values as numbers."""
        frame: dict[str, Any] = {"task": task}
        for name, feature in self._features.items():
            value = values[name]
            frame[name] = value if feature["dtype"] in ("image", "video") else np.asarray(value, feature["dtype"]).reshape(feature["shape"])
        self._theirs.add_frame(frame)

    def save(self) -> None:
        """The frames since the last are an episode.

        Raises:
            ParameterError: LeRobot cannot save it.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Converting input from bool")  # numpy's, of LeRobot's statistics
            try:
                self._theirs.save_episode()
            except Exception as error:  # of many kinds, those of encoders of videos among them
                raise ParameterError(
                    f"LeRobot cannot save an episode: {type(error).__name__}: {error}; with --images pictures are kept as PNG, not as video"
                ) from error

    def drop(self) -> None:
        """The frames since the last are forgotten."""
        if self._theirs.episode_buffer and self._theirs.episode_buffer["size"]:
            self._theirs.clear_episode_buffer()
            # LeRobot leaves pictures that were to become a video: a shorter episode after it would get those at its end.
            shutil.rmtree(self._folder / "images", ignore_errors=True)

    def close(self) -> None:
        """Make it whole."""
        if hasattr(self._theirs, "finalize"):
            self._theirs.finalize()
        self._theirs.stop_image_writer()
        shutil.rmtree(self._folder / "images", ignore_errors=True)  # PNGs that are in its parquet files now
