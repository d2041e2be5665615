"""Parameters of the simulated robot and task (those of its topics and clock are `sim_node`'s own)."""

from __future__ import annotations

from dataclasses import dataclass

from rl_token_ros.settings.parameters import ParameterError, parameter


@dataclass(frozen=True)
class SimParameters:
    """What the simulated arm, socket and cameras are like."""

    task: str = parameter(
        "peg",
        "peg: a six-joint arm puts a square peg into a hole, actions x, y, z; plug: a seven-joint arm puts a keyed plug that must be turned "
        "into its socket, actions x, y, z, yaw.",
        choices=("peg", "plug"),
    )
    seed: int = parameter(0, "Seed of hole poses, peg offsets and starts.", low=0)
    render_backend: str = parameter(
        "auto",
        "Renderer of the cameras: egl, osmesa, raycast (no GL needed), or auto: the first that works.",
        choices=("auto", "egl", "osmesa", "raycast"),
    )
    image_size: int = parameter(84, "Width and height of the camera images.", unit="pixels", low=16, high=480)
    clearance: float = parameter(0.0004, "Gap between peg and hole on each side, when centred.", unit="m", low=0.0001, high=0.003)
    friction: float = parameter(0.7, "Sliding friction between peg and socket.", low=0.0, high=3.0)
    force_limit: float = parameter(
        8.0,
        "Force at the wrist (low-passed, gravity removed) above which the fragile socket breaks and the episode fails.",
        unit="N",
        low=1.0,
        high=200.0,
    )
    hole_range: float = parameter(0.02, "The hole lies up to this far from the middle, in x and in y.", unit="m", low=0.0, high=0.03)
    peg_offset_min: float = parameter(0.0012, "Smallest sideways slip of the peg in the gripper.", unit="m", low=0.0, high=0.004)
    peg_offset_max: float = parameter(0.0026, "Largest sideways slip of the peg in the gripper.", unit="m", low=0.0, high=0.004)
    peg_offset_direction: float = parameter(
        1.5708, "Axis along which the peg slips, either way, from the tool's x axis; the finger pads lie along y.", unit="rad", low=-3.15, high=3.15
    )
    peg_offset_spread: float = parameter(
        0.0,
        "Largest angle between the slip and that axis: 0 for pads that hold the peg well across, pi for any direction.",
        unit="rad",
        low=0.0,
        high=3.1416,
    )
    peg_turn_min: float = parameter(0.0, "Smallest turn of a plug in the gripper, either way.", unit="rad", low=0.0, high=0.35)
    peg_turn_max: float = parameter(0.0, "Largest turn of a plug in the gripper.", unit="rad", low=0.0, high=0.35)
    hole_turn: float = parameter(0.15, "A plug's socket is turned up to this far, either way.", unit="rad", low=0.0, high=0.5)
    start_turn: float = parameter(0.15, "An episode with a plug starts turned up to this far, either way.", unit="rad", low=0.0, high=0.5)
    start_range: float = parameter(0.03, "An episode starts up to this far from the middle, in x and in y.", unit="m", low=0.0, high=0.04)
    start_height: float = parameter(0.06, "Mean height of the peg above the socket at the start.", unit="m", low=0.03, high=0.09)
    critical_height: float = parameter(
        0.025, "The critical phase begins when the peg is over the hole, within 5 mm, and this close above it.", unit="m", low=0.002, high=0.05
    )
    success_depth: float = parameter(0.01, "Depth of the peg in the hole at which the task is done.", unit="m", low=0.002, high=0.018)
    reset_time: float = parameter(3.0, "Time in which the arm returns to a new start between episodes.", unit="s", low=1.0, high=60.0)
    stiffness: float = parameter(1200.0, "Stiffness of the tool's position control.", unit="N/m", low=100.0, high=3000.0)
    rotation_stiffness: float = parameter(80.0, "Stiffness of the tool's orientation control.", unit="N m/rad", low=5.0, high=300.0)
    force_cutoff: float = parameter(30.0, "Cut-off frequency of the force sensor's low-pass.", unit="Hz", low=1.0, high=200.0)
    camera_jitter: float = parameter(
        0.0, "Random displacement of each camera, drawn each episode (standard deviation; its aim moves as far).", unit="m", low=0.0, high=0.02
    )

    def __post_init__(self) -> None:
        for slip in ("peg_offset", "peg_turn"):
            low, high = getattr(self, f"{slip}_min"), getattr(self, f"{slip}_max")
            if low > high:
                raise ParameterError(f"parameter '{slip}_min' is {low:g}, '{slip}_max' {high:g}; write the smaller one first")
