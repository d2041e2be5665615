"""Asserts that commands keep their limits."""

from __future__ import annotations

import numpy as np

from rl_token_ros.control.safety_filter import Limits


def within_limits(before: np.ndarray, command: np.ndarray, velocity: np.ndarray, limits: Limits, period: float) -> np.ndarray:
    """Asserts every limit between two commands; returns the velocity between them."""
    # Positions are float64: their last digits, over a period, are speed.
    rounding = 1e-9 * limits.velocity + 4 * np.spacing(np.abs(command) + np.abs(before)) / period
    assert np.isfinite(command).all()
    assert (command >= limits.position_min).all() and (command <= limits.position_max).all()
    now = (command - before) / period
    assert (np.abs(now) <= limits.velocity + rounding).all()
    assert (np.abs(now - velocity) <= limits.acceleration * period + rounding).all()
    return now
