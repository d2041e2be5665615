"""Replay buffer: a bounded store of control steps, and the overlapping chunk windows that index it.

A step is stored once; a token once per observation (consecutive equal tokens are one). A window is a start, a length, a return and a
discount: sampling gathers rows and copies nothing that it does not return.

A window of C steps starts at every ``stride``-th step of a run of consecutive steps of one episode. Its target is
sum_{k < length} gamma^k r_k + discount * Q(state after the last of them). By how the episode ended:
    running        length C, discount gamma^C;
    success, failure    shorter at the end, discount 0: nothing follows;
    time limit     shorter at the end, gamma^length from the last row's own state: only the clock ended it (docs/method.md, pitfall 12);
    aborted        all steps and windows of the episode are taken out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np

from rl_token_ros.interfaces.codes import Ended, Source
from rl_token_ros.learning.batch import RESIDUAL_LIMIT, Batch
from rl_token_ros.robot.action_space import PLAIN, ActionSpace
from rl_token_ros.settings.parameters import ParameterError

SOURCES = tuple(Source(code).name.lower() for code in range(Source.HUMAN + 1))


@dataclass
class Counters:
    """What happened to what arrived."""

    rows: int = 0
    episodes: int = 0  # ended, not aborted
    successes: int = 0
    windows_built: int = 0
    windows_dropped: int = 0  # cut off by a gap or by an episode without an end
    windows_aborted: int = 0
    gaps: int = 0
    rows_lost: int = 0  # by sequence number
    sources: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SOURCES, 0))  # rows of each


class ReplayBuffer:
    """Steps and windows.

    Args:
        row: columns of a row of `replay`, as `interfaces.replay_table.row_dtype` gives them.
        chunk_length: C, steps of a window.
        residual_scale: [A], action units per control step.
        stride: steps between the starts of two windows.
        gamma: discount per control step.
        transitions: most steps kept.
        max_bytes: most memory for everything that is stored.
        space: of the actions.

    Raises:
        ParameterError: `max_bytes` has no room for a few chunks.
    """

    def __init__(
        self, row: np.dtype[np.void], chunk_length: int, residual_scale: list[float], *,
        stride: int, gamma: float, transitions: int, max_bytes: int, space: ActionSpace = PLAIN,
    ) -> None:  # fmt: skip
        self.chunk, self.stride, self.gamma, self.row = chunk_length, stride, gamma, row
        self.scale, self.space = np.asarray(residual_scale, np.float32), space
        self.sizes = (row["token"].shape[0], row["proprio"].shape[0], chunk_length, row["action"].shape[0])
        self._own = [name for name in row.names or () if name != "token"]  # columns that are stored as they come
        columns = np.dtype([*((name, row[name]) for name in self._own), ("token_id", "<i8"), ("observed", "<f4"), ("decided", "?")])
        window = np.dtype([("start", "<i8"), ("length", "<i4"), ("reward", "<f4"), ("discount", "<f4")])
        self.step_bytes, self.token_bytes = columns.itemsize + window.itemsize, max(4 * self.sizes[0], 1)
        # Steps get at most half of the bytes, tokens (at most one per step) what is then left.
        self.capacity = min(transitions, max_bytes // 2 // self.step_bytes)
        self.token_capacity = min(self.capacity, (max_bytes - self.capacity * self.step_bytes) // self.token_bytes)
        if self.token_capacity < 4 * chunk_length:
            raise ParameterError(
                f"parameter 'replay_bytes' is {max_bytes}: room for {self.token_capacity} tokens of {self.token_bytes} bytes; "
                f"write at least {16 * chunk_length * (self.step_bytes + self.token_bytes)}"
            )
        # Pages of these are only taken from the system when first written.
        self.steps = {name: np.zeros((self.capacity, *columns[name].shape), columns[name].base) for name in columns.names or ()}
        self.tokens = np.zeros((self.token_capacity, self.sizes[0]), np.float32)
        self.windows = {name: np.zeros(self.capacity, window[name]) for name in window.names or ()}
        self.counters = Counters()
        # Steps, tokens and windows are numbered for ever; number i lies at i modulo the capacity. [first, next) are stored.
        self.first = self.next = self.first_token = self.next_token = self.first_window = self.next_window = 0
        self._episode = self._run = self._pending = 0  # numbers: first step of the episode, of the run, next window's start
        self._last: tuple[int, int, int] | None = None  # seq, episode, step of the newest row, if its episode still runs
        self._last_seqs: dict[str, int] = {}  # of the newest row of each robot
        self._robot = ""  # whose rows came last
        self._powers = gamma ** np.arange(chunk_length + 1)

    def __len__(self) -> int:
        return self.next - self.first

    @property
    def window_count(self) -> int:
        """Windows that can be sampled."""
        return self.next_window - self.first_window

    @property
    def token_count(self) -> int:
        """Tokens stored."""
        return self.next_token - self.first_token

    @property
    def bytes(self) -> int:
        """Bytes that the stored steps, windows and tokens take."""
        return int(len(self) * self.step_bytes + self.token_count * self.token_bytes)

    # ---- arrival

    def add(self, rows: np.ndarray, robot: str = "") -> None:
        """Store rows [n] of :func:`interfaces.replay_table.row_dtype`, in the order in which they arrived; of several robots, whole episodes."""
        if robot != self._robot:
            if self._last is not None:  # the other robot's episode has no end
                self._break(-1, -1)
                self._last = None
            self._robot = robot
        for row in rows:
            self._add(row)

    def _add(self, row: np.void) -> None:
        seq, episode, step, ended = int(row["seq"]), int(row["episode"]), int(row["step"]), int(row["ended"])
        c = self.counters
        c.rows += 1
        c.sources[SOURCES[row["source"]]] += 1
        c.rows_lost += max(seq - self._last_seqs.get(self._robot, seq) - 1, 0)
        self._last_seqs[self._robot] = seq
        if self._last is None or (seq, episode, step) != tuple(v + (i != 1) for i, v in enumerate(self._last)):
            self._break(seq, episode)
        self._store(row)
        newest = self.next - 1
        while self._pending + self.chunk <= newest:
            self._window(self._pending, self.chunk, self._powers[self.chunk])
            self._pending += self.stride
        self._last = (seq, episode, step)
        if ended != Ended.NO:
            self._end(newest, ended)
            self._last = None

    def _break(self, seq: int, episode: int) -> None:
        """The next row does not follow the last one: a gap, or the start of an episode."""
        same_episode = False
        if self._last is not None:  # the last episode has no end yet: what was pending can never be completed
            self.counters.gaps += 1
            self.counters.windows_dropped += len(range(self._pending, self.next, self.stride))
            same_episode = episode == self._last[1] and seq > self._last[0]
        self._run = self._pending = self.next
        if not same_episode:
            self._episode = self.next

    def _end(self, newest: int, ended: int) -> None:
        c = self.counters
        if ended == Ended.ABORTED:
            self._remove_from(max(self._episode, self.first))
            return
        c.episodes += 1
        c.successes += ended == Ended.SUCCESS
        timed_out = ended == Ended.TIME_LIMIT
        last = newest if timed_out else newest + 1
        for start in range(self._pending, last, self.stride):
            self._window(start, last - start, self._powers[last - start] if timed_out else 0.0)
        run = np.arange(max(self._run, self.first), newest + 1)
        rewards = self.steps["reward"][run % self.capacity].astype(np.float64)
        returns = list(accumulate(rewards[::-1], lambda later, reward: reward + self.gamma * later))[::-1]
        self.steps["observed"][run % self.capacity] = returns
        self.steps["decided"][run % self.capacity] = not timed_out

    def _store(self, row: np.void) -> None:
        if len(self) == self.capacity:
            self._evict(self.first + 1)
        newest_token = self.tokens[(self.next_token - 1) % self.token_capacity]
        if not len(self) or not np.array_equal(row["token"], newest_token):
            if self.token_count == self.token_capacity:
                stored = self.steps["token_id"][np.arange(self.first, self.next) % self.capacity]
                self._evict(self.first + int(np.searchsorted(stored, self.first_token, side="right")))
            self.tokens[self.next_token % self.token_capacity] = row["token"]
            self.next_token += 1
        at = self.next % self.capacity
        for name in self._own:
            self.steps[name][at] = row[name]
        self.steps["token_id"][at] = self.next_token - 1
        self.steps["observed"][at], self.steps["decided"][at] = np.nan, False
        self.next += 1

    def _window(self, start: int, length: int, discount: float) -> None:
        if start < self.first:
            return
        rewards = self.steps["reward"][np.arange(start, start + length) % self.capacity]
        at = self.next_window % self.capacity
        self.windows["start"][at] = start
        self.windows["length"][at] = length
        self.windows["reward"][at] = float(rewards @ self._powers[:length])
        self.windows["discount"][at] = discount
        self.next_window += 1
        self.counters.windows_built += 1

    def _evict(self, first: int) -> None:
        """Forget the oldest steps, up to number ``first``, with the windows that start there."""
        self.first = first
        starts = self.windows["start"]
        while self.first_window < self.next_window and starts[self.first_window % self.capacity] < first:
            self.first_window += 1
        self.first_token = int(self.steps["token_id"][first % self.capacity]) if first < self.next else self.next_token

    def _remove_from(self, step: int) -> None:
        """Forget the newest steps, from number ``step`` on."""
        starts = self.windows["start"]
        before = self.next_window
        while self.next_window > self.first_window and starts[(self.next_window - 1) % self.capacity] >= step:
            self.next_window -= 1
        self.counters.windows_aborted += before - self.next_window
        self.next = step
        last = self.steps["token_id"][(step - 1) % self.capacity] + 1 if step > self.first else self.first_token
        self.next_token = int(last)

    # ---- sampling

    def sample(self, random: np.random.Generator, batch: Batch) -> Batch:
        """Fill a batch with windows drawn uniformly, with replacement; there must be one.

        The part of a chunk that an end cut off was never executed: it is filled with the residuals of other windows of the batch.
        The outcome did not depend on it, and zeros there would teach that zero is good (docs/method.md, pitfall 5).
        """
        n, s, capacity = len(batch.length), self.steps, self.capacity
        w = random.integers(self.first_window, self.next_window, n) % capacity
        start = self.windows["start"][w]
        batch.length[:] = self.windows["length"][w]
        batch.reward[:] = self.windows["reward"][w]
        batch.discount[:] = self.windows["discount"][w]
        here = start % capacity
        # After an end there is no next state: its own stands in, and counts nothing with discount 0.
        after = np.where(batch.discount > 0, start + batch.length, start) % capacity
        chunk = (start[:, None] + np.arange(self.chunk)) % capacity
        self._state(here, batch.token, batch.proprio, batch.reference)
        self._state(after, batch.next_token, batch.next_proprio, batch.next_reference)
        np.take(s["action"], chunk, axis=0, out=batch.action, mode="clip")
        batch.observed[:], batch.decided[:] = s["observed"][here], s["decided"][here]
        executed = np.arange(self.chunk) < batch.length[:, None]
        batch.human[:] = (s["source"][chunk] == Source.HUMAN) & executed
        batch.residual[:] = self.space.difference(batch.action, batch.reference.reshape(batch.action.shape)) / self.scale
        np.clip(batch.residual, -RESIDUAL_LIMIT, RESIDUAL_LIMIT, out=batch.residual)
        self._fill_tails(random, batch, executed)
        if self.space.turns:
            batch.reference[:], batch.next_reference[:] = self._seen(batch.reference), self._seen(batch.next_reference)
        return batch

    def _seen(self, reference: np.ndarray) -> np.ndarray:
        """Windows [n, C * A] as actor and critic see them."""
        return self.space.continuous(reference.reshape(-1, self.chunk, self.sizes[3])).reshape(reference.shape)

    def _state(self, at: np.ndarray, token: np.ndarray, proprio: np.ndarray, reference: np.ndarray) -> None:
        slots = self.steps["token_id"][at] % self.token_capacity
        np.take(self.tokens, slots, axis=0, out=token, mode="clip")
        np.take(self.steps["proprio"], at, axis=0, out=proprio, mode="clip")
        np.take(self.steps["reference"], at, axis=0, out=reference, mode="clip")

    def _fill_tails(self, random: np.random.Generator, batch: Batch, executed: np.ndarray) -> None:
        short = np.flatnonzero(batch.length < self.chunk)
        if not len(short):
            return
        donors = np.flatnonzero(batch.length == self.chunk)
        if len(donors):
            fill = batch.residual[donors[random.integers(0, len(donors), len(short))]]
        else:
            fill = random.uniform(-1, 1, (len(short), *batch.residual.shape[1:])).astype(np.float32)
        batch.residual[short] = np.where(executed[short][:, :, None], batch.residual[short], fill)

    def states(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Token [n, Dz], proprioception [n, P] and reference [n, C * A] of every stored step."""
        at = np.arange(self.first, self.next) % self.capacity
        tokens = self.tokens[self.steps["token_id"][at] % self.token_capacity]
        return tokens, self.steps["proprio"][at], self._seen(self.steps["reference"][at])

    # ---- disk

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything stored, oldest first, as plain arrays."""
        ids = np.arange(self.first, self.next) % self.capacity
        found = {f"step.{name}": values[ids] for name, values in self.steps.items()}
        found["token"] = self.tokens[np.arange(self.first_token, self.next_token) % self.token_capacity]
        ids = np.arange(self.first_window, self.next_window) % self.capacity
        found.update({f"window.{name}": values[ids] for name, values in self.windows.items()})
        return found

    def numbers(self) -> dict[str, Any]:
        """What `arrays` leaves out, for JSON."""
        names = ("first", "next", "first_token", "next_token", "first_window", "next_window", "_episode", "_run", "_pending")
        state = {name: getattr(self, name) for name in names}
        return {**state, "_last": self._last, "_last_seqs": dict(self._last_seqs), "_robot": self._robot, "counters": vars(self.counters)}

    def settle(self, numbers: dict[str, Any]) -> int:
        """After the rows behind `numbers` were added again: count as then, forget what was forgotten; returns how many steps are missing.

        None are where the bounds have become smaller: what there is room for is there.
        """
        kept: int = numbers["next"] - numbers["first"]
        self.counters, self._last_seqs = Counters(**numbers["counters"]), dict(numbers["_last_seqs"])
        missing = 0 if self.first else max(kept - len(self), 0)
        if len(self) > kept:
            self._evict(self.next - kept)
        return missing

    def restore(self, arrays: dict[str, np.ndarray], numbers: dict[str, Any]) -> None:
        """Take back what `arrays` and `numbers` gave; the oldest go where the bounds have become smaller."""
        for name, value in numbers.items():
            setattr(self, name, Counters(**value) if name == "counters" else value)
        if self._last is not None:
            seq, episode, step = self._last  # JSON makes lists of tuples
            self._last = (seq, episode, step)

        def put(store: np.ndarray, after: int, values: np.ndarray) -> int:
            keep = min(len(values), len(store))
            ids = np.arange(after - keep, after)
            store[ids % len(store)] = values[len(values) - keep :]
            return after - keep

        for name, store in self.windows.items():
            self.first_window = put(store, self.next_window, arrays[f"window.{name}"])
        arrays = {"step.decided": ~np.isnan(arrays["step.observed"]), **arrays}  # earlier checkpoints have none
        for name, store in self.steps.items():
            first = put(store, self.next, arrays[f"step.{name}"])
        first_token = put(self.tokens, self.next_token, arrays["token"])
        self.first = first + int(np.searchsorted(arrays["step.token_id"][-(self.next - first) :], first_token))
        self._evict(self.first)
