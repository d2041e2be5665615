"""Parameters of `vla_node`."""

from __future__ import annotations

from dataclasses import dataclass

from rl_token_ros.settings.parameters import ParameterError, parameter
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
    action_columns: str = parameter(
        "", "Backend openpi: columns of the answer that are the actions, in order of action_names and then gripper_names, as in 0:6,13; empty: all."
    )
    action_scale: list[float] = parameter(
        [],
        "Backend openpi: factor from the policy's numbers to units of the action, for each action name and then each gripper; empty: 1.",
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
        if self.action_scale and len(self.action_scale) != len(self.chunk_names):
            raise ParameterError(
                f"parameter 'action_scale' has {len(self.action_scale)} numbers; write {len(self.chunk_names)}, one for each of "
                f"[{', '.join(self.chunk_names)}]"
            )
        if "command_lead" in self.vla_proprioception:
            raise ParameterError("parameter 'vla_proprioception' has command_lead, which only control_node knows; leave it out")

    @property
    def picture_size(self) -> tuple[int, int]:
        """Rows and columns of the pictures that the backend takes; 0, 0: as they come."""
        return (self.image_height, self.image_width) if self.backend == "openpi" else (0, 0)
