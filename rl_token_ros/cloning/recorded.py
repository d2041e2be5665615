"""Demonstrations out of bags (what a human's hand did) and out of LeRobot data sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from rl_token_ros.adapters.lerobot_demonstrations import Demonstrations as LeRobotDemonstrations
from rl_token_ros.adapters.lerobot_demonstrations import Unusable
from rl_token_ros.bags.frames import Frame, LeftOut
from rl_token_ros.bags.recorded_run import RecordedRun
from rl_token_ros.cloning.demonstrations import Demonstrations, NotUsable
from rl_token_ros.cloning.policy import Form
from rl_token_ros.interfaces.codes import Ended, Source
from rl_token_ros.settings.proprioception_groups import places
from rl_token_ros.system.progress import Progress
from rl_token_ros.vla.message_observations import decode


class HandSink:
    """Takes the frames of a run: an action is learned where a human commanded it.

    Args:
        run: whose frames come.
        everybody: actions of VLA and actor are learned as well.

    Attributes:
        without: episodes in which no human acted.
    """

    def __init__(self, run: RecordedRun, into: Demonstrations, everybody: bool) -> None:
        self._into, self._everybody = into, everybody
        self._state = places(run.vla.vla_proprioception, len(run.control.joint_names))[run.state[-1]].stop
        self._seen_ns = -1  # stamp of the pictures of the frame before
        self.without = 0

    def add(self, frame: Frame) -> None:
        """The next frame.

        Raises:
            LeftOut, ImageError: a picture that cannot be used.
        """
        observation = frame.observation
        images, new = None, observation.stamp_ns != self._seen_ns  # between two pictures there may be several actions
        if new:
            images, self._seen_ns = decode(observation).images, observation.stamp_ns
        try:
            taught = self._everybody or frame.source == Source.HUMAN
            self._into.add(images, observation.proprio[: self._state], frame.action, taught)
        except NotUsable as error:
            raise LeftOut(str(error)) from None

    def save(self) -> None:
        """The episode is whole."""
        self.without += not self._into.save()
        self._seen_ns = -1

    def drop(self) -> None:
        """It is not."""
        self._into.drop()
        self._seen_ns = -1


def read_bag(run: RecordedRun, into: Demonstrations, before: float, everybody: bool, note: Callable[[str], None]) -> None:
    """Take the successful episodes of a run in, an action for each `chunk_dt`."""
    sink = HandSink(run, into, everybody)
    _, left_out = run.cut(sink, 1.0 / run.control.chunk_dt, {int(Ended.SUCCESS)}, before)
    if sink.without:
        left_out["no human acted in it while a picture came; --who anybody learns from VLA and actor, too"] += sink.without
    _tell(left_out, str(run.bag.path), note)
    for why, count in run.refused.most_common(3):
        note(f"'{run.bag.path}': {count} messages cannot be used: {why}")


def read_lerobot(found: LeRobotDemonstrations, form: Form, into: Demonstrations, name: str, note: Callable[[str], None]) -> None:
    """Take the episodes of a data set in, those left out that say they failed.

    Raises:
        NotUsable: pictures of different sizes.
    """
    episodes, left_out = found.episodes(), Counter[str]()
    progress = Progress("demonstrations", len(episodes))
    for done, frames in enumerate(episodes):
        try:
            shown = found.demonstration(frames)
            if shown.ended == Ended.SUCCESS:
                state = np.concatenate([shown.groups[group] for group in form.groups], 1)
                for i, action in enumerate(shown.action):
                    into.add(shown.look(i), state[i], action)
                into.save()
            else:
                left_out[f"it ended as {Ended(shown.ended).label}"] += 1
        except Unusable as error:
            left_out[str(error)] += 1
        progress(done + 1)
    _tell(left_out, name, note)


def _tell(left_out: Counter[str], source: str, note: Callable[[str], None]) -> None:
    for why, count in left_out.most_common():
        note(f"'{source}': {count} episodes left out: {why}")
