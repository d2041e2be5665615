"""Episodes of the critical phase: begins, ends, and the replay rows in between."""

from __future__ import annotations

from collections import Counter

import numpy as np

from rl_token_ros.interfaces.codes import Ended


class Episode:
    """Numbers episodes and steps and turns control steps into rows of `replay`.

    A row is held back until the next one, so that an ending that comes after it (an outcome, the time limit) is written into it:
    an episode that has rows has its ending in the last of them. Where the end could not be recorded (a human worked on while the VLA
    was silent) for more than a chunk, the outcome is not what the recorded steps led to: the last row then says time limit, from which
    a learner bootstraps, and only `episode_ended` tells the outcome.

    Args:
        dtype: columns of the rows, :func:`replay_table.row_dtype`.
        time_limit_ns: length of an episode after which it ends by itself.

    Attributes:
        recorded: steps of all episodes that were recorded, and ``skipped`` those that were not, by reason.
    """

    def __init__(self, dtype: np.dtype, time_limit_ns: int) -> None:
        self.active = False
        self.number = 0
        self.rows: list[np.ndarray] = []
        self.endings: list[int] = []
        self._dtype = dtype
        self._time_limit_ns = time_limit_ns
        self._sequence = 0
        self.step = 0  # of the next row
        self.begun_ns = 0
        self._held: np.ndarray | None = None
        self.recorded = 0
        self.skipped: Counter[str] = Counter()
        self._unrecorded = 0  # steps since the row held back
        self._chunk_length = dtype["reference"].shape[0] // dtype["action"].shape[0]

    def forget(self) -> None:
        """The last step is not known for certain: its row is not given out."""
        self._held = None

    def begin(self, now_ns: int) -> None:
        """The critical phase begins; nothing changes if it has already."""
        if not self.active:
            self.active, self.begun_ns, self.step = True, now_ns, 0
            self.number += 1

    def over_time(self, now_ns: int) -> bool:
        """Whether the episode has reached its time limit."""
        return self.active and now_ns - self.begun_ns >= self._time_limit_ns

    def record(
        self,
        now_ns: int,
        *,
        weights_version: int,
        source: int,
        clipped: int,
        token: np.ndarray,
        proprio: np.ndarray,
        reference: np.ndarray,
        action: np.ndarray,
    ) -> None:
        """One executed control step: what was seen, proposed and sent."""
        self._release()
        row = np.zeros(1, self._dtype)
        row["episode"], row["step"] = self.number, self.step
        row["stamp_sec"], row["stamp_nanosec"] = divmod(now_ns, 1_000_000_000)
        row["weights_version"], row["source"], row["critical"], row["clipped"] = weights_version, source, 1, clipped
        row["token"], row["proprio"], row["reference"], row["action"] = token, proprio, reference.ravel(), action
        self._held, self._unrecorded = row, 0
        self.recorded += 1
        self.step += 1

    def skip(self, why: str = "held") -> None:
        """A control step that cannot be learned from: leaves a gap in `step`. ``why``: held, or as of `Proposals.unseen`."""
        self.skipped[why] += 1
        self.step += 1
        self._unrecorded += 1

    def end(self, code: int) -> None:
        """The episode ends with a code of :class:`Ended`; nothing happens if there is none."""
        if not self.active:
            return
        if self._held is not None:
            unseen = self._unrecorded > self._chunk_length and code != Ended.ABORTED
            self._held["ended"] = Ended.TIME_LIMIT if unseen else code
            self._held["reward"] = float(code == Ended.SUCCESS and not unseen)
        self._release()
        self.active = False
        self.endings.append(code)

    def take(self) -> tuple[list[np.ndarray], list[int]]:
        """Rows and codes of endings that are ready to be published; they are handed out once."""
        rows, endings = self.rows, self.endings
        self.rows, self.endings = [], []
        return rows, endings

    def _release(self) -> None:
        if self._held is not None:
            self._held["seq"] = self._sequence
            self._sequence += 1
            self.rows.append(self._held)
            self._held = None
