"""Synchronises cameras and robot state into one observation for the VLA, by stamps."""

from __future__ import annotations

from typing import Any

import numpy as np

from rl_token_ros.interfaces import measurements
from rl_token_ros.robot.proprioception import RobotState
from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla.backend import Observation


class Synchroniser:
    """Keeps the newest picture of each camera and the newest state, and says when they make an observation."""

    def __init__(self, settings: Vla) -> None:
        self.settings = settings
        self.state = RobotState(settings.joint_names, settings.vla_proprioception)
        self.task = settings.task
        self._images: dict[str, tuple[int, np.ndarray]] = {}
        self._asked_ns = -1

    def set_image(self, camera: str, stamp_ns: int, picture: np.ndarray) -> None:
        """A picture uint8 [h, w, 3]; one that is not newer than the one held is ignored."""
        if camera not in self._images or stamp_ns > self._images[camera][0]:
            self._images[camera] = (stamp_ns, picture)

    def measure(self, topic: str, message: Any, now_ns: int) -> None:
        """A measurement of one of `measurements.TYPES`.

        Raises:
            StateError: it cannot be used.
        """
        measurements.take(self.state, topic, message, now_ns)

    def forget(self) -> None:
        """Drop everything, as after a jump of the clock."""
        self._images.clear()
        self.state.forget()
        self._asked_ns = -1

    def observation(self, now_ns: int) -> tuple[Observation | None, str]:
        """The newest observation that was not given out before, or None and why there is none."""
        settings, groups = self.settings, self.settings.vla_proprioception
        absent = [camera for camera in settings.cameras if camera not in self._images]
        if absent:
            return None, f"no image on 'camera/{absent[0]}/image_raw' yet"
        missing = self.state.missing(groups)
        if missing:
            return None, f"no measurement of {', '.join(missing)} yet"
        stamps = [self._images[camera][0] for camera in settings.cameras]
        stamp, newest = (min(stamps), max(stamps)) if stamps else (now_ns - self.state.age_ns(groups, now_ns),) * 2
        if now_ns - stamp > settings.image_timeout * 1e9:
            oldest = settings.cameras[stamps.index(stamp)]
            return None, f"the newest image on 'camera/{oldest}/image_raw' is {(now_ns - stamp) * 1e-9:.2f} s old"
        if self.state.age_ns(groups, now_ns) > settings.image_timeout * 1e9:
            return None, f"the newest measurement is {self.state.age_ns(groups, now_ns) * 1e-9:.2f} s old"
        if newest - stamp > settings.sync_slop * 1e9:
            return None, f"the cameras' stamps lie {(newest - stamp) * 1e-9:.3f} s apart; sync_slop is {settings.sync_slop:g} s"
        if stamp <= self._asked_ns:
            return None, ""
        self._asked_ns = stamp
        images = {camera: self._images[camera][1] for camera in settings.cameras}
        return Observation(stamp, images, self.state.vector(groups), self.task), ""
