"""sim_node: our simulated arm and task behind the topics of a real one."""

from __future__ import annotations

import sys
from typing import Any

from rl_token_ros.nodes.discovery import use_short_lease
from rl_token_ros.nodes.environment_node import EnvironmentNode
from rl_token_ros.nodes.running import run
from rl_token_ros.settings.gym import Gym
from rl_token_ros.settings.sim import Sim
from rl_token_ros.sim.simulation import CAMERAS, Simulation

DOWN = (1.0, 0.0, 0.0, 0.0)  # x, y, z, w of a tool that points down, its yaw 0


class SimNode(EnvironmentNode):
    """Steps the simulation."""

    def __init__(self, **options: Any) -> None:
        super().__init__("sim_node", Sim, self._make, **options)

    def _make(self, settings: Sim) -> tuple[Simulation, Gym]:
        """The simulation, and what a parameter file would say of it."""
        self.simulation = made = Simulation(settings)
        actions = list(made.action_names)
        return made, Gym(
            joint_names=list(made.joint_names), cameras=list(CAMERAS), base_frame=settings.base_frame, action_names=actions,
            tool_orientation=list(DOWN), command_interface="pose", residual_scale=[1.0] * len(actions), seed=settings.seed,
            reset_time=settings.reset_time, state_rate=settings.state_rate, camera_rate=settings.camera_rate, approach_limit=settings.approach_limit,
        )  # fmt: skip

    def figures(self) -> dict[str, Any]:
        """And what renders."""
        return {"renderer": self.simulation.render_backend, **super().figures()}


def main() -> None:
    """Entry point of `sim_node`."""
    use_short_lease()
    sys.exit(run(SimNode))


if __name__ == "__main__":
    main()
