"""Rows of several robots: the episodes of each come out whole, one after the other, so that no chunk joins steps of two robots."""

from __future__ import annotations

import numpy as np

from rl_token_ros.interfaces.codes import Ended

LONGEST = 10_000  # steps of an episode that are held; what is longer comes out in parts


class Episodes:
    """Holds the running episode of each robot until it ends, or another begins because its end was lost.

    Args:
        hold: False: there is one robot, whose rows come out as they come in.
    """

    def __init__(self, hold: bool) -> None:
        self.hold = hold
        self._held: dict[str, list[np.ndarray]] = {}

    def add(self, robot: str, rows: np.ndarray) -> list[np.ndarray]:
        """Rows [n] of a robot, in the order they came; returns what is to be learned from now, an episode each."""
        if not self.hold:
            return [rows]
        held, done = self._held.setdefault(robot, []), []
        for i in range(len(rows)):
            row = rows[i : i + 1]
            if held and held[0]["episode"][0] != row["episode"][0]:
                done.append(np.concatenate(held))
                held.clear()
            held.append(row)
            if row["ended"][0] != Ended.NO or len(held) >= LONGEST:
                done.append(np.concatenate(held))
                held.clear()
        return done

    def arrays(self) -> dict[str, np.ndarray]:
        """The rows held, by robot."""
        return {robot: np.concatenate(held) for robot, held in self._held.items() if held}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take back what `arrays` gave."""
        self._held = {robot: [rows[i : i + 1] for i in range(len(rows))] for robot, rows in arrays.items()}
