"""A small environment with Gymnasium's API, and the bridge to it that a user would write: a point that goes down to the table."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import small_robot

from rl_token_ros.sim.gym_environment import GymEnvironment

STEP = 0.0005  # m, of an action of 1
TABLE = small_robot.HOME[2] - 0.0032  # m


SOON = {"base_episodes": 2, "warmup_episodes": 3, "pretrain_updates": 20, "push_updates": 20, "updates_per_step": 0.2, "batch_size": 16}


def parameter_file(folder: Path, models: dict[str, Path], env: str = "reach:Reach", **changes: Any) -> Path:
    """That of the small robot in an environment, written into a folder; ``changes`` of what its nodes share."""
    files = {"vla_model": str(models["vla"]), "token_encoder": str(models["encoder"]), "tool_orientation": list(small_robot.DOWN)}
    shared = {
        **small_robot.control(proprioception=["ee_position", "command_lead"], lead_limit=[0.001] * 3, **files), "vla_proprioception": ["ee_position"],
        "enable_on_start": True, "mode": "actor", "use_sim_time": True, **changes,
    }  # fmt: skip
    learner = {**SOON, "run_directory": str(folder / "learner")}
    sections = {"/**": shared, "/**/gym_node": {"env": env, "reset_time": 0.5, "approach_limit": 2.0}, "/**/learner_node": learner}
    path = folder / "robot.yaml"
    path.write_text(json.dumps({name: {"ros__parameters": values} for name, values in sections.items()}))  # JSON is YAML
    return path


class PointEnv:
    """Gymnasium's API, of a point that moves as it is told. The observation is where it is, m."""

    action_space = SimpleNamespace(low=-np.ones(3, np.float32), high=np.ones(3, np.float32), dtype=np.dtype(np.float32))

    def __init__(self, limit: int = 0) -> None:
        self.limit, self.steps, self.closed = limit, 0, False
        self.actions: list[np.ndarray] = []

    def reset(self, *, seed: int | None = None) -> tuple[np.ndarray, dict]:
        if seed is not None:
            self.random = np.random.default_rng(seed)
        self.steps = 0
        self.point = small_robot.HOME + [*self.random.uniform(-0.005, 0.005, 2), 0.0]
        return self.point.copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert action.shape == (3,) and action.dtype == np.float32 and (np.abs(action) <= 1.0).all()
        self.actions.append(action)
        self.point = self.point + STEP * action
        self.steps += 1
        return self.point.copy(), 0.0, False, self.steps == self.limit, {"success": float(self.point[2] < TABLE)}

    def render(self) -> np.ndarray:
        return np.full((small_robot.IMAGE, small_robot.IMAGE, 3), round(1000 * self.point[2]), np.uint8)

    def close(self) -> None:
        self.closed = True


class Reach(GymEnvironment):
    """The bridge."""

    def __init__(self, env: Any = None) -> None:
        super().__init__(env or PointEnv(), ("x", "y", "z"), step_seconds=small_robot.PERIOD, action_scale=STEP)

    def measured(self) -> dict[str, np.ndarray]:
        return {"ee_position": self.observation, "ee_orientation": np.array(small_robot.DOWN)}

    def is_critical(self) -> bool:
        return self.observation[2] < small_robot.HOME[2] - 0.0007


class Whole(Reach):
    """All of an episode is critical."""

    def is_critical(self) -> bool:
        return True


class Lost(Reach):
    """Its critical phase never begins."""

    def is_critical(self) -> bool:
        return False


class Jaws(Reach):
    """With a gripper that the VLA moves.

    Attributes:
        jaw: what it was told.
    """

    def __init__(self) -> None:
        super().__init__()
        self.action_names = ("x", "y", "z", "jaw")
        self.jaw: list[float] = []

    def action(self, command: np.ndarray) -> np.ndarray:
        self.jaw.append(command[3])
        return super().action(command)[:3]


class Silent:
    """Half of the protocol."""

    action_names = ("x", "y", "z")
    critical = False

    def reset(self, seed: int | None = None) -> None:
        """Nothing."""
