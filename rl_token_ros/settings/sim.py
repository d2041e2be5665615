"""Parameters of `sim_node`, and those that every node with a simulation has."""

from __future__ import annotations

from dataclasses import dataclass

from rl_token_ros.settings.parameters import parameter
from rl_token_ros.settings.sim_task import SimParameters


@dataclass(frozen=True)
class Simulated:
    """How fast a simulation runs and is looked at, and for how long an episode may approach."""

    state_rate: float = parameter(100.0, "Rate of joint_states, ee_pose, wrench, extra and /clock.", unit="Hz", low=10.0, high=500.0)
    camera_rate: float = parameter(20.0, "Rate of the camera images.", unit="Hz", low=1.0, high=100.0)
    real_time_factor: float = parameter(
        1.0, "Speed of simulated time; other than 1 needs use_sim_time, so that all nodes follow /clock.", low=0.05, high=100.0
    )
    approach_limit: float = parameter(20.0, "Time to reach the critical phase, after which the scene is reset.", unit="s", low=1.0, high=3600.0)


@dataclass(frozen=True)
class Sim(Simulated, SimParameters):
    """Parameters of `sim_node`."""

    base_frame: str = parameter("base_link", "Frame of everything the simulator publishes.")
