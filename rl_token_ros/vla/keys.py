"""Which part of an observation a policy server takes under which name, written in the parameter file.

An entry is ``"NAME: SOURCE"``. A > in NAME nests: ``images>cam_high`` is ``{"images": {"cam_high": ..}}``. SOURCE is

    camera/<name>         uint8 [h, w, 3] rgb, resized with padding; camera/<name>:chw is [3, h, w]
    proprio               float32 [P], all of `vla_proprioception`; proprio[0:7] or proprio[0:6,13] a part of it
    task                  the language instruction
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rl_token_ros.interfaces.images import resize_with_padding
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla.backend import Observation

ALOHA_CAMERAS = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")

# Names that openpi's published policies take; {0}, {1} stand for the first and second of `cameras`.
PRESETS = {
    "droid": (
        "observation/exterior_image_1_left: camera/{0}",
        "observation/wrist_image_left: camera/{1}",
        "observation/joint_position: proprio[0:7]",
        "observation/gripper_position: proprio[7]",
        "prompt: task",
    ),
    "libero": (
        "observation/image: camera/{0}",
        "observation/wrist_image: camera/{1}",
        "observation/state: proprio",
        "prompt: task",
    ),
    "aloha": ("state: proprio", "prompt: task"),  # and its cameras, by their names
    "plain": ("proprio: proprio", "task: task"),  # what vla_server serves an ONNX file with, and image_<name>
}

Maker = Callable[[Observation], Any]


@dataclass(frozen=True)
class Source:
    """What an entry takes: a ``camera``'s picture, with its channels first or last, ``columns`` of the proprioception, or, with neither, the task."""

    camera: str = ""
    channels_first: bool = False
    columns: str | None = None


class KeyMap:
    """Builds requests.

    Args:
        settings: `observation_preset` and `observation_keys`, which override the preset's entries of the same name.
        proprio_size: P of `vla_proprioception`.

    Raises:
        ParameterError: an entry that cannot be read, or names a camera or a part of the proprioception that does not exist.
    """

    def __init__(self, settings: Vla, proprio_size: int) -> None:
        self._size = (settings.image_height, settings.image_width)
        self._cameras = settings.cameras
        self._proprio_size = proprio_size
        entries = dict(split_entry(entry) for entry in [*preset(settings), *settings.observation_keys])
        self.sources = entries
        self._makers: dict[tuple[str, ...], Maker] = {tuple(name.split(">")): self._maker(source) for name, source in entries.items()}
        for path in self._makers:
            if any(path[:n] in self._makers for n in range(1, len(path))):
                raise ParameterError(f"parameter 'observation_keys' gives '{'>'.join(path)}' and a name above it; write one of them")

    def request(self, observation: Observation) -> dict[str, Any]:
        """The map that is sent for an observation."""
        request: dict[str, Any] = {}
        for path, make in self._makers.items():
            place = request
            for part in path[:-1]:
                place = place.setdefault(part, {})
            place[path[-1]] = make(observation)
        return request

    def _maker(self, text: str) -> Maker:
        source = parse_source(text)
        if source.camera:
            return self._picture(source.camera, source.channels_first)
        if source.columns is None:
            return lambda observation: observation.task
        columns = parse_columns(source.columns, self._proprio_size, "observation_keys", "vla_proprioception")
        return lambda observation: observation.proprio[columns]

    def _picture(self, camera: str, channels_first: bool) -> Maker:
        if camera not in self._cameras:
            raise ParameterError(f"parameter 'observation_keys' names camera '{camera}'; 'cameras' has {', '.join(self._cameras)}")

        def make(observation: Observation) -> np.ndarray:
            picture = resize_with_padding(observation.images[camera], *self._size)
            return picture.transpose(2, 0, 1) if channels_first else picture

        return make


def preset(settings: Vla) -> list[str]:
    """The entries of `observation_preset` for these cameras."""
    name, cameras = settings.observation_preset, settings.cameras
    if not name:
        return []
    pictures: list[str] = []
    if name == "plain":
        pictures = [f"image_{camera}: camera/{camera}" for camera in cameras]
    if name == "aloha":
        strange = [camera for camera in cameras if camera not in ALOHA_CAMERAS]
        if strange:
            raise ParameterError(f"parameter 'cameras' names {strange[0]}; ALOHA policies know {', '.join(ALOHA_CAMERAS)}: use those and remap")
        pictures = [f"images>{camera}: camera/{camera}:chw" for camera in cameras]
    needed = sum("camera/" in entry for entry in PRESETS[name])
    if len(cameras) < needed:
        raise ParameterError(
            f"parameter 'cameras' has {len(cameras)} name(s); observation_preset {name} takes {needed}, the outer view first, then the wrist"
        )
    return [entry.format(*cameras) for entry in [*PRESETS[name], *pictures]]


def parse_columns(text: str, size: int, parameter: str, of: str) -> np.ndarray:
    """Indices in ``0:6,13``; all of ``size`` for an empty text.

    Raises:
        ParameterError: cannot be read, or beyond ``size``, the number of values of ``of``.
    """
    if not text.strip():
        return np.arange(size)
    columns: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\s*:\s*(\d+))?\s*", part)
        if not match:
            raise ParameterError(f"parameter '{parameter}' has the columns '{text}'; write as in 0:6,13")
        first = int(match[1])
        columns += range(first, int(match[2])) if match[2] else [first]
    if not columns or max(columns) >= size:
        raise ParameterError(f"parameter '{parameter}' takes the columns '{text}' of {size} values of {of}; write some of 0:{size}")
    return np.array(columns)


def split_entry(entry: str, named_by: str = "parameter 'observation_keys'") -> tuple[str, str]:
    """Name and source of ``"NAME: SOURCE"``.

    Raises:
        ParameterError: it is none; ``named_by`` says where it was written.
    """
    name, colon, source = entry.partition(": ")
    if not colon or not name.strip() or not source.strip():
        raise ParameterError(f'{named_by} has the entry \'{entry}\'; write "NAME: SOURCE" in quotes, as in "prompt: task"')
    return name.strip(), source.strip()


def parse_source(text: str, named_by: str = "parameter 'observation_keys'") -> Source:
    """What SOURCE says.

    Raises:
        ParameterError: none of those above.
    """
    if text == "task":
        return Source()
    if match := re.fullmatch(r"camera/([^:\s]+?)(:chw)?", text):
        return Source(camera=match[1], channels_first=bool(match[2]))
    if match := re.fullmatch(r"proprio(?:\[([\d:,\s]+)\])?", text):
        return Source(columns=match[1] or "")
    raise ParameterError(f"{named_by} has the source '{text}'; write camera/<name>, camera/<name>:chw, proprio, proprio[0:7] or task")
