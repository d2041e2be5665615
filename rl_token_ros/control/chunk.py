"""Action chunks in time: a chunk is indexed by the age of its observation, never by its arrival (docs/architecture.md, time)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rl_token_ros.interfaces.stamps import stamp_to_ns


class ChunkError(ValueError):
    """A chunk that cannot be executed; the message names the topic and says why."""


@dataclass(frozen=True)
class Chunk:
    """H actions proposed by the VLA for the times ``stamp_ns + i * dt_ns``.

    Attributes:
        stamp_ns: stamp of the observation it answers.
        dt_ns: time between two actions.
        actions: float64 [H, A], in units of the action.
        grippers: float64 [H, G], positions; None where the VLA says nothing that can be used.
    """

    stamp_ns: int
    dt_ns: int
    actions: np.ndarray
    grippers: np.ndarray | None = None

    def age_ns(self, now_ns: int) -> int:
        """Age of the observation; negative if its stamp lies in the future."""
        return now_ns - self.stamp_ns

    def step(self, now_ns: int) -> int:
        """k = floor((now - stamp) / dt)."""
        return (now_ns - self.stamp_ns) // self.dt_ns

    def at(self, now_ns: int) -> np.ndarray | None:
        """The action [A] for this moment, or None before the first or after the last."""
        k = self.step(now_ns)
        return self.actions[k] if 0 <= k < len(self.actions) else None

    def grippers_at(self, now_ns: int) -> np.ndarray | None:
        """The positions [G] of the grippers for this moment, likewise."""
        k = self.step(now_ns)
        return self.grippers[k] if self.grippers is not None and 0 <= k < len(self.grippers) else None

    def window(self, now_ns: int, period_ns: int, length: int) -> np.ndarray | None:
        """The actions [length, A] of the control steps now, now + period, ...; None unless the chunk reaches that far."""
        first = now_ns - self.stamp_ns
        last = (first + period_ns * (length - 1)) // self.dt_ns
        if first < 0 or last >= len(self.actions):
            return None
        return self.actions[(first + period_ns * np.arange(length)) // self.dt_ns]


def from_trajectory(message: Any, action_names: list[str], dt: float, gripper_names: Sequence[str] = ()) -> Chunk:
    """The chunk in a `vla/reference` (trajectory_msgs/JointTrajectory), its columns ordered as ``action_names``.

    Grippers that are not named, or whose positions are not finite, leave the arm's actions usable: ``grippers`` is None then.

    Raises:
        ChunkError: a name is missing, a point has another size or time, or a value is not finite.
    """
    names = list(message.joint_names)
    missing = [name for name in action_names if name not in names]
    if missing:
        raise ChunkError(
            f"'vla/reference' has no {', '.join(missing)}; its joint_names are {names}: write the same 'action_names' for vla_node and control_node"
        )
    if not message.points:
        raise ChunkError("'vla/reference' has no points")
    if any(len(point.positions) != len(names) for point in message.points):
        raise ChunkError(f"'vla/reference' has points without {len(names)} positions")
    values = np.array([point.positions for point in message.points], np.float64)
    actions = values[:, [names.index(name) for name in action_names]]
    if not np.isfinite(actions).all():
        raise ChunkError("'vla/reference' holds values that are not finite")
    dt_ns = round(dt * 1e9)
    for i, point in enumerate(message.points):
        sent_ns = stamp_to_ns(point.time_from_start)
        if abs(sent_ns - i * dt_ns) > 1000:
            raise ChunkError(f"'vla/reference' has point {i} at {sent_ns * 1e-9:g} s; parameter 'chunk_dt' is {dt:g}: write the same for both nodes")
    grippers = None
    if gripper_names and set(gripper_names) <= set(names):
        positions = values[:, [names.index(name) for name in gripper_names]]
        grippers = positions if np.isfinite(positions).all() else None
    return Chunk(stamp_to_ns(message.header.stamp), dt_ns, actions, grippers)
