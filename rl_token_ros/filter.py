"""The safety filter: the last thing before `command`, for VLA, actor and human alike.

Whatever is asked for, what comes out is finite, inside the position limits, and changes from tick to tick within the velocity and
acceleration limits. It leads the measured position by at most the lead limit; where the measured position itself jumps away, the
command follows as fast as the other limits allow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

NOT_FINITE, POSITION, LEAD, VELOCITY, ACCELERATION = 1, 2, 4, 8, 16
REASONS = {NOT_FINITE: "not finite", POSITION: "position", LEAD: "lead", VELOCITY: "velocity", ACCELERATION: "acceleration"}

# Limits are met to within this share of the quantity: commands are sums of float64 steps.
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Limits:
    """Limits of the command, each float64 [A]: m, m/s, m/s^2 or rad, rad/s, rad/s^2."""

    position_min: np.ndarray
    position_max: np.ndarray
    velocity: np.ndarray
    acceleration: np.ndarray
    lead: np.ndarray


class SafetyFilter:
    """Turns any target into a command within limits. State: the last command and its velocity.

    Args:
        limits: see :class:`Limits`.
        period: time between two commands, s.
    """

    def __init__(self, limits: Limits, period: float) -> None:
        self.limits = limits
        self.period = period
        self.command = np.full_like(limits.velocity, np.nan)
        self.velocity = np.zeros_like(limits.velocity)
        self._speed_step = limits.acceleration * period
        # Up and down side by side, with signs, so that one operation serves both: a tick has microseconds, and each costs half a one.
        sign = np.array([[1.0], [-1.0], [1.0], [-1.0]])
        self._lead = np.stack([limits.lead, -limits.lead])
        self._ends = np.stack([limits.position_max, limits.position_min] * 2)
        self._per_distance = 2.0 * sign / (self._speed_step * period)
        self._per_speed = 0.5 * sign * self._speed_step
        self._slowest = -limits.velocity
        self._rounding = TOLERANCE * limits.velocity
        self._stages = np.zeros((4, len(limits.velocity)))

    @property
    def moving(self) -> bool:
        """Whether the last command was not at rest."""
        return bool((np.abs(self.velocity) > self._rounding).any())

    def seed(self, measured: np.ndarray) -> None:
        """Begin at rest at the measured position [A], as when the arm is enabled.

        Raises:
            ValueError: the measured position is not finite or outside the position limits.
        """
        measured = np.asarray(measured, np.float64)
        inside = (measured >= self.limits.position_min) & (measured <= self.limits.position_max)
        if not inside.all():  # NaN compares false
            raise ValueError(f"the measured position {np.round(measured, 4).tolist()} is outside position_min and position_max")
        self.command = measured.copy()
        self.velocity = np.zeros_like(measured)

    def step(self, target: np.ndarray, measured: np.ndarray, *, stop_at_target: bool) -> tuple[np.ndarray, int]:
        """One command.

        Args:
            target: wanted position [A]; anything, even NaN.
            measured: measured position [A]; the last command stands in for one that is not finite.
            stop_at_target: brake in time to come to rest there (a position to be in), or pass it (an increment).

        Returns:
            The command [A], and why it is not the target: bits of REASONS.
        """
        limits, command, ends = self.limits, self.command, self._ends
        reasons = 0
        if not _finite(measured):
            measured, reasons = command, NOT_FINITE
        if not _finite(target):
            # A target that is partly nonsense is not to be trusted in its other dimensions either.
            target, reasons = command, NOT_FINITE
        # How far up and down the lead lets the command go: never beyond the position limits.
        leash = measured + self._lead
        reach = np.minimum(np.maximum(leash, limits.position_min), limits.position_max)
        goal = np.minimum(np.maximum(target, reach[1]), reach[0])

        # Never faster towards an end than what can still be braked. Towards the position limits that holds whatever happens; towards
        # the ends of the lead, which move with the arm, and a goal to rest at, as far as the acceleration allows.
        ends[:2] = goal if stop_at_target else reach
        up, down, most, least = self._braking_speeds(ends - command)
        wanted, braked, slow, velocity = self._stages
        np.divide(goal - command, self.period, out=wanted)
        np.minimum(np.maximum(wanted, down), up, out=braked)
        np.minimum(np.maximum(braked, self._slowest), limits.velocity, out=slow)
        near = np.minimum(np.maximum(slow, self.velocity - self._speed_step), self.velocity + self._speed_step)
        np.minimum(np.maximum(near, least), most, out=velocity)

        # Bytes are compared in a tenth of the time of values, and mostly nothing was changed.
        if goal.tobytes() != target.tobytes():
            led = np.minimum(np.maximum(target, leash[1]), leash[0])
            reasons |= (LEAD if led.tobytes() != target.tobytes() else 0) | (POSITION if goal.tobytes() != led.tobytes() else 0)
        if velocity.tobytes() != wanted.tobytes():
            reasons |= self._slowed(stop_at_target)
        return self._move(velocity.copy()), reasons

    def halt(self) -> np.ndarray:
        """One command [A] on the shortest way to rest, wherever that is."""
        return self._move(self.velocity - np.minimum(np.maximum(self.velocity, -self._speed_step), self._speed_step))

    def _move(self, velocity: np.ndarray) -> np.ndarray:
        limits = self.limits
        self.command = np.minimum(np.maximum(self.command + velocity * self.period, limits.position_min), limits.position_max)
        self.velocity = velocity
        return self.command

    def _slowed(self, stop_at_target: bool) -> int:
        """Which limits changed the wanted speed, stage by stage, into the one taken. Braking before a goal to rest at is no limit."""
        stages = self._stages
        braked, slowed, kept = (np.abs(stages[1:] - stages[:-1]) > self._rounding).any(axis=1).tolist()
        return (LEAD if braked and not stop_at_target else 0) | (VELOCITY if slowed else 0) | (ACCELERATION if kept else 0)

    def _braking_speeds(self, distances: np.ndarray) -> np.ndarray:
        """Largest speeds [4, A] from which steps of at most acceleration * period come to rest within ``distances`` [4, A].

        Rows are distances up, down, up and down, each signed like its speed; one of the wrong sign leaves no speed. In units of
        acceleration * period, a speed n with k = floor(n) + 1 covers n + (n - 1) + ... + (n - k + 1) steps of acceleration * period^2
        before it rests, this one included: k n - k (k - 1) / 2. Solved for n.
        """
        doubled = np.maximum(distances * self._per_distance, 0.0)  # twice the number of steps
        k = np.floor(np.sqrt(doubled + 0.25) + 0.5)
        return (doubled / k + (k - 1.0)) * self._per_speed


def _finite(values: np.ndarray) -> bool:
    """Whether all are finite; half the time of np.isfinite(values).all()."""
    return all(map(math.isfinite, values.tolist()))
