"""The plug: a seven-joint arm of primitives holding a keyed plug over its socket, as MJCF. It goes in at one yaw only.

The plug is a flat body, twice as long as thick, with a rib on one side; the gripper holds it by a round shank, about which it turns
between the finger pads.
"""

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

THICK, LONG = 0.0065, 0.013  # half the body, along x and y
RIB, RIB_HALF = 0.0025, 0.0025  # how far it stands out of the body, in +x, and half its width
BODY = 0.030  # height of the body; above it is the shank
SHANK = 0.009  # its radius
SOCKET_THICK, SOCKET_LONG = 0.0165, 0.022  # half the socket

WRIST_CAMERA = dict(azimuth=45.0, elevation=50.0, distance=0.095, aim=(0.0, 0.0, -0.004), field=0.056)
BASE_CAMERA = dict(azimuth=-45.0, elevation=38.0, distance=0.36, aim=(*CENTRE, SURFACE + 0.016), field=0.125)


def _socket(clearance: float, friction: float) -> str:
    """Walls around a slot with a keyway in its wall at +x, and a dark floor."""
    x, y, key = THICK + clearance, LONG + clearance, RIB_HALF + clearance
    end = THICK + RIB + clearance  # of the keyway
    touch = contact(friction)

    def box(low: tuple[float, float], high: tuple[float, float], top: float = 0.0, height: float = HOLE_DEPTH, material: str = "socket") -> str:
        middle = " ".join(f"{(a + b) / 2:.6f}" for a, b in zip(low, high))
        half = " ".join(f"{(b - a) / 2:.6f}" for a, b in zip(low, high))
        return f'<geom type="box" pos="{middle} {top - height / 2:.6f}" size="{half} {height / 2:.6f}" material="{material}" {touch}/>'

    return "\n      ".join(
        [
            # Said explicitly: otherwise its middle of mass is the world's, from where rays miss a body that has been turned.
            '<inertial pos="0 0 0" mass="0.1" diaginertia="0.0001 0.0001 0.0001"/>',
            box((-SOCKET_THICK, -SOCKET_LONG), (-x, SOCKET_LONG)),
            box((end, -SOCKET_LONG), (SOCKET_THICK, SOCKET_LONG)),
            box((x, key), (end, SOCKET_LONG)),
            box((x, -SOCKET_LONG), (end, -key)),
            box((-x, y), (x, SOCKET_LONG)),
            box((-x, -SOCKET_LONG), (x, -y)),
            box((-x, -y), (end, y), -HOLE_DEPTH, 0.005, "dark"),
        ]
    )


def _arm(friction: float) -> str:
    touch, top = contact(friction), PART_FREE + 0.02
    # The shank is a body of its own: rays find what does not touch only where no other geom of the body does.
    plug = f"""<body name="plug">
                    <geom type="box" pos="0 0 {BODY / 2}" size="{THICK} {LONG} {BODY / 2}" material="peg" mass="0.035" {touch}/>
                    <geom type="box" pos="{THICK + RIB / 2} 0 {BODY / 2}" size="{RIB / 2} {RIB_HALF} {BODY / 2}" material="peg" mass="0.005" {touch}/>
                    <body>
                      <geom type="cylinder" pos="0 0 {(BODY + top) / 2}" size="{SHANK} {(top - BODY) / 2}" material="joint" mass="0.01"/>
                    </body>
                  </body>"""
    # The elbow is bent to the side of the shoulder-wrist line, as on arms whose links pass each other.
    return f"""<body name="turret" pos="0 0 0.12">
      <joint name="joint_1" axis="0 0 1" range="-2.9 2.9"/>
      <geom type="cylinder" pos="0 0 0.08" size="0.055 0.08" material="shell" mass="1.5"/>
      <body name="shoulder" pos="0 0 0.20">
        <joint name="joint_2" range="-1.8 1.8"/>
        <geom type="cylinder" size="0.05 0.06" euler="1.5708 0 0" material="joint" mass="0.3"/>
        <body name="upper_arm">
          <joint name="joint_3" axis="0 0 1" range="-2.9 2.9"/>
          <geom type="capsule" fromto="0 0 0.06 0 0 0.24" size="0.040" material="shell" mass="0.8"/>
          <body name="elbow" pos="0.06 0 0.30">
            <joint name="joint_4" range="-0.1 3.0"/>
            <geom type="cylinder" size="0.042 0.05" euler="1.5708 0 0" material="joint" mass="0.2"/>
            <body name="forearm" pos="-0.06 0 0">
              <joint name="joint_5" axis="0 0 1" range="-2.9 2.9"/>
              <geom type="capsule" fromto="0 0 0.06 0 0 0.30" size="0.032" material="shell" mass="0.5"/>
              <body name="wrist" pos="0 0 0.32">
                <joint name="joint_6" range="-0.1 3.0" armature="0.01"/>
                <geom type="cylinder" size="0.032 0.04" euler="1.5708 0 0" material="joint" mass="0.2"/>
                <body name="flange">
                  <joint name="joint_7" axis="0 0 1" range="-2.9 2.9" armature="0.005"/>
                  <geom type="cylinder" pos="0 0 0.045" size="0.03 0.03" material="joint" mass="0.2"/>
                  {tool(WRIST_CAMERA, SHANK + 0.0005, plug)}
                </body>
              </body>
            </body>
          </body>
        </body>
      </body>
    </body>"""


def mjcf(clearance: float, friction: float, image_size: int) -> str:
    """The model as MJCF text, see :class:`Scene`."""
    return world(image_size, BASE_CAMERA, _socket(clearance, friction), _arm(friction))


PLUG = Scene(
    joints=tuple(f"joint_{i}" for i in range(1, 8)),
    home=(0.0, 0.55, 0.0, 1.90, 0.0, 0.69, 0.0),
    part="plug",
    actions=("x", "y", "z", "yaw"),
    proprioception=("ee_position", "ee_orientation"),
    wrist_camera=WRIST_CAMERA,
    base_camera=BASE_CAMERA,
    mjcf=mjcf,
)
