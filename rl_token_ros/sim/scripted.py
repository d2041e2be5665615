"""A controller that knows the true offset and goes as fast as the arm may: what a perfect policy could reach on the same scenes.

The base brings the peg to the hole, as in practice. From there on it acts in the human's place, through the same filter with the same limits.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rl_token_ros.scoring import ScoredEpisode
from rl_token_ros.sim.closed_loop import ClosedLoop
from rl_token_ros.sim.practice import EVALUATION_SEED, run_episodes

ALIGNED = 0.0003  # m beside the hole's middle, along each axis: well within the clearance
ABOVE = 0.0005  # m above the surface, to line up
DOWN = 0.01  # m: further than lead_limit lets it


def wanted(side: np.ndarray, height: float) -> np.ndarray:
    """From the tool's position to where it should be told to go [3] m, for the way to the hole [2] m and the height above its surface, m."""
    down = -DOWN if height < 0.0 or np.abs(side).max() < ALIGNED else ABOVE - height
    return np.array([*side, down])


def perform(parameter_file: str | Path, seed: int, episodes: int, overrides: dict[str, dict] | None = None) -> list[ScoredEpisode]:
    """Score it on the scenes on which `practice.evaluate` scores a policy of this seed."""
    given = overrides or {}
    loop = ClosedLoop(
        parameter_file,
        overrides={
            **given,
            "sim_node": {**given.get("sim_node", {}), "seed": EVALUATION_SEED + seed},
            "control_node": {**given.get("control_node", {}), "mode": "vla", "token_size": 0},
        },
    )
    simulation, controller = loop.simulation, loop.controller

    def take_over() -> None:
        if simulation.critical and simulation.outcome is None:
            height = float((simulation.peg_position - simulation.hole_position)[2])
            lead = controller.filter.command - simulation.ee_position
            action = (wanted(-simulation.lateral_offset, height) - lead) / loop.control_settings.action_rate
            controller.proposals.set_human(loop.now_ns, action)

    return run_episodes(loop, episodes, take_over)[0]
