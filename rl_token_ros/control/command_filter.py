"""The filter of a robot's command: :class:`SafetyFilter` for joints and x, y, z; where actions are rx, ry, rz, too, that and a rotation's."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np

from rl_token_ros.control.rotation_filter import RotationFilter, RotationLimits
from rl_token_ros.control.safety_filter import NOT_FINITE, TOLERANCE, Limits, SafetyFilter
from rl_token_ros.robot.rotations import norm
from rl_token_ros.settings.control import Control


class PoseFilter:
    """As :class:`SafetyFilter`, for a command whose dimensions from ``rotation`` on are rx, ry, rz.

    Args:
        limits: each float64 [A]; position_min and position_max of rx, ry, rz are not looked at.
        rotation: where they begin.
        angle: `rotation_limit`, rad; pi: none.
        period: time between two commands, s.
    """

    def __init__(self, limits: Limits, rotation: int, angle: float, period: float) -> None:
        self.limits = limits
        self._turn = slice(rotation, rotation + 3)
        others = [i for i in range(len(limits.velocity)) if not rotation <= i < rotation + 3]
        self._others = np.array(others, np.intp)
        self._boxed = SafetyFilter(Limits(*(getattr(limits, name)[others] for name in Limits.__dataclass_fields__)), period)
        velocity, acceleration, lead = (float(values[rotation]) for values in (limits.velocity, limits.acceleration, limits.lead))
        self._rotation = RotationFilter(RotationLimits(angle, velocity, acceleration, lead), period)
        self.command = np.full_like(limits.velocity, np.nan)
        self.velocity = np.zeros_like(limits.velocity)

    @property
    def moving(self) -> bool:
        """Whether the last command was not at rest."""
        self._go_on()
        return self._boxed.moving or self._rotation.moving(self.velocity[self._turn].tolist())

    def seed(self, measured: np.ndarray) -> None:
        """Begin at rest at the measured position [A], as when the arm is enabled.

        Raises:
            ValueError: it is not finite, or outside the position limits or `rotation_limit`.
        """
        measured = np.asarray(measured, np.float64)
        angle, limit = norm(measured[self._turn].tolist()), self._rotation.limits.angle
        if not angle <= limit * (1.0 + TOLERANCE):  # NaN compares false; pi may be a last bit longer
            raise ValueError(f"the tool is turned by {angle:.3f} rad from tool_orientation; rotation_limit is {limit:g} rad")
        self._boxed.seed(measured[self._others])
        self.command, self.velocity = measured.copy(), np.zeros_like(measured)

    def step(self, target: np.ndarray, measured: np.ndarray, *, stop_at_target: bool) -> tuple[np.ndarray, int]:
        """As :meth:`SafetyFilter.step`."""
        reasons = 0
        if not np.isfinite(measured).all():
            measured, reasons = self.command, NOT_FINITE
        if not np.isfinite(target).all():
            target, reasons = self.command, NOT_FINITE
        self._go_on()
        others, turn = self._others, self._turn
        _, boxed = self._boxed.step(target[others], measured[others], stop_at_target=stop_at_target)
        rotation, speed, turned = self._rotation.step(
            *(values[turn].tolist() for values in (self.command, self.velocity, target, measured)), stop_at_target=stop_at_target
        )
        return self._take(rotation, speed), reasons | boxed | turned

    def halt(self) -> np.ndarray:
        """One command [A] on the shortest way to rest, wherever that is."""
        self._go_on()
        self._boxed.halt()
        return self._take(*self._rotation.halt(self.command[self._turn].tolist(), self.velocity[self._turn].tolist()))

    def _go_on(self) -> None:
        """From :attr:`command` and :attr:`velocity`, which whoever resumes a run sets."""
        self._boxed.command, self._boxed.velocity = self.command[self._others], self.velocity[self._others]

    def _take(self, rotation: tuple[float, float, float], speed: tuple[float, float, float]) -> np.ndarray:
        command, velocity = np.empty_like(self.command), np.empty_like(self.velocity)
        command[self._others], velocity[self._others] = self._boxed.command, self._boxed.velocity
        command[self._turn], velocity[self._turn] = rotation, speed
        self.command, self.velocity = command, velocity
        return command


CommandFilter: TypeAlias = SafetyFilter | PoseFilter


def make_filter(settings: Control) -> CommandFilter:
    """The filter that the parameters of `control_node` ask for."""
    low, high = (np.array(values, np.float64) for values in settings.command_range)
    others = (np.array(values, np.float64) for values in (settings.velocity_limit, settings.acceleration_limit, settings.lead_limit))
    period = 1.0 / settings.control_rate
    if (at := settings.rotation_at) is None:
        return SafetyFilter(Limits(low, high, *others), period)
    low, high = (np.insert(values, at, [end] * 3) for values, end in ((low, -math.pi), (high, math.pi)))
    return PoseFilter(Limits(low, high, *others), at, settings.cone, period)
