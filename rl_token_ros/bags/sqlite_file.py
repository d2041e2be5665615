"""A bag's file in SQLite, rosbag2's format before Iron: its topics and its messages."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import zstandard


class TopicRow(NamedTuple):
    """A topic as the file has it. ``definition`` of the type is in ``encoding``; both are empty where the file is of before Iron."""

    number: int
    name: str
    type: str
    serialization: str
    definition: str
    encoding: str
    qos: str


class SqliteFile:
    """Opened for reading only. Unpacked once where it was compressed: SQLite must be able to seek."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unpacked: Any = None  # a temporary file, deleted with this object

    @contextlib.contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        """A connection that is closed afterwards (sqlite3's own context manager does not).

        Raises:
            OSError, sqlite3.Error, zstandard.ZstdError: the file is damaged or gone.
        """
        connection = sqlite3.connect(f"{self._plain().resolve().as_uri()}?mode=ro", uri=True)
        try:
            yield connection
        finally:
            connection.close()

    def _plain(self) -> Path:
        if self._path.suffix != ".zstd":
            return self._path
        if self._unpacked is None:
            self._unpacked = tempfile.NamedTemporaryFile(prefix="rl_token_", suffix=".db3")
            with open(self._path, "rb") as packed:
                zstandard.ZstdDecompressor().copy_stream(packed, self._unpacked)
            self._unpacked.flush()
        return Path(self._unpacked.name)


def topics(database: sqlite3.Connection) -> list[TopicRow]:
    """All topics."""
    definitions: dict[str, tuple[str, str]] = {}
    try:
        rows = database.execute("SELECT topic_type, encoding, encoded_message_definition FROM message_definitions")
        definitions = {kind: (text, encoding) for kind, encoding, text in rows}
    except sqlite3.Error:
        pass  # before Iron there were none
    found = database.execute("SELECT id, name, type, serialization_format, offered_qos_profiles FROM topics")
    return [TopicRow(number, name, kind, how, *definitions.get(kind, ("", "")), qos or "") for number, name, kind, how, qos in found]


def last_message(database: sqlite3.Connection) -> int:
    """The number of the last message; 1 for none."""
    return database.execute("SELECT max(id) FROM messages").fetchone()[0] or 1


def messages(database: sqlite3.Connection, topic_numbers: Iterable[int]) -> Iterator[tuple[int, int, int, bytes]]:
    """Number, topic's number, time of reception in ns and data of the messages of some topics, as they were recorded."""
    some = ",".join(map(str, topic_numbers)) or "-1"
    yield from database.execute(f"SELECT id, topic_id, timestamp, data FROM messages WHERE topic_id IN ({some}) ORDER BY id")
