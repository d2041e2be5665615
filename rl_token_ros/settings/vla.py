"""Parameters of `vla_node`."""

from __future__ import annotations

from dataclasses import dataclass

from rl_token_ros.settings.parameters import ParameterError, parameter
from rl_token_ros.settings.policy_actions import ACTION_PRESETS, ROTATION_FORMATS
from rl_token_ros.settings.proprioception_groups import YAW
from rl_token_ros.settings.robot import Robot, known_groups


@dataclass(frozen=True)
class Vla(Robot):
    """Parameters of `vla_node`."""

    backend: str = parameter("onnx", "Where the VLA runs: onnx, a local model file; openpi, a policy server.", choices=("onnx", "openpi"))
    task: str = parameter("", "Language instruction, until one comes on `task`.", live=True)
    query_rate: float = parameter(10.0, "Largest rate of queries.", unit="Hz", low=0.1, high=200.0)
    vla_proprioception: list[str] = parameter(["joint_position"], "Groups of proprioception that the VLA takes, as in `proprioception`.")
    image_transport: str = parameter(
        "raw", "raw: camera/<name>/image_raw; compressed: camera/<name>/image_raw/compressed, JPEG or PNG.", choices=("raw", "compressed")
    )
    image_timeout: float = parameter(0.5, "Largest age of an image or state in an observation.", unit="s", low=0.01, high=10.0)
    sync_slop: float = parameter(0.05, "Largest difference of the stamps within one observation.", unit="s", low=0.0, high=1.0)
    server: str = parameter("ws://localhost:8000", "Backend openpi: address of the policy server, ws://HOST:PORT or wss://HOST:PORT.")
    dialect: str = parameter(
        "openpi",
        "Backend openpi: openpi, or endpoint for servers whose requests name an endpoint (infer, reset).",
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
        "plain",
        "Backend openpi: names under which the observation is sent: plain (what vla_server takes), droid, libero, aloha, "
        "or empty: only observation_keys.",
        choices=("", "plain", "droid", "libero", "aloha"),
    )
    observation_keys: list[str] = parameter(
        [],
        'Backend openpi: further names, each "NAME: SOURCE"; sources are camera/<name>, camera/<name>:chw, proprio, proprio[0:7], task.',
    )
    image_height: int = parameter(
        224, "Backend openpi: rows that pictures are resized to, with padding; 0: as they come.", unit="pixels", low=0, high=8192
    )
    image_width: int = parameter(224, "Backend openpi: columns likewise; 0: as they come.", unit="pixels", low=0, high=8192)
    action_preset: str = parameter(
        "",
        "Backend openpi: convention of a data set for x, y, z, rotation and gripper: libero, bridge, droid_position, droid_velocity. It stands for "
        "policy_names, action_scale and rotation_format; what is written there wins. Empty: none.",
        choices=("", *ACTION_PRESETS),
    )
    policy_names: list[str] = parameter(
        [],
        "Backend openpi: names of the numbers of the policy's action, in its order: those of action_names and gripper_names are taken by name, for "
        "rx, ry, rz the numbers of rotation_format, and others left out; empty: by action_columns.",
    )
    action_columns: str = parameter(
        "",
        "Backend openpi: columns of the answer that are the actions, in order of action_names and then gripper_names, as in 0:6,13; in place of rx, "
        "ry, rz those of the numbers of rotation_format; empty: all.",
    )
    rotation_format: str = parameter(
        "",
        "Backend openpi: how the policy says rx, ry, rz. rotation_vector (rx, ry, rz), also where this is empty; quaternion (qx, qy, qz, qw); "
        "matrix_columns, 6-D, the first column of the rotation matrix and then the second (r11, r21, r31, r12, r22, r32); euler_xyz (roll, pitch, "
        "yaw: about the fixed axes x, y and z, one after the other). With action_type absolute it is the tool's orientation in base_frame, with "
        "delta the turn.",
        choices=("", *ROTATION_FORMATS),
    )
    rotation_frame: str = parameter(
        "base",
        "Backend openpi: the axes that a delta of the rotation is about: base, of base_frame; tool, of the tool, as it is turned by then.",
        choices=("base", "tool"),
    )
    action_scale: list[float] = parameter(
        [],
        "Backend openpi: factor from the policy's numbers to units of the action, for each action name (in place of rx, ry, rz for the numbers of "
        "rotation_format) and then each gripper; empty: 1.",
        low=-1e6,
        high=1e6,
    )
    horizon: int = parameter(0, "Backend openpi: steps of an answer that are used; 0: all.", unit="steps", low=0, high=10000)
    embeddings: str = parameter(
        "",
        "Backend openpi: where the server makes the token, have it send the embeddings in its place, as float32 or float16, to record them; "
        "control_node makes the token then; empty: the token.",
        choices=("", "float32", "float16"),
    )
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
        if self.action_scale and len(self.action_scale) != len(self.answer_names):
            raise ParameterError(
                f"parameter 'action_scale' has {len(self.action_scale)} numbers; write {len(self.answer_names)}, one for each of "
                f"[{', '.join(self.answer_names)}]"
            )
        self._check_preset()
        self._check_rotations()
        if "command_lead" in self.vla_proprioception:
            raise ParameterError("parameter 'vla_proprioception' has command_lead, which only control_node knows; leave it out")

    def _check_preset(self) -> None:
        if self.policy_names and self.action_columns:
            raise ParameterError("parameters 'policy_names' and 'action_columns' are both given; write one of them")
        if not (preset := ACTION_PRESETS.get(self.action_preset)):
            return
        told = f"parameter 'action_preset' is {self.action_preset}"
        if self.action_type != preset.action_type:
            raise ParameterError(
                f"{told}, whose actions are {preset.action_type}, but 'action_type' is {self.action_type}; write {preset.action_type}"
            )
        if not self.cartesian or YAW in self.action_names:
            raise ParameterError(f"{told}, but action_names are [{', '.join(self.action_names)}]; write x, y, z, rx, ry, rz")
        if len(self.gripper_names) > 1:
            raise ParameterError(f"{told}, whose actions have one gripper, but 'gripper_names' has {len(self.gripper_names)}; write one, or none")

    def _check_rotations(self) -> None:
        if self.rotation_at is None:
            for name in ("rotation_format",) * bool(self.rotation_format) + ("rotation_frame",) * (self.rotation_frame != "base"):
                raise ParameterError(f"parameter '{name}' is {getattr(self, name)}, but action_names has no rx, ry, rz; leave it out")
            return
        if self.backend == "onnx" and (self.action_preset or self.answer_rotation != "rotation_vector" or self.rotation_frame != "base"):
            raise ParameterError(
                "parameters 'action_preset', 'rotation_format' and 'rotation_frame' are for backend openpi; a model of backend onnx gives rx, ry, rz "
                "from tool_orientation, or turns about axes of base_frame"
            )
        if self.backend == "onnx":
            return
        if self.action_type == "absolute" and not self.tool_orientation:
            raise ParameterError(
                "parameter 'tool_orientation' is empty, but rx, ry, rz of absolute actions are counted from it; write it under /**, for vla_node as "
                "well as control_node"
            )
        if self.action_type == "absolute" and self.rotation_frame == "tool":
            raise ParameterError("parameter 'rotation_frame' is tool, but 'action_type' is absolute: an orientation is one in base_frame; write base")
        factors = self.answer_scale[self.rotation_at : self.rotation_at + len(self.rotation_numbers)]
        if self.answer_rotation in ("quaternion", "matrix_columns") and set(factors) != {1.0}:
            raise ParameterError(f"parameter 'action_scale' of {', '.join(self.rotation_numbers)} is not 1; write 1: their length says nothing")

    @property
    def answer_rotation(self) -> str:
        """How the policy says a rotation: rotation_format, or that of the preset."""
        preset = ACTION_PRESETS.get(self.action_preset)
        return self.rotation_format or (preset.rotation_format if preset else "rotation_vector")

    @property
    def rotation_numbers(self) -> tuple[str, ...]:
        """Names of the numbers by which it does, where rx, ry, rz are actions."""
        return () if self.rotation_at is None else ROTATION_FORMATS[self.answer_rotation]

    @property
    def answer_names(self) -> list[str]:
        """Names of the numbers that are taken of the policy's action: chunk_names, with those of the rotation in place of rx, ry, rz."""
        if (at := self.rotation_at) is None:
            return self.chunk_names
        return [*self.action_names[:at], *self.rotation_numbers, *self.action_names[at + 3 :], *self.gripper_names]

    @property
    def all_answer_names(self) -> list[str]:
        """Names of all of its numbers, in its order, by policy_names or the preset; empty: they are not named."""
        preset = ACTION_PRESETS.get(self.action_preset)
        if self.policy_names or self.action_columns or preset is None:
            return self.policy_names
        return preset.names(self.gripper_names[0] if self.gripper_names else "gripper")

    @property
    def answer_scale(self) -> list[float]:
        """Factor for each of answer_names."""
        preset = ACTION_PRESETS.get(self.action_preset)
        return self.action_scale or (preset.scale(self.answer_names) if preset else [1.0] * len(self.answer_names))

    @property
    def pace_warning(self) -> str:
        """The sentence about a chunk_dt that is not the data set's, or nothing."""
        preset = ACTION_PRESETS.get(self.action_preset)
        if preset is None or abs(self.chunk_dt / preset.dt - 1.0) < 0.01:
            return ""
        return (
            f"parameter 'chunk_dt' is {self.chunk_dt:g} s, actions of {self.action_preset} are {preset.dt:.3g} s apart: the tool moves "
            f"{preset.dt / self.chunk_dt:.3g} times as fast as in the data set"
        )

    @property
    def measured_groups(self) -> list[str]:
        """Groups of measurements that an observation holds: vla_proprioception, and what turns about the tool's axes need."""
        needed = ["ee_orientation"] if self.rotation_frame == "tool" else []
        return list(dict.fromkeys([*self.vla_proprioception, *needed]))

    @property
    def picture_size(self) -> tuple[int, int]:
        """Rows and columns of the pictures that the backend takes; 0, 0: as they come."""
        return (self.image_height, self.image_width) if self.backend == "openpi" else (0, 0)
