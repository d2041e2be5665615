"""Pictures decoded and brought to the VLA's size side by side, and those that the next query will probably want already before it begins."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from rl_token_ros.vla.backend import Observation

KEPT = 3  # of a camera: the newest need not be the one that is chosen


class PreparedPictures:
    """Three pictures of 640 x 480 take 8.5 ms to be resized, one after the other: more than all else that a query needs.

    Args:
        cameras: their names.
        make: makes uint8 [h, w, 3] of a camera's message; its errors are raised when the picture is wanted.
    """

    def __init__(self, cameras: list[str], make: Callable[[str, Any], np.ndarray]) -> None:
        self._make = make
        self._pool = ThreadPoolExecutor(len(cameras), thread_name_prefix="pictures")
        self._begun: dict[str, deque[tuple[Any, Future[np.ndarray]]]] = {camera: deque(maxlen=KEPT) for camera in cameras}

    def begin(self, camera: str, message: Any) -> None:
        """One that will probably be wanted; left for :meth:`complete` where this machine does not keep up."""
        begun = self._begun[camera]
        if len(begun) == KEPT and not begun[0][1].done():
            return
        begun.append((message, self._pool.submit(self._make, camera, message)))

    def complete(self, observation: Observation) -> Observation:
        """The observation with its pictures made; waits for them. From another thread than :meth:`begin`."""
        wanted = {camera: self._of(camera, message) for camera, message in observation.images.items()}
        return observation.decoded(lambda camera, _: wanted[camera].result())

    def _of(self, camera: str, message: Any) -> Future[np.ndarray]:
        begun = next((made for given, made in list(self._begun[camera]) if given is message), None)
        return begun or self._pool.submit(self._make, camera, message)

    def close(self) -> None:
        """What runs is finished, what waits is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)
