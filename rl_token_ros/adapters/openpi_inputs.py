"""From a client's request to the names under which an openpi policy reads its observation.

openpi's configs do not say what they take: the first of their transforms reads it. Those that openpi brings are known here, others are described by
``--input "NAME: SOURCE"``, the grammar of the parameter observation_keys.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from rl_token_ros.adapters.cameras import assign, table
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.vla.keys import ALOHA_CAMERAS, PRESETS, Source, parse_columns, parse_source, split_entry

LARGEST_STATE = 10_000
TRIED = (224, 224)  # rows and columns of the pictures that the policy is tried with
# openpi's transforms, by class: what they take. The rest of ALOHA's cameras its policies do not look at.
SEEN_BY_ALOHA = [camera for camera in ALOHA_CAMERAS if camera != "cam_low"]
KNOWN = {
    "AlohaInputs": (*(f"images>{camera}: camera/{camera}:chw" for camera in SEEN_BY_ALOHA), "state: proprio[0:14]", "prompt: task"),
    "DroidInputs": tuple(entry.format("base", "wrist") for entry in PRESETS["droid"]),
    "LiberoInputs": tuple(entry.format("base", "wrist") for entry in PRESETS["libero"]),
}
OPTIONAL = {"AlohaInputs": ("images>cam_left_wrist", "images>cam_right_wrist")}  # masked where they are missing


class Inputs:
    """Reads requests: everything under openpi's own name, or pictures as ``image_<camera>``, the state as ``proprio`` and the words as ``task``.

    The latter are the names of the preset plain of `vla_node`.

    Args:
        transforms: names of the classes that read the observation, in their order.
        state: values of the state, where the config's transforms do not say.
        cameras: overrides, see :func:`assign`.
        entries: ``"NAME: SOURCE"`` for what is not known here; they win over what is.
        default_task: whether the config brings words for a request without.

    Raises:
        ParameterError: what is taken is not known, or an entry or an override cannot be used.
    """

    def __init__(
        self, transforms: Iterable[str], state: int, cameras: Iterable[str] = (), entries: Iterable[str] = (), default_task: bool = False
    ) -> None:
        names = list(transforms)
        kind = next((name for name in names if name in KNOWN), "")
        given = dict(split_entry(entry, "--input") for entry in entries)
        if not (kind or given):
            raise ParameterError(
                f"the config reads its observation by {' and '.join(names) or 'no transform'}; known are {', '.join(KNOWN)}. Say what it takes, as "
                '--input "observation/image: camera/base" --input "observation/state: proprio[0:7]" --input "prompt: task"'
            )
        sources = {name: parse_source(text, "--input") for name, text in (dict(map(split_entry, KNOWN.get(kind, ()))) | given).items()}
        pictures = {name: source for name, source in sources.items() if source.camera}
        self.cameras = assign({name: source.camera for name, source in pictures.items()}, cameras, OPTIONAL.get(kind, ()), kind or "of your own")
        self._pictures = pictures
        self._columns = {name: _columns(source, state) for name, source in sources.items() if source.columns is not None}
        self._words = [name for name, source in sources.items() if source == Source()]
        self._default_task = default_task
        self.state = max((int(columns.max()) + 1 for columns in self._columns.values()), default=0)

    def table(self) -> str:
        """What is taken as what, a line each."""
        rows = [("the checkpoint takes", "from the request's", "")]
        for name, source in self._pictures.items():
            shape = f"uint8 {'[3, h, w]' if source.channels_first else '[h, w, 3]'}, any size"
            rows.append((name, f"image_{self.cameras[name]} or {name}", shape) if name in self.cameras else (name, "nothing: it is masked", ""))
        for name, columns in self._columns.items():
            rows.append((name, f"proprio{_written(columns) if len(self._columns) > 1 else ''} or {name}", f"[{len(columns)}]"))
        rows += [(name, f"task or {name}", "text") for name in self._words]
        return table(rows)

    def blank(self) -> dict[str, Any]:
        """A request of black pictures and zeros, to try the policy with."""
        request: dict[str, Any] = {f"image_{camera}": np.zeros((*TRIED, 3), np.uint8) for camera in self.cameras.values()}
        return request | {"proprio": np.zeros(self.state, np.float32), "task": "try"}

    def read(self, request: dict[str, Any], scale: np.ndarray) -> dict[str, Any]:
        """What openpi takes, by its names; ``scale`` says how many of the policy's units make one of the robot's, float32 [1] or [P].

        Raises:
            ValueError: something is missing, or has another size.
        """
        seen: dict[str, Any] = {}
        for name in self.cameras:
            _put(seen, name, self._picture(request, name))
        for name, columns in self._columns.items():
            _put(seen, name, self._state(request, name, columns) * (scale if len(scale) == 1 else scale[columns]))
        for name in self._words:
            words = str(_find(request, name) if _find(request, name) is not None else request.get("task", ""))
            if words:
                _put(seen, name, words)
            elif not self._default_task:
                raise ValueError("the observation has no task, and the config no default_prompt: write the parameter task of vla_node")
        return seen

    def _picture(self, request: dict[str, Any], name: str) -> np.ndarray:
        camera, channels_first = self.cameras[name], self._pictures[name].channels_first
        own = _find(request, name)
        if own is None and f"image_{camera}" not in request:
            raise ValueError(
                f"the observation has no image_{camera}, the policy's {name}; it has {', '.join(map(str, request)) or 'nothing'}: name the "
                f"robot's camera '{camera}', or start the server with --camera YOURS={name}"
            )
        first = channels_first and own is not None
        picture = np.asarray(request[f"image_{camera}"] if own is None else own)
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[0 if first else 2] != 3:
            expected = "[3, h, w]" if first else "[h, w, 3]"
            raise ValueError(f"'{f'image_{camera}' if own is None else name}' is {picture.dtype} {list(picture.shape)}; send uint8 {expected}")
        return picture.transpose(2, 0, 1) if channels_first and not first else picture

    def _state(self, request: dict[str, Any], name: str, columns: np.ndarray) -> np.ndarray:
        own = _find(request, name)
        if own is None and "proprio" not in request:
            raise ValueError(f"the observation has no proprio, the policy's {name}; it has {', '.join(map(str, request)) or 'nothing'}")
        state = np.asarray(request["proprio"] if own is None else own, np.float32)
        size = self.state if own is None else len(columns)
        if state.shape != (size,):
            raise ValueError(
                f"'{'proprio' if own is None else name}' has shape {list(state.shape)}, the policy takes [{size}]: change vla_proprioception, "
                f'or start the server with --input "{name}: proprio[..]"'
            )
        return state[columns] if own is None else state


def _columns(source: Source, state: int) -> np.ndarray:
    """Indices of a part of the proprioception; all of it is as long as the state."""
    if source.columns:
        return parse_columns(source.columns, LARGEST_STATE, "--input", "proprio")
    return np.arange(state)


def _written(columns: np.ndarray) -> str:
    return f"[{columns[0]}:{columns[-1] + 1}]" if len(columns) == columns[-1] + 1 - columns[0] else f"[{','.join(map(str, columns))}]"


def _put(place: dict[str, Any], name: str, value: Any) -> None:
    *above, last = name.split(">")
    for part in above:
        place = place.setdefault(part, {})
    place[last] = value


def _find(request: Any, name: str) -> Any:
    for part in name.split(">"):
        request = request.get(part) if isinstance(request, dict) else None
    return request
