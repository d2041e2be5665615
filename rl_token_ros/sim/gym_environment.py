"""Environments with Gymnasium's API as :class:`Environment`: a new one is a subclass of some 30 lines.

Needs no gymnasium: whatever has ``reset(seed=..) -> observation, info``, ``step(action) -> observation, reward, terminated, truncated, info``
and ``close()`` will do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.proprioception_groups import AXES

WHOLE = 1.0 - 1e-6  # of a step: sums of periods are rounded


class GymEnvironment:
    """Maps observation, pictures, actions, success and resets. A subclass defines :meth:`measured`, and what else is otherwise than here.

    Resets take no time: the robot is at its new start at once. `reset_time` of robot time passes all the same, in which nothing moves and
    measurements and pictures go on.

    Args:
        env: with Gymnasium's API, and no time limit of its own: `gymnasium.make(.., max_episode_steps=-1)`.
        action_names: of a command's numbers, as `action_names` of the parameter file, then `gripper_names`.
        step_seconds: robot time of one step of ``env``, s. Best one control period: `control_rate` is its reciprocal.
        action_scale: m or rad of 1 in the action of ``env``, for all action names or for each.
        deltas: whether an action of ``env`` is a way from where the robot is; else it is a position to be at.
        grippers: so many of the last action names are grippers, whose commands are handed on as they are.
        camera: name of what `env.render()` shows, made with `render_mode="rgb_array"`. Of several cameras :meth:`images` is overridden.

    Attributes:
        observation, info: the newest that ``env`` gave.
    """

    def __init__(
        self, env: Any, action_names: Sequence[str], *, step_seconds: float, action_scale: float | Sequence[float] = 1.0,
        deltas: bool = True, grippers: int = 0, camera: str = "base",
    ) -> None:  # fmt: skip
        self.env, self.action_names, self.step_seconds = env, tuple(action_names), step_seconds
        self.action_scale, self.deltas, self.camera = np.asarray(action_scale, np.float64), deltas, camera
        self._arm = len(self.action_names) - grippers
        self._owed = 0.0  # s that steps so far were told to advance, and have not yet
        self.critical, self.outcome = False, None
        self.observation: Any = None
        self.info: Mapping[str, Any] = {}

    outcome: bool | None

    # --- what a subclass says ---------------------------------------------------------------------------------------------

    def measured(self) -> Mapping[str, np.ndarray]:
        """As :meth:`Environment.measured`, of ``observation``, or of the simulator below ``env``."""
        raise NotImplementedError(f"{type(self).__name__} has no measured(); write it, as rl_token_ros.sim.environment.Environment says")

    def position(self) -> np.ndarray:
        """[A] where the robot is in each action, in the unit of a command: x, y, z of ee_position, else joint_position."""
        measured = self.measured()
        if set(names := self.action_names[: self._arm]) <= set(AXES):
            return np.asarray(measured["ee_position"])[[AXES.index(name) for name in names]]
        if (joints := measured.get("joint_position")) is not None and len(joints) == len(names):
            return np.asarray(joints)
        raise ParameterError(f"{type(self).__name__}: where the robot is in {', '.join(names)} is not known; write position()")

    def action(self, command: np.ndarray) -> np.ndarray:
        """What ``env`` is told for a command [A + G]; what lies beyond the bounds of its `action_space` is cut off afterwards."""
        arm = command[: self._arm] - (self.position() if self.deltas else 0.0)
        return np.concatenate([arm / self.action_scale, command[self._arm :]])

    def images(self) -> Mapping[str, np.ndarray]:
        """As :meth:`Environment.images`."""
        if (picture := self.env.render()) is None:
            raise ParameterError(f"{type(self).__name__}: env.render() gives nothing; make env with render_mode='rgb_array', or write images()")
        return {self.camera: np.ascontiguousarray(picture)}

    def is_critical(self) -> bool:
        """Whether the critical phase begins here; once it has begun, it lasts. By itself: with the episode, so that the residual acts all along."""
        return True

    def succeeded(self) -> bool:
        """Whether the task is done."""
        for name in ("success", "is_success"):
            if name in self.info:
                return bool(self.info[name])
        raise ParameterError(
            f"{type(self).__name__}: info has no 'success'; it has {', '.join(map(str, self.info)) or 'nothing'}: write succeeded(), which says "
            "whether the task is done"
        )

    # --- the protocol -----------------------------------------------------------------------------------------------------

    def reset(self, seed: int | None = None) -> None:
        """See :meth:`Environment.reset`; at once."""
        self.observation, self.info = self.env.reset(seed=seed)
        self._owed, self.outcome = 0.0, None
        self.critical = bool(self.is_critical())

    def step(self, command: np.ndarray | None, dt: float) -> None:
        """See :meth:`Environment.step`. Nothing moves while nobody commands, nor once the episode is decided.

        Raises:
            ParameterError: ``env`` cut the episode off, or something is to be written in the subclass.
        """
        if command is None:
            return
        self._owed += dt
        while self._owed >= self.step_seconds * WHOLE:
            self._owed -= self.step_seconds
            if self.outcome is None:
                self._take(*self.env.step(self._within(self.action(command))))

    def _within(self, action: np.ndarray) -> np.ndarray:
        """The action within the bounds of the `action_space`, where there is one, in its type."""
        space = getattr(self.env, "action_space", None)
        if space is None:
            return action
        if np.shape(space.low) != action.shape:
            raise ParameterError(
                f"{type(self).__name__}: the action of env has shape {list(np.shape(space.low))}, action_names {list(self.action_names)} give "
                f"{list(action.shape)}; write action(), which makes the one of the other"
            )
        return np.clip(action, space.low, space.high).astype(space.dtype)

    def _take(self, observation: Any, reward: float, terminated: bool, truncated: bool, info: Mapping[str, Any]) -> None:
        self.observation, self.info = observation, info
        self.critical = self.critical or bool(self.is_critical())
        if self.succeeded():
            self.outcome = True
        elif terminated:
            self.outcome = False
        elif truncated:
            raise ParameterError(
                f"{type(self).__name__}: env cut an episode off that was not decided. A time limit of its own would be taken for a failure: make env "
                "without one, as with max_episode_steps=-1; 'approach_limit' and 'episode_time_limit' of the parameter file end long episodes"
            )

    def close(self) -> None:
        """Close ``env``."""
        self.env.close()
