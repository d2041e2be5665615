"""From a frame of a LeRobot data set to what a VLA is asked: which picture is which camera, in which units the state is, and whether all fits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rl_token_ros.adapters.cameras import NOBODY, table
from rl_token_ros.adapters.lerobot_checkpoint import STATE
from rl_token_ros.adapters.lerobot_dataset import Dataset
from rl_token_ros.adapters.lerobot_inputs import camera_names
from rl_token_ros.settings import proprioception_groups
from rl_token_ros.settings.parameters import ParameterError, build
from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla.backend import Observation
from rl_token_ros.vla.keys import KeyMap, parse_columns


def settings_for(dataset: Dataset, server: str, cameras: Sequence[str] = ("any",), columns: str = "") -> Vla:
    """Parameters of `vla_node` for a server and a data set of which no parameter file is at hand: the preset plain, pictures as they are.

    Args:
        cameras: which the server takes; by default what does to hear its metadata.
        columns: as of :class:`Questions`.

    Raises:
        ParameterError: there are no such columns.
    """
    size = len(parse_columns(columns, len(dataset.state_names), "--state", STATE))
    joints = [f"joint {i}" for i in range(size)]
    values: dict[str, Any] = {
        "cameras": list(cameras), "joint_names": joints, "vla_proprioception": ["joint_position"] if size else [], "proprioception": [],
        "action_names": ["x", "y", "z"], "residual_scale": [1.0] * 3, "backend": "openpi", "server": server, "image_height": 0, "image_width": 0,
    }  # fmt: skip
    return build(Vla, values)


class Questions:
    """Makes observations of frames.

    Args:
        settings: parameters of `vla_node`: what the VLA takes, and under which names.
        overrides: ``CAMERA=FEATURE``, see `lerobot_inputs.Inputs`; none=FEATURE: a picture that is not sent.
        columns: which values of observation.state make the proprioception, as in 0:6,13; empty: all.
        scale: the data set's units per robot's, of each value of the proprioception, or one for all.
        task: language instruction; empty: that of each frame.

    Raises:
        ParameterError: a camera that the VLA takes is not in the data set, or the state has another size.
    """

    def __init__(
        self, dataset: Dataset, settings: Vla, overrides: Iterable[str] = (), columns: str = "", scale: Sequence[float] = (1.0,), task: str = ""
    ) -> None:  # fmt: skip
        self._dataset, self._settings, self._task = dataset, settings, task
        named = camera_names(dataset.cameras, overrides, f"the data set '{dataset.name}' has")
        have = {camera: feature for feature, camera in named.items() if camera != NOBODY}
        lacking = [camera for camera in settings.cameras if camera not in have]
        if lacking:
            held = ", ".join(f"{camera} ({feature})" for camera, feature in have.items()) or "none"
            raise ParameterError(
                f"the VLA takes the camera '{lacking[0]}', the data set '{dataset.name}' has {held}; write --camera {lacking[0]}=FEATURE for the one "
                "that is it, or serve the VLA without that camera (vla_server --camera none=FEATURE)"
            )
        self._features = {camera: have[camera] for camera in settings.cameras}
        self._columns = parse_columns(columns, len(dataset.state_names), "--state", STATE)
        size = proprioception_groups.size(settings.vla_proprioception, len(settings.joint_names), settings.action_size)
        if len(self._columns) != size:
            raise ParameterError(
                f"{STATE} of the data set '{dataset.name}' has {len(self._columns)} values ({', '.join(dataset.state_names) or 'none'}), the VLA's "
                f"vla_proprioception {settings.vla_proprioception} has {size}; take some of them with --state, as in 0:{size}"
            )
        self._factors = np.asarray(scale if size else [1.0], np.float32)
        if len(self._factors) not in (1, size):
            raise ParameterError(f"--scale has {len(self._factors)} numbers, the state {size} values: write one, or one for each")

    @property
    def shown(self) -> dict[str, Any]:
        """All on which it depends what the VLA is shown, in values that JSON has."""
        settings = {name: getattr(self._settings, name) for name in ("backend", *KEYS)}
        return {
            **settings, "features": self._features, "columns": self._columns.tolist(), "scale": self._factors.tolist(), "asked_task": self._task
        }  # fmt: skip

    def table(self) -> str:
        """What is sent as what, a line each."""
        dataset, settings = self._dataset, self._settings
        if settings.backend == "openpi":
            sources = KeyMap(settings, len(self._columns)).sources
        else:
            sources = {**{f"image_{camera}": f"camera/{camera}" for camera in settings.cameras}, "proprio": "proprio"}
        rows = [("the VLA is asked with", "from the data set's", "")]
        for name, source in sources.items():
            kind, _, camera = source.partition("/")
            if kind == "camera":
                feature = self._features[camera.removesuffix(":chw")]
                rows.append((name, feature, "{} x {}".format(*dataset.cameras[feature])))
            elif kind == "task":
                rows.append((name, "task" if not self._task else "--task", self._task))
            else:
                part = source.removeprefix("proprio")
                names = [dataset.state_names[i] for i in self._columns[parse_columns(part.strip("[]"), len(self._columns), "observation_keys", "it")]]
                scaled = "" if (self._factors == 1.0).all() else f", divided by {', '.join(f'{each:g}' for each in self._factors)}"
                rows.append((name, STATE if names else "nothing", f"{', '.join(names)}{scaled}"))
        rows += [("not sent", feature, "") for feature in dataset.cameras if feature not in self._features.values()]
        return table(rows)

    def proprio(self, index: int) -> np.ndarray:
        """Proprioception float32 [P] of a frame, in the robot's units."""
        return np.asarray(self._dataset.state[index, self._columns] / self._factors, np.float32)

    def observation(self, index: int) -> Observation:
        """Of a frame, its pictures decoded; its stamp is its time within the episode.

        Raises:
            ParameterError: LeRobot cannot read it.
        """
        pictures, task = self._dataset.look(index, self._features.values())
        images = {camera: pictures[feature] for camera, feature in self._features.items()}
        return Observation(round(1e9 * self._dataset.seconds[index]), images, self.proprio(index), self._task or task)


# Parameters of `vla_node` that change what is sent.
KEYS = ("cameras", "observation_preset", "observation_keys", "image_height", "image_width", "statistics_file", "statistics_mode")


def cameras_of(about: dict[str, Any], dataset: Dataset, overrides: Iterable[str]) -> list[str]:
    """Cameras that a server takes, as its metadata say; all of the data set where they do not.

    Args:
        about: what the server says of itself: ``cameras`` of a LeRobot checkpoint, ``inputs`` of an ONNX file.
    """
    if isinstance(about.get("cameras"), list):
        return [str(camera) for camera in about["cameras"]]
    if isinstance(about.get("inputs"), list):
        return [str(name).removeprefix("image_") for name in about["inputs"] if str(name).startswith("image_")]
    named = camera_names(dataset.cameras, overrides, f"the data set '{dataset.name}' has")
    return [camera for camera in named.values() if camera != NOBODY]
