"""Pictures of a MuJoCo model, for an :class:`Environment`: quick also where there is no GPU."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from rl_token_ros.sim import camera

GEOMS = 10_000  # the most of a scene


class MujocoPictures:
    """Looks through cameras of a model, without a display, shadows, reflections and smoothed edges: on a CPU these take ten times as long.

    Args:
        model: whose quality of pictures is changed.
        cameras: names in the model.
        height, width: of the pictures, in pixels.

    Raises:
        camera.RenderError: neither EGL nor OSMesa works here.
    """

    def __init__(self, model: mujoco.MjModel, cameras: Sequence[str], height: int, width: int) -> None:
        if (backend := camera.choose("auto")) == "raycast":
            raise camera.RenderError("pictures need EGL or OSMesa, and neither works here; install libegl1 and libgl1, or libosmesa6")
        self.cameras = tuple(cameras)
        model.vis.quality.shadowsize = model.vis.quality.offsamples = 0
        look = model.vis.global_
        look.offheight, look.offwidth = max(look.offheight, height), max(look.offwidth, width)
        self._renderer = camera.GlRenderer(backend, model, height, width, GEOMS)

    def __call__(self, data: mujoco.MjData) -> dict[str, np.ndarray]:
        """uint8 [h, w, 3] rgb of each camera, of the state as it is."""
        return {name: self._renderer.render(data, name) for name in self.cameras}

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()
