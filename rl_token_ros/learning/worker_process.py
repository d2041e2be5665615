"""The learner's own process: takes rows, updates, says what it has. Started by `worker`, as ``-m ... FILE_DESCRIPTOR``.

It ends with a checkpoint when told to, on SIGTERM, and when the node is gone (the connection ends). SIGINT is the node's business.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from rl_token_ros.learning import checkpoint, journal
from rl_token_ros.learning.journal_span import Message
from rl_token_ros.learning.worker import ASKED, JOURNAL_STATE, NEWEST_ACTOR, ROWS_HEAD
from rl_token_ros.policy.actor_weights import WeightsError, decode, encode
from rl_token_ros.settings.learner import Learner as Settings
from rl_token_ros.settings.parameters import ParameterError, build

SLICE = 16  # updates between two looks at the connection
STATS_SECONDS = 1.0
IDLE_SECONDS = 0.05
CAUGHT_UP_SECONDS = 1.0  # of reading, while rows are kept for it
HOLD_SECONDS = 60.0  # for the last checkpoint of a process whose node was killed


class WorkerProcess:
    """The loop and what it talks to."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.ended = False
        signal.signal(signal.SIGTERM, self._end)
        # Seconds of loading, before there is anything to wait for.
        import torch

        from rl_token_ros.learning.learner import Learner

        config = json.loads(connection.recv_bytes())
        self.settings = settings = build(Settings, config["settings"])
        torch.set_num_threads(settings.torch_threads)
        torch.set_flush_denormal(True)  # moments that fade away would slow every update down
        os.nice(settings.worker_nice)  # only now: starting at low priority beside busy processes takes a minute
        self.directory = Path(settings.run_directory)
        self._lock = checkpoint.hold(
            self.directory, HOLD_SECONDS, lambda: self._say(b"L", "waiting for the process before this one to write its checkpoint")
        )
        self.learner = Learner(settings, config["proprio"], config["encoder_sha256"], config["vla_sha256"])
        self._read = functools.partial(journal.read, config["journal"], self.learner.row_dtype)
        restored = self.learner.restore(settings.run_directory, self._journalled)
        self.learner.run = config["run"]
        # Another process may have pushed after the checkpoint: in its last moments even after this one was started.
        self.learner.version = max(self.learner.version, config["version"], _version(self.directory / NEWEST_ACTOR))
        self._catch_up()
        if missing := self.learner.steps_missing:
            self._say(b"F", f"{missing} steps of the last checkpoint are not in the journal '{config['journal']}'; learning goes on without them. "
                      "Keep the folder 'replay' with its checkpoints, and give 'journal_bytes' room for what 'replay_bytes' holds")  # fmt: skip
        if restored or self.learner.replay.counters.rows:
            self._say(b"L", f"continuing with {len(self.learner.replay)} steps, {self.learner.updates} updates, "
                      f"weights version {self.learner.version}")  # fmt: skip

    def _catch_up(self) -> None:
        """Take in what the journal has beyond the checkpoint, until that takes no time any more; what comes then is sent."""
        learner, ready = self.learner, False
        while True:
            self._say(b"A", ASKED.pack(learner.journal.stamp_ns, ready))
            if (data := self.connection.recv_bytes())[:1] != b"G":
                raise EOFError
            begun = time.monotonic()
            durable_ns, whole, oldest_ns = JOURNAL_STATE.unpack_from(data, 1)
            read = self._read if ready else self._journalled  # once it is ready, rows are sent: what waits there is no end
            for stamp_ns, robot, rows in read(learner.journal.stamp_ns, durable_ns):
                learner.add(rows, robot, stamp_ns)
            learner.journal.safe(durable_ns, whole, oldest_ns)
            if ready:
                return
            ready = time.monotonic() - begun < CAUGHT_UP_SECONDS

    def _journalled(self, after_ns: int, upto_ns: int) -> Iterator[Message]:
        """Messages of the journal, while nothing is sent.

        Raises:
            EOFError: the node is gone, or wants this process to end; there is nothing new to be saved.
        """
        for number, message in enumerate(self._read(after_ns, upto_ns)):
            if number % 256 == 0 and (self.ended or self.connection.poll(0)):
                raise EOFError
            yield message

    def _end(self, *_: object) -> None:
        self.ended = True

    def _say(self, kind: bytes, body: bytes | str) -> None:
        try:
            self.connection.send_bytes(kind + (body if isinstance(body, bytes) else body.encode()))
        except OSError:
            self.ended = True

    def run(self) -> None:
        """Until told to stop; then a last checkpoint."""
        next_stats = 0.0
        next_save = time.monotonic() + self.settings.checkpoint_seconds
        while not self.ended:
            self._take_rows(0.0 if self.learner.updates_owed else IDLE_SECONDS)
            self.learner.update(SLICE)
            if self.learner.push_due:
                self._push()
            now = time.monotonic()
            if now >= next_stats:
                self._say(b"D", json.dumps(self.learner.stats()))
                next_stats = now + STATS_SECONDS
            if now >= next_save:
                self._save()
                next_save = time.monotonic() + self.settings.checkpoint_seconds
        self._save()

    def _take_rows(self, wait: float) -> None:
        try:
            while not self.ended and self.connection.poll(wait):
                data = self.connection.recv_bytes()
                if data[:1] == b"S":
                    self.ended = True
                    return
                wait = 0.0
                if data[:1] == b"J":
                    self.learner.journal.safe(*JOURNAL_STATE.unpack_from(data, 1))
                    continue
                stamp_ns, size = ROWS_HEAD.unpack_from(data, 1)
                begin = 1 + ROWS_HEAD.size
                robot = data[begin : begin + size].decode()
                self.learner.add(np.frombuffer(data, self.learner.row_dtype, offset=begin + size), robot, stamp_ns)
        except (EOFError, OSError):  # the node is gone
            self.ended = True

    def _push(self) -> None:
        blob = encode(self.learner.weights())
        self._say(b"W", blob)
        draft = self.directory / f".{NEWEST_ACTOR}"
        self._try_disk("weights", lambda: (draft.write_bytes(blob), draft.rename(self.directory / NEWEST_ACTOR)))

    def _save(self) -> None:
        self._try_disk("a checkpoint", lambda: self.learner.save(self.settings.run_directory))

    def _try_disk(self, what: str, write: Callable[[], object]) -> None:
        try:
            write()
        except OSError as error:  # a full disk must not stop training
            self._say(b"F", f"{what} cannot be written to '{self.directory}': {error}; learning goes on, a restart would lose it")


def _version(actor: Path) -> int:
    """Of the newest weights on the disk; 0 without any that can be read."""
    try:
        return decode(actor.read_bytes()).version
    except (OSError, WeightsError):
        return 0


def main() -> int:
    """0 after a clean end, 2 after a parameter that cannot be used."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(int(sys.argv[1]))
    try:
        WorkerProcess(connection).run()
    except (ParameterError, OSError) as error:
        connection.send_bytes(b"E" + str(error).encode())
        return 2
    except EOFError:  # the node went, or stopped, before there was anything to keep
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
