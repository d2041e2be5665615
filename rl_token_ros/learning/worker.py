"""The learner in a process of its own, seen from the node: rows go in without waiting, weights and figures come out.

One thread journals the rows and feeds the process, and starts it again from its checkpoint when it has died; another takes what
it says. What travels is raw bytes after one letter: R rows after their stamp in the journal and their robot, J how much of the journal is on the
disk, G the same as the answer to A, S stop; A up to where the process has the journal and whether it is ready for rows, W weights, D figures
(JSON), L a line for the log, F a fault for it, E a parameter that cannot be used. No pickle.

A process that begins reads the journal by itself, for as long as it takes: nothing is sent that it would not read, so that rows come to the disk
meanwhile.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import json
import os
import queue
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from rl_token_ros.learning import checkpoint, journal
from rl_token_ros.learning.journal import Journal
from rl_token_ros.policy import actor_weights
from rl_token_ros.policy.actor_weights import Architecture, Identity, WeightsError
from rl_token_ros.settings.learner import Learner as Settings
from rl_token_ros.settings.parameters import ParameterError

JOURNAL = "replay"  # a bag in the run directory
NEWEST_ACTOR = "actor.safetensors"
ROWS_HEAD = struct.Struct("<qH")  # stamp in the journal, bytes of the robot's name
JOURNAL_STATE = struct.Struct("<q?q")  # stamp up to which it is on the disk, whether all came to it that was to, stamp of its oldest, 0: of all
ASKED = struct.Struct("<q?")  # stamp in the journal of the newest rows that the process has, whether it is ready for those after the next G
QUEUE_MESSAGES = 10_000  # over three minutes at 50 Hz
FLUSH_SECONDS = 0.5
STOP_SECONDS = 60.0  # for the last checkpoint
DISK_SECONDS = 10.0  # between two complaints about the disk
FIRST_BACK_OFF, LONGEST_BACK_OFF = 0.5, 30.0
GOOD_RUN_SECONDS = 60.0  # a process that ran so long earns its restarts back


class Worker:
    """Starts at once; `close` ends it with a checkpoint.

    Args:
        settings: parameters of `learner_node`.
        row: columns of the rows.
        identity: what the weights are made for.
        architecture: sizes of the actor.
        on_weights: called with each blob, on a thread of the worker's.
        log: called with (level, text), level one of info, warn, error; on a thread of the worker's.

    Raises:
        ParameterError: no torch, or the run directory holds a run of another robot, VLA or encoder.
    """

    def __init__(
        self, settings: Settings, row: np.dtype, identity: Identity, architecture: Architecture, *,
        on_weights: Callable[[bytes], None], log: Callable[[str, str], None],
    ) -> None:  # fmt: skip
        if importlib.util.find_spec("torch") is None:
            raise ParameterError("learner_node needs torch, which is not installed here; pip install 'rl_token_ros[learner]'")
        self.settings, self.identity, self.architecture = settings, identity, architecture
        self.directory = Path(settings.run_directory).expanduser()
        self.stats: dict[str, Any] = {}
        self.stats_at = 0.0  # time.monotonic of the last figures
        self.state = "starting"
        self.failed = ""  # a parameter that the process refused: no restart will help
        self.rows_lost = self.restarts = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._row, self._on_weights, self._log = row, on_weights, log
        self.disk_errors = 0
        self._queue: queue.Queue[tuple[np.ndarray, bytes, str] | None] = queue.Queue(QUEUE_MESSAGES)
        self._connection: Connection | None = None
        self._asked: tuple[int, bool] | None = None  # by the process, and not answered yet
        self._fed = False  # whether the process gets rows as they come
        self._reader: threading.Thread | None = None
        self._started_at = self._next_start = 0.0
        self._in_a_row = 0  # deaths without a good run between
        self._disk_told = -DISK_SECONDS
        self._spawn()  # loading torch takes longer than all that follows
        try:
            checkpoint.refuse_mismatch(self.directory, identity, architecture)
            self.newest = self._stored_weights()
            self._journal = Journal(self.directory / JOURNAL, settings.journal_bytes, checkpoint.newest_stamp(self.directory))
            journal.refuse_mismatch(self._journal.folder, row)
            self.run = checkpoint.run_name(self.directory)
        except BaseException:
            self._tidy()
            raise
        self._feeder = threading.Thread(target=self._feed, name="learner_feeder", daemon=True)
        self._feeder.start()

    @property
    def new(self) -> bool:
        """Whether this run has received nothing yet."""
        return self._journal.stamp_ns == 0

    def seed(self, rows: np.ndarray, message: bytes) -> None:
        """As :meth:`send`, for rows that are not in a hurry: waits until they are taken."""
        self._queue.put((rows, message, ""))

    def send(self, rows: np.ndarray, message: bytes, robot: str = "") -> None:
        """Hand over rows [n] of a robot (of `robots`) and the message, CDR, that brought them; never waits. What does not fit is
        counted in ``rows_lost``."""
        try:
            self._queue.put_nowait((rows, message, robot))
        except queue.Full:
            self.rows_lost += len(rows)

    def close(self) -> None:
        """Learn nothing more, write a checkpoint, end."""
        self._queue.put(None)
        self._feeder.join(STOP_SECONDS + 10.0)
        if self._feeder.is_alive() and (process := self.process) is not None:  # it hangs, and the feeder with it
            process.kill()
            self._feeder.join()

    # ---- the feeding thread

    def _feed(self) -> None:
        flushed = time.monotonic()
        self._begin()
        while True:
            now = time.monotonic()
            if self._connection is None and not self.failed and self.state != "given up" and now >= self._next_start:
                self._spawn()
                self._begin()
            if self.process is not None and self.process.poll() is not None:
                self._died()
            if self._asked is not None:
                self._answer(*self._asked)
            if now - flushed > FLUSH_SECONDS:
                self._flush()
                flushed = now
            try:
                arrived = self._queue.get(timeout=0.1)
            except queue.Empty:
                continue
            if arrived is None:
                break
            rows, message, robot = arrived
            kept = self._try_disk(functools.partial(self._journal.append, message, robot))
            if self._fed:
                name = robot.encode()
                self._send(b"R" + ROWS_HEAD.pack(self._journal.stamp_ns, len(name)) + name + rows.tobytes())
            elif not kept:
                self.rows_lost += len(rows)  # nobody has them
        self._flush()
        self._stop()
        self._try_disk(self._journal.close)

    def _flush(self) -> None:
        self._try_disk(self._journal.flush)
        if self._fed:
            self._send(b"J" + self._journal_state)

    @property
    def _journal_state(self) -> bytes:
        return JOURNAL_STATE.pack(self._journal.durable_ns, self._journal.whole, self._journal.oldest_ns)

    def _answer(self, stamp_ns: int, ready: bool) -> None:
        """How much of the journal the process can read; what comes after it, it is sent if it is ready."""
        self._asked = None
        self._journal.stamp_ns = max(self._journal.stamp_ns, stamp_ns)  # its last checkpoint may know rows that the journal lost
        self._try_disk(self._journal.flush)
        self._fed = ready
        self._send(b"G" + self._journal_state)

    def _try_disk(self, write: Callable[[], object]) -> bool:
        """Whether the disk took it."""
        try:
            write()
            return True
        except OSError as error:  # a full disk must not stop training
            self.disk_errors += 1
            if (now := time.monotonic()) - self._disk_told >= DISK_SECONDS:
                self._disk_told = now
                self._log("error", f"rows cannot be written to '{self._journal.folder}': {error}; they are in checkpoints alone")
            return False

    def _spawn(self) -> None:
        """Start a process. It loads what it needs and waits to be told what to do."""
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "rl_token_ros.learning.worker_process", str(theirs.fileno())]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=_environment(self.settings.torch_threads))
        theirs.close()
        self._asked, self._fed = None, False
        self._connection = Connection(ours.detach())
        self._started_at = time.monotonic()
        self.state = "starting"
        self._reader = threading.Thread(target=self._read, args=(self._connection,), name="learner_reader", daemon=True)
        self._reader.start()

    def _begin(self) -> None:
        """Tell the process what to do."""
        proprio = self.architecture.proprio
        config = {
            "settings": dataclasses.asdict(self.settings) | {"run_directory": str(self.directory)},
            "proprio": proprio,
            "encoder_sha256": self.identity.encoder_sha256,
            "vla_sha256": self.identity.vla_sha256,
            "journal": str(self._journal.folder),
            "version": self._newest_version(),
            "run": self.run,
        }
        self._send(json.dumps(config).encode())

    def _send(self, data: bytes) -> None:
        if self._connection is None:
            return  # it is in the journal: the next process reads it there
        try:
            self._connection.send_bytes(data)
        except OSError:
            self._died()

    def _died(self) -> None:
        """Tidy up after the process and plan the next one."""
        status = self._tidy()
        if self.failed:
            self.state = "failed"
            return
        self._in_a_row = 1 if time.monotonic() - self._started_at > GOOD_RUN_SECONDS else self._in_a_row + 1
        if self._in_a_row > self.settings.worker_restarts:
            self.state = "given up"
            self._log("error", f"the learner's process ended with status {status} for the {self._in_a_row}th time; giving up. "
                      "Rows are still written to disk; restart learner_node to go on")  # fmt: skip
            return
        wait = min(FIRST_BACK_OFF * 2 ** (self._in_a_row - 1), LONGEST_BACK_OFF)
        self.restarts += 1
        self.state = "restarting"
        self._next_start = time.monotonic() + wait
        level = "error" if status else "warn"  # 0: someone ended it, perhaps this node too in a moment
        self._log(level, f"the learner's process ended with status {status}; starting it again from its checkpoint in {wait:g} s")

    def _stop(self) -> None:
        if self.process is None:
            return
        self._send(b"S")
        if self.process is not None:
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._log("error", f"the learner's process did not end within {STOP_SECONDS:g} s; killed, without a last checkpoint")
            self._tidy()
        self.state = "stopped"

    def _tidy(self) -> int:
        """End the process if it still lives, and take everything it said; returns its status."""
        process, connection, reader = self.process, self._connection, self._reader
        assert process is not None and connection is not None and reader is not None, "nothing was started"
        self.process = self._connection = None
        if process.poll() is None:
            process.kill()
        status = process.wait()
        reader.join()  # ends at the end of the connection
        connection.close()
        return status

    # ---- the reading thread

    def _read(self, connection: Connection) -> None:
        while True:
            try:
                data = connection.recv_bytes()
            except (EOFError, OSError):
                return
            kind, body = data[:1], data[1:]
            if kind == b"A":
                self._asked = ASKED.unpack(body)
            elif kind == b"W":
                self.newest = body
                self._on_weights(body)
            elif kind == b"D":
                self.stats, self.stats_at, self.state = json.loads(body), time.monotonic(), "running"
            elif kind == b"L":
                self._log("info", body.decode())
            elif kind == b"F":
                self._log("error", body.decode())
            elif kind == b"E":
                self.failed = body.decode()

    # ---- versions survive whatever happens to the process

    def _stored_weights(self) -> bytes | None:
        path = self.directory / NEWEST_ACTOR
        if not path.exists():
            return None
        blob = path.read_bytes()
        try:
            actor_weights.refuse_mismatch(actor_weights.decode(blob), self.architecture, self.identity)
        except WeightsError as error:
            raise ParameterError(f"parameter 'run_directory': '{path}': {error}; write another run_directory") from None
        return blob

    def _newest_version(self) -> int:
        return actor_weights.decode(self.newest).version if self.newest else 0


def _environment(threads: int) -> dict[str, str]:
    """The child finds this very package, and takes no more threads than it may."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
