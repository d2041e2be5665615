"""From a client's request to what a LeRobot checkpoint takes: which picture is which feature, and whether everything fits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from rl_token_ros.adapters.cameras import NOBODY, assign, names, table
from rl_token_ros.adapters.lerobot_checkpoint import STATE, Checkpoint
from rl_token_ros.settings.parameters import ParameterError

TASKS = ("task", "prompt")
STATES = (STATE, "proprio")


class Inputs:
    """Reads requests. A picture is taken under its feature's name or as ``image_<camera>``, the state as observation.state or ``proprio``.

    The latter are the names of the preset plain of `vla_node`. The camera of ``observation.images.front`` is ``front``, unless an override says
    otherwise.

    Args:
        checkpoint: what it takes.
        overrides: ``CAMERA=FEATURE``, as in base=observation.images.top; none=FEATURE for a camera that the robot does not have.

    Raises:
        ParameterError: an override that cannot be read, of an unknown feature, or two cameras for one.
    """

    def __init__(self, checkpoint: Checkpoint, overrides: Iterable[str] = ()) -> None:
        self.checkpoint = checkpoint
        defaults = {feature: _camera(feature) for feature in checkpoint.cameras}
        self.cameras = assign(defaults, overrides, checkpoint.optional, checkpoint.family)

    def table(self) -> str:
        """What is taken as what, a line each."""
        rows = [("the checkpoint takes", "from the request's", "")]
        for feature, (height, width) in self.checkpoint.cameras.items():
            size = "any size" if self.checkpoint.resizes else f"{height} x {width}"
            source = f"image_{self.cameras[feature]} or {feature}" if feature in self.cameras else "nothing: an empty picture"
            rows.append((feature, source, f"uint8 [h, w, 3], {size}" if feature in self.cameras else ""))
        if self.checkpoint.state:
            rows.append((STATE, " or ".join(reversed(STATES)), f"[{self.checkpoint.state}]"))
        rows.append(("task", " or ".join(TASKS), "text" if self.checkpoint.family != "act" else "not used"))
        return table(rows)

    def blank(self) -> dict[str, Any]:
        """A request of black pictures and zeros, to try the policy with."""
        sizes = self.checkpoint.cameras
        request: dict[str, Any] = {feature: np.zeros((*sizes[feature], 3), np.uint8) for feature in self.cameras}
        return request | {STATE: np.zeros(self.checkpoint.state, np.float32), "task": ""}

    def read(self, request: dict[str, Any]) -> tuple[dict[str, np.ndarray], np.ndarray | None, str]:
        """Pictures (uint8 [h, w, 3], rgb) by feature, the state (float32 [P], or None) and the task.

        Raises:
            ValueError: something is missing, or has another size than the policy learned with.
        """
        pictures = {feature: self._picture(request, feature, camera) for feature, camera in self.cameras.items()}
        state = self._state(request) if self.checkpoint.state else None
        return pictures, state, next((str(request[name]) for name in TASKS if name in request), "")

    def _picture(self, request: dict[str, Any], feature: str, camera: str) -> np.ndarray:
        name = feature if feature in request else f"image_{camera}"
        if name not in request:
            has = ", ".join(map(str, request)) or "nothing"
            raise ValueError(
                f"the observation has no image_{camera}, the policy's {feature}; it has {has}: name the robot's camera '{camera}', "
                f"or start the server with --camera YOURS={feature}"
            )
        picture = np.asarray(request[name])
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(f"'{name}' is {picture.dtype} {list(picture.shape)}; send uint8 [h, w, 3]")
        height, width = self.checkpoint.cameras[feature]
        if not self.checkpoint.resizes and picture.shape[:2] != (height, width):
            raise ValueError(
                f"'{name}' is {picture.shape[0]} x {picture.shape[1]}, the policy learned with {height} x {width}: write "
                f"image_height: {height}, image_width: {width} in vla_node's parameters"
            )
        return picture

    def _state(self, request: dict[str, Any]) -> np.ndarray:
        name = next((name for name in STATES if name in request), None)
        if name is None:
            raise ValueError(f"the observation has no proprio, the policy's {STATE}; it has {', '.join(map(str, request)) or 'nothing'}")
        state = np.asarray(request[name], np.float32)
        if state.shape != (self.checkpoint.state,):
            raise ValueError(
                f"'{name}' has shape {list(state.shape)}, the policy takes [{self.checkpoint.state}]: change vla_proprioception, or send a part, "
                f'"{STATE}: proprio[0:{self.checkpoint.state}]" in observation_keys'
            )
        return state


def camera_names(features: Iterable[str], overrides: Iterable[str], owner: str) -> dict[str, str]:
    """The robot's name of the camera behind each of LeRobot's features, see :func:`names`."""
    return names({feature: _camera(feature) for feature in features}, overrides, owner)


def parse_scale(text: str, state: int, actions: int) -> np.ndarray:
    """Factors from the robot's units to the policy's, float32 [A], in ``57.29578`` (for all) or ``57.29578,..`` (for each value).

    Args:
        text: as it was written.
        state, actions: values of the state (0: none is taken) and of an action.

    Raises:
        ParameterError: no such numbers, or not as many as state and actions have values.
    """
    factors = np.array(parse_factors(text), np.float32)
    if len(factors) > 1 and not (len(factors) == actions and state in (0, actions)):
        raise ParameterError(f"--scale has {len(factors)} numbers; the state has {state} values, an action {actions}: write one")
    return factors


def parse_factors(text: str, of: str = "policy") -> list[float]:
    """Factors in ``57.29578`` or ``57.29578,1``; ``of``: what counts in other units, for the error.

    Raises:
        ParameterError: no such numbers, or zero.
    """
    try:
        factors = [float(part) for part in text.split(",")]
    except ValueError:
        factors = [0.0]
    single = np.array(factors, np.float32)  # as policies count: one that is zero there is refused, too
    if not np.isfinite(single).all() or not single.all():
        raise ParameterError(f"--scale '{text}': write numbers other than 0, as in 57.29578 for a {of} that counts in degrees")
    return factors


def _camera(feature: str) -> str:
    """The robot's name of a camera: what follows ``observation.images.``; no camera behind an empty one."""
    camera = feature.removeprefix("observation.images.").removeprefix("observation.")
    return NOBODY if camera.startswith("empty_camera") else camera
