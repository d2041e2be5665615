"""The peg: a six-joint arm of primitives holding a square peg over a socket on a table, as MJCF."""

from __future__ import annotations

from rl_token_ros.sim.scene import (
    CENTRE,
    HOLE_DEPTH,
    PART_FREE,
    SURFACE,
    Scene,
    contact,
    tool,
    world,
)

PEG_HALF = 0.010  # half the width of the square peg
SOCKET_HALF = 0.020  # half the width of the socket

# The wrist camera looks along the diagonal of the square peg, so both sideways directions show equally well; the base camera looks
# across that line.
WRIST_CAMERA = dict(azimuth=45.0, elevation=47.0, distance=0.095, aim=(0.0, 0.0, -0.004), field=0.056)
BASE_CAMERA = dict(azimuth=-45.0, elevation=38.0, distance=0.36, aim=(*CENTRE, SURFACE + 0.016), field=0.125)


def _socket(clearance: float, friction: float) -> str:
    """Four walls around a square hole, and its dark floor. The walls meet at full corners."""
    hole = PEG_HALF + clearance
    wall = (SOCKET_HALF - hole) / 2
    middle, z, half = hole + wall, -HOLE_DEPTH / 2, HOLE_DEPTH / 2
    touch = contact(friction)
    walls = []
    for sign in (-1, 1):
        walls.append(f'<geom type="box" pos="{sign * middle:.6f} 0 {z}" size="{wall:.6f} {SOCKET_HALF} {half}" material="socket" {touch}/>')
        walls.append(f'<geom type="box" pos="0 {sign * middle:.6f} {z}" size="{hole:.6f} {wall:.6f} {half}" material="socket" {touch}/>')
    floor = f'<geom type="box" pos="0 0 {-HOLE_DEPTH - 0.0025}" size="{hole:.6f} {hole:.6f} 0.0025" material="dark" {touch}/>'
    return "\n      ".join([*walls, floor])


def _arm(friction: float) -> str:
    length = PART_FREE + 0.02
    half = f"{PEG_HALF} {PEG_HALF} {length / 2}"
    peg = f"""<body name="peg">
                    <geom name="peg" type="box" pos="0 0 {length / 2}" size="{half}" material="peg" mass="0.05" {contact(friction)}/>
                  </body>"""
    return f"""<body name="turret" pos="0 0 0.12">
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
                {tool(WRIST_CAMERA, PEG_HALF + 0.0005, peg)}
              </body>
            </body>
          </body>
        </body>
      </body>
    </body>"""


def mjcf(clearance: float, friction: float, image_size: int) -> str:
    """The model as MJCF text, see :class:`Scene`."""
    return world(image_size, BASE_CAMERA, _socket(clearance, friction), _arm(friction))


PEG = Scene(
    joints=tuple(f"joint_{i}" for i in range(1, 7)),
    home=(0.0, 0.93, 1.51, 0.70, 0.0, 0.0),
    part="peg",
    actions=("x", "y", "z"),
    proprioception=("ee_position",),
    wrist_camera=WRIST_CAMERA,
    base_camera=BASE_CAMERA,
    mjcf=mjcf,
)
