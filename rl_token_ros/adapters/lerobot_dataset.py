"""A LeRobot data set, read with LeRobot's own library in the environment where that is installed: v3, or v2.1 with a LeRobot that reads v2.1."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from rl_token_ros.adapters.lerobot_checkpoint import ACTION, STATE
from rl_token_ros.settings.parameters import ParameterError

SUCCESS = "next.success"  # of data sets that say it; others hold demonstrations
INSTALL = "install LeRobot (pip install lerobot) and, into the same environment, this package; that needs no ROS"
CONVERT = "lerobot.datasets.v30.convert_dataset_v21_to_v30"  # of LeRobot 0.4 and newer


class Dataset:
    """What a data set holds. All but pictures is in memory; those are read one frame at a time. See :func:`load`.

    Args:
        theirs: a ``LeRobotDataset``.
        name: as the user called it.

    Attributes:
        rate: frames per second.
        cameras: rows and columns of each picture, by the feature's name.
        state_names: of the values of observation.state; empty: it has none.
        action_names: of the values of an action.
        episode: int [N], of each frame.
        seconds: float64 [N], since the episode began.
        state: float32 [N, P], in the data set's units.
        action: float32 [N, A], likewise.
        success: bool [N], where the data set says it, as LeRobot's recordings of practice do; else None.

    Raises:
        ParameterError: no frames, no pictures, no statistics, or of shapes that are not known.
    """

    def __init__(self, theirs: Any, name: str) -> None:
        self._theirs, self.name = theirs, name
        features: dict[str, dict[str, Any]] = theirs.meta.features
        self.rate = float(theirs.meta.fps)
        self.cameras = {key: self._size(key, each) for key, each in features.items() if each["dtype"] in ("image", "video")}
        self.state_names, self.action_names = self._names(features, STATE), self._names(features, ACTION)
        if not self.cameras:
            raise ParameterError(f"the data set '{name}' has no pictures; it has {', '.join(features)}")
        self._refuse_missing_statistics(theirs.meta.stats or {})
        wanted = [key for key in ("episode_index", "timestamp", STATE, ACTION, SUCCESS) if key in features]
        columns = theirs.hf_dataset.select_columns(wanted).with_format("numpy")[:]  # without pictures: it is small
        self.episode = np.asarray(columns["episode_index"], np.int64).ravel()
        self.seconds = np.asarray(columns["timestamp"], np.float64).ravel()
        if not len(self):
            raise ParameterError(f"the data set '{name}' has no frames")
        self.state, self.action = self._matrix(columns, STATE), self._matrix(columns, ACTION)
        self.success = np.asarray(columns[SUCCESS], bool).ravel() if SUCCESS in columns else None

    def __len__(self) -> int:
        return len(self.episode)

    def look(self, index: int, features: Iterable[str] | None = None) -> tuple[dict[str, np.ndarray], str]:
        """Pictures of a frame, uint8 [h, w, 3] rgb by the feature's name, and its task.

        Args:
            features: which pictures; by default all.

        Raises:
            ParameterError: LeRobot cannot read it, as of a video that is not whole.
        """
        try:
            frame = self._theirs[int(index)]
        except Exception as error:  # of many kinds, those of its readers of parquet and of videos
            raise ParameterError(f"LeRobot cannot read frame {index} of the data set '{self.name}': {_reason(error)}") from error
        found = {feature: np.asarray(frame[feature]) for feature in (self.cameras if features is None else features)}  # float [3, h, w], 0 to 1
        pictures = {feature: np.rint(255.0 * each.transpose(1, 2, 0)).astype(np.uint8) for feature, each in found.items()}
        return pictures, str(frame.get("task", ""))

    def column(self, key: str) -> np.ndarray | None:
        """Values of a further feature, [N, n] of its type; None where there is none of that name, or it holds no numbers."""
        feature = self._theirs.meta.features.get(key)
        if feature is None or feature["dtype"] in ("image", "video", "string"):
            return None
        values = self._theirs.hf_dataset.select_columns([key]).with_format("numpy")[:][key]
        return np.stack([np.asarray(row) for row in values]).reshape(len(self), -1)

    def _size(self, key: str, feature: dict[str, Any]) -> tuple[int, int]:
        shape, names = list(feature["shape"]), [str(each) for each in feature.get("names") or ()]
        if len(shape) == 3 and "channels" in names:
            shape.append(shape.pop(names.index("channels")))
        elif len(shape) == 3 and shape[2] not in (1, 3, 4):
            shape.append(shape.pop(0))
        if len(shape) != 3 or shape[2] != 3:
            raise ParameterError(f"the data set '{self.name}' has '{key}' of shape {list(feature['shape'])}; colour pictures are needed")
        return int(shape[0]), int(shape[1])

    def _names(self, features: dict[str, dict[str, Any]], key: str) -> tuple[str, ...]:
        if key not in features:
            return ()
        shape, names = features[key]["shape"], features[key].get("names")
        if isinstance(names, dict):  # older data sets: {"motors": [..]}
            names = next(iter(names.values()), None)
        if len(shape) != 1:
            raise ParameterError(f"the data set '{self.name}' has '{key}' of shape {list(shape)}; a vector is needed")
        size = int(shape[0])
        known = tuple(map(str, names)) if isinstance(names, (list, tuple)) and len(names) == size else ()
        return known or tuple(f"{key}[{i}]" for i in range(size))

    def _matrix(self, columns: dict[str, Any], key: str) -> np.ndarray:
        if key not in columns:
            return np.zeros((len(self), 0), np.float32)
        return np.asarray(np.stack([np.asarray(row) for row in columns[key]]), np.float32).reshape(len(self), -1)

    def _refuse_missing_statistics(self, known: dict[str, Any]) -> None:
        """They are written when an episode is saved: a recording without them was not ended, and no policy can be trained from it."""
        wanted = [*self.cameras, *(key for key, names in ((STATE, self.state_names), (ACTION, self.action_names)) if names)]
        lacking = [key for key in wanted if not {"mean", "std"} <= set(known.get(key) or ())]
        if lacking:
            raise ParameterError(
                f"the data set '{self.name}' has no statistics of {', '.join(lacking)} (meta/stats.json), which LeRobot writes with each episode; "
                "copy it whole, or record it again"
            )


def load(what: str) -> Dataset:
    """A data set, by LeRobot.

    Args:
        what: its folder, or its name on the Hugging Face Hub.

    Raises:
        ParameterError: LeRobot is not here, or does not read it; the message says what to do.
    """
    folder = Path(what).expanduser()
    local = folder.is_dir()
    if not local and (what.startswith(("/", ".", "~")) or what.count("/") != 1):
        raise ParameterError(f"there is no folder '{what}', and a name on the Hugging Face Hub is OWNER/NAME")
    if local and not (folder / "meta" / "info.json").is_file():
        raise ParameterError(f"'{what}' is no LeRobot data set: it has no meta/info.json")
    try:
        from lerobot.datasets.lerobot_dataset import CODEBASE_VERSION, LeRobotDataset
    except ImportError as error:
        raise ParameterError(f"--lerobot reads a data set with LeRobot itself, which is not here ({error}): {INSTALL}") from error
    if local:
        _refuse_version(folder, str(CODEBASE_VERSION))
    try:
        # A folder's name is none on the Hub: where files are missing LeRobot would else look for them there, and write them into the folder.
        theirs = LeRobotDataset(str(folder.resolve()) if local else what, root=folder if local else None, video_backend=_decoder())
    except Exception as error:  # of many kinds: its own, those of the Hub and of its readers
        hint = f"; convert it: python -m {CONVERT} --repo-id={what}" if type(error).__name__ == "BackwardCompatibilityError" else ""
        raise ParameterError(f"LeRobot cannot read the data set '{what}': {_reason(error)}{hint}") from error
    return Dataset(theirs, what)


def _decoder() -> str | None:
    """Of videos. LeRobot takes torchcodec where it is installed, also where that cannot be loaded for want of FFmpeg's libraries."""
    try:
        importlib.import_module("torchcodec")
        return None
    except Exception:  # a RuntimeError, not an ImportError
        return "pyav"


def _refuse_version(folder: Path, reads: str) -> None:
    """A data set of another major version than LeRobot reads here, with what to do."""
    found = ""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        found = str(json.loads((folder / "meta" / "info.json").read_text()).get("codebase_version", ""))
    theirs, ours = found.lstrip("v").partition(".")[0], reads.lstrip("v").partition(".")[0]
    if not found or theirs == ours:
        return
    if found == "v2.1" and ours == "3":
        raise ParameterError(
            f"the data set '{folder}' is of version {found}, LeRobot here reads {reads}; convert it with LeRobot's own\n"
            f"  python -m {CONVERT} --repo-id={folder.resolve().name} --root={folder.resolve().parent} --push-to-hub=false\n"
            "which keeps the old one beside it"
        )
    raise ParameterError(f"the data set '{folder}' is of version {found}, LeRobot here reads {reads}; install a LeRobot that reads {found}")


def _reason(error: BaseException) -> str:
    """A line. What a file misses stands behind LeRobot's attempt to have it from the Hub."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, FileNotFoundError):
        cause = cause.__context__
    error = cause or error
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
    return f"{type(error).__name__}: {line}"
