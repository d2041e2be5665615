"""Writes a rosbag2 folder of MCAP files from raw CDR: in splits, bounded on disk, readable after a crash.

`ros2 bag info` and `play`, Foxglove and PlotJuggler open it: each channel has its type's definition and the QoS it was offered with.
What was written before a :meth:`BagWriter.sync` survives the end of the machine; what comes after it may be lost, nothing else.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import yaml
from mcap.writer import CompressionType, Writer

from rl_token_ros.bags import message_types

METADATA = "metadata.yaml"
ROLE = "rl_token_topic"  # in the metadata of a channel: which of ours it is
METADATA_VERSION = 5  # Humble's; every later release reads it
CHUNK_BYTES = 1 << 20
FOREVER = {"sec": 9223372036, "nsec": 854775807}


def qos(*, reliable: bool = True, latched: bool = False, depth: int = 10) -> str:
    """A QoS profile as rosbag2 writes it into a bag: YAML with the numbers of rmw."""
    profile = {
        "history": 1,  # keep last
        "depth": depth,
        "reliability": 1 if reliable else 2,
        "durability": 1 if latched else 2,
        "deadline": dict(FOREVER),  # copies: YAML would write one as a reference to another
        "lifespan": dict(FOREVER),
        "liveliness": 1,  # automatic
        "liveliness_lease_duration": dict(FOREVER),
        "avoid_ros_namespace_conventions": False,
    }
    return yaml.safe_dump([profile], sort_keys=False)


@dataclass
class _Split:
    """One file: what `metadata.yaml` says about it."""

    name: str
    start_ns: int = 0
    end_ns: int = 0
    messages: int = 0
    counts: Counter[str] = field(default_factory=Counter)  # by topic, as far as this writer wrote them


@dataclass
class _Open:
    """The file that is being written."""

    file: BinaryIO
    writer: Writer


class BagWriter:
    """One bag, a folder. Not for several threads at once.

    A folder that holds a bag already is continued with a new file. After an OSError (a full disk) the file begun is left as it is, a
    reader takes its whole chunks, and the next :meth:`write` begins another.

    Args:
        folder: the bag; created with its parents.
        split_bytes: size at which a new file begins; 0: never. At most half of ``limit_bytes``.
        limit_bytes: size of all files beyond which the oldest are deleted; 0: none.
        compression: none, lz4 or zstd.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: str | Path, *, split_bytes: int = 1 << 30, limit_bytes: int = 0, compression: str = "none") -> None:
        self.folder = Path(folder)
        self.split_bytes = min(split_bytes or limit_bytes, limit_bytes // 2) if limit_bytes else split_bytes
        self.limit_bytes = limit_bytes
        self.deleted = 0  # files
        self._compression = CompressionType[compression.upper()]
        self._qos: dict[str, tuple[str, str]] = {}  # topic -> type, QoS
        self._roles: dict[str, str] = {}  # topic -> our name
        self._counts: Counter[str] = Counter()  # messages by topic
        self.folder.mkdir(parents=True, exist_ok=True)
        self._splits = self._known_splits()
        self._open: _Open | None = None
        self._channels: dict[str, int] = {}

    @property
    def size(self) -> int:
        """Bytes of all files on the disk."""
        return sum(path.stat().st_size for path in self._files())

    @property
    def oldest_ns(self) -> int:
        """Stamp from which on nothing has been deleted; 0: nothing ever was."""
        deleted = bool(self._splits) and _number(Path(self._splits[0].name)) > 0
        return next((split.start_ns for split in self._splits if split.start_ns), 0) if deleted else 0

    def add_topic(self, topic: str, type_name: str, qos_text: str = "", role: str = "") -> None:
        """Say with which QoS a topic was offered, and which of ours it is, before its first message.

        Without it: reliable, volatile, depth 10; what it is follows from its name.
        """
        self._qos[topic] = (type_name, qos_text or qos())
        self._roles[topic] = role

    def write(self, topic: str, type_name: str, stamp_ns: int, cdr: bytes) -> None:
        """One message as it was received.

        Args:
            topic: its name, with a slash in front as ROS writes it.
            type_name: such as ``sensor_msgs/msg/PointCloud2``.
            stamp_ns: time of reception, by which players play.
            cdr: serialised, with the four bytes of encapsulation.

        Raises:
            OSError: the disk is full or gone; this message and those since the last :meth:`sync` may be lost.
        """
        try:
            if self._open is not None and self.split_bytes and self._open.file.tell() >= self.split_bytes:
                self._finish(self._open)
            writer = (self._open or self._begin()).writer
            channel = self._channels.get(topic)
            if channel is None:
                channel = self._channels[topic] = self._register(writer, topic, type_name)
            writer.add_message(channel, stamp_ns, cdr, stamp_ns)
        except OSError:
            self._abandon()
            raise
        split = self._splits[-1]
        if not split.messages:
            split.start_ns = split.end_ns = stamp_ns
        split.start_ns, split.end_ns = min(split.start_ns, stamp_ns), max(split.end_ns, stamp_ns)
        split.messages += 1
        split.counts[topic] += 1
        self._counts[topic] += 1

    def sync(self) -> None:
        """Wait until the disk has everything that was written.

        Raises:
            OSError: it could not be written.
        """
        if self._open is None:
            return
        try:
            self._open.writer.flush()
            os.fsync(self._open.file.fileno())
        except OSError:
            self._abandon()
            raise

    def close(self) -> None:
        """Write indexes and metadata."""
        if self._open is not None:
            try:
                self._finish(self._open)
            except OSError:
                self._abandon()
                raise

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.mcap"), key=_number)

    def _known_splits(self) -> list[_Split]:
        """The files of a bag that is continued, with what its metadata say; of one that a crash ended they say nothing."""
        splits = {path.name: _Split(path.name) for path in self._files()}
        try:
            told = yaml.safe_load((self.folder / METADATA).read_text())["rosbag2_bagfile_information"]
            for topic in told["topics_with_message_count"]:
                about = topic["topic_metadata"]
                self._qos[about["name"]] = (about["type"], about["offered_qos_profiles"])
                self._counts[about["name"]] = topic["message_count"]
            for file in told["files"]:
                if (split := splits.get(file["path"])) is not None:
                    split.start_ns = file["starting_time"]["nanoseconds_since_epoch"]
                    split.end_ns = split.start_ns + file["duration"]["nanoseconds"]
                    split.messages = file["message_count"]
        except (OSError, yaml.YAMLError, KeyError, TypeError):
            pass  # no metadata, or not ours: they are written anew
        return list(splits.values())

    def _begin(self) -> _Open:
        number = 1 + max((_number(Path(split.name)) for split in self._splits), default=-1)
        path = self.folder / f"{self.folder.name}_{number}.mcap"
        file = open(path, "xb")
        self._splits.append(_Split(path.name))
        self._open = begun = _Open(file, Writer(file, chunk_size=CHUNK_BYTES, compression=self._compression))
        self._channels.clear()
        begun.writer.start(profile="ros2", library="rl_token_ros")
        self._write_metadata()
        self._delete_oldest()
        return begun

    def _register(self, writer: Writer, topic: str, type_name: str) -> int:
        qos_text = self._qos.setdefault(topic, (type_name, qos()))[1]
        try:
            text, digest = message_types.definition(type_name)
        except message_types.TypeUnknown:
            text, digest = "", ""  # the messages are kept; who has the type can read them
        schema = writer.register_schema(type_name, "ros2msg" if text else "", text.encode())
        about = {"offered_qos_profiles": qos_text, "topic_type_hash": digest}
        if role := self._roles.get(topic):
            about[ROLE] = role
        return writer.register_channel(topic, "cdr", schema, about)

    def _finish(self, ended: _Open) -> None:
        ended.writer.finish()
        ended.file.flush()
        os.fsync(ended.file.fileno())
        ended.file.close()
        self._open = None
        self._write_metadata()

    def _abandon(self) -> None:
        """Leave a file that could not be written to."""
        left, self._open = self._open, None
        if left is not None:
            with contextlib.suppress(OSError):
                left.file.close()

    def _delete_oldest(self) -> None:
        while self.limit_bytes and len(self._splits) > 1 and self.size > self.limit_bytes - self.split_bytes:
            oldest = self._splits.pop(0)
            self._counts -= oldest.counts
            (self.folder / oldest.name).unlink(missing_ok=True)
            self.deleted += 1

    def _write_metadata(self) -> None:
        filled = [split for split in self._splits if split.messages]
        start = min((split.start_ns for split in filled), default=0)
        end = max((split.end_ns for split in filled), default=0)
        information = {
            "version": METADATA_VERSION,
            "storage_identifier": "mcap",
            "duration": {"nanoseconds": end - start},
            "starting_time": {"nanoseconds_since_epoch": start},
            "message_count": sum(split.messages for split in self._splits),
            "topics_with_message_count": [
                {
                    "topic_metadata": {"name": topic, "type": kind, "serialization_format": "cdr", "offered_qos_profiles": text},
                    "message_count": self._counts[topic],
                }
                for topic, (kind, text) in list(self._qos.items())  # another thread may add one
            ],
            "compression_format": "",
            "compression_mode": "",
            "relative_file_paths": [split.name for split in self._splits],
            "files": [
                {
                    "path": split.name,
                    "starting_time": {"nanoseconds_since_epoch": split.start_ns},
                    "duration": {"nanoseconds": split.end_ns - split.start_ns},
                    "message_count": split.messages,
                }
                for split in self._splits
            ],
        }
        draft = self.folder / f".{METADATA}"
        draft.write_text(yaml.safe_dump({"rosbag2_bagfile_information": information}, sort_keys=False))
        draft.replace(self.folder / METADATA)


def _number(path: Path) -> int:
    """The number of a split; files that others put there come first."""
    match = re.search(r"_(\d+)\.mcap$", path.name)
    return int(match[1]) if match else -1
