"""Every parameter of every node: the one place where name, default, unit, range and meaning are written down."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rl_token_ros import parameters, proprioception
from rl_token_ros.parameters import ParameterError, parameter
from rl_token_ros.sim.parameters import SimParameters

CARTESIAN = ("x", "y", "z")
POSE_INTERFACES = ("pose", "twist")


@dataclass(frozen=True)
class Robot:
    """What all nodes of one robot share: its names, its action space and the shape of a chunk."""

    joint_names: list[str] = parameter([], "Joints read from `joint_states`, by name, in the order used here.")
    cameras: list[str] = parameter([], "Names of the cameras: `camera/<name>/image_raw` is subscribed for each.")
    base_frame: str = parameter("base_link", "Frame of Cartesian commands, `ee_pose` and the workspace box.")
    action_names: list[str] = parameter(
        [], "Names of the action's dimensions: joints, or x, y, z of the tool in `base_frame`."
    )
    action_type: str = parameter(
        "delta",
        "delta: an action is added to the last command, per chunk_dt; absolute: an action is the position to be in.",
        choices=("delta", "absolute"),
    )
    gripper_names: list[str] = parameter(
        [], "Grippers that the VLA commands by position, beside action_names: their columns of `vla/reference` go to `gripper/command`, past "
        "actor and filter. A gripper that is to be learned is a joint among action_names instead.",
    )
    proprioception: list[str] = parameter(
        ["joint_position"],
        "Groups that make up the proprioception, in order: joint_position, joint_velocity, joint_effort, ee_position, "
        "ee_orientation, command_lead (last command minus measured), wrench_force, wrench_torque.",
    )
    control_rate: float = parameter(50.0, "Rate of the control loop.", unit="Hz", low=1.0, high=200.0)
    chunk_dt: float = parameter(0.02, "Time between two steps of a VLA chunk.", unit="s", low=0.001, high=1.0)
    chunk_length: int = parameter(10, "C: steps of a chunk that actor and critic work on.", unit="steps", low=1, high=100)
    token_size: int = parameter(
        128, "Dz: width of the RL token; 0: no token, actor and critic see proprioception and reference alone.", low=0, high=8192
    )
    residual_scale: list[float] = parameter(
        [], "Bound of the residual for each action name, in units of the action.", low=1e-9, high=1e3
    )
    vla_model: str = parameter("", "ONNX file of the VLA; `package://rl_token_ros/...` names a file of this package.")
    token_encoder: str = parameter("", "ONNX file of the token encoder made for that VLA.")
    vla_sha256: str = parameter("", "Fingerprint of the VLA where its file is not at hand; empty: of `vla_model`.")

    def __post_init__(self) -> None:
        if not self.action_names:
            raise ParameterError("parameter 'action_names' is empty; write the names of the action's dimensions, as in ['x', 'y', 'z'] (a bare y is YAML for true)")
        for name in ("action_names", "joint_names", "cameras", "gripper_names"):
            values = getattr(self, name)
            twice = sorted({v for v in values if values.count(v) > 1})
            if twice:
                raise ParameterError(f"parameter '{name}' names {', '.join(twice)} twice; write each name once")
        both = [name for name in self.gripper_names if name in self.action_names]
        if both:
            raise ParameterError(f"parameter 'gripper_names' has {', '.join(both)}, also in 'action_names'; write it in one of them")
        per_action(self, "residual_scale")
        fingerprint(self, "vla_sha256")
        known_groups(self, "proprioception")
        if not self.cartesian:
            missing = [name for name in self.action_names if name not in self.joint_names]
            if missing:
                raise ParameterError(
                    f"parameter 'action_names' has {', '.join(missing)}, not in 'joint_names'; "
                    f"write joint names, or some of {', '.join(CARTESIAN)} for the tool's position"
                )

    @property
    def cartesian(self) -> bool:
        """Whether actions are positions of the tool rather than of joints."""
        return set(self.action_names) <= set(CARTESIAN)

    @property
    def action_size(self) -> int:
        """A: number of action dimensions."""
        return len(self.action_names)

    @property
    def chunk_names(self) -> list[str]:
        """Names of the columns of `vla/reference`."""
        return [*self.action_names, *self.gripper_names]

    @property
    def action_rate(self) -> float:
        """Factor from an action per chunk_dt to one per control step: deltas shrink with the period, positions do not."""
        return 1.0 / (self.control_rate * self.chunk_dt) if self.action_type == "delta" else 1.0

    @property
    def step_residual_scale(self) -> list[float]:
        """Bound of the residual per control step, float per action name: the unit in which actor and critic see residuals."""
        return [scale * self.action_rate for scale in self.residual_scale]


def per_action(group: Any, *names: str) -> None:
    """Refuse lists that do not hold one number for each action name."""
    for name in names:
        values = getattr(group, name)
        if len(values) != len(group.action_names):
            raise ParameterError(
                f"parameter '{name}' has {len(values)} numbers; write {len(group.action_names)}, "
                f"one for each of action_names [{', '.join(group.action_names)}]"
            )


def fingerprint(group: Any, name: str) -> None:
    """Refuse a fingerprint that is none."""
    value = getattr(group, name)
    if value and (len(value) != 64 or set(value) - set("0123456789abcdef")):
        raise ParameterError(f"parameter '{name}' is '{value}'; write the 64 hex digits of `sha256sum FILE`, or nothing")


def known_groups(group: Any, name: str) -> None:
    """Refuse groups of proprioception that do not exist or that have no joints to be measured."""
    for value in getattr(group, name):
        if value not in proprioception.GROUPS:
            raise ParameterError(f"parameter '{name}' names '{value}'; write some of {', '.join(proprioception.GROUPS)}")
        if proprioception.GROUPS[value] == "joint_states" and not group.joint_names:
            raise ParameterError(f"parameter 'joint_names' is empty but '{name}' has {value}; write the joints to be measured")


@dataclass(frozen=True)
class Control(Robot):
    """Parameters of `control_node`."""

    command_interface: str = parameter(
        "forward",
        "Type of `command`: forward (Float64MultiArray), trajectory (JointTrajectory), joint_state (JointState), "
        "twist (TwistStamped), pose (PoseStamped).",
        choices=("forward", "trajectory", "joint_state", "twist", "pose"),
    )
    forward_quantity: str = parameter(
        "position",
        "What a forward command holds: position, or velocity. A velocity controller goes on with the last one when messages cease: prefer "
        "position, unless the controller has a timeout.",
        choices=("position", "velocity"),
    )
    gripper_interface: str = parameter(
        "forward", "Type of `gripper/command`: forward (Float64MultiArray), trajectory (JointTrajectory), joint_state (JointState).",
        choices=("forward", "trajectory", "joint_state"),
    )
    gripper_min: list[float] = parameter([], "Smallest command for each gripper.", unit="m or rad")
    gripper_max: list[float] = parameter([], "Largest command for each gripper.", unit="m or rad")
    gripper_seconds: float = parameter(
        0.2, "Time that a trajectory command gives a gripper to reach its position.", unit="s", low=0.001, high=10.0
    )
    mode: str = parameter(
        "vla",
        "vla: base only; shadow: the residual is computed and logged, the base executed; actor: base plus residual.",
        choices=("vla", "shadow", "actor"),
        live=True,
    )
    replan_interval: int = parameter(
        10, "Executed steps after which the actor's newest chunk replaces the running one (1 to chunk_length).",
        unit="steps", low=1, high=100, live=True,
    )
    exploration_sigma: float = parameter(
        0.15, "Standard deviation of the exploration noise in the noisiest episode, as a share of residual_scale; episodes draw 0 to 1 of it.",
        low=0.0, high=1.0, live=True,
    )
    exploration_correlation: float = parameter(
        0.8, "Correlation of the exploration noise of one chunk with that of the next; 0: independent.", low=0.0, high=0.999, live=True
    )
    position_min: list[float] = parameter([], "Smallest command for each action name.", unit="m or rad")
    position_max: list[float] = parameter([], "Largest command for each action name.", unit="m or rad")
    velocity_limit: list[float] = parameter(
        [], "Largest speed of the command for each action name.", unit="m/s or rad/s", low=1e-6, high=100.0
    )
    acceleration_limit: list[float] = parameter(
        [], "Largest acceleration of the command for each action name.", unit="m/s^2 or rad/s^2", low=1e-6, high=10000.0
    )
    lead_limit: list[float] = parameter(
        [], "Largest distance of the command from the measured position for each action name.", unit="m or rad", low=1e-6, high=10.0
    )
    workspace_min: list[float] = parameter(
        [], "Lower corner x, y, z of the box in which the tool may be (needs `ee_pose`); empty: no box.", unit="m"
    )
    workspace_max: list[float] = parameter([], "Upper corner of that box.", unit="m")
    tool_orientation: list[float] = parameter(
        [], "Orientation x, y, z, w of the tool for Cartesian commands; empty: the measured one when enabled."
    )
    state_timeout: float = parameter(
        0.2, "Largest age of joint_states, ee_pose and wrench; older ones stop the arm.", unit="s", low=0.001, high=10.0
    )
    chunk_timeout: float = parameter(
        1.0, "Largest age of a VLA chunk's observation; older chunks are not executed.", unit="s", low=0.01, high=60.0
    )
    hold_timeout: float = parameter(
        5.0, "Time without a usable chunk after which holding becomes a latched stop.", unit="s", low=0.0, high=3600.0
    )
    intervention_timeout: float = parameter(0.2, "Age below which `intervention` acts.", unit="s", low=0.01, high=5.0)
    episode_time_limit: float = parameter(20.0, "Length of a critical phase after which it ends.", unit="s", low=0.1, high=3600.0)
    authority_ramp: float = parameter(
        1.0, "Time of acting over which a new version of the weights takes over from the one before; 0: at once.", unit="s", low=0.0, high=60.0
    )
    weights_change_limit: float = parameter(
        2.0, "Largest change of the residuals, as a mean share of residual_scale, that new weights may make on the newest observation; 2: any. "
        "From half of it on, the node warns.", low=0.01, high=2.0,
    )
    rollback_seconds: float = parameter(
        60.0, "Time for which newer weights wait after a return to earlier ones.", unit="s", low=0.0, high=86400.0
    )
    auto_revert: bool = parameter(
        True, "Return to the last good weights when failures, or the filter's interventions, become frequent at once."
    )
    enable_on_start: bool = parameter(
        False, "Enable by itself once every input is fresh. For simulation only: a real arm is enabled with ~/enable."
    )
    actor_layers: int = parameter(2, "Hidden layers of the actor: 2, or 3 for the hardest tasks.", low=2, high=3)
    realtime_priority: int = parameter(
        50, "SCHED_FIFO priority of the node, where the system permits it; 0: ordinary scheduling.", low=0, high=99
    )
    seed: int = parameter(0, "Seed of the exploration noise.", low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        per_action(self, "position_min", "position_max", "velocity_limit", "acceleration_limit", "lead_limit")
        for i, name in enumerate(self.action_names):
            if not self.position_min[i] < self.position_max[i]:
                raise ParameterError(
                    f"parameter 'position_min' of {name} is {self.position_min[i]:g}, 'position_max' {self.position_max[i]:g}; "
                    "write the smaller one first"
                )
        for name in ("gripper_min", "gripper_max"):
            if len(getattr(self, name)) != len(self.gripper_names):
                raise ParameterError(
                    f"parameter '{name}' has {len(getattr(self, name))} numbers; write {len(self.gripper_names)}, one for each of gripper_names"
                )
        if self.forward_quantity == "velocity" and self.command_interface != "forward":
            raise ParameterError(f"parameter 'forward_quantity' is velocity but 'command_interface' is {self.command_interface}; write forward")
        if self.replan_interval > self.chunk_length:
            raise ParameterError(
                f"parameter 'replan_interval' is {self.replan_interval}; write 1 to chunk_length = {self.chunk_length}"
            )
        if len(self.workspace_min) not in (0, 3) or len(self.workspace_min) != len(self.workspace_max):
            raise ParameterError("parameters 'workspace_min' and 'workspace_max': write x, y, z for both, or neither")
        for axis, low, high in zip(CARTESIAN, self.workspace_min, self.workspace_max):
            if not low < high:
                raise ParameterError(f"parameter 'workspace_min' of {axis} is {low:g}, 'workspace_max' {high:g}; write the smaller one first")
        if self.tool_orientation and (len(self.tool_orientation) != 4 or abs(math.hypot(*self.tool_orientation) - 1.0) > 0.01):
            raise ParameterError(
                f"parameter 'tool_orientation' is {self.tool_orientation}; write a quaternion x, y, z, w of length 1, or nothing"
            )
        for name, low, high in zip(self.action_names, *self.command_range):
            if not low < high:
                raise ParameterError(
                    f"parameters 'position_min' and 'position_max' leave nothing of the box workspace_min to workspace_max for {name}; "
                    "write limits and a box that overlap"
                )
        if self.cartesian != (self.command_interface in POSE_INTERFACES):
            raise ParameterError(
                f"parameter 'command_interface' is {self.command_interface} but action_names are "
                f"[{', '.join(self.action_names)}]; write pose or twist for x, y, z, and another for joints"
            )

    @property
    def command_range(self) -> tuple[list[float], list[float]]:
        """Smallest and largest command for each action name; a tool's also inside the workspace box, which joints reach only by `ee_pose`."""
        if not self.cartesian or not self.workspace_min:
            return self.position_min, self.position_max
        axes = [CARTESIAN.index(name) for name in self.action_names]
        low = [max(value, self.workspace_min[axis]) for value, axis in zip(self.position_min, axes)]
        high = [min(value, self.workspace_max[axis]) for value, axis in zip(self.position_max, axes)]
        return low, high

    @property
    def commands_velocity(self) -> bool:
        """Whether `command` is a speed, of which zero is rest, rather than a position to be in."""
        return self.command_interface == "twist" or self.forward_quantity == "velocity"


@dataclass(frozen=True)
class Vla(Robot):
    """Parameters of `vla_node`."""

    backend: str = parameter(
        "onnx", "Where the VLA runs: onnx, a local model file; openpi, a policy server.", choices=("onnx", "openpi")
    )
    task: str = parameter("", "Language instruction, until one comes on `task`.", live=True)
    query_rate: float = parameter(10.0, "Largest rate of queries.", unit="Hz", low=0.1, high=200.0)
    vla_proprioception: list[str] = parameter(
        ["joint_position"], "Groups of proprioception that the VLA takes, as in `proprioception`."
    )
    image_transport: str = parameter(
        "raw", "raw: camera/<name>/image_raw; compressed: camera/<name>/image_raw/compressed, JPEG or PNG.", choices=("raw", "compressed")
    )
    image_timeout: float = parameter(0.5, "Largest age of an image or state in an observation.", unit="s", low=0.01, high=10.0)
    sync_slop: float = parameter(0.05, "Largest difference of the stamps within one observation.", unit="s", low=0.0, high=1.0)
    server: str = parameter("ws://localhost:8000", "Backend openpi: address of the policy server, ws://HOST:PORT or wss://HOST:PORT.")
    dialect: str = parameter(
        "openpi", "Backend openpi: openpi, or endpoint for servers whose requests name an endpoint (infer, reset).",
        choices=("openpi", "endpoint"),
    )
    api_key_variable: str = parameter(
        "RL_TOKEN_API_KEY", "Backend openpi: environment variable of vla_node that holds the API key; unset: no key is sent."
    )
    tls_certificate: str = parameter(
        "", "Backend openpi: PEM file of the authority behind a wss:// server's certificate; empty: the system's authorities."
    )
    query_timeout: float = parameter(
        1.0, "Backend openpi: deadline of a query and of a connection; an answer that comes later is thrown away.", unit="s", low=0.01, high=600.0
    )
    warmup_timeout: float = parameter(
        120.0, "Backend openpi: deadline of the first query of a connection, in which policies compile.", unit="s", low=0.01, high=3600.0
    )
    observation_preset: str = parameter(
        "plain", "Backend openpi: names under which the observation is sent: plain (what vla_server takes), droid, libero, aloha, "
        "or empty: only observation_keys.", choices=("", "plain", "droid", "libero", "aloha"),
    )
    observation_keys: list[str] = parameter(
        [], "Backend openpi: further names, each \"NAME: SOURCE\"; sources are camera/<name>, camera/<name>:chw, proprio, proprio[0:7], task.",
    )
    image_height: int = parameter(
        224, "Backend openpi: rows that pictures are resized to, with padding; 0: as they come.", unit="pixels", low=0, high=8192
    )
    image_width: int = parameter(224, "Backend openpi: columns likewise; 0: as they come.", unit="pixels", low=0, high=8192)
    action_columns: str = parameter(
        "", "Backend openpi: columns of the answer that are the actions, in order of action_names and then gripper_names, as in 0:6,13; empty: all."
    )
    action_scale: list[float] = parameter(
        [], "Backend openpi: factor from the policy's numbers to units of the action, for each action name and then each gripper; empty: 1.", low=-1e6, high=1e6
    )
    horizon: int = parameter(0, "Backend openpi: steps of an answer that are used; 0: all.", unit="steps", low=0, high=10000)
    statistics_file: str = parameter(
        "", "Backend openpi: LeRobot's stats.json or openpi's norm_stats.json, for a policy that leaves normalisation to its caller."
    )
    statistics_mode: str = parameter(
        "mean_std", "How statistics_file is used: mean_std, min_max or quantiles.", choices=("mean_std", "min_max", "quantiles")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.cameras:
            raise ParameterError("parameter 'cameras' is empty; write the names of the cameras that the VLA sees, as in [base, wrist]")
        known_groups(self, "vla_proprioception")
        if self.action_scale and len(self.action_scale) != len(self.chunk_names):
            raise ParameterError(
                f"parameter 'action_scale' has {len(self.action_scale)} numbers; write {len(self.chunk_names)}, one for each of "
                f"[{', '.join(self.chunk_names)}]"
            )
        if "command_lead" in self.vla_proprioception:
            raise ParameterError("parameter 'vla_proprioception' has command_lead, which only control_node knows; leave it out")


@dataclass(frozen=True)
class Learner(Robot):
    """Parameters of `learner_node`."""

    run_directory: str = parameter(
        "runs/latest", "Folder for checkpoints and received rows; created, or continued from if it holds a run."
    )
    seed_bags: list[str] = parameter(
        [], "Bags whose `replay` a new run begins with, read before the first message: demonstrations and interventions of long ago."
    )
    encoder_sha256: str = parameter("", "Fingerprint of the token encoder where its file is not at hand; empty: of `token_encoder`.")

    actor_layers: int = parameter(2, "Hidden layers of the actor: 2, or 3 for the hardest tasks.", low=2, high=3)
    critic_layers: int = parameter(2, "Hidden layers of each critic.", low=1, high=6)
    hidden_size: int = parameter(128, "Units of a hidden layer of actor and critic.", low=8, high=4096)
    batch_size: int = parameter(128, "Windows of a batch; every update draws its own.", low=8, high=8192)
    learning_rate: float = parameter(3e-4, "Step size of Adam.", low=1e-7, high=0.1)
    gradient_norm: float = parameter(10.0, "Largest norm of a gradient; longer ones are shortened.", low=1e-6, high=1e6)
    polyak: float = parameter(0.005, "Share of the new parameters in the averaged ones, per actor update.", low=1e-5, high=1.0)
    gamma: float = parameter(0.995, "Discount per control step.", low=0.5, high=1.0)
    return_min: float = parameter(0.0, "Smallest possible return; targets are clipped to it.", low=-1e6, high=1e6)
    return_max: float = parameter(1.0, "Largest possible return: 1 for the sparse reward.", low=-1e6, high=1e6)
    target_noise: float = parameter(
        0.1, "Standard deviation of the noise on target actions, share of the residual's bound, cut off at twice that.",
        low=0.0, high=1.0,
    )
    return_share: float = parameter(
        0.0, "Share of the return that was observed, up to the episode's end, in the critic's target; more keeps values from being dreamed up.",
        low=0.0, high=1.0,
    )
    residual_knots: int = parameter(
        0, "Residuals per chunk that the actor chooses for each action, each held over chunk_length / residual_knots steps; 0: one per step.",
        low=0, high=100,
    )
    reference_dropout: float = parameter(0.5, "Share of samples whose reference the actor does not see in training.", low=0.0, high=1.0)
    beta_start: float = parameter(
        1.0, "Weight of the penalty on the residual at the end of warm-up; it is a MEAN over C x A of squares in units of "
        "residual_scale.", low=1e-6, high=1e3,
    )
    beta_end: float = parameter(0.03, "That weight after beta_anneal_seconds, approached geometrically.", low=1e-6, high=1e3)
    beta_anneal_seconds: float = parameter(300.0, "Robot time from beta_start to beta_end.", unit="s", low=0.0, high=1e6)

    warmup_episodes: int = parameter(
        15, "Episodes of the base policy before the first update; fewer than 15 say little.", low=1, high=10000
    )
    pretrain_updates: int = parameter(
        2000, "Updates of the critic alone, on the warm-up, before the first actor is sent.", low=0, high=1000000
    )
    updates_per_step: float = parameter(5.0, "Critic updates per control step received (UTD).", low=0.0, high=100.0)
    updates_owed_max: int = parameter(
        20000, "Updates that may be outstanding; what is owed beyond that is forgone and counted.", low=1, high=10**9
    )
    push_updates: int = parameter(250, "Critic updates between two weight pushes.", low=1, high=1000000)

    learn: bool = parameter(True, "False: no updates; the best actor of the run in `run_directory` is sent, to work with what was learned.")
    best_window: int = parameter(15, "Practised episodes in a row whose throughput decides which actor was the best.", low=1, high=1000)

    window_stride: int = parameter(2, "Steps between the starts of two chunk windows.", unit="steps", low=1, high=100)
    replay_transitions: int = parameter(500_000, "Most control steps kept; the oldest go first.", low=1000, high=10**9)
    replay_bytes: int = parameter(1 << 30, "Most memory for steps, windows and tokens.", unit="bytes", low=1 << 16, high=1 << 42)

    journal_bytes: int = parameter(
        1 << 32, "Most disk space for the bag of received rows in run_directory; the oldest go first.", unit="bytes", low=1 << 27, high=1 << 42
    )
    device: str = parameter("auto", "Where to compute; auto takes CUDA if it is there.", choices=("auto", "cpu", "cuda"))
    torch_threads: int = parameter(1, "CPU threads of the worker; more than one slows a busy small machine.", low=1, high=256)
    worker_nice: int = parameter(10, "How far the worker stands back for others on this machine (nice).", low=0, high=19)
    worker_restarts: int = parameter(5, "How often in a row a worker that died is started again.", low=0, high=1000)
    checkpoint_seconds: float = parameter(60.0, "Time between two checkpoints.", unit="s", low=1.0, high=1e6)
    repeat_seconds: float = parameter(5.0, "Time after which the newest weights are sent again, for late joiners.", unit="s", low=0.1, high=3600.0)
    seed: int = parameter(0, "Seed of initial weights, batches and noise.", low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.residual_knots and self.chunk_length % self.residual_knots:
            divisors = [n for n in range(1, self.chunk_length + 1) if self.chunk_length % n == 0]
            raise ParameterError(
                f"parameter 'residual_knots' is {self.residual_knots}, which does not divide chunk_length = {self.chunk_length}; write 0 or one of {divisors}"
            )
        if not self.return_min < self.return_max:
            raise ParameterError(
                f"parameter 'return_min' is {self.return_min:g}, 'return_max' {self.return_max:g}; write the smaller one first"
            )
        fingerprint(self, "encoder_sha256")


@dataclass(frozen=True)
class Sim(SimParameters):
    """Parameters of `sim_node`."""

    base_frame: str = parameter("base_link", "Frame of everything the simulator publishes.")
    state_rate: float = parameter(100.0, "Rate of joint_states, ee_pose, wrench and /clock.", unit="Hz", low=10.0, high=500.0)
    camera_rate: float = parameter(20.0, "Rate of the camera images.", unit="Hz", low=1.0, high=100.0)
    real_time_factor: float = parameter(
        1.0, "Speed of simulated time; other than 1 needs use_sim_time, so that all nodes follow /clock.", low=0.05, high=100.0
    )
    approach_limit: float = parameter(
        20.0, "Time to reach the critical phase, after which the scene is reset.", unit="s", low=1.0, high=3600.0
    )


@dataclass(frozen=True)
class Record:
    """Parameters of `record`."""

    bag: str = parameter("", "Folder of the bag; created, or continued with a new file. Empty: runs/bags/<date and time>.")
    topics: list[str] = parameter(
        [
            "joint_states", "ee_pose", "wrench", "task", "vla/reference", "vla/embedding", "command", "intervention", "critical_phase",
            "outcome", "episode_ended", "replay", "actor/weights", "control_node/ticks", "control_node/settings", "/diagnostics", "/clock",
        ],
        "Topics to record; * stands for any characters, as in camera/*. The default is all that replay_bag and the learner can use, "
        "without the cameras.",
    )  # fmt: skip
    split_size: int = parameter(1 << 30, "Size at which a new file begins.", unit="bytes", low=1 << 16, high=1 << 50)
    size_limit: int = parameter(0, "Size of the bag beyond which its oldest files are deleted; 0: none.", unit="bytes", low=0, high=1 << 50)
    free_space: int = parameter(
        1 << 30, "Free space on the disk below which recording pauses: the robot's other programs need it.", unit="bytes", low=0, high=1 << 50
    )
    compression: str = parameter("none", "Of the files' chunks; lz4 and zstd cost CPU.", choices=("none", "lz4", "zstd"))
    sync_seconds: float = parameter(1.0, "Time after which what was received is on the disk, whatever happens.", unit="s", low=0.1, high=3600.0)
    queue_size: int = parameter(
        256 << 20, "Memory for messages that the disk has not taken yet; what does not fit is lost and counted.", unit="bytes", low=1 << 20, high=1 << 40
    )


NODES: dict[str, type] = {"control_node": Control, "vla_node": Vla, "learner_node": Learner, "sim_node": Sim, "record": Record}


def known_names() -> set[str]:
    """Every parameter that any node declares: a shared section of a file may hold them all."""
    return {name for group in NODES.values() for name in parameters.fields(group)}


def load(node: str, path: str | Path, **overrides: Any) -> Any:
    """The parameters of a node (a key of NODES) from a ROS parameter file, without ROS."""
    return parameters.load(NODES[node], path, node, known_names(), overrides)
