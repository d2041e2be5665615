"""A bag of a run as frames at a steady rate: its settings, its cameras, its episodes, and the observations that vla_node would have made."""

from __future__ import annotations

import dataclasses
import statistics
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from rl_token_ros.bags import episodes, message_types, picture_topics
from rl_token_ros.bags.bag_progress import BagProgress
from rl_token_ros.bags.episodes import Episode
from rl_token_ros.bags.frames import EpisodeFrames, Frame, LeftOut
from rl_token_ros.bags.in_order import in_order
from rl_token_ros.bags.reader import open_bag
from rl_token_ros.bags.run_settings import NoSettings, control_of, first_settings
from rl_token_ros.bags.topic_names import Names
from rl_token_ros.interfaces import images, measurements
from rl_token_ros.interfaces.codes import Ended
from rl_token_ros.interfaces.stamps import stamp_to_ns
from rl_token_ros.interfaces.topics import TICKS
from rl_token_ros.settings import parameters
from rl_token_ros.settings.proprioception_groups import measured_group, source
from rl_token_ros.settings.robot import Robot
from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla.backend import Observation
from rl_token_ros.vla.message_observations import MessageObservations

CAMERAS = "pictures are recorded where 'topics' of record has [camera/*, ..]: docs/bags.md"
LOOKED_AT = 60  # pictures of each camera, from which its period is known


class NotARun(ValueError):
    """A bag of which no frames can be made; the message says why, and what to do."""


class Sink(Protocol):
    """Takes the frames of episodes."""

    def add(self, frame: Frame) -> None:
        """The next frame; raises LeftOut or ImageError where the episode cannot be taken for it."""

    def save(self) -> None:
        """The episode is whole."""

    def drop(self) -> None:
        """It is not: what was added since the last is forgotten."""


class RecordedRun:
    """What a bag holds beside its pictures.

    Args:
        path: the bag.
        config: parameters of `vla_node`, from the robot's file; None: what is in the bag.
        state: groups of the state; empty: those of ``config``, else the measured position of what is commanded.
        remaps: ``ours:=theirs``.

    Attributes:
        control: parameters of the run.
        vla: those by which observations are made; `vla_proprioception` are all groups that are taken from the bag.
        state: the groups of the state, the first of these.
        absent: groups that control_node needs and the bag does not have.
        sizes: rows and columns of each camera's pictures.
        camera_rate: of the fastest, Hz.
        run: its commands and episodes.

    Raises:
        NotARun: what it lacks.
        BagError, RemapError, ParameterError, ReplayError, TypeUnknown: it cannot be read.
    """

    def __init__(self, path: Path, config: Vla | None = None, state: Sequence[str] = (), remaps: Sequence[str] = ()) -> None:
        self.bag = open_bag(path)
        names = Names(self.bag.topics, remaps)
        try:
            self.control = control_of(first_settings(self.bag, names), enable_on_start=False, token_encoder="", phase_model="")
        except NoSettings:
            raise NotARun(f"'{path}': {names.missing('control_node/settings')}; record the run with rl_token record, cameras included") from None
        if (ticks := names.find(TICKS)) is None:
            raise NotARun(f"'{path}': {names.missing(TICKS)}, which says what was commanded and when; record the run with rl_token record")
        control = self.control
        if control.rotation_at is not None:
            raise NotARun(f"'{path}' has rx, ry, rz among its actions; whose increments do not add up; positions and yaw can be exported")
        self.state = list(state) or (config.vla_proprioception if config else [measured_group(control.cartesian)])
        needed = [*control.needed_groups, *["ee_orientation"] * control.turns]
        there = {topic: found for topic in measurements.TYPES if (found := names.find(topic)) is not None}
        others = [group for group in needed if source(group) and group not in self.state]
        self.absent = [group for group in others if source(group) not in there]
        groups = [*self.state, *(group for group in others if group not in self.absent)]
        if not (config or control.cameras):
            raise NotARun(f"'{path}' does not say which cameras the robot has; name its parameter file with --config")
        shared = {f.name: getattr(control, f.name) for f in dataclasses.fields(Robot)}
        self.vla = (
            dataclasses.replace(config, vla_proprioception=groups) if config else parameters.build(Vla, {**shared, "vla_proprioception": groups})
        )
        topics, missing = picture_topics.find(names, self.vla)
        if missing:
            raise NotARun(f"'{path}': " + "\n  ".join(missing) + f"\n{CAMERAS}")
        self._ours = {topic.name: ours for ours, topic in topics.items()}
        self._decode = {ours: message_types.decoder(topic.type, topic.definition, topic.encoding) for ours, topic in topics.items()}
        self.sizes, self.camera_rate = self._look()
        self.run = episodes.read(self.bag, ticks, control.episode_time_limit)
        self.refused: Counter[str] = Counter()  # what cannot be used, by reason
        self.report: dict[str, str] = {}  # how observations came about, as in `/diagnostics` of vla_node

    def _look(self) -> tuple[dict[str, tuple[int, int]], float]:
        """Sizes of the pictures and the rate of the fastest camera, from its first pictures."""
        cameras = {name: ours for name, ours in self._ours.items() if ours.startswith("camera/")}
        stamps: dict[str, list[int]] = defaultdict(list)
        sizes: dict[str, tuple[int, int]] = {}
        for record in self.bag.read(set(cameras)):
            ours = cameras[record.topic]
            camera = ours.split("/")[1]
            try:
                message = self._decode[ours](record.data)
                if camera not in sizes:
                    sizes[camera] = images.picture(message, ours).shape[:2]
            except (message_types.NotDecoded, images.ImageError):
                continue  # counted when all are read
            stamps[camera].append(stamp_to_ns(message.header.stamp) or record.stamp_ns)
            if all(len(stamps[each]) >= LOOKED_AT for each in self.vla.cameras):
                break
        periods = [statistics.median(b - a for a, b in pairwise(seen)) for seen in stamps.values() if len(seen) > 1]
        if len(sizes) < len(self.vla.cameras) or not periods or min(periods) <= 0:
            dark = ", ".join(camera for camera in self.vla.cameras if len(stamps[camera]) < 2) or "the cameras"
            raise NotARun(f"'{self.bag.path}' holds no two pictures of {dark} that can be used")
        return sizes, 1e9 / min(periods)

    def cut(self, sink: Sink, rate: float, keep: Collection[int], before: float = 0.0) -> tuple[Counter[str], Counter[str]]:
        """Hand the frames of all episodes to ``sink``; gives what was counted of frames, and episodes that were left out by reason.

        Args:
            rate: frames per second.
            keep: codes of :class:`Ended` of the episodes that are wanted.
            before: seconds to begin before each critical phase, not before the episode before it has ended.
        """
        counts, left_out = Counter[str](), Counter(self.run.left_out)
        waiting: list[EpisodeFrames] = []
        over_ns = 0
        for episode in self.run.episodes:
            if episode.ended in keep:
                waiting.append(self._frames_of(episode, rate, min(before, max(episode.begin_ns - over_ns, 0) * 1e-9)))
            else:
                left_out[f"it ended as {Ended(episode.ended).label}"] += 1
            over_ns = episode.end_ns
        for observation in self._observations():
            for frames in [each for each in waiting if observation.stamp_ns >= each.reach_ns]:  # of two that follow each other at once both
                if self._hand(sink, frames, frames.take(observation), counts, left_out):
                    waiting.remove(frames)
        for frames in waiting:
            self._hand(sink, frames, frames.finish(), counts, left_out)
        return counts, left_out

    def _frames_of(self, episode: Episode, rate: float, before: float) -> EpisodeFrames:
        return EpisodeFrames(episode, self.run.commands, self.control, rate, self.vla.image_timeout, before)

    @staticmethod
    def _hand(sink: Sink, frames: EpisodeFrames, made: Iterator[Frame], counts: Counter[str], left_out: Counter[str]) -> bool:
        """Hand frames over; whether the episode is done with them."""
        try:
            for frame in made:
                sink.add(frame)
        except (LeftOut, images.ImageError) as error:
            sink.drop()
            left_out[str(error)] += 1
            return True
        if frames.whole:
            sink.save()
            counts.update(frames.counts)
        return frames.whole

    def _observations(self) -> Iterator[Observation]:
        """Those that vla_node would have made of every set of pictures."""
        watching = MessageObservations(self.vla, lambda now_ns: True)
        progress = BagProgress(self.bag, f"read {self.bag.path.name}")
        for record in in_order(self.bag.read(set(self._ours))):
            ours = self._ours[record.topic]
            try:
                observation = watching.take(ours, self._decode[ours](record.data), record.stamp_ns)
            except ValueError as error:  # NotDecoded among them
                self.refused[str(error)] += 1
                continue
            progress()
            if observation is not None:
                yield observation
        progress.done()
        self.report = watching.report()
