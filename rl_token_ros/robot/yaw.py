"""The tool's yaw: how far it is turned about z of the base frame, counted from `tool_orientation`. Quaternions are x, y, z, w."""

from __future__ import annotations

import math
from collections.abc import Sequence


def turned(zero: Sequence[float], yaw: float) -> tuple[float, float, float, float]:
    """The orientation ``zero`` turned by ``yaw`` (rad) about z of the base frame."""
    s, c = math.sin(yaw / 2.0), math.cos(yaw / 2.0)
    x, y, z, w = zero
    return c * x - s * y, c * y + s * x, c * z + s * w, c * w - s * z


def yaw_of(orientation: Sequence[float], zero: Sequence[float]) -> float:
    """How far an orientation is turned from ``zero`` about z of the base frame, -pi to pi rad. A tilt beside it does not count."""
    z, w = _about_z(orientation, zero)
    yaw = 2.0 * math.atan2(z, w)
    return yaw - math.copysign(2.0 * math.pi, yaw) if abs(yaw) > math.pi else yaw


def tilt_of(orientation: Sequence[float], zero: Sequence[float]) -> float:
    """The turn that is left of an orientation, 0 to pi rad, once its yaw from ``zero`` is taken off."""
    length = math.hypot(*orientation) * math.hypot(*zero)
    return 2.0 * math.acos(min(math.hypot(*_about_z(orientation, zero)) / length, 1.0))


def _about_z(orientation: Sequence[float], zero: Sequence[float]) -> tuple[float, float]:
    """z and w of the turn from ``zero`` to an orientation, as seen in the base frame: orientation * conjugate(zero)."""
    (x, y, z, w), (a, b, c, d) = orientation, zero
    return d * z - c * w + a * y - b * x, w * d + x * a + y * b + z * c
