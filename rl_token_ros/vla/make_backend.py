"""Makes the VLA backend that the parameters name, for vla_node and for bags."""

from __future__ import annotations

import importlib.util

from rl_token_ros.settings import proprioception_groups
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.vla import Vla
from rl_token_ros.system.packages import missing
from rl_token_ros.vla.backend import Backend


def make_backend(settings: Vla) -> Backend:
    """The backend that the parameters name. Each is imported when asked for: their libraries differ."""
    _refuse_without_pillow(settings)
    size = proprioception_groups.size(settings.vla_proprioception, len(settings.joint_names), settings.action_size)
    if settings.backend == "onnx":
        from rl_token_ros.vla.onnx import OnnxBackend

        return OnnxBackend(settings, size)
    try:
        from rl_token_ros.vla.openpi import OpenPiBackend
    except ModuleNotFoundError as error:
        raise ParameterError(f"parameter 'backend' is openpi: {missing(error.name)}") from None
    return OpenPiBackend(settings, size)


def _refuse_without_pillow(settings: Vla) -> None:
    """At the start, not when the first picture comes."""
    resizes = settings.backend == "openpi" and settings.image_height > 0
    needed_by = "image_transport" if settings.image_transport == "compressed" else "image_height" if resizes else ""
    if needed_by and importlib.util.find_spec("PIL") is None:
        raise ParameterError(f"parameter '{needed_by}' is {getattr(settings, needed_by)}: {missing('PIL')}")
