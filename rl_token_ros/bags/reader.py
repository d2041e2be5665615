"""Reads rosbag2 folders and single files, MCAP or sqlite3, message by message in the order in which they were recorded.

Nothing is sorted and no file is loaded as a whole, so a bag may be larger than the memory; what a crash or a broken disk left of a
file is read as far as it goes, and :attr:`Bag.problems` says in sentences what is lost.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import yaml
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.reader import make_reader
from mcap.records import Channel, Chunk, Message, Schema
from mcap.stream_reader import get_chunk_data_stream

from rl_token_ros.bags import mcap_records, sqlite_file
from rl_token_ros.bags.mcap_records import RECORD_HEAD
from rl_token_ros.bags.sqlite_file import SqliteFile
from rl_token_ros.bags.writer import ROLE

SUFFIXES = (".mcap", ".db3", ".mcap.zstd", ".db3.zstd")
MESSAGE_HEAD = struct.Struct("<H4xQ")  # channel, log time; between them the sequence
MESSAGE_HEAD_BYTES = 22  # with the publish time
# What the libraries raise for files that are cut off or overwritten.
DAMAGE = (McapError, struct.error, ValueError, EOFError, RuntimeError, MemoryError, OSError, zstandard.ZstdError, sqlite3.Error)


class BagError(ValueError):
    """A bag of which nothing can be read; the message says why."""


@dataclass(frozen=True)
class Topic:
    """What a bag says about one of its topics.

    Attributes:
        definition: of the type, dependencies included, in ``encoding`` (ros2msg or ros2idl); empty where the bag has none.
        qos: profiles it was offered with, YAML as in rosbag2.
        role: which of ours it was to whoever recorded it (:mod:`rl_token_ros.interfaces.topics`); empty where the bag does not say.
    """

    name: str
    type: str
    definition: str = ""
    encoding: str = ""
    qos: str = ""
    role: str = ""


class Record(NamedTuple):
    """One message: topic, time of reception in ns, and the CDR."""

    topic: str
    stamp_ns: int
    data: bytes


def open_bag(path: str | Path) -> Bag:
    """A bag in which there is something.

    Raises:
        BagError: there is no bag, or nothing of it can be read.
    """
    bag = Bag(path)
    if not bag.topics:
        for _ in bag.read():
            pass  # to learn why
    if not bag.topics:
        raise BagError(f"'{path}' holds no message that can be read" + "".join(f"; {text}" for text in bag.problems))
    return bag


class Bag:
    """A bag that may be read several times.

    Attributes:
        topics: by name. Those of a file without an index are known for certain only after it has been read.
        problems: sentences on what could not be read.
        size: bytes of all files.
        position: bytes read so far by the :meth:`read` under way.

    Args:
        path: a folder with files of a bag, or one such file.

    Raises:
        BagError: there is no bag.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.problems: list[str] = []
        self._compression = ""
        self.files = self._find_files()
        self.size = sum(file.stat().st_size for file in self.files)
        self.position = 0
        self.topics: dict[str, Topic] = {}
        self._databases: dict[Path, SqliteFile] = {}
        self._channels: dict[str, list[Channel]] = {}  # of files with an index: of use when their first chunk is damaged
        for file in self.files:
            self._find_topics(file)

    def read(self, wanted: set[str] | None = None) -> Iterator[Record]:
        """The messages of some topics (None: of all) in the order of the files."""
        self.problems.clear()
        before = 0
        for file in self.files:
            read = 0
            try:
                for record in self._read_file(file, before, wanted):
                    read += 1
                    yield record
            except DAMAGE as error:
                self._problem(
                    f"'{file.name}' is damaged or was not ended properly: it is used up to byte {self.position - before} of "
                    f"{file.stat().st_size} ({_reason(error)})"
                )
            before += file.stat().st_size
            self.position = before

    def _problem(self, text: str) -> None:
        if text not in self.problems:
            self.problems.append(text)

    def _find_files(self) -> list[Path]:
        path = self.path
        if path.is_file():
            return [path]
        if not path.is_dir():
            raise BagError(f"there is no bag '{path}'; name a folder with .mcap or .db3 files, or one of those")
        there = {file.name: file for file in path.iterdir() if file.name.endswith(SUFFIXES)}
        if not there and any(path.glob("*.bag")):
            raise BagError(f"'{path}' holds bags of ROS 1; convert them first: rosbags-convert --src FILE.bag --dst FOLDER")
        if not there:
            raise BagError(f"'{path}' holds no .mcap or .db3 file; name the folder that `ros2 bag record` or `rl_token record` made")
        listed: list[str] = []
        metadata = path / "metadata.yaml"
        try:
            about = yaml.safe_load(metadata.read_text())["rosbag2_bagfile_information"]
            listed = [Path(name).name for name in about["relative_file_paths"]]
            if str(about.get("compression_mode", "")).lower() == "message":
                self._compression = str(about.get("compression_format", ""))
        except FileNotFoundError:
            pass  # the recorder died; the files speak for themselves
        except (OSError, yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError):
            self._problem(f"'{metadata}' is not readable; the files beside it are used")
        for name in listed:
            if name not in there and f"{name}.zstd" not in there:
                self._problem(f"'{name}', which metadata.yaml names, is not there")
        order = {name: i for i, name in enumerate(listed)}
        return sorted(there.values(), key=lambda file: (order.get(file.name, len(order)), file.stat().st_mtime_ns, file.name))

    # --- what is in a file --------------------------------------------------------------------------------------------

    def _find_topics(self, file: Path) -> None:
        if ".db3" in file.suffixes:
            try:
                with self._database(file).opened() as database:
                    self._sqlite_topics(database)
            except (sqlite3.Error, zstandard.ZstdError, OSError) as error:
                self._problem(f"'{file.name}' is damaged: {error}")
            return
        if file.suffix == ".mcap":
            try:
                with open(file, "rb") as stream:
                    summary = make_reader(stream).get_summary()
                if summary is not None and summary.channels:
                    for channel in summary.channels.values():
                        self._add_channel(channel, summary.schemas.get(channel.schema_id))
                    self._channels[file.name] = [c for c in summary.channels.values() if self._same_type(c, summary.schemas)]
                    return
            except DAMAGE:
                pass  # no index at its end: it was cut off
        for _ in self._read_mcap(file, 0, set(), stop_at_damage=True):
            pass

    def _add_channel(self, channel: Channel, schema: Schema | None) -> None:
        if channel.message_encoding != "cdr":
            self._problem(f"'{channel.topic}' is encoded as '{channel.message_encoding}', not as cdr; it is left out")
            return
        known = self.topics.get(channel.topic)
        found = Topic(
            channel.topic,
            schema.name if schema else "",
            schema.data.decode(errors="replace") if schema else "",
            schema.encoding if schema else "",
            channel.metadata.get("offered_qos_profiles", ""),
            channel.metadata.get(ROLE) or (known.role if known is not None else ""),
        )
        if known is not None and known.type != found.type:
            self._problem(f"'{channel.topic}' has two types in this bag, {known.type} and {found.type}; the first one is read")
            return
        self.topics[channel.topic] = found

    def _read_file(self, file: Path, before: int, wanted: set[str] | None) -> Iterator[Record]:
        if ".db3" in file.suffixes:
            yield from self._read_sqlite(file, before, wanted)
            return
        for record in self._read_mcap(file, before, wanted):
            if self._compression:
                record = record._replace(data=zstandard.ZstdDecompressor().decompress(record.data))
            yield record

    # --- MCAP ---------------------------------------------------------------------------------------------------------

    def _read_mcap(self, file: Path, before: int, wanted: set[str] | None, stop_at_damage: bool = False) -> Iterator[Record]:
        schemas: dict[int, Schema] = {}
        # channel -> topic, as far as it is wanted
        names = {c.id: c.topic for c in self._channels.get(file.name, ()) if wanted is None or c.topic in wanted}
        with open(file, "rb") as raw:
            stream = zstandard.ZstdDecompressor().stream_reader(raw) if file.suffix == ".zstd" else raw
            records = mcap_records.records(stream)
            while True:
                try:
                    record = next(records, None)
                    if record is None:
                        return
                except DAMAGE:
                    if stop_at_damage:
                        return
                    raise
                self.position = before + raw.tell()
                for part in self._open_chunk(file, record, names) if isinstance(record, Chunk) else (record,):
                    if isinstance(part, Record):
                        yield part
                    elif isinstance(part, Message):
                        if part.channel_id in names:
                            yield Record(names[part.channel_id], part.log_time, part.data)
                    elif isinstance(part, Schema):
                        schemas[part.id] = part
                    elif isinstance(part, Channel):
                        self._add_channel(part, schemas.get(part.schema_id))
                        if (wanted is None or part.topic in wanted) and self._same_type(part, schemas):
                            names[part.id] = part.topic

    def _open_chunk(self, file: Path, chunk: Chunk, names: dict[int, str]) -> Iterator[Record | Schema | Channel]:
        """What is in a chunk; nothing of one whose checksum says that it was overwritten.

        Messages are cut out here, and only those of ``names``: taking all of them through the library's streams is four times the work.
        """
        try:
            stream, length = get_chunk_data_stream(chunk, validate_crc=True)
            data = stream.read(length)
            at = 0
            while at < length:
                kind, size = RECORD_HEAD.unpack_from(data, at)
                at += RECORD_HEAD.size
                if kind == Opcode.MESSAGE:
                    channel, log_time = MESSAGE_HEAD.unpack_from(data, at)
                    if channel in names:
                        yield Record(names[channel], log_time, data[at + MESSAGE_HEAD_BYTES : at + size])
                elif kind in (Opcode.SCHEMA, Opcode.CHANNEL):
                    yield (Schema if kind == Opcode.SCHEMA else Channel).read(ReadDataStream(BytesIO(data[at : at + size])))
                at += size
        except DAMAGE as error:
            self._problem(f"'{file.name}' has a damaged chunk of {len(chunk.data)} bytes, which is left out ({_reason(error)})")

    def _same_type(self, channel: Channel, schemas: dict[int, Schema]) -> bool:
        topic, schema = self.topics.get(channel.topic), schemas.get(channel.schema_id)
        return topic is not None and (schema is None or schema.name == topic.type)

    # --- sqlite3 ------------------------------------------------------------------------------------------------------

    def _database(self, file: Path) -> SqliteFile:
        return self._databases.setdefault(file, SqliteFile(file))

    def _sqlite_topics(self, database: sqlite3.Connection) -> dict[int, str]:
        """Names of the topics by number; those that are not cdr are left out."""
        names = {}
        for row in sqlite_file.topics(database):
            if row.serialization != "cdr":
                self._problem(f"'{row.name}' is encoded as '{row.serialization}', not as cdr; it is left out")
                continue
            names[row.number] = row.name
            self.topics.setdefault(row.name, Topic(row.name, row.type, row.definition, row.encoding, row.qos))
        return names

    def _read_sqlite(self, file: Path, before: int, wanted: set[str] | None) -> Iterator[Record]:
        size = file.stat().st_size
        with self._database(file).opened() as database:
            names = {number: name for number, name in self._sqlite_topics(database).items() if wanted is None or name in wanted}
            last = sqlite_file.last_message(database)
            for number, topic, stamp, data in sqlite_file.messages(database, names):
                self.position = before + size * number // last
                yield Record(names[topic], stamp, zstandard.ZstdDecompressor().decompress(data) if self._compression else data)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
