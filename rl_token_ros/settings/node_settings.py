"""Every parameter of every node: the one place where name, default, unit, range and meaning are written down, a module a node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rl_token_ros.settings import parameters
from rl_token_ros.settings.control import Control
from rl_token_ros.settings.gym import Gym
from rl_token_ros.settings.learner import Learner
from rl_token_ros.settings.operator import Operator
from rl_token_ros.settings.record import Record
from rl_token_ros.settings.robot import Robot
from rl_token_ros.settings.sim import Sim
from rl_token_ros.settings.vla import Vla

__all__ = ["NODES", "Control", "Gym", "Learner", "Operator", "Record", "Robot", "Sim", "Vla", "known_names", "load"]

NODES: dict[str, type] = {
    "control_node": Control, "vla_node": Vla, "learner_node": Learner, "sim_node": Sim, "gym_node": Gym, "record": Record, "operator": Operator,
}  # fmt: skip


def known_names() -> set[str]:
    """Every parameter that any node declares: a shared section of a file may hold them all."""
    return {name for group in NODES.values() for name in parameters.fields(group)}


def load(node: str, path: str | Path, **overrides: Any) -> Any:
    """The parameters of a node (a key of NODES) from a ROS parameter file, without ROS."""
    return parameters.load(NODES[node], path, node, known_names(), overrides)
