"""Frames of recorded runs as the columns of a LeRobot data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from rl_token_ros.adapters import lerobot_columns as columns
from rl_token_ros.bags.frames import Frame, LeftOut
from rl_token_ros.bags.recorded_run import RecordedRun
from rl_token_ros.interfaces.codes import Ended
from rl_token_ros.settings.proprioception_groups import places
from rl_token_ros.vla.message_observations import decode


class Writer(Protocol):
    """A data set that is being written, as :class:`adapters.lerobot_writer.DatasetWriter`."""

    def add(self, values: dict[str, Any], task: str) -> None:
        """A frame."""

    def save(self) -> None:
        """The frames since the last are an episode."""

    def drop(self) -> None:
        """They are forgotten."""

    def close(self) -> None:
        """Make it whole."""


class DatasetSink:
    """Takes frames of runs that are like the first.

    Args:
        first: what the columns follow.
        videos: whether pictures are kept as video.
        task: what was to be done, where a bag does not say it.
        make: makes the data set of its features, when the first frame comes.

    Attributes:
        frames: of each episode that was saved.
        endings: how those of the current bag ended.
        without_task: whether one of its frames has no task.
    """

    def __init__(self, first: RecordedRun, videos: bool, task: str, make: Callable[[dict[str, Any]], Writer]) -> None:
        control, groups = first.control, first.vla.vla_proprioception
        self._task, self._sizes, self._make = task, first.sizes, make
        self._places = places(groups, len(control.joint_names))
        self._state = self._places[first.state[-1]].stop
        self._others = [group for group in groups if group not in first.state]
        self._features = columns.features(control, first.state, self._others, first.sizes, videos)
        self._writer: Writer | None = None
        self._count = self._ended = 0
        self.frames: list[int] = []
        self.endings: Counter[int] = Counter()
        self.without_task = False

    def begin(self) -> None:
        """What comes is of another bag."""
        self.endings, self.without_task = Counter(), False

    def add(self, frame: Frame) -> None:
        """The next frame.

        Raises:
            LeftOut, ImageError: a picture that cannot be used.
        """
        seen = decode(frame.observation)
        for camera, (height, width) in self._sizes.items():
            if seen.images[camera].shape[:2] != (height, width):
                raise LeftOut(f"a picture of camera {camera} in it is not {height} x {width} as the first")
        self._writer = self._writer or self._make(self._features)
        values: dict[str, Any] = {f"{columns.PICTURE}{camera}": picture for camera, picture in seen.images.items()}
        values |= {columns.measured_column(group): seen.proprio[self._places[group]] for group in self._others}
        values |= {
            columns.STATE: seen.proprio[: self._state],
            columns.ACTION: frame.action,
            columns.COMMAND: frame.command,
            columns.REWARD: frame.reward,
            columns.DONE: frame.ended != Ended.NO,
            columns.SUCCESS: frame.ended == Ended.SUCCESS,
            columns.ENDED: frame.ended,
            columns.SOURCE: frame.source,
            columns.CRITICAL: frame.critical,
            columns.STAMP: seen.stamp_ns,
        }
        task = seen.task or self._task
        self.without_task |= not task
        self._writer.add(values, task)
        self._count += 1
        self._ended = frame.ended

    def save(self) -> None:
        """The episode is whole."""
        assert self._writer is not None
        self._writer.save()
        self.frames.append(self._count)
        self.endings[self._ended] += 1
        self._count = 0

    def drop(self) -> None:
        """It is not."""
        if self._writer is not None:
            self._writer.drop()
        self._count = 0

    def close(self) -> bool:
        """Whether there is a data set."""
        if self._writer is not None:
            self._writer.close()
        return bool(self.frames)
