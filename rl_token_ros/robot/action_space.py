"""The one place where positions of actions are added and subtracted: joints and x, y, z as numbers, rotations by the shortest way."""

from __future__ import annotations

import numpy as np

from rl_token_ros.robot import rotations
from rl_token_ros.settings.robot import Robot


class ActionSpace:
    """Positions [..., A] and what lies between them, of the same shape: m, rad; for rx, ry, rz a rotation vector in axes of the base frame.

    Args:
        rotation: where rx, ry, rz begin among the action's dimensions; None: all is plain.
        deltas: these are no positions but differences already, from one step to the next.

    Attributes:
        turns: whether there are such.
    """

    def __init__(self, rotation: int | None = None, deltas: bool = False) -> None:
        self.turns = rotation is not None
        self._deltas = deltas
        self._turn = None if rotation is None else np.s_[..., rotation : rotation + 3]

    def difference(self, to: np.ndarray, start: np.ndarray) -> np.ndarray:
        """How to come from ``start`` to ``to``."""
        found: np.ndarray = to - start
        if self._turn is not None:
            found[self._turn] = rotations.difference(to[self._turn], start[self._turn])
        return found

    def moved(self, position: np.ndarray, by: np.ndarray) -> np.ndarray:
        """The position after a difference."""
        found: np.ndarray = position + by
        if self._turn is not None:
            found[self._turn] = rotations.moved(position[self._turn], by[self._turn])
        return found

    def carried(self, position: np.ndarray, start: np.ndarray, onto: np.ndarray) -> np.ndarray:
        """As far from ``onto``, and that way, as a position is from ``start``."""
        found: np.ndarray = position + (onto - start)
        if self._turn is not None:
            found[self._turn] = rotations.moved(onto[self._turn], rotations.difference(position[self._turn], start[self._turn]))
        return found

    def motion(self, window: np.ndarray) -> np.ndarray:
        """What is to be added to each of the actions [C, A] to go about as far again, [A]: of deltas their mean, of positions the whole way."""
        found: np.ndarray = window.mean(0) if self._deltas else self.difference(window[-1], window[0])
        return found

    def near(self, position: np.ndarray, centre: np.ndarray, reach: np.ndarray) -> np.ndarray:
        """The position [A], brought to within ``reach`` [A] of ``centre`` [A] in each dimension, a rotation in each axis of its turn from there."""
        found: np.ndarray = np.clip(position, centre - reach, centre + reach)
        if self._turn is not None:
            turn = np.clip(rotations.difference(position[self._turn], centre[self._turn]), -reach[self._turn], reach[self._turn])
            found[self._turn] = rotations.moved(centre[self._turn], turn)
        return found

    def continuous(self, window: np.ndarray) -> np.ndarray:
        """A window [..., C, A] as networks see it: means over its steps would be nonsense where the numbers of a rotation jump, at pi."""
        if self._turn is None:
            return window
        found: np.ndarray = window.copy()
        found[self._turn] = rotations.continuous(window[self._turn])
        return found


PLAIN = ActionSpace()
DELTAS = ActionSpace(deltas=True)


def of_positions(robot: Robot) -> ActionSpace:
    """That of commanded and measured positions."""
    return ActionSpace(robot.rotation_at)


def of_actions(robot: Robot) -> ActionSpace:
    """That of actions: positions where they are absolute; deltas are differences already, which add up as numbers do."""
    return ActionSpace(robot.rotation_at) if robot.action_type == "absolute" else DELTAS
