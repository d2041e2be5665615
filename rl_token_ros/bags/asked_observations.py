"""What `train_token` reads from bags with pictures but without embeddings: a VLA is asked for those, once, into shards on the disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rl_token_ros.bags import picture_topics
from rl_token_ros.bags.in_order import in_order
from rl_token_ros.bags.reader import Bag
from rl_token_ros.bags.token_observations import BagReader, source_of
from rl_token_ros.bags.topic_names import Names
from rl_token_ros.interfaces.images import ImageError
from rl_token_ros.interfaces.topics import SETTINGS
from rl_token_ros.rl_token import asked_shard
from rl_token_ros.rl_token.asked_shard import AskedShard
from rl_token_ros.rl_token.dataset import Collector, NothingToLearn, Observations
from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla.backend import Unreachable
from rl_token_ros.vla.message_observations import MessageObservations, decode
from rl_token_ros.vla.patient import PatientVla
from rl_token_ros.vla.query_scheduler import QueryScheduler

# What of vla_node's parameters it depends on what the VLA is shown.
SHOWN = (
    "cameras", "joint_names", "vla_proprioception", "measured_groups", "task", "query_rate", "image_timeout", "sync_slop", "backend",
    "observation_preset", "observation_keys", "image_height", "image_width", "statistics_file", "statistics_mode",
)  # fmt: skip


def has_pictures(bag: Bag, vla: Vla, remaps: list[str]) -> bool:
    """Whether a VLA could be asked about a bag."""
    return not picture_topics.find(Names(bag.topics, remaps), vla)[1]


def asked(
    bag: Bag, groups: list[str], cache: Path, remaps: list[str], settings: Vla, vla: Callable[[], PatientVla], note: Callable[[str], None]
) -> Observations:  # fmt: skip
    """The observations of a bag as vla_node would have made them at `query_rate`, with the VLA's embeddings.

    Which observations they are follows from the bag alone, not from how long an answer takes: what was asked for before is found again.

    Args:
        groups: as of :class:`Collector`.
        cache: folder of the shards.
        remaps: ``ours:=theirs``.
        settings: parameters of `vla_node`.
        vla: connects to it.
        note: told what cannot be used, and what is used again.

    Raises:
        RemapError, TypeUnknown, ParameterError: see :func:`token_observations.copied`.
        NothingToLearn: pictures or measurements are missing, or the embeddings' shape has changed.
        BackendError: the VLA does not answer, or refuses.
        ShardError: of another VLA, or a disk that is full.
    """
    names = Names(bag.topics, remaps)
    topics, absent = picture_topics.find(names, settings)
    if absent:
        raise NothingToLearn(f"'{bag.path}': to ask a VLA about its pictures:\n  " + "\n  ".join(absent))
    shown = {name: getattr(settings, name) for name in SHOWN}
    source = source_of(bag, probe=groups, remap=remaps, shown=shown)
    path = asked_shard.path_in(cache, bag.path.resolve().stem, {name: each for name, each in source.items() if name != "probe"})
    try:
        answers: PatientVla | Unreachable = vla()
    except Unreachable as error:
        answers = error
    if (seen := asked_shard.finished(path, source, answers.vla_sha256 if isinstance(answers, PatientVla) else None, note)) is not None:
        return seen
    if isinstance(answers, Unreachable):
        raise answers
    with AskedShard(path, answers.vla_sha256, note) as shard:
        collector = Collector(groups, _nothing)
        if names.find(SETTINGS) is None:  # of another controller
            collector.settings(settings, "")
        reader = _PictureReader(bag, collector, names, topics, settings, answers, shard)
        reader.read(in_order(bag.read(reader.topics)), note)
        seen = collector.observations()
        shard.finish(seen, source)
    for text in (f"{count} times: {text}" for text, count in reader.refused.most_common(3)):
        note(text)
    if shard.left_out:
        note(f"'{bag.path}': {shard.left_out} observations are left out: a picture that cannot be decoded, or embeddings that float16 does not hold")
    return seen


def _nothing(_: Any) -> None:
    """The shard keeps the embeddings."""


class _PictureReader(BagReader):
    """Makes observations, and asks about those that are not in the shard."""

    def __init__(
        self, bag: Bag, collector: Collector, names: Names, topics: dict[str, Any], settings: Vla, vla: PatientVla, shard: AskedShard
    ) -> None:  # fmt: skip
        super().__init__(bag, collector, names, topics)
        self._scheduler = QueryScheduler(settings)
        self._observations = MessageObservations(settings, self._scheduler.due)
        self._vla, self._shard = vla, shard
        self._asks = False
        self.refused: Counter[str] = Counter()  # messages, by the reason

    def take(self, ours: str, message: Any, received_ns: int) -> None:
        """A picture, a measurement or the task."""
        try:
            observation = self._observations.take(ours, message, received_ns)
        except ValueError as error:
            self.refused[str(error)] += 1
            return
        if observation is None:
            return
        self._scheduler.asked(received_ns)
        self._scheduler.answered()
        kept = self._shard.recall(observation.stamp_ns)
        if kept is None:
            if not self._asks:  # what was known from before has taken no time
                self._asks = True
                self.say("ask the VLA about")
            try:
                matrix = self._vla.embed(decode(observation))
            except ImageError as error:
                self.refused[str(error)] += 1
                matrix = None
            kept = self._shard.write(observation.stamp_ns, matrix)
        if kept:
            self.collector.observed(observation.stamp_ns)
