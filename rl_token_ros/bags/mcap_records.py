"""The records of an MCAP file in the order in which they were written, also of a file that a crash ended."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import IO

from mcap.data_stream import ReadDataStream
from mcap.exceptions import EndOfFile, InvalidMagic, RecordLengthLimitExceeded
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Message, Schema

RECORD_HEAD = struct.Struct("<BQ")  # opcode, length
MAGIC = b"\x89MCAP0\r\n"
LARGEST_RECORD = 1 << 30  # a length beyond it is a broken file's
_READ: dict[int, Callable[[ReadDataStream], Chunk | Schema | Channel]] = {
    Opcode.CHUNK: Chunk.read,
    Opcode.SCHEMA: Schema.read,
    Opcode.CHANNEL: Channel.read,
}


def records(stream: IO[bytes]) -> Iterator[Chunk | Message | Schema | Channel]:
    """The records that hold messages or say what they are; the indexes between them, an entry per message, are passed over.

    Raises:
        McapError: this is no MCAP, or it ends before its end.
    """
    if (magic := stream.read(len(MAGIC))) != MAGIC:
        raise InvalidMagic(magic) if len(magic) == len(MAGIC) else EndOfFile("it ends before its first record")
    while True:
        head = stream.read(RECORD_HEAD.size)
        kind, size = RECORD_HEAD.unpack(head) if len(head) == RECORD_HEAD.size else (0, 0)
        if size > LARGEST_RECORD:
            raise RecordLengthLimitExceeded(kind, size, LARGEST_RECORD)
        if kind == Opcode.FOOTER:
            size += len(MAGIC)
        body = stream.read(size)
        if not kind or len(body) < size:
            raise EndOfFile("it ends within a record")
        if kind == Opcode.FOOTER:
            return
        if kind == Opcode.MESSAGE:
            yield Message.read(ReadDataStream(BytesIO(body)), size)
        elif kind in _READ:
            yield _READ[kind](ReadDataStream(BytesIO(body)))
