"""What `train_token` reads from bags: the observations of `rl_token.dataset`."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rl_token_ros.bags import message_types
from rl_token_ros.bags.reader import Bag, Record, open_bag
from rl_token_ros.bags.run_settings import control_of, read_settings
from rl_token_ros.bags.table_rows import TableReader
from rl_token_ros.bags.topic_names import Names
from rl_token_ros.interfaces import images, measurements, replay_table, token_frame
from rl_token_ros.interfaces.stamps import stamp_to_ns
from rl_token_ros.interfaces.topics import SETTINGS
from rl_token_ros.rl_token import shard_index
from rl_token_ros.rl_token.dataset import Collector, NothingToLearn, Observations
from rl_token_ros.rl_token.shards import LARGEST, Shards, ShardWriter
from rl_token_ros.system.progress import Progress

MEGABYTE = 1_000_000


def read(paths: list[Path], groups: list[str], cache: Path, remaps: list[str], note: Callable[[str], None]) -> Observations:
    """The observations of all bags, one bag after the other; their embeddings are copied to the disk unless they were before.

    Args:
        paths: bags.
        groups: as of :class:`Collector`.
        cache: folder of the copies, a shard and its index per bag.
        remaps: ``ours:=theirs``.
        note: told what of a bag cannot be read, and which copy is used again.

    Raises:
        BagError, RemapError, TypeUnknown: a bag that cannot be read.
        ParameterError: it is of parameters that this version does not take.
        NothingToLearn: no embeddings, or of several VLAs or shapes.
        ShardError: a copy that is cut off, or a disk that is full.
    """
    whole = Observations()
    for path in paths:
        whole.append(_copied(open_bag(path), groups, cache, remaps, note), str(path))
    return whole


def _copied(bag: Bag, groups: list[str], cache: Path, remaps: list[str], note: Callable[[str], None]) -> Observations:
    """The observations of one bag, their embeddings in `cache`."""
    full = bag.path.resolve()
    shard = cache / f"{full.stem}-{hashlib.sha256(bytes(full)).hexdigest()[:8]}.f16"
    changed = max(file.stat().st_mtime_ns for file in bag.files)
    source = {"bag": str(full), "bytes": bag.size, "changed_ns": changed, "probe": groups, "remap": remaps}
    if (seen := shard_index.load(shard, source)) is not None:
        note(f"'{bag.path}' was copied before: {len(seen.held)} observations in '{shard}'")
        return seen
    shard_index.path_of(shard).unlink(missing_ok=True)
    with ShardWriter(shard) as writer:
        collector = Collector(groups, writer.write)
        seen = _Reader(bag, collector, remaps).read(note)
        whole = writer.finish()
    if collector.left_out:
        note(f"'{bag.path}': {collector.left_out} observations are left out: not finite, or beyond {LARGEST:.0f}, the largest float16")
    shard_index.save(seen, whole, source)
    seen.embeddings = Shards([whole])
    return seen


class _Reader:
    """One bag."""

    def __init__(self, bag: Bag, collector: Collector, remaps: list[str]) -> None:
        self._bag, self._collector = bag, collector
        names = Names(bag.topics, remaps)
        found = {ours: names.find(ours) for ours in ("vla/embedding", "replay", SETTINGS, *measurements.TYPES)}
        if found["vla/embedding"] is None:
            raise NothingToLearn(f"'{bag.path}': {names.missing('vla/embedding')}")
        self._topics = {ours: topic for ours, topic in found.items() if topic is not None}
        self._decode = {ours: message_types.decoder(topic.type, topic.definition, topic.encoding) for ours, topic in self._topics.items()}
        self._tables = TableReader()
        self._dtype: np.dtype | None = None

    def read(self, note: Callable[[str], None]) -> Observations:
        """All that is in it."""
        damaged: Counter[str] = Counter()
        ours_of = {topic.name: ours for ours, topic in self._topics.items()}
        megabytes = max(self._bag.size // MEGABYTE, 1)
        progress = Progress(f"read {self._bag.path.name} [MB]", megabytes)
        for record in self._bag.read(set(ours_of)):
            try:
                self._take(ours_of[record.topic], record)
            except (message_types.NotDecoded, replay_table.ReplayError) as error:
                damaged[str(error)] += 1
            progress(min(self._bag.position // MEGABYTE, megabytes - 1))
        progress(megabytes)
        for text in [*self._bag.problems, *(f"{count} times: {text}" for text, count in damaged.most_common(3))]:
            note(text)
        return self._collector.observations()

    def _take(self, ours: str, record: Record) -> None:
        if ours == "replay":
            self._take_rows(record.data)
        elif ours == "vla/embedding":
            self._take_embedding(self._decode[ours](record.data))
        elif ours == SETTINGS:
            told = read_settings(self._decode[ours](record.data))
            self._collector.settings(control_of(told), told.get("vla_sha256", ""))
        elif self._collector.wants(ours):
            self._collector.measurement(ours, self._decode[ours](record.data), record.stamp_ns)

    def _take_embedding(self, message: Any) -> None:
        if (made_by := token_frame.encoder_of(message.header.frame_id)) is not None:
            raise NothingToLearn(
                f"'{self._bag.path}': 'vla/embedding' holds tokens of the encoder with SHA-256 {made_by[:12]}..., made at the VLA's server, not "
                "embeddings; record with 'embeddings: float16' for vla_node, or a server without --token-encoder"
            )
        try:
            self._collector.embedding(stamp_to_ns(message.header.stamp), images.to_matrix(message, "vla/embedding"))
        except (images.ImageError, NothingToLearn) as error:
            raise NothingToLearn(f"'{self._bag.path}': {error}") from None

    def _take_rows(self, data: bytes) -> None:
        decode = self._decode["replay"]
        if self._dtype is None:
            self._dtype = replay_table.sent_dtype(decode(data))
        for raw in self._tables.rows(data, decode, self._dtype, "replay"):
            row = np.frombuffer(raw, self._dtype)[0]
            self._collector.step(int(row["stamp_sec"]) * 10**9 + int(row["stamp_nanosec"]), int(row["ended"]))
