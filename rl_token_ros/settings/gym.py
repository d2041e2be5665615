"""Parameters of `gym_node`, and of practice in one process, with an environment of one's own."""

from __future__ import annotations

from dataclasses import dataclass

from rl_token_ros.settings.parameters import parameter
from rl_token_ros.settings.robot import Robot
from rl_token_ros.settings.sim import Simulated


@dataclass(frozen=True)
class Gym(Simulated, Robot):
    """Parameters of `gym_node`."""

    env: str = parameter("", "Class of the environment, MODULE:CLASS, of a module that is installed or lies in the present folder.")
    seed: int = parameter(0, "Seed of all that is random in the environment.", low=0)
    reset_time: float = parameter(
        3.0, "Robot time between two episodes, in which pictures and measurements go on and commands do not count.", unit="s", low=0.0, high=3600.0
    )
    command_interface: str = parameter(
        "forward",
        "As that of control_node: write it under /**, for both. No environment takes twist.",
        choices=("forward", "trajectory", "joint_state", "pose"),
    )
    gripper_interface: str = parameter(
        "forward", "As that of control_node, likewise. No environment takes actions.", choices=("forward", "trajectory", "joint_state")
    )
