"""gym_node: an environment of yours, the class that its parameter `env` names, behind the topics of a real robot."""

from __future__ import annotations

import sys
from typing import Any

from rl_token_ros.nodes.discovery import use_short_lease
from rl_token_ros.nodes.environment_node import EnvironmentNode
from rl_token_ros.nodes.running import run
from rl_token_ros.settings.gym import Gym
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.sim.environment import Environment, load


class GymNode(EnvironmentNode):
    """Steps the environment."""

    def __init__(self, **options: Any) -> None:
        super().__init__("gym_node", Gym, self._make, **options)

    def _make(self, settings: Gym) -> tuple[Environment, Gym]:
        if not settings.env:
            raise ParameterError("parameter 'env' is empty; write the class of your environment, MODULE:CLASS, as docs/your_simulation.md says")
        if not self.get_parameter("use_sim_time").value:
            raise ParameterError(
                "gym_node needs use_sim_time: true, for all nodes: an environment that begins anew leaps, which control_node believes of simulated "
                "time alone"
            )
        return load(settings.env), settings


def main() -> None:
    """Entry point of `gym_node`."""
    use_short_lease()
    sys.exit(run(GymNode))


if __name__ == "__main__":
    main()
