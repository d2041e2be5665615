"""The safety filter: the last thing before `command`, for VLA, actor and human alike.

Whatever is asked for, what comes out is finite, inside the position limits, and changes from tick to tick within the velocity and
acceleration limits. The distance to the measured position is bounded too, as fast as those limits allow.
"""

from __future__ import annotations

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
            measured: measured position [A], finite.
            stop_at_target: brake in time to come to rest there (a position to be in), or pass it (an increment).

        Returns:
            The command [A], and why it is not the target: bits of REASONS.
        """
        limits, command, period = self.limits, self.command, self.period
        reasons = 0
        finite = np.isfinite(target)
        if not finite.all():
            # A target that is partly nonsense is not to be trusted in its other dimensions either.
            target, reasons = command, NOT_FINITE
        low, high = measured - limits.lead, measured + limits.lead
        bounded = np.minimum(np.maximum(target, low), high)
        if (bounded != target).any():
            reasons |= LEAD
        inside = np.minimum(np.maximum(bounded, limits.position_min), limits.position_max)
        if (inside != bounded).any():
            reasons |= POSITION

        wanted = (inside - command) / period
        if stop_at_target:
            brake = self._braking_speed(np.abs(inside - command))
            wanted = np.minimum(np.maximum(wanted, -brake), brake)
        slow = np.minimum(np.maximum(wanted, -limits.velocity), limits.velocity)
        if (np.abs(slow - wanted) > TOLERANCE * limits.velocity).any():
            reasons |= VELOCITY
        velocity = np.minimum(np.maximum(slow, self.velocity - self._speed_step), self.velocity + self._speed_step)
        # Never faster towards a position limit than what can still be braked.
        velocity = np.minimum(velocity, self._braking_speed(limits.position_max - command))
        velocity = np.maximum(velocity, -self._braking_speed(command - limits.position_min))
        if (np.abs(velocity - slow) > TOLERANCE * limits.velocity).any():
            reasons |= ACCELERATION
        self.command = np.minimum(np.maximum(command + velocity * period, limits.position_min), limits.position_max)
        self.velocity = velocity
        return self.command, reasons

    def _braking_speed(self, distance: np.ndarray) -> np.ndarray:
        """Largest speed from which steps of at most acceleration * period come to rest within ``distance`` [A], m/s or rad/s.

        In units of acceleration * period, a speed n with m = floor(n) covers n + (n - 1) + ... + (n - m) steps of
        acceleration * period^2 before it rests, this one included: (m + 1) n - m (m + 1) / 2. Solved for n.
        """
        steps = np.maximum(distance, 0.0) / (self._speed_step * self.period)
        m = np.floor(np.sqrt(0.25 + 2.0 * steps) - 0.5)
        return self._speed_step * (steps / (m + 1.0) + 0.5 * m)
