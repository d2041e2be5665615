"""The cameras: every renderer that works here shows the same scene, and the scene shows the last millimetre."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

mujoco = pytest.importorskip("mujoco")

from rl_token_ros.settings.sim_task import SimParameters
from rl_token_ros.sim import camera
from rl_token_ros.sim.simulation import CAMERAS, Simulation

PARAMETERS = SimParameters(render_backend="raycast")


def hovering(parameters: SimParameters, side: float = 0.0) -> Simulation:
    sim = Simulation(parameters)
    sim.reset(3)
    slip = sim.peg_position - sim.ee_position
    for _ in range(60):
        goal = sim.hole_position - slip + [side, 0.0, 0.002]
        sim.step(np.append(goal, sim.tool_pose[3:]), 0.02)
    return sim


@pytest.mark.parametrize("task", ["peg", "plug"])
@pytest.mark.parametrize("backend", ["egl", "osmesa"])
@pytest.mark.slow
def test_gl_and_raycast_look_alike(backend, task):
    if not camera.works(backend):
        pytest.skip(f"{backend} does not work here")
    images = [hovering(replace(PARAMETERS, render_backend=name, task=task)).images() for name in (backend, "raycast")]
    for name in CAMERAS:
        difference = np.abs(images[0][name].astype(int) - images[1][name].astype(int))
        assert difference.mean() < 2.0
        assert (difference.max(axis=2) > 24).mean() < 0.03  # a pixel along the edges


@pytest.mark.slow
def test_raycast_of_every_shape_looks_like_gl():
    if not camera.works("egl"):
        pytest.skip("egl does not work here")
    import mujoco

    model = mujoco.MjModel.from_xml_string(
        """<mujoco><visual><headlight ambient=".4 .4 .4" diffuse="0 0 0" specular="0 0 0"/><quality offsamples="0" shadowsize="0"/></visual>
        <asset><material name="m" rgba=".8 .5 .2 1" specular="0" shininess="0"/></asset>
        <worldbody><light directional="true" castshadow="false" dir="-.5 -.3 -.8" diffuse=".6 .6 .6" specular="0 0 0" ambient="0 0 0"/>
        <geom type="box" size="2 2 .1" pos="0 0 -1" material="m"/><geom size=".3" pos="-.5 .5 0" material="m"/>
        <geom type="capsule" size=".2 .3" pos=".5 .5 0" euler="40 20 0" material="m"/>
        <geom type="cylinder" size=".3 .2" pos="-.5 -.5 0" euler="-30 30 0" material="m"/>
        <geom type="box" size=".3 .2 .2" pos=".5 -.5 0" euler="20 30 40" material="m"/><camera name="c" pos="0 0 3" fovy="50"/>
        </worldbody></mujoco>"""
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    pictures = [camera.make_renderer(name, model, 84).render(data, "c").astype(int) for name in ("egl", "raycast")]
    difference = np.abs(pictures[0] - pictures[1])
    assert difference.mean() < 2.0 and np.percentile(difference, 95) <= 12


def test_half_a_millimetre_shows():
    straight, shifted = (hovering(PARAMETERS, side).images() for side in (0.0, 0.0005))
    changed = (np.abs(straight["wrist"].astype(int) - shifted["wrist"].astype(int)).max(axis=2) > 10).sum()
    assert changed >= 20


def test_images_are_rgb_of_the_size_asked_for():
    images = Simulation(replace(PARAMETERS, image_size=48)).images()
    assert set(images) == set(CAMERAS)
    for image in images.values():
        assert image.shape == (48, 48, 3) and image.dtype == np.uint8
        assert image.std() > 10.0


def test_an_unusable_renderer_is_refused_in_words(monkeypatch):
    monkeypatch.setattr(camera, "works", lambda backend: backend == "raycast")
    assert camera.choose("auto") == "raycast"
    with pytest.raises(camera.RenderError, match="render_backend.*write auto or raycast"):
        camera.choose("egl")


def test_pictures_of_a_model_of_others_in_any_size():
    from rl_token_ros.sim.mujoco_pictures import MujocoPictures

    if camera.choose("auto") == "raycast":
        pytest.skip("no GL")
    geoms = "".join(f"<geom pos='{i % 20 - 9.5} {i // 20 - 9.5} 0' size='0.5' rgba='1 0 0 1'/>" for i in range(400))
    model = mujoco.MjModel.from_xml_string(
        f"<mujoco><worldbody><light pos='0 0 30' dir='0 0 -1' directional='true'/>{geoms}"
        "<camera name='above' pos='0 0 40'/><camera name='left' pos='-5 0 40'/></worldbody></mujoco>"
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    pictures = MujocoPictures(model, ["above", "left"], 700, 900)  # larger than MuJoCo's own offscreen buffer
    found = pictures(data)
    assert {name: picture.shape for name, picture in found.items()} == {"above": (700, 900, 3), "left": (700, 900, 3)}
    red = found["above"][..., 0] > 50
    assert red.any(axis=0).sum() > 350 and red.any(axis=1).sum() > 350  # rows and columns of all 400, not of the first 200
    assert (found["above"] != found["left"]).any()
    pictures.close()
