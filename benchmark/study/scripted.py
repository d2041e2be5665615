"""Two controllers that know the true offset: what could be reached on the same scenes, by going as fast as the arm may, and by a residual.

The base brings the peg to the hole, as in training. From there on they act in the human's place, through the same filter with the same limits.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from rl_token_ros.evaluation.scores import ScoredEpisode
from rl_token_ros.sim.closed_loop import ClosedLoop
from rl_token_ros.sim.training import EVALUATION_SEED, run_episodes

ALIGNED = 0.0003  # m beside the hole's middle, along each axis: well within the clearance
ABOVE = 0.0005  # m above the surface, to line up
DOWN = 0.01  # m: further than lead_limit lets it
FULL, OVER = 0.0002, 0.0004  # m beside it: where a residual is at its bound, and below which it goes down
TURN_ALIGNED, TURN_FULL, TURN_OVER = 0.012, 0.010, 0.030  # rad: the same of a plug


def wanted(side: np.ndarray, height: float) -> np.ndarray:
    """From where the tool is to where it should be told to go, [3] m, or [4] with rad.

    Args:
        side: the way to the hole, [2] m, or [3] with the turn to it, rad.
        height: above the socket's surface, m.
    """
    down = -DOWN if height < 0.0 or (np.abs(side) < (ALIGNED, ALIGNED, TURN_ALIGNED)[: len(side)]).all() else ABOVE - height
    return np.insert(side, 2, down)


def residual(side: np.ndarray) -> np.ndarray:
    """The residual [3] or [4] in -1..1 that goes to the hole, ``side`` as in :func:`wanted`, and down once it is over it."""
    down = 1.0 if (np.abs(side) < (OVER, OVER, TURN_OVER)[: len(side)]).all() else 0.0
    return np.insert(np.clip(side / (FULL, FULL, TURN_FULL)[: len(side)], -1.0, 1.0), 2, -down)


def correct(loop: ClosedLoop) -> None:
    """What a hand that knows the true offset does after a control step of the critical phase: it corrects the base, within the residual's bounds."""
    if loop.simulation.critical and loop.simulation.outcome is None:
        loop.intervene(np.array(loop.control_settings.residual_scale) * residual(-loop.simulation.offset), corrects=True)


def perform(
    parameter_file: str | Path, seed: int, episodes: int, overrides: dict[str, dict] | None = None, bounded: bool = False
) -> list[ScoredEpisode]:
    """Score it on the scenes on which `training.evaluate` scores a policy of this seed.

    Args:
        bounded: not as fast as the arm may, but base plus a residual within `residual_scale`: the best that training could make of it.
    """
    given = overrides or {}
    loop = ClosedLoop(
        parameter_file,
        overrides={
            **given,
            "sim_node": {**given.get("sim_node", {}), "seed": EVALUATION_SEED + seed},
            "control_node": {**given.get("control_node", {}), "mode": "vla", "token_size": 0},
        },
    )
    simulation, controller, control = loop.simulation, loop.controller, loop.control_settings

    def take_over() -> None:
        if simulation.critical and simulation.outcome is None:
            height = float((simulation.peg_position - simulation.hole_position)[2])
            lead = controller.filter.command - simulation.tool_pose
            loop.intervene((wanted(-simulation.offset, height) - lead) / control.action_rate)

    return run_episodes(loop, episodes, functools.partial(correct, loop) if bounded else take_over)[0]
