"""What the scenes of all tasks share, as MJCF: table, light, cameras, materials, contacts, gripper. And what a scene consists of.

All lengths in metres, in `base_link` (z up, the arm's first joint at the origin). The tool points down; the tool centre point (TCP)
is the middle of the held part's lower face as the robot believes it to be. The part may have slipped in the gripper.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

CENTRE = (0.45, 0.0)  # middle of the area in which the socket may lie
SURFACE = 0.030  # height of the socket's upper face
HOLE_DEPTH = 0.024
PART_FREE = 0.042  # length of the part that sticks out of the fingers
WRIST_TO_TIP = 0.190


@dataclass(frozen=True)
class Scene:
    """An arm and the task it has.

    Attributes:
        joints: names.
        home: joint angles near which the arm works, rad.
        part: body that the gripper holds; its position is the middle of its lower face.
        actions: names of the action's dimensions: x, y, z (m) and, where the part must be turned, yaw (rad).
        proprioception: groups that the VLA sees.
        wrist_camera, base_camera: views, arguments of :func:`camera`.
        mjcf: the model as MJCF text, from clearance (m), friction and image size (pixels). Bodies `socket` and ``part`` are moved between
            episodes.
    """

    joints: tuple[str, ...]
    home: tuple[float, ...]
    part: str
    actions: tuple[str, ...]
    proprioception: tuple[str, ...]
    wrist_camera: dict
    base_camera: dict
    mjcf: Callable[[float, float, int], str]

    @property
    def turns(self) -> bool:
        """Whether yaw matters."""
        return "yaw" in self.actions


def _view(azimuth: float, elevation: float, distance: float, aim: tuple, field: float) -> tuple[list, list, float]:
    """Position, `xyaxes` and vertical field of view (degrees) of a camera that sees `field` metres at the point it aims at.

    Azimuth and elevation (degrees) say from where it looks, seen from that point.
    """
    a, e = math.radians(azimuth), math.radians(elevation)
    out = (math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e))
    right = (-math.sin(a), math.cos(a), 0.0)
    up = (-math.sin(e) * math.cos(a), -math.sin(e) * math.sin(a), math.cos(e))
    position = [aim[i] + distance * out[i] for i in range(3)]
    return position, [*right, *up], math.degrees(2 * math.atan(field / 2 / distance))


def camera(name: str, view: dict) -> str:
    """A camera; ``view``: arguments of :func:`_view`."""
    position, axes, fovy = _view(**view)
    numbers = " ".join(f"{v:.6f}" for v in position), " ".join(f"{v:.6f}" for v in axes)
    return f'<camera name="{name}" pos="{numbers[0]}" xyaxes="{numbers[1]}" fovy="{fovy:.4f}"/>'


def contact(friction: float) -> str:
    """Attributes of geoms that touch."""
    return f'friction="{friction:g} 0.002 0.0001" contype="1" conaffinity="1" solref="0.004 1" solimp="0.95 0.99 0.0005" condim="4"'


def world(image_size: int, base_camera: dict, socket: str, arm: str) -> str:
    """The whole model: around a socket's geoms and an arm's bodies, the rest."""
    return f"""
<mujoco model="rl_token_arm">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="0.002" integrator="implicitfast" cone="elliptic" impratio="10" noslip_iterations="2"/>
  <visual>
    <global offwidth="{image_size}" offheight="{image_size}"/>
    <quality shadowsize="0" offsamples="0"/>
    <headlight ambient="0.45 0.45 0.45" diffuse="0 0 0" specular="0 0 0"/>
    <map znear="0.01" zfar="10"/>
  </visual>
  <statistic extent="1" center="0.4 0 0.2"/>
  <asset>
    <material name="table" rgba="0.62 0.60 0.55 1" specular="0" shininess="0"/>
    <material name="mat" rgba="0.36 0.42 0.40 1" specular="0" shininess="0"/>
    <material name="socket" rgba="0.25 0.45 0.80 1" specular="0" shininess="0"/>
    <material name="dark" rgba="0.05 0.05 0.06 1" specular="0" shininess="0"/>
    <material name="peg" rgba="0.95 0.62 0.15 1" specular="0" shininess="0"/>
    <material name="finger" rgba="0.30 0.30 0.33 1" specular="0" shininess="0"/>
    <material name="shell" rgba="0.88 0.88 0.90 1" specular="0" shininess="0"/>
    <material name="joint" rgba="0.45 0.62 0.45 1" specular="0" shininess="0"/>
  </asset>
  <default>
    <geom contype="0" conaffinity="0" mass="0"/>
    <joint type="hinge" axis="0 1 0" armature="0.02" damping="0.6"/>
  </default>
  <worldbody>
    <light directional="true" castshadow="false" pos="0 0 2" dir="-0.50 -0.22 -0.84" diffuse="0.55 0.55 0.55" specular="0 0 0" ambient="0 0 0"/>
    {camera("base", base_camera)}
    <geom type="box" pos="0.5 0 -0.02" size="1.6 1.6 0.02" material="table"/>
    <geom type="box" pos="{CENTRE[0]} {CENTRE[1]} 0.002" size="0.075 0.075 0.002" material="mat"/>
    <body name="socket" pos="{CENTRE[0]} {CENTRE[1]} {SURFACE}">
      {socket}
    </body>
    <geom type="cylinder" pos="0 0 0.06" size="0.07 0.06" material="shell"/>
    {arm}
  </worldbody>
  <sensor>
    <force name="force" site="sensor"/>
    <torque name="torque" site="sensor"/>
  </sensor>
</mujoco>
"""


def tool(wrist_camera: dict, half_grip: float, part: str) -> str:
    """Force sensor, gripper and wrist camera, on the last link; the fingers are 2 x ``half_grip`` apart, along x, and hold a part."""
    finger = half_grip + 0.005
    return f"""<body name="tool" pos="0 0 {WRIST_TO_TIP}" quat="0 0 1 0">
                  <inertial pos="0 0 0.09" mass="0.25" diaginertia="0.0003 0.0003 0.0002"/>
                  <site name="sensor" pos="0 0 0.114"/>
                  <site name="tcp" quat="0 1 0 0"/>
                  <geom type="box" pos="0 0 0.094" size="0.045 0.022 0.022" material="shell"/>
                  <geom type="box" pos="{finger:g} 0 {PART_FREE + 0.016}" size="0.005 0.009 0.018" material="finger"/>
                  <geom type="box" pos="-{finger:g} 0 {PART_FREE + 0.016}" size="0.005 0.009 0.018" material="finger"/>
                  {camera("wrist", wrist_camera)}
                  {part}
                </body>"""
