"""Base plus residual over a chunk: which residual chunk is running, and which of its steps is next."""

from __future__ import annotations

import numpy as np

from rl_token_ros.policy.exploration import Exploration
from rl_token_ros.policy.rollout import Rollout
from rl_token_ros.robot.action_space import PLAIN, ActionSpace


class ResidualPolicy:
    """Executes chunks of reference plus bounded residual.

    The actor runs at every tick; its newest chunk replaces the running one after ``replan_interval`` executed steps. Exploration noise
    is held over a chunk, and so is what an episode before the first actor has more of the base's motion.

    Args:
        rollout: the network, with the weights that act.
        scale: bound of the residual per control step, float [A].
        exploration: noise on it.
        replan_interval: executed steps per chunk, 1 to C.
        space: of the actions; a residual is added to an absolute rotation as a turn, in the tangent space there.
    """

    def __init__(self, rollout: Rollout, scale: np.ndarray, exploration: Exploration, replan_interval: int, space: ActionSpace = PLAIN) -> None:
        self.rollout = rollout
        self.actor = actor = rollout.actor
        self.scale = np.asarray(scale, np.float64)
        self.exploration = exploration
        self.replan_interval = replan_interval
        self.space = space
        self.observation = np.zeros(actor.architecture.inputs, np.float32)
        self.residual = np.zeros((actor.architecture.chunk_length, actor.architecture.action), np.float32)
        self.version = 0  # of the weights that made the running chunk
        self._plan: np.ndarray | None = None
        self._no_plan = [np.nan] * self.residual.size
        self._executed = 0

    @property
    def executed(self) -> int:
        """Steps of the running chunk that have been executed; 0 when there is none."""
        return 0 if self._plan is None else self._executed

    def begin(self, now_ns: int) -> None:
        """A new episode, with noise of its own."""
        self.exploration.begin(now_ns)
        self.reset()

    @property
    def plan_version(self) -> int:
        """Version of the weights that made the running chunk; 0 without one."""
        return self.version if self.executed else 0

    @property
    def plan(self) -> list[float]:
        """The running chunk [C * A], NaN without one."""
        return self._no_plan if self._plan is None else self._plan.ravel().tolist()

    def resume(self, begun_ns: int, drawn: int, executed: int, version: int, plan: np.ndarray) -> None:
        """Be as in an episode that began then and has drawn so often; ``executed`` steps into a chunk [C * A], 0: there is none."""
        self.exploration.resume(begun_ns, drawn)
        self._plan = plan.reshape(-1, len(self.scale)) if executed else None
        self._executed, self.version = executed, version

    def reset(self) -> None:
        """Forget the running chunk: the next action begins a new one."""
        self._plan = None

    def act(self, token: np.ndarray, proprio: np.ndarray, window: np.ndarray) -> np.ndarray:
        """The action float64 [A] for this step.

        Args:
            token: float32 [Dz].
            proprio: float32 [P].
            window: reference actions [C, A] of this and the next steps.
        """
        np.concatenate([token, proprio, self.space.continuous(window).ravel()], out=self.observation, casting="same_kind")
        self.residual = self.rollout.run(self.observation)
        if self._plan is None or self._executed >= self.replan_interval:
            share = self.residual + self.exploration.draw()
            if self.actor.weights is not None and self.actor.weights.changes_nothing:  # no actor has been learned yet
                share += self.exploration.more_of(self.space.motion(window) / self.scale)
            self._plan = self.space.moved(self.centre(window), self.scale * np.clip(share, -1.0, 1.0))
            self._executed, self.version = 0, self.actor.version
        action: np.ndarray = self._plan[self._executed]
        self._executed += 1
        return action

    def centre(self, window: np.ndarray) -> np.ndarray:
        """What the residual is added to, [C, A]: the reference."""
        return window
