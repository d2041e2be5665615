"""Rotations: the group SO(3), as unit quaternions x, y, z, w and as rotation vectors, axis times angle in rad.

A turn is about axes of the base frame and comes from the left: ``times(exp(turn), q)``. One rotation at a time is four or three plain numbers,
which a control step needs dozens of and numpy would take ten times as long for; whole chunks are arrays (:func:`difference`, :func:`moved`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

Vector: TypeAlias = tuple[float, float, float]
Quaternion: TypeAlias = tuple[float, float, float, float]

ZERO: Vector = (0.0, 0.0, 0.0)
TINY = 1e-9  # rad: below it sine and angle are one in float64


# --- one rotation --------------------------------------------------------------------------------------------------------------


def exp(turn: Sequence[float]) -> Quaternion:
    """The quaternion of a rotation vector of any length."""
    x, y, z = turn
    angle = norm(turn)
    share = math.sin(0.5 * angle) / angle if angle > TINY else 0.5
    return x * share, y * share, z * share, math.cos(0.5 * angle)


def log(q: Sequence[float]) -> Vector:
    """The rotation vector of a quaternion of any length but 0, at most pi long: the shortest way. It is the same for q and -q, bit for bit."""
    x, y, z, w = q
    if w < 0.0 or (w == 0.0 and (x, y, z) < ZERO):
        x, y, z, w = -x, -y, -z, -w
    sine = norm((x, y, z))
    share = 2.0 * math.atan2(sine, w) / sine if sine > TINY else 2.0 / w
    return x * share, y * share, z * share


def times(p: Sequence[Any], q: Sequence[Any]) -> tuple[Any, Any, Any, Any]:
    """The rotation q and after it p. Components are numbers, or arrays of one shape."""
    (a, b, c, d), (x, y, z, w) = p, q
    return d * x + a * w + b * z - c * y, d * y - a * z + b * w + c * x, d * z + a * y - b * x + c * w, d * w - a * x - b * y - c * z


def inverse(q: Sequence[Any]) -> tuple[Any, Any, Any, Any]:
    """The rotation back."""
    x, y, z, w = q
    return -x, -y, -z, w


def turn_from(zero: Sequence[float], orientation: Sequence[float]) -> Vector:
    """The rotation vector from one orientation to another, the shortest way."""
    return log(times(orientation, inverse(zero)))


def rotated(q: Sequence[float], vector: Sequence[float]) -> Vector:
    """A vector turned by a rotation."""
    x, y, z, _ = times(times(q, (*vector, 0.0)), inverse(q))
    return x, y, z


def norm(vector: Sequence[float]) -> float:
    """Its length: the angle of a rotation vector."""
    return math.hypot(*vector)


def scaled(vector: Sequence[float], by: float) -> Vector:
    """A vector times a number."""
    x, y, z = vector
    return x * by, y * by, z * by


# --- many ----------------------------------------------------------------------------------------------------------------------


def quaternions(turns: np.ndarray) -> np.ndarray:
    """:func:`exp` of rotation vectors [..., 3] as float64 [..., 4]."""
    turns = np.asarray(turns, np.float64)
    angle = np.sqrt(np.sum(turns * turns, axis=-1, keepdims=True))
    share = np.where(angle > TINY, np.sin(0.5 * angle) / np.maximum(angle, TINY), 0.5)
    return np.concatenate([turns * share, np.cos(0.5 * angle)], axis=-1)


def vectors(q: np.ndarray) -> np.ndarray:
    """:func:`log` of quaternions [..., 4] as float64 [..., 3]."""
    q = np.asarray(q, np.float64)
    x, y, z, w = np.moveaxis(q, -1, 0)
    first = np.where(x != 0.0, x, np.where(y != 0.0, y, z))
    q = np.where(((w < 0.0) | ((w == 0.0) & (first < 0.0)))[..., None], -q, q)
    turn, w = q[..., :3], q[..., 3:]
    sine = np.sqrt(np.sum(turn * turn, axis=-1, keepdims=True))
    small = sine <= TINY
    share = np.where(small, 2.0 / np.where(small, w, 1.0), 2.0 * np.arctan2(sine, w) / np.where(small, 1.0, sine))
    return turn * share


def product(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """:func:`times` of quaternions [..., 4]."""
    return np.stack(times(list(np.moveaxis(p, -1, 0)), list(np.moveaxis(q, -1, 0))), axis=-1)


def difference(turns: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The shortest turns [..., 3] from ``others`` to ``turns``, both rotation vectors."""
    return vectors(product(quaternions(turns), quaternions(others) * (-1.0, -1.0, -1.0, 1.0)))


def moved(turns: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Rotation vectors [..., 3], at most pi long, of rotations turned by others."""
    return vectors(product(quaternions(by), quaternions(turns)))


def continuous(turns: np.ndarray) -> np.ndarray:
    """Rotation vectors [..., C, 3] of the same rotations, none of which is farther from the one before than another of its kind: no jump at pi."""
    angles = np.sqrt(np.sum(turns * turns, axis=-1, keepdims=True))
    if angles.max(initial=0.0) < 0.5 * math.pi:
        return turns
    found: np.ndarray = turns.copy()
    axes = turns / np.maximum(angles, TINY)
    for i in range(1, turns.shape[-2]):
        along = np.sum(axes[..., i, :] * found[..., i - 1, :], axis=-1, keepdims=True)
        found[..., i, :] += axes[..., i, :] * (2.0 * math.pi * np.round((along - angles[..., i, :]) / (2.0 * math.pi)))
    return found
