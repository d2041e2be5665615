"""What a control step gives."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Command:
    """What is sent to the arm.

    Attributes:
        position: [A] of each action dimension, m or rad, and ``velocity`` [A].
        holding: whether the arm is brought to rest or stays.
        pose: position [3] and orientation x, y, z, w [4] of the tool in the base frame when the arm was enabled, for what is no action; None: joints.
    """

    position: np.ndarray
    velocity: np.ndarray
    holding: bool
    pose: tuple[np.ndarray, np.ndarray] | None = None


@dataclass(frozen=True)
class Choice:
    """What a tick wants to do before the filter: action [A] per control step, and whose it is, a code of :class:`codes.Source`."""

    action: np.ndarray
    source: int


@dataclass
class Outputs:
    """What came of one call.

    Attributes:
        command: to send, None: nothing.
        grippers: positions [G] to send, None: nothing.
        rows: of `replay`, each a structured array [1].
        endings: codes of :class:`codes.Ended` of episodes that ended.
        ticks: rows of `~/ticks`.
        said: a sentence for who called.
    """

    command: Command | None = None
    grippers: np.ndarray | None = None
    rows: list[np.ndarray] = field(default_factory=list)
    endings: list[int] = field(default_factory=list)
    ticks: list[bytes] = field(default_factory=list)
    said: str = ""
