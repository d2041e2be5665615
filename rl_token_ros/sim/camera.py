"""Cameras of the simulated robot: two GL renderers (EGL, OSMesa) and a ray-caster that needs no GL. All three look alike.

Shadows, reflections, textures and multi-sampling are off (shadows alone cost 70 ms an image on a CPU), so that an image is
`colour * (ambient + diffuse * max(0, normal . light))` whichever renderer makes it.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import subprocess
import sys
import weakref

import mujoco
import numpy as np

BACKENDS = ("egl", "osmesa", "raycast")


class RenderError(RuntimeError):
    """The wanted renderer does not work on this machine."""


@functools.cache
def works(backend: str) -> bool:
    """Whether a renderer draws an image here. GL is tried in a process of its own: a missing or broken driver may abort it."""
    if backend == "raycast":
        return True
    code = f"from rl_token_ros.sim import camera; camera.try_out({backend!r})"
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def choose(backend: str) -> str:
    """The renderer to use for the parameter `render_backend`.

    Raises:
        RenderError: that renderer does not work here.
    """
    if backend == "auto":
        return next(name for name in BACKENDS if works(name))
    if not works(backend):
        raise RenderError(f"parameter 'render_backend' is {backend}, which does not work on this machine; write auto or raycast")
    return backend


def make_renderer(backend: str, model: mujoco.MjModel, size: int) -> GlRenderer | RaycastRenderer:
    """A renderer of square images of `size` pixels; `backend` is one of BACKENDS, from :func:`choose`."""
    return RaycastRenderer(model, size) if backend == "raycast" else GlRenderer(backend, model, size, size)


def try_out(backend: str) -> None:
    """Draw one small image; raises, exits or crashes where the renderer does not work."""
    xml = "<mujoco><worldbody><light pos='0 0 3'/><geom size='1'/><camera name='c' pos='0 0 5'/></worldbody></mujoco>"
    model = mujoco.MjModel.from_xml_string(xml)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer = GlRenderer(backend, model, 16, 16)
    image = renderer.render(data, "c")
    renderer.close()
    if image.max() == 0:
        raise RenderError(f"{backend} draws black images")


class GlRenderer:
    """Renders through EGL or OSMesa, up to so many geoms. Use it from the thread that made it."""

    def __init__(self, backend: str, model: mujoco.MjModel, height: int, width: int, geoms: int = 200) -> None:
        # mujoco's `Renderer` picks its GL from an environment variable at import; the modules below can be chosen at run time.
        context = importlib.import_module(f"mujoco.{backend}").GLContext
        self._model = model
        self._gl = context(width, height)
        self._gl.make_current()
        self._scene = mujoco.MjvScene(model, maxgeom=geoms)
        self._option = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
        # Not left to the garbage collector: mujoco ends EGL at exit, and what is freed after that complains.
        atexit.register(_close, weakref.ref(self))
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        for flag in ("SHADOW", "REFLECTION", "SKYBOX", "FOG", "HAZE"):
            self._scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = 0
        self._viewport = mujoco.MjrRect(0, 0, width, height)
        self._buffer = np.empty((height, width, 3), np.uint8)

    def render(self, data: mujoco.MjData, camera: str) -> np.ndarray:
        """uint8 [h, w, 3] rgb, row 0 at the top."""
        self._gl.make_current()
        self._camera.fixedcamid = self._model.camera(camera).id
        mujoco.mjv_updateScene(self._model, data, self._option, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._scene)
        mujoco.mjr_render(self._viewport, self._scene, self._context)
        mujoco.mjr_readPixels(self._buffer, None, self._viewport, self._context)
        return self._buffer[::-1].copy()

    def close(self) -> None:
        """Free the GL context."""
        if self._context is not None:
            self._context.free()
            self._gl.free()
            self._context = None


def _close(reference: weakref.ref) -> None:
    renderer = reference()
    if renderer is not None:
        renderer.close()


class RaycastRenderer:
    """One ray per pixel against boxes, capsules, cylinders and spheres, with Lambert shading in numpy."""

    def __init__(self, model: mujoco.MjModel, size: int) -> None:
        self._model, self._size = model, size
        self._types = model.geom_type
        colour = np.where(model.geom_matid[:, None] >= 0, model.mat_rgba[model.geom_matid], model.geom_rgba)[:, :3]
        # Index -1 (no hit) takes the last row: black, as GL's background.
        self._colour = np.vstack([colour, np.zeros(3)])
        self._sizes = np.vstack([model.geom_size, np.ones(3)])
        self._types = np.append(model.geom_type, -1)
        self._groups = np.array([1, 1, 1, 0, 0, 0], np.uint8)
        self._ambient = float(model.vis.headlight.ambient[0])
        self._diffuse = float(model.light_diffuse[0, 0])
        half = size / 2
        u, v = np.meshgrid((np.arange(size) + 0.5 - half) / half, (half - np.arange(size) - 0.5) / half)
        self._plane = np.stack([u.ravel(), v.ravel()], axis=1)
        n = size * size
        self._ids, self._distance = np.empty(n, np.int32), np.empty(n)
        # mj_multiRay gained an output for normals in 3.4; ours are computed below, so it may be absent.
        self._extra = () if "normal" not in (mujoco.mj_multiRay.__doc__ or "") else (None,)

    def render(self, data: mujoco.MjData, camera: str) -> np.ndarray:
        """uint8 [size, size, 3] rgb, row 0 at the top."""
        index = self._model.camera(camera).id
        eye, frame = data.cam_xpos[index], data.cam_xmat[index].reshape(3, 3)
        slope = np.tan(np.radians(self._model.cam_fovy[index]) / 2)
        rays = (self._plane * slope) @ frame[:, :2].T - frame[:, 2]
        rays /= np.sqrt(np.einsum("ij,ij->i", rays, rays))[:, None]
        mujoco.mj_multiRay(self._model, data, eye, rays.ravel(), self._groups, 1, -1, self._ids, self._distance, *self._extra, len(rays), 10.0)
        shade = self._ambient + self._diffuse * np.maximum(0.0, self._facing(data, eye + rays * self._distance[:, None]))
        image = self._colour[self._ids] * shade[:, None]
        return (np.minimum(image, 1.0) * 255.0 + 0.5).astype(np.uint8).reshape(self._size, self._size, 3)

    def _facing(self, data: mujoco.MjData, points: np.ndarray) -> np.ndarray:
        """Cosine between the surface's normal and the light at each hit point."""
        ids = self._ids
        rotation = data.geom_xmat.reshape(-1, 3, 3)
        rotation = np.concatenate([rotation, np.eye(3)[None]])
        position = np.concatenate([data.geom_xpos, np.zeros((1, 3))])
        light = rotation.transpose(0, 2, 1) @ -data.light_xdir[0]  # towards the light, in each geom's frame
        facing = np.zeros(len(ids))
        for geom in np.unique(ids):
            if geom < 0:
                continue
            at = np.flatnonzero(ids == geom)
            local = (points[at] - position[geom]) @ rotation[geom]
            kind, size = self._types[geom], self._sizes[geom]
            if kind == mujoco.mjtGeom.mjGEOM_BOX:
                side = np.abs(np.abs(local) - size).argmin(axis=1)
                facing[at] = np.take_along_axis(np.sign(local), side[:, None], 1)[:, 0] * light[geom][side]
                continue
            if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
                cap = np.abs(np.abs(local[:, 2]) - size[1]) < np.abs(np.hypot(local[:, 0], local[:, 1]) - size[0])
                normal = np.where(cap[:, None], np.array([0.0, 0.0, 1.0]) * np.sign(local[:, 2:]), local * (1.0, 1.0, 0.0))
            elif kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
                normal = local.copy()
                normal[:, 2] -= np.clip(local[:, 2], -size[1], size[1])
            else:
                normal = local
            facing[at] = (normal @ light[geom]) / np.maximum(np.linalg.norm(normal, axis=1), 1e-9)
        return facing

    def close(self) -> None:
        """Nothing to free."""
