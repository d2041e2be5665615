"""The safety filter of rx, ry, rz: a rotation on the group, where the shortest way from here to there is one turn about one axis.

Its speed is an angular velocity in axes of the base frame, its acceleration the change of that, and both are limited by their length: a turn
about a slanted axis may be no faster than one about x. What it may reach are balls: `rotation_limit` about `tool_orientation`, and the lead about
the measured orientation. It always could brake, about the axis about which it turns, without leaving them; a speed from which it could not is
made smaller until it could.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rl_token_ros.control.safety_filter import ACCELERATION, LEAD, POSITION, TOLERANCE, VELOCITY
from rl_token_ros.robot.rotations import ZERO, Quaternion, Vector, exp, inverse, log, norm, scaled, times

HALVINGS = 12  # of the part of a wanted change of speed that is left out, until what is left can be braked


@dataclass(frozen=True)
class RotationLimits:
    """Limits of the command as angles: from `tool_orientation` and, as ``lead``, from the measured orientation in rad, rad/s, rad/s^2."""

    angle: float
    velocity: float
    acceleration: float
    lead: float


class RotationFilter:
    """Turns any target into a command within limits. It has no state: what a step goes on from is given.

    Args:
        limits: see :class:`RotationLimits`.
        period: time between two commands, s.
    """

    def __init__(self, limits: RotationLimits, period: float) -> None:
        self.limits = limits
        self._period = period
        self._speed_step = limits.acceleration * period

    def moving(self, velocity: Vector) -> bool:
        """Whether a command at this speed is not at rest."""
        return norm(velocity) > TOLERANCE * self.limits.velocity

    def step(self, command: Vector, velocity: Vector, target: Vector, measured: Vector, *, stop_at_target: bool) -> tuple[Vector, Vector, int]:
        """One command.

        Args:
            command: the last one, a rotation vector, and its angular ``velocity``.
            target: wanted rotation, ``measured`` the measured one, both finite.
            stop_at_target: brake in time to come to rest there, or pass it.

        Returns:
            The command, at most pi long, its angular velocity, and why it is not the target: bits of :class:`Clipped`.
        """
        limits, now, seen = self.limits, exp(command), exp(measured)
        goal, reasons = exp(target), 0
        goal, led = _into(goal, seen, limits.lead)
        if limits.angle < math.pi:
            goal, held = _into(goal, (0.0, 0.0, 0.0, 1.0), limits.angle)
            reasons |= POSITION if held else 0
        reasons |= LEAD if led else 0

        slower = self._slower(velocity)
        balls = [(POSITION, now, limits.angle), (LEAD, times(now, inverse(seen)), limits.lead)]
        balls = [ball for ball in balls if ball[2] < math.pi]
        # What it is beyond already, as when the arm was pushed away, it returns to as fast as the other limits allow.
        kept = [ball for ball in balls if self._stays(*ball[1:], slower, TOLERANCE)]

        way = log(times(goal, inverse(now)))
        wanted = scaled(way, 1.0 / self._period)
        if stop_at_target or len(kept) < len(balls):
            wanted = _shortened(wanted, self._braking_speed(norm(way)))
        allowed = _shortened(wanted, limits.velocity)
        change = _minus(allowed, velocity)
        taken = allowed
        if (size := norm(change)) > self._speed_step:
            taken = _plus(velocity, scaled(change, self._speed_step / size))
        beyond = [reason for reason, turn, radius in kept if not self._stays(turn, radius, taken)]
        if beyond:
            taken, reasons = self._braked(slower, taken, kept), reasons | beyond[0]
        rounding = TOLERANCE * limits.velocity
        reasons |= VELOCITY if norm(_minus(allowed, wanted)) > rounding else 0
        reasons |= ACCELERATION if size - self._speed_step > rounding else 0
        return self._moved(now, taken), taken, reasons

    def halt(self, command: Vector, velocity: Vector) -> tuple[Vector, Vector]:
        """The command on the shortest way to rest, and its angular velocity."""
        slower = self._slower(velocity)
        return self._moved(exp(command), slower), slower

    def _moved(self, now: Quaternion, velocity: Vector) -> Vector:
        return log(times(exp(scaled(velocity, self._period)), now))

    def _slower(self, velocity: Vector) -> Vector:
        return _shortened(velocity, max(norm(velocity) - self._speed_step, 0.0))

    def _braked(self, slower: Vector, wanted: Vector, balls: list[tuple[int, Quaternion, float]]) -> Vector:
        """As much of the way from the speed when braking to the wanted one as can be braked inside the balls."""
        change, share, beyond = _minus(wanted, slower), 0.0, 1.0
        for _ in range(HALVINGS):
            middle = 0.5 * (share + beyond)
            speed = _plus(slower, scaled(change, middle))
            if all(self._stays(turn, radius, speed) for _, turn, radius in balls):
                share = middle
            else:
                beyond = middle
        return _plus(slower, scaled(change, share))

    def _stays(self, turn: Quaternion, radius: float, velocity: Vector, tolerance: float = 0.0) -> bool:
        """Whether one step at this speed, and braking after it, end within ``radius`` of where ``turn`` is counted from.

        About one axis the angle from there has no maximum inside an arc that begins and ends within the radius, unless it passes pi:
        its cosine is that of a turn, |cos(a / 2 + phase)| times a number, and an end beyond pi shows as an angle above pi.
        """
        speed = norm(velocity)
        if speed > 0.0:
            steps = math.floor(speed / self._speed_step)
            arc = self._period * (speed * (steps + 1) - 0.5 * self._speed_step * steps * (steps + 1))
            if arc >= 2.0 * math.pi:
                return False
            if turn[3] < 0.0:
                turn = (-turn[0], -turn[1], -turn[2], -turn[3])
            turn = times(exp(scaled(velocity, arc / speed)), turn)
            angle = 2.0 * math.atan2(norm(turn[:3]), turn[3])
        else:
            angle = 2.0 * math.atan2(norm(turn[:3]), abs(turn[3]))
        return angle <= radius * (1.0 + tolerance) + tolerance * 1e-3

    def _braking_speed(self, distance: float) -> float:
        """As `SafetyFilter._braking_speeds`."""
        doubled = 2.0 * distance / (self._speed_step * self._period)
        k = math.floor(math.sqrt(doubled + 0.25) + 0.5)
        return 0.5 * self._speed_step * (doubled / k + k - 1.0)


def _into(q: Quaternion, centre: Quaternion, radius: float) -> tuple[Quaternion, bool]:
    """The rotation, brought to within ``radius`` (rad) of another by the shortest way, and whether it had to be."""
    turn = log(times(q, inverse(centre)))
    if (angle := norm(turn)) <= radius:
        return q, False
    return times(exp(scaled(turn, radius / angle)), centre), True


def _shortened(vector: Vector, most: float) -> Vector:
    length = norm(vector)
    return vector if length <= most else scaled(vector, most / length) if most > 0.0 else ZERO


def _plus(one: Vector, other: Vector) -> Vector:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def _minus(one: Vector, other: Vector) -> Vector:
    return one[0] - other[0], one[1] - other[1], one[2] - other[2]
