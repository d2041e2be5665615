"""What `train_token` reads from bags with embeddings: the observations of `rl_token.dataset`."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from rl_token_ros.bags import message_types
from rl_token_ros.bags.bag_progress import BagProgress
from rl_token_ros.bags.reader import Bag, Record, Topic
from rl_token_ros.bags.run_settings import control_of, read_settings
from rl_token_ros.bags.table_rows import TableReader
from rl_token_ros.bags.topic_names import Names
from rl_token_ros.interfaces import images, measurements, replay_table, token_frame
from rl_token_ros.interfaces.stamps import stamp_to_ns
from rl_token_ros.interfaces.topics import SETTINGS
from rl_token_ros.rl_token import shard_index
from rl_token_ros.rl_token.dataset import Collector, NothingToLearn, Observations
from rl_token_ros.rl_token.shards import LARGEST, Shards, ShardWriter


def source_of(bag: Bag, **how: Any) -> dict[str, Any]:
    """What tells a copy of a bag from others, as JSON has it."""
    changed = max(file.stat().st_mtime_ns for file in bag.files)
    return {"bag": str(bag.path.resolve()), "bytes": bag.size, "changed_ns": changed, **how}


def copied(bag: Bag, groups: list[str], cache: Path, remaps: list[str], note: Callable[[str], None]) -> Observations:
    """The observations of a bag; their embeddings are copied to the disk unless they were before.

    Args:
        groups: as of :class:`Collector`.
        cache: folder of the copies, a shard and its index per bag.
        remaps: ``ours:=theirs``.
        note: told what of a bag cannot be read, and which copy is used again.

    Raises:
        RemapError, TypeUnknown: a bag that cannot be read.
        ParameterError: it is of parameters that this version does not take.
        NothingToLearn: no embeddings, or of several shapes.
        ShardError: a copy that is cut off, or a disk that is full.
    """
    full = bag.path.resolve()
    shard = cache / f"{full.stem}-{hashlib.sha256(bytes(full)).hexdigest()[:8]}.f16"
    source = source_of(bag, probe=groups, remap=remaps)
    if (seen := shard_index.load(shard, source)) is not None:
        note(f"'{bag.path}' was copied before: {len(seen.held)} observations in '{shard}'")
        return seen
    shard_index.path_of(shard).unlink(missing_ok=True)
    with ShardWriter(shard) as writer:
        collector = Collector(groups, writer.write)
        reader = _EmbeddingReader(bag, collector, remaps)
        reader.read(bag.read(reader.topics), note)
        seen, whole = collector.observations(), writer.finish()
    if collector.left_out:
        note(f"'{bag.path}': {collector.left_out} observations are left out: not finite, or beyond {LARGEST:.0f}, the largest float16")
    shard_index.save(seen, whole, source)
    seen.embeddings = Shards([whole])
    return seen


class BagReader(ABC):
    """Reads what observations are probed with: parameters, measurements, episodes.

    Args:
        bag: a bag.
        collector: told what is in it.
        names: of its topics.
        more: further topics, by our names, whose messages :meth:`take` is given.
    """

    def __init__(self, bag: Bag, collector: Collector, names: Names, more: dict[str, Topic]) -> None:
        self.bag, self.collector = bag, collector
        found = {ours: names.find(ours) for ours in ("replay", SETTINGS, *measurements.TYPES)}
        known = {ours: topic for ours, topic in found.items() if topic is not None} | more
        self._decode = {ours: message_types.decoder(topic.type, topic.definition, topic.encoding) for ours, topic in known.items()}
        self._ours = {topic.name: ours for ours, topic in known.items()}
        self._more = more
        self._tables = TableReader()
        self._dtype: np.dtype | None = None

    @property
    def topics(self) -> set[str]:
        """Of the bag, that are read."""
        return set(self._ours)

    def read(self, records: Iterable[Record], note: Callable[[str], None]) -> None:
        """All that is in it."""
        damaged: Counter[str] = Counter()
        self.say("read")
        for record in records:
            try:
                self._take(self._ours[record.topic], record)
            except (message_types.NotDecoded, replay_table.ReplayError) as error:
                damaged[str(error)] += 1
            self._progress()
        self._progress.done()
        for text in [*self.bag.problems, *(f"{count} times: {text}" for text, count in damaged.most_common(3))]:
            note(text)

    def say(self, what: str) -> None:
        """What is done from here on, for the progress."""
        self._progress = BagProgress(self.bag, f"{what} {self.bag.path.name}", from_here=True)

    @abstractmethod
    def take(self, ours: str, message: Any, received_ns: int) -> None:
        """A message of one of the further topics."""

    def _take(self, ours: str, record: Record) -> None:
        if ours == "replay":
            self._take_rows(record.data)
            return
        if ours == SETTINGS:
            told = read_settings(self._decode[ours](record.data))
            self.collector.settings(control_of(told), told.get("vla_sha256", ""))
            return
        probed, further = self.collector.wants(ours), ours in self._more
        if not (probed or further):
            return
        message = self._decode[ours](record.data)
        if probed:
            self.collector.measurement(ours, message, record.stamp_ns)
        if further:
            self.take(ours, message, record.stamp_ns)

    def _take_rows(self, data: bytes) -> None:
        decode = self._decode["replay"]
        if self._dtype is None:
            self._dtype = replay_table.sent_dtype(decode(data))
        for raw in self._tables.rows(data, decode, self._dtype, "replay"):
            row = np.frombuffer(raw, self._dtype)[0]
            self.collector.step(int(row["stamp_sec"]) * 10**9 + int(row["stamp_nanosec"]), int(row["ended"]))


class _EmbeddingReader(BagReader):
    """Takes the embeddings that are in the bag."""

    def __init__(self, bag: Bag, collector: Collector, remaps: list[str]) -> None:
        names = Names(bag.topics, remaps)
        topic = names.find("vla/embedding")
        if topic is None:
            raise NothingToLearn(
                f"'{bag.path}': {names.missing('vla/embedding')}; where it has the cameras' pictures, a VLA can be asked about them: "
                "--config my_arm.yaml, the robot's parameters, and --server ADDRESS"
            )
        super().__init__(bag, collector, names, {"vla/embedding": topic})

    def take(self, ours: str, message: Any, received_ns: int) -> None:
        """Embeddings, whose stamp is that of their observation."""
        if (made_by := token_frame.encoder_of(message.header.frame_id)) is not None:
            raise NothingToLearn(
                f"'{self.bag.path}': 'vla/embedding' holds tokens of the encoder with SHA-256 {made_by[:12]}..., made at the VLA's server, not "
                "embeddings; record with 'embeddings: float16' for vla_node, or a server without --token-encoder"
            )
        try:
            self.collector.embedding(stamp_to_ns(message.header.stamp), images.to_matrix(message, "vla/embedding"))
        except (images.ImageError, NothingToLearn) as error:
            raise NothingToLearn(f"'{self.bag.path}': {error}") from None
