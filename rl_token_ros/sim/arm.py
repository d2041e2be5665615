"""The scene as MJCF: a six-joint arm of primitives holding a square peg over a socket on a table.

All lengths in metres, in `base_link` (z up, the arm's first joint at the origin). The tool points down; the tool centre point (TCP)
is the middle of the peg's lower face as the robot believes it to be. The peg may have slipped sideways in the gripper (body `peg`).
"""

from __future__ import annotations

import math

JOINTS = tuple(f"joint_{i}" for i in range(1, 7))
CENTRE = (0.45, 0.0)  # middle of the area in which the socket may lie
PEG_HALF = 0.010  # half the width of the square peg
SURFACE = 0.030  # height of the socket's upper face
HOLE_DEPTH = 0.024
SOCKET_HALF = 0.020  # half the width of the socket
PEG_FREE = 0.042  # length of the peg that sticks out of the fingers
WRIST_TO_TIP = 0.190

# Where cameras look from: azimuth and elevation seen from the point they look at. The wrist camera looks along the diagonal of the
# square peg, so both sideways directions show equally well; the base camera looks across that line.
WRIST_CAMERA = dict(azimuth=45.0, elevation=47.0, distance=0.095, aim=(0.0, 0.0, -0.004), field=0.056)
BASE_CAMERA = dict(azimuth=-45.0, elevation=38.0, distance=0.36, aim=(*CENTRE, SURFACE + 0.016), field=0.125)


def _view(azimuth: float, elevation: float, distance: float, aim: tuple, field: float) -> tuple[list, list, float]:
    """Position, `xyaxes` and vertical field of view (degrees) of a camera that sees `field` metres at the point it aims at."""
    a, e = math.radians(azimuth), math.radians(elevation)
    out = (math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e))
    right = (-math.sin(a), math.cos(a), 0.0)
    up = (-math.sin(e) * math.cos(a), -math.sin(e) * math.sin(a), math.cos(e))
    position = [aim[i] + distance * out[i] for i in range(3)]
    return position, [*right, *up], math.degrees(2 * math.atan(field / 2 / distance))


def _camera(name: str, view: dict) -> str:
    position, axes, fovy = _view(**view)
    numbers = " ".join(f"{v:.6f}" for v in position), " ".join(f"{v:.6f}" for v in axes)
    return f'<camera name="{name}" pos="{numbers[0]}" xyaxes="{numbers[1]}" fovy="{fovy:.4f}"/>'


def _socket(clearance: float, friction: float) -> str:
    """Four walls around a square hole, and its dark floor. The walls meet at full corners."""
    hole = PEG_HALF + clearance
    wall = (SOCKET_HALF - hole) / 2
    middle, z, half = hole + wall, -HOLE_DEPTH / 2, HOLE_DEPTH / 2
    contact = f'friction="{friction:g} 0.002 0.0001" contype="1" conaffinity="1" solref="0.004 1" solimp="0.95 0.99 0.0005" condim="4"'
    walls = []
    for sign in (-1, 1):
        walls.append(f'<geom type="box" pos="{sign * middle:.6f} 0 {z}" size="{wall:.6f} {SOCKET_HALF} {half}" material="socket" {contact}/>')
        walls.append(f'<geom type="box" pos="0 {sign * middle:.6f} {z}" size="{hole:.6f} {wall:.6f} {half}" material="socket" {contact}/>')
    floor = f'<geom type="box" pos="0 0 {-HOLE_DEPTH - 0.0025}" size="{hole:.6f} {hole:.6f} 0.0025" material="dark" {contact}/>'
    return "\n      ".join([*walls, floor])


def mjcf(clearance: float, friction: float, image_size: int) -> str:
    """The model as MJCF text. Bodies `socket` and `peg` are moved between episodes through `model.body_pos`."""
    peg_length = PEG_FREE + 0.02
    contact = f'friction="{friction:g} 0.002 0.0001" contype="1" conaffinity="1" solref="0.004 1" solimp="0.95 0.99 0.0005" condim="4"'
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
    {_camera("base", BASE_CAMERA)}
    <geom type="box" pos="0.5 0 -0.02" size="1.6 1.6 0.02" material="table"/>
    <geom type="box" pos="{CENTRE[0]} {CENTRE[1]} 0.002" size="0.075 0.075 0.002" material="mat"/>
    <body name="socket" pos="{CENTRE[0]} {CENTRE[1]} {SURFACE}">
      {_socket(clearance, friction)}
    </body>
    <geom type="cylinder" pos="0 0 0.06" size="0.07 0.06" material="shell"/>
    <body name="turret" pos="0 0 0.12">
      <joint name="joint_1" axis="0 0 1" range="-2.9 2.9"/>
      <geom type="cylinder" pos="0 0 0.08" size="0.055 0.08" material="shell" mass="1.5"/>
      <body name="upper_arm" pos="0 0 0.20">
        <joint name="joint_2" range="-2.2 2.2"/>
        <geom type="cylinder" size="0.05 0.06" euler="1.5708 0 0" material="joint"/>
        <geom type="capsule" fromto="0 0 0 0 0 0.32" size="0.038" material="shell" mass="0.8"/>
        <body name="forearm" pos="0 0 0.32">
          <joint name="joint_3" range="-2.8 2.8"/>
          <geom type="cylinder" size="0.042 0.05" euler="1.5708 0 0" material="joint"/>
          <geom type="capsule" fromto="0 0 0 0 0 0.30" size="0.03" material="shell" mass="0.5"/>
          <body name="wrist_1" pos="0 0 0.30">
            <joint name="joint_4" range="-3.0 3.0" armature="0.01"/>
            <geom type="cylinder" size="0.032 0.04" euler="1.5708 0 0" material="joint" mass="0.2"/>
            <body name="wrist_2">
              <joint name="joint_5" axis="1 0 0" range="-2.0 2.0" armature="0.01"/>
              <geom type="box" pos="0 0 0.03" size="0.028 0.028 0.022" material="shell" mass="0.15"/>
              <body name="wrist_3">
                <joint name="joint_6" axis="0 0 1" range="-3.1 3.1" armature="0.005"/>
                <geom type="cylinder" pos="0 0 0.062" size="0.03 0.012" material="joint" mass="0.1"/>
                <body name="tool" pos="0 0 {WRIST_TO_TIP}" quat="0 0 1 0">
                  <inertial pos="0 0 0.09" mass="0.25" diaginertia="0.0003 0.0003 0.0002"/>
                  <site name="sensor" pos="0 0 0.114"/>
                  <site name="tcp" quat="0 1 0 0"/>
                  <geom type="box" pos="0 0 0.094" size="0.045 0.022 0.022" material="shell"/>
                  <geom type="box" pos="0.0155 0 {PEG_FREE + 0.016}" size="0.005 0.009 0.018" material="finger"/>
                  <geom type="box" pos="-0.0155 0 {PEG_FREE + 0.016}" size="0.005 0.009 0.018" material="finger"/>
                  {_camera("wrist", WRIST_CAMERA)}
                  <body name="peg">
                    <geom name="peg" type="box" pos="0 0 {peg_length / 2}" size="{PEG_HALF} {PEG_HALF} {peg_length / 2}" material="peg" mass="0.05" {contact}/>
                  </body>
                </body>
              </body>
            </body>
          </body>
        </body>
      </body>
    </body>
  </worldbody>
  <sensor>
    <force name="force" site="sensor"/>
    <torque name="torque" site="sensor"/>
  </sensor>
</mujoco>
"""
