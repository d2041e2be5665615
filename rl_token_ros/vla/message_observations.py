"""Observations out of a bag's messages, as vla_node makes them of those of cameras and drivers; driven by stamps, not by the clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rl_token_ros.interfaces import images, measurements
from rl_token_ros.interfaces.stamps import stamp_to_ns
from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla.backend import Observation
from rl_token_ros.vla.observation import Synchroniser


class MessageObservations:
    """Takes messages in the order of their reception, and gives an observation where one can be made and is due.

    Args:
        settings: parameters of `vla_node`.
        due: whether the VLA may be asked at a time in ns.
    """

    def __init__(self, settings: Vla, due: Callable[[int], bool]) -> None:
        self._synchroniser = Synchroniser(settings)
        self._due = due

    def take(self, ours: str, message: Any, now_ns: int) -> Observation | None:
        """One message, received at that time; the pictures of the observation are not decoded yet (:func:`decode`).

        Raises:
            ValueError: a message that cannot be used.
        """
        synchroniser = self._synchroniser
        if ours.startswith("camera/"):
            synchroniser.set_image(ours.split("/")[1], stamp_to_ns(message.header.stamp) or now_ns, (ours, message))
        elif ours in measurements.TYPES:
            synchroniser.measure(ours, message, now_ns)
            if not synchroniser.waiting:
                return None
        else:
            if ours == "task":
                synchroniser.task = message.data
            return None
        return synchroniser.observation(now_ns)[0] if self._due(now_ns) else None

    def report(self) -> dict[str, str]:
        """How they came about, as in `/diagnostics` of vla_node."""
        return self._synchroniser.report()


def decode(observation: Observation) -> Observation:
    """The same with its pictures decoded.

    Raises:
        ImageError: a picture that cannot be decoded.
    """
    return observation.decoded(_picture)


def _picture(camera: str, picture: tuple[str, Any]) -> np.ndarray:
    topic, message = picture
    return images.picture(message, topic)
