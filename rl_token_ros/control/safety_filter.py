"""The safety filter: the last thing before `command`, for VLA, actor and human alike.

Whatever is asked for, what comes out is finite, inside the position limits, and changes from tick to tick within the velocity and
acceleration limits. It leads the measured position by at most the lead limit; where the measured position itself jumps away, the
command follows as fast as the other limits allow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rl_token_ros.interfaces.codes import Clipped

# Limits are met to within this share of the quantity: commands are sums of float64 steps.
# As plain numbers: to join flags of an enum takes ten times as long, and this is in every control step.
NOT_FINITE, POSITION, LEAD, VELOCITY, ACCELERATION = (int(bit) for bit in Clipped)
COUNTS = [(int(bit), f"filter_{str(bit.name).lower()}") for bit in Clipped]  # bit, and what counts it in `/diagnostics`
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
        self._rounding = TOLERANCE * limits.velocity
        # A tick has microseconds, and each operation costs nearly half a one; twice that where shapes differ, an array is made, or a
        # number is no array. Hence room and numbers are made here, and what goes up and what goes down lies side by side, with signs.
        size = len(limits.velocity)
        sign = np.array([[1.0], [-1.0], [1.0], [-1.0]])
        self._period, self._slowest = np.full(size, period), -limits.velocity
        self._lead_down = -limits.lead
        self._leash, self._reach = np.zeros((2, size)), np.zeros((2, size))
        self._lowest, self._highest = np.stack([limits.position_min] * 2), np.stack([limits.position_max] * 2)
        self._goal, self._led, self._bound = np.zeros(size), np.zeros(size), np.zeros(size)
        self._distances, self._doubled, self._k = np.zeros((4, size)), np.zeros((4, size)), np.zeros((4, size))
        self._none, self._quarter, self._half, self._one = (np.full((4, size), number) for number in (0.0, 0.25, 0.5, 1.0))
        self._per_distance = 2.0 * sign / (self._speed_step * period)
        self._per_speed = 0.5 * sign * self._speed_step
        self._stages = np.zeros((4, size))
        self._changes = np.zeros((3, size))
        self._roundings = np.stack([self._rounding] * 3)
        # Rows by name: taking them out of an array at every tick would cost as much again.
        self._leash_up, self._leash_down = self._leash
        self._reach_up, self._reach_down = self._reach
        self._distance_rows, self._stage_rows = tuple(self._distances), tuple(self._stages)
        self._speed_rows = tuple(self._doubled)
        self._before, self._after = self._stages[:-1], self._stages[1:]

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
            The command [A], and why it is not the target: bits of :class:`Clipped`.
        """
        limits, command = self.limits, self.command
        reasons = 0
        if not _finite(measured):
            measured, reasons = command, NOT_FINITE
        if not _finite(target):
            # A target that is partly nonsense is not to be trusted in its other dimensions either.
            target, reasons = command, NOT_FINITE
        # How far up and down the lead lets the command go: never beyond the position limits.
        np.add(measured, limits.lead, self._leash_up)
        np.add(measured, self._lead_down, self._leash_down)
        _clip(self._leash, self._lowest, self._highest, self._reach)
        goal = _clip(target, self._reach_down, self._reach_up, self._goal)

        # Never faster towards an end than what can still be braked. Towards the position limits that holds whatever happens; towards
        # the ends of the lead, which move with the arm, and a goal to rest at, as far as the acceleration allows.
        highest, lowest = (goal, goal) if stop_at_target else (self._reach_up, self._reach_down)
        for end, distance in zip((highest, lowest, limits.position_max, limits.position_min), self._distance_rows):
            np.subtract(end, command, distance)
        self._braking_speeds(self._distances)
        up, down, most, least = self._speed_rows
        wanted, braked, slow, velocity = self._stage_rows
        np.subtract(goal, command, wanted)
        np.divide(wanted, self._period, wanted)
        _clip(wanted, down, up, braked)
        _clip(braked, self._slowest, limits.velocity, slow)
        np.maximum(slow, np.subtract(self.velocity, self._speed_step, self._bound), out=velocity)
        np.minimum(velocity, np.add(self.velocity, self._speed_step, self._bound), out=velocity)
        _clip(velocity, least, most, velocity)

        # Bytes are compared in a tenth of the time of values, and mostly nothing was changed.
        if (asked := target.tobytes()) != goal.tobytes():
            led = _clip(target, self._leash_down, self._leash_up, self._led).tobytes()
            reasons |= (LEAD if led != asked else 0) | (POSITION if goal.tobytes() != led else 0)
        if velocity.tobytes() != wanted.tobytes():
            reasons |= self._slowed(stop_at_target)
        return self._move(velocity.copy()), reasons

    def halt(self) -> np.ndarray:
        """One command [A] on the shortest way to rest, wherever that is."""
        return self._move(self.velocity - np.minimum(np.maximum(self.velocity, -self._speed_step), self._speed_step))

    def _move(self, velocity: np.ndarray) -> np.ndarray:
        command: np.ndarray = np.multiply(velocity, self._period)
        np.add(self.command, command, command)
        self.command, self.velocity = _clip(command, self.limits.position_min, self.limits.position_max, command), velocity
        return command

    def _slowed(self, stop_at_target: bool) -> int:
        """Which limits changed the wanted speed, stage by stage, into the one taken. Braking before a goal to rest at is no limit."""
        changes = np.subtract(self._after, self._before, self._changes)
        beyond = (np.abs(changes, changes) > self._roundings).tobytes()
        size = len(self._rounding)
        braked, slowed, kept = (any(beyond[at : at + size]) for at in (0, size, 2 * size))
        return (LEAD if braked and not stop_at_target else 0) | (VELOCITY if slowed else 0) | (ACCELERATION if kept else 0)

    def _braking_speeds(self, distances: np.ndarray) -> np.ndarray:
        """Largest speeds [4, A] from which steps of at most acceleration * period come to rest within ``distances`` [4, A].

        Rows are distances up, down, up and down, each signed like its speed; one of the wrong sign leaves no speed. In units of
        acceleration * period, a speed n with k = floor(n) + 1 covers n + (n - 1) + ... + (n - k + 1) steps of acceleration * period^2
        before it rests, this one included: k n - k (k - 1) / 2. Solved for n.
        """
        doubled, k = self._doubled, self._k
        np.maximum(np.multiply(distances, self._per_distance, doubled), self._none, out=doubled)  # twice the number of steps
        np.sqrt(np.add(doubled, self._quarter, k), k)
        np.floor(np.add(k, self._half, k), k)
        np.divide(doubled, k, doubled)
        np.add(doubled, np.subtract(k, self._one, k), doubled)
        return np.multiply(doubled, self._per_speed, doubled)


def _finite(values: np.ndarray) -> bool:
    """Whether all are finite; a third of the time of np.isfinite(values).all()."""
    numbers = values.tolist()
    return math.isfinite(sum(numbers)) or all(map(math.isfinite, numbers))  # a sum of finite ones may overflow


def _clip(values: np.ndarray, low: np.ndarray, high: np.ndarray, out: np.ndarray) -> np.ndarray:
    """np.clip into an array, in a third of its time."""
    np.minimum(np.maximum(values, low, out=out), high, out=out)
    return out
