"""Received `replay` on disk before anything is learned from it: a bag (MCAP) in the run directory that every ROS tool opens.

Messages are kept as they came. Each gets a stamp of reception that is larger than every one before it, also across restarts: a
checkpoint remembers the newest stamp it knows, and what the journal has beyond it is taken in again. What was written before a `flush`
survives the end of the machine; of what came after it, a crash may take the end.
"""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from rl_token_ros.interfaces import replay_table
from rl_token_ros.interfaces.replay_table import ReplayError
from rl_token_ros.learning import checkpoint
from rl_token_ros.settings.parameters import ParameterError

TOPIC, TYPE = "replay", "sensor_msgs/msg/PointCloud2"
SPLIT_BYTES = 1 << 26
BLOCK = 256  # messages that are looked at together
LOCK = ".journal.lock"


class Journal:
    """A bag opened for appending, by one learner_node at a time.

    Args:
        folder: of the bag; created, or continued.
        limit_bytes: size beyond which the oldest files are deleted.
        after_ns: stamps are larger than this one.

    Attributes:
        stamp_ns: of the newest message.
        durable_ns: up to here it survives the end of the machine.
        whole: nothing was lost that was to be written.

    Raises:
        ParameterError: another learner_node writes there, or what reads and writes bags is not installed.
    """

    def __init__(self, folder: str | Path, limit_bytes: int, after_ns: int = 0) -> None:
        try:
            from rl_token_ros.bags.writer import BagWriter
        except ImportError as error:
            raise ParameterError(f"learner_node needs {error.name}, which is not installed here; pip install 'rl_token_ros[learner]'") from None
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.folder / LOCK, "w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # given back by the system when the process ends, however it does
        except OSError:
            self._lock.close()
            raise ParameterError(
                f"parameter 'run_directory': another learner_node writes to '{self.folder.parent}'; stop it or write another run_directory"
            ) from None
        self.durable_ns = next(filter(None, map(_end, reversed(_files(self.folder)))), 0)
        for path in [*_files(self.folder)[-1:], self.folder]:  # a node that was killed may have left it in memory alone
            checkpoint.flush(path)
        self.stamp_ns, self.whole = max(self.durable_ns, after_ns), True
        self._bag = BagWriter(self.folder, split_bytes=SPLIT_BYTES, limit_bytes=limit_bytes)

    @property
    def oldest_ns(self) -> int:
        """What is older may have been deleted; 0: nothing was."""
        return self._bag.oldest_ns

    def append(self, message: bytes, robot: str = "") -> int:
        """Write one `replay` message, CDR, of a robot (of `robots`); its stamp, ns.

        Raises:
            OSError: the disk is full or gone.
        """
        self.stamp_ns = max(time.time_ns(), self.stamp_ns + 1)
        with self._losses_known():
            self._bag.write(f"/{robot}/{TOPIC}" if robot else f"/{TOPIC}", TYPE, self.stamp_ns, message)
        return self.stamp_ns

    def flush(self) -> None:
        """Wait until the disk has them.

        Raises:
            OSError: it could not take them.
        """
        with self._losses_known():
            self._bag.sync()
        self.durable_ns = self.stamp_ns

    @contextlib.contextmanager
    def _losses_known(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            self.whole = False
            raise

    def close(self) -> None:
        """Flush, end the file with its index, and let others write."""
        try:
            self._bag.close()
        finally:
            self._lock.close()


def read(folder: str | Path, dtype: np.dtype, after_ns: int, upto_ns: int) -> Iterator[tuple[int, str, np.ndarray]]:
    """Stamp, robot and rows of the messages with stamps in (after_ns, upto_ns], in order; what a crash damaged or no longer fits is left out."""
    from rl_token_ros.bags import message_types
    from rl_token_ros.bags.reader import Bag, BagError
    from rl_token_ros.bags.table_rows import TableReader

    decode, table = message_types.decoder(TYPE), TableReader()
    needed: list[Path] = []
    for path in reversed(_files(Path(folder))):  # stamps only grow, and finding a file's end may take reading it: no more than needed
        if after_ns and 0 < _end(path) <= after_ns:
            break
        needed.insert(0, path)
    for path in needed:
        try:
            records = Bag(path).read()
        except BagError:
            continue
        wanted = (record for record in records if after_ns < record.stamp_ns <= upto_ns)
        while some := list(islice(wanted, BLOCK)):
            found = []
            for record in some:
                with contextlib.suppress(ReplayError):
                    found.append((record, table.rows(record.data, decode, dtype, TOPIC)))
            rows = np.frombuffer(b"".join(row for _, message in found for row in message), dtype)
            good, begin = replay_table.usable(rows), 0
            for record, message in found:
                own = slice(begin, begin := begin + len(message))
                if good[own].all():
                    yield record.stamp_ns, record.topic.removesuffix(TOPIC).strip("/"), rows[own]


def refuse_mismatch(folder: str | Path, dtype: np.dtype) -> None:
    """Raise if the newest message of a journal does not fit this robot.

    Raises:
        ParameterError: its rows have other columns.
    """
    from rl_token_ros.bags import message_types
    from rl_token_ros.bags.reader import Bag, BagError

    for path in reversed(_files(Path(folder))):
        try:
            record = next(Bag(path).read(), None)
            if record is not None:
                replay_table.decode(message_types.decoder(TYPE)(record.data), dtype)
                return
        except BagError:
            continue
        except ReplayError as error:
            raise ParameterError(
                f"parameter 'run_directory': '{folder}' holds rows of another robot ({error}); write another run_directory"
            ) from None


def _files(folder: Path) -> list[Path]:
    """The files of a journal in order."""
    return sorted(folder.glob(f"{folder.name}_*.mcap"), key=lambda path: int(path.stem.rsplit("_", 1)[1]))


def _end(path: Path) -> int:
    """Stamp of the last message in a file; 0 if it has none."""
    from mcap.reader import make_reader

    from rl_token_ros.bags.reader import DAMAGE, Bag, BagError

    try:
        with open(path, "rb") as stream:
            summary = make_reader(stream).get_summary()
        if summary is not None and summary.statistics is not None:
            return summary.statistics.message_end_time
    except DAMAGE:
        pass  # a crash ended it: it has no index, and is read
    try:
        return max((record.stamp_ns for record in Bag(path).read()), default=0)
    except BagError:
        return 0
