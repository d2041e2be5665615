"""A model of the critical phase whose answers are known beforehand."""

from __future__ import annotations

import numpy as np
import small_robot

from rl_token_ros.control.phase_switch import PhaseModel

GROUPS = ["ee_position", "wrench_force"]
SIZE = small_robot.TOKEN + 6


def along_x(enter: float = 0.8, begin: float = small_robot.HOME[0] + 0.004) -> PhaseModel:
    """Critical beyond this x of the tool."""
    weights = np.zeros(SIZE)
    weights[small_robot.TOKEN] = 3000.0
    return PhaseModel(weights, -3000.0 * begin, enter, "e" * 64, GROUPS)
