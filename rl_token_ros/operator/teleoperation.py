"""A human's hand on the arm: from a leader arm, or from how far keys, joystick and SpaceMouse are deflected, to an `intervention`.

The hand moves the arm in the VLA's place, or corrects it: adds a residual within the actor's own bounds to what the VLA does.
Taking over begins at the command of that moment and handing back ends at rest there, so that the arm goes on from where it is; what is
sent in between passes control_node's filter like everything else. Nothing is sent unless a hand is held on it: a key that switches it on
and off, the joystick's deadman, or a deflected SpaceMouse. Silence of the device that moves the arm, and an arm that may not move, end it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rl_token_ros.robot import action_space
from rl_token_ros.settings.operator import Operator

SECOND = 1_000_000_000
WINDUP_SECONDS = 0.2  # of motion at full speed that an absolute target may be ahead of the command: let go, and the arm stops
KEY_SECONDS = 0.15  # for which a pressed key moves the arm; a held one repeats faster


class Teleoperation:
    """Says at every control step what the human wants, or nothing.

    Args:
        settings: parameters of `operator`.
    """

    def __init__(self, settings: Operator) -> None:
        self.settings = settings
        self.corrects = settings.hand_moves == "residual"  # whether a hand adds to what the VLA does
        self.held_by: list[str] = []  # devices: keys, joy, twist
        self.ended = ""  # why it was handed back without the human's asking
        self._names = [*settings.action_names, *settings.gripper_names]
        self._leads = settings.leader_names or self._names
        self._scale = np.array(settings.leader_scale or [1.0] * len(self._names))
        self._speed, self._bound = np.array(settings.speeds), np.array(settings.residual_scale)
        self._space = action_space.of_positions(settings)
        self._command: np.ndarray | None = None  # the newest one of control_node [A]
        self._leader: tuple[int, np.ndarray] | None = None  # time of arrival, position [A + G]
        self._deflections: dict[str, tuple[int, np.ndarray]] = {}
        self._anchor: tuple[np.ndarray, np.ndarray] | None = None  # command [A] and leader [A + G] at the take-over
        self._target = np.zeros(settings.action_size)  # of absolute actions, without a leader; from the take-over on
        self._before_ns = 0
        self._last_words = False

    @property
    def active(self) -> bool:
        """Whether the human acts."""
        return bool(self.held_by)

    @property
    def names(self) -> list[str]:
        """Names of an intervention: the actions, and the grippers where a leader arm moves them."""
        return self._names if self._anchor is not None and not self.corrects else self.settings.action_names

    # --- what is heard ------------------------------------------------------------------------------------------------

    def commanded(self, command: np.ndarray | None) -> None:
        """control_node's newest command [A]; None: the arm may not move, and nobody can have a hand on it."""
        self._command = command
        if command is None and self.held_by:
            self._end("the arm may not move")

    def lead(self, now_ns: int, names: Sequence[str], position: Sequence[float]) -> None:
        """The leader arm's joints.

        Raises:
            ValueError: one is missing or not finite.
        """
        found = dict(zip(names, position))
        missing = [name for name in self._leads if name not in found]
        if missing:
            raise ValueError(
                f"'leader/joint_states' has no {', '.join(missing)}; it has {', '.join(names)}: write the leader's names in 'leader_names'"
            )
        values = np.array([found[name] for name in self._leads], np.float64) * self._scale
        if not np.isfinite(values).all():
            raise ValueError("'leader/joint_states' holds values that are not finite")
        self._leader = (now_ns, values)

    def deflect(self, device: str, now_ns: int, deflection: np.ndarray) -> None:
        """How far a device is deflected: [A] in -1 to 1. Devices are keys, joy and twist."""
        self._deflections[device] = (now_ns, deflection)

    # --- who holds it -------------------------------------------------------------------------------------------------

    def take_over(self, by: str, now_ns: int) -> str:
        """A device takes hold; gives why it may not, or nothing."""
        if by in self.held_by:
            return ""
        if self._command is None:
            return "the arm may not move: enable it first"
        if not self.held_by:
            leader = self._leader if self._leader is not None and self._fresh(self._leader[0], now_ns) else None
            self._anchor = None if leader is None else (self._command.copy(), leader[1].copy())
            self._target = self._command.copy()
            self._before_ns, self.ended = now_ns, ""
        self.held_by.append(by)
        return ""

    def switch(self) -> str:
        """From moving the arm to correcting, or back; gives why not, or nothing."""
        if self.held_by:
            return "hand back first"
        self.corrects = not self.corrects
        return ""

    def hand_back(self, by: str) -> None:
        """A device lets go."""
        if by in self.held_by:
            self.held_by.remove(by)
            self._last_words = not self.held_by

    def _end(self, why: str) -> None:
        self.held_by, self.ended, self._last_words = [], why, True

    # --- what it wants ------------------------------------------------------------------------------------------------

    def action(self, now_ns: int) -> np.ndarray | None:
        """The intervention of a control step, for :attr:`names` and in units of the action; None: the human does not act.

        Where the hand :attr:`corrects`, it is what is added to the VLA's action. The first one after handing back asks for rest: control_node
        goes by the last one for `intervention_timeout`.
        """
        leader = self._leader
        if self.held_by and self._anchor is not None and (leader is None or not self._fresh(leader[0], now_ns)):
            self._end("the leader arm is silent")
        if not self.held_by or self._command is None:
            last, self._last_words, self._anchor = self._last_words, False, None
            return self._rest() if last else None
        if self.corrects:
            return self._correction(now_ns, leader)
        if self._anchor is None or leader is None:
            return self._jog(now_ns, self._command)
        return self._follow(*self._anchor, leader[1], self._command)

    def _rest(self) -> np.ndarray | None:
        if self.corrects or self.settings.action_type == "delta":
            return np.zeros(self.settings.action_size)
        return None if self._command is None else self._command.copy()

    def _follow(self, command_then: np.ndarray, leader_then: np.ndarray, leader: np.ndarray, command: np.ndarray) -> np.ndarray:
        """Behind the leader: where it is or, relative, as far from the command at the take-over as it has moved. Grippers are as the leader's."""
        size = self.settings.action_size
        where = leader.copy()
        if self.settings.leader_follow == "relative":
            where[:size] = self._space.carried(where[:size], leader_then[:size], command_then)
        if self.settings.action_type == "delta":
            where[:size] = self._space.difference(where[:size], command) * (self.settings.chunk_dt / self.settings.follow_seconds)
        return where

    def _correction(self, now_ns: int, leader: tuple[int, np.ndarray] | None) -> np.ndarray:
        """What is added to the VLA's action: the whole residual at full deflection, or where the leader is `leader_full` from where it was."""
        if self._anchor is None or leader is None:
            return self._deflection(now_ns) * self._bound
        size = self.settings.action_size
        moved = self._space.difference(leader[1][:size], self._anchor[1][:size])
        return np.clip(moved / self.settings.leader_full, -1.0, 1.0) * self._bound

    def _deflection(self, now_ns: int) -> np.ndarray:
        """Of all devices that are heard, [A] in -1 to 1."""
        deflection = np.zeros(self.settings.action_size)
        for device, (heard_ns, value) in self._deflections.items():
            if (device == "keys" and now_ns - heard_ns <= KEY_SECONDS * SECOND) or (device != "keys" and self._fresh(heard_ns, now_ns)):
                deflection += value
        return np.clip(deflection, -1.0, 1.0)

    def _jog(self, now_ns: int, command: np.ndarray) -> np.ndarray:
        velocity = self._deflection(now_ns) * self._speed
        seconds, self._before_ns = (now_ns - self._before_ns) / SECOND, now_ns
        if self.settings.action_type == "delta":
            return velocity * self.settings.chunk_dt
        ahead = self._speed * WINDUP_SECONDS
        self._target = self._space.near(self._space.moved(self._target, velocity * max(seconds, 0.0)), command, ahead)
        return self._target.copy()

    def _fresh(self, heard_ns: int, now_ns: int) -> bool:
        return now_ns - heard_ns <= self.settings.device_timeout * SECOND
