"""Takes messages at any speed and writes them on a thread of its own, so that no subscription waits for the disk."""

from __future__ import annotations

import os
import queue
import shutil
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from rl_token_ros.bags.writer import BagWriter

RETRY_SECONDS = 1.0  # after the disk refused


class Message(NamedTuple):
    """One message as received."""

    topic: str
    type: str
    stamp_ns: int
    cdr: bytes


class Recorder:
    """Writes until :meth:`close`.

    Args:
        writer: the bag; belongs to the recorder's thread from now on.
        sync_seconds: time between two waits for the disk.
        queue_bytes: most bytes that wait to be written.
        free_bytes: free space below which nothing is written.
        log: called with (level, text), level one of info, warn, error; on the recorder's thread.

    Attributes:
        messages, bytes: written so far.
        lost: messages that could not be written: the queue or the disk was full.
        state: "recording", or why not.
    """

    def __init__(self, writer: BagWriter, *, sync_seconds: float, queue_bytes: int, free_bytes: int, log: Callable[[str, str], None]) -> None:
        self.messages = self.bytes = self.lost = 0
        self.state = "recording"
        self._writer = writer
        self._sync_seconds, self._queue_bytes, self._free_bytes = sync_seconds, queue_bytes, free_bytes
        self._log = log
        self._queue: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._taken = 0  # bytes put into the queue
        self._left = 0  # bytes taken out of it
        self._unsynced = 0  # messages since the last sync
        self._retry_at = 0.0
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def take(self, message: Message) -> None:
        """Hand over a message; never waits. One thread at a time."""
        if self._taken - self._left > self._queue_bytes:
            self.lost += 1
            return
        self._taken += len(message.cdr)
        self._queue.put(message)

    def close(self) -> None:
        """Write what was taken, with indexes and metadata."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        synced = time.monotonic()
        ended = False
        while not ended:
            try:
                message = self._queue.get(timeout=self._sync_seconds)
                ended = message is None
                if message is not None:
                    self._left += len(message.cdr)
                    self._write(message)
            except queue.Empty:
                pass
            if time.monotonic() - synced >= self._sync_seconds:
                self._on_disk(self._writer.sync)
                self._unsynced = 0
                synced = time.monotonic()
                self._watch_space()
        self._on_disk(self._writer.close)

    def _write(self, message: Message) -> None:
        if self.state != "recording" and time.monotonic() < self._retry_at:
            self.lost += 1
            return
        if self._on_disk(lambda: self._writer.write(*message)):
            self.messages += 1
            self.bytes += len(message.cdr)
            self._unsynced += 1
        else:
            self.lost += 1

    def _on_disk(self, action: Callable[[], None]) -> bool:
        try:
            action()
        except OSError as error:
            self.lost += self._unsynced
            self._unsynced = 0
            self._pause(f"'{self._writer.folder}' cannot be written: {error.strerror or error}")
            return False
        if self.state != "recording" and time.monotonic() >= self._retry_at:
            self.state = "recording"
            self._log("info", f"recording to '{self._writer.folder}' again")
        return True

    def _watch_space(self) -> None:
        free = shutil.disk_usage(self._writer.folder).free
        if free < self._free_bytes:
            where, least = os.path.abspath(self._writer.folder), self._free_bytes / 1e9
            self._pause(f"only {free / 1e9:.2f} GB are free below '{where}'; free_space is {least:.2f} GB")

    def _pause(self, why: str) -> None:
        if self.state != why:
            self._log("error", f"recording pauses: {why}")
        self.state, self._retry_at = why, time.monotonic() + RETRY_SECONDS
