"""The learner without ROS and without processes: rows of `replay` in, updates, actor weights and figures out.

    learner.add(rows)                      # as they arrive
    learner.update(learner.updates_owed)   # UTD: so many updates per control step received, never fewer
    if learner.push_due:
        weights = learner.weights()        # the actor to act with, under a new version

Phases: warm-up (the base policy, then the base policy with exploration noise; no update), pretraining (on the warm-up), training.
What learns is an `Algorithm`; here are the replay buffer, the schedule and the account of updates.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from rl_token_ros.interfaces import replay_table
from rl_token_ros.learning import checkpoint
from rl_token_ros.learning.algorithm import MakeAlgorithm, Tensors
from rl_token_ros.learning.batch import Batch
from rl_token_ros.learning.best_actor import BestActor
from rl_token_ros.learning.journal_span import JournalSpan, Read
from rl_token_ros.learning.replay_buffer import ReplayBuffer
from rl_token_ros.learning.robots import Episodes
from rl_token_ros.learning.td3 import Td3
from rl_token_ros.policy.actor_weights import ActorWeights, Architecture, Identity
from rl_token_ros.robot import action_space
from rl_token_ros.settings.learner import Learner as Settings

PAUSE_SECONDS = 60.0  # longer gaps between two rows are pauses, not robot time
BLOCK_BYTES = 4 << 20  # batches are drawn several at a time, as many as stay in cache
BLOCK_MOST = 16


class Learner:
    """Replay buffer, algorithm and the account of updates.

    Args:
        settings: parameters of `learner_node`.
        proprio: P, number of values of the proprioception.
        encoder_sha256: fingerprint of the token encoder.
        vla_sha256: fingerprint of the VLA.
        algorithm: makes what learns, from settings, sizes of the exported actor and the most batches in a block.

    Raises:
        ParameterError: `replay_bytes` is too small, or `device` is cuda and there is none.
    """

    def __init__(self, settings: Settings, proprio: int, encoder_sha256: str, vla_sha256: str, algorithm: MakeAlgorithm = Td3) -> None:
        self.settings = s = settings
        self.identity = Identity.of(settings, encoder_sha256, vla_sha256)
        self.architecture = Architecture(s.token_size, proprio, s.chunk_length, s.action_size, hidden=s.hidden_size, layers=s.actor_layers)
        self.row_dtype = replay_table.row_dtype(s.token_size, proprio, s.chunk_length, s.action_size)
        self.replay = ReplayBuffer(
            self.row_dtype, s.chunk_length, s.step_residual_scale, stride=s.window_stride, gamma=s.gamma,
            transitions=s.replay_transitions, max_bytes=s.replay_bytes, space=action_space.of_actions(s),
        )  # fmt: skip
        sizes = (s.token_size, proprio, s.chunk_length, s.action_size)
        batch_bytes = 8 * s.batch_size * (self.architecture.inputs + self.architecture.outputs)
        self.blocks = int(np.clip(BLOCK_BYTES // batch_bytes, 1, BLOCK_MOST))
        self.algorithm = algorithm(s, self.architecture, self.blocks)
        self._batches = {count: Batch.empty(count * s.batch_size, *sizes) for count in range(1, self.blocks + 1)}
        self._random = np.random.default_rng(s.seed)
        self._episodes = Episodes(hold=len(s.robots) > 1)
        self._robot = ""  # whose rows were learned from last
        self.best = BestActor(s.best_window, s.control_rate)
        self._best_sent = False
        self.run = ""  # name of the run, in which versions count up
        self.journal = JournalSpan()
        self.version = 0
        self.pushed_at = 0  # updates at the last push
        self.warm = False  # warm-up is over
        self.owed = 0.0
        self.forgone = 0  # updates that were owed and never made
        self.steps_after_warmup = 0  # rows since the end of warm-up
        self.robot_seconds = 0.0  # from the stamps of rows, with the time between episodes
        self.warm_seconds = 0.0  # robot_seconds at the end of warm-up
        self.steps_missing = 0  # of the last checkpoint, which the journal no longer has
        self._stamps: dict[str, float] = {}  # of the newest row of each robot
        self._busy = 0.0
        self._measured = (time.perf_counter(), 0.0, 0)
        self._rates = (0.0, 0.0)

    # ---- in

    def add(self, rows: np.ndarray, robot: str = "", stamp_ns: int = 0) -> None:
        """Rows [n] of `row_dtype`, in the order they came. Each brings `updates_per_step` updates, once warm-up is over.

        Args:
            rows: of one robot.
            robot: which of `robots` they are from. Where there are several, what one did is learned from when its episode has ended.
            stamp_ns: under which the journal has them; 0: it does not, and checkpoints keep the rows themselves.
        """
        for ready in self._ready(self._episodes, rows, robot, stamp_ns):
            self._learn_from(ready, robot)

    def _ready(self, episodes: Episodes, rows: np.ndarray, robot: str, stamp_ns: int) -> Iterator[np.ndarray]:
        """What is to be stored now."""
        self.journal.arrived(stamp_ns, robot, rows)
        for ready in episodes.add(robot, rows):
            self.journal.stored(robot, ready, self.replay.first, self.replay.next)
            yield ready

    def _learn_from(self, rows: np.ndarray, robot: str) -> None:
        if robot != self._robot:
            self._robot = robot
            self.best.leave()
        for i, row in enumerate(rows):
            stamp = float(row["stamp_sec"]) + 1e-9 * float(row["stamp_nanosec"])
            if 0.0 < (passed := stamp - self._stamps.get(robot, stamp)) < PAUSE_SECONDS:
                self.robot_seconds += passed
            self._stamps[robot] = stamp
            if self.warm:
                self.best.add(rows[i : i + 1], self.algorithm.actor_tensors)
        self.replay.add(rows, robot)
        if self.warm:
            self.steps_after_warmup += len(rows)
            self._owe(len(rows) * self.settings.updates_per_step)
        elif self.replay.counters.episodes >= self.settings.warmup_episodes and self.replay.window_count >= self.settings.batch_size:
            self._end_warmup()

    def _owe(self, updates: float) -> None:
        self.owed += updates
        if self.owed > self.settings.updates_owed_max:
            self.forgone += int(self.owed - self.settings.updates_owed_max)
            self.owed = float(self.settings.updates_owed_max)

    def _end_warmup(self) -> None:
        self.warm, self.warm_seconds = True, self.robot_seconds
        self.algorithm.normalise_from(*self.replay.states())
        self.owed = float(self.settings.pretrain_updates)  # not bounded by updates_owed_max: it was asked for

    # ---- learning

    @property
    def updates(self) -> int:
        """Critic updates made so far."""
        return self.algorithm.updates

    @property
    def updates_owed(self) -> int:
        """Updates to make now."""
        return int(self.owed) if self.settings.learn else 0

    @property
    def phase(self) -> str:
        """warmup, pretraining or training."""
        if not self.warm:
            return "warmup"
        return "pretraining" if self.updates < self.settings.pretrain_updates else "training"

    @property
    def bc_weight(self) -> float:
        """Weight of the penalty on the residual: from start to end geometrically over robot time since warm-up."""
        s = self.settings
        if s.bc_weight_anneal_seconds <= 0.0:
            return s.bc_weight_end
        done = min((self.robot_seconds - self.warm_seconds) / s.bc_weight_anneal_seconds, 1.0) if self.warm else 0.0
        return float(s.bc_weight_start * (s.bc_weight_end / s.bc_weight_start) ** done)

    @property
    def input_noise(self) -> float:
        """Standard deviation of the noise on the inputs: `input_noise` for as many episodes as the warm-up has, less with more.

        Noise on the inputs is ridge regression whose weight is (episodes x variance); what is known beforehand does not grow with the data.
        """
        share = float((self.settings.warmup_episodes / max(self.replay.counters.episodes, 1)) ** 0.5)
        return self.settings.input_noise * min(share, 1.0)

    def update(self, most: int) -> int:
        """Make up to ``most`` of the updates owed, each from a fresh batch; returns how many were made."""
        wanted = min(most, self.updates_owed) if self.replay.window_count else 0
        begun = time.perf_counter()
        made = 0
        while made < wanted:
            count = min(self.blocks, wanted - made)
            self.algorithm.load(self.replay.sample(self._random, self._batches[count]), self.input_noise)
            for index in range(count):
                self.algorithm.update(index, self.bc_weight)
            made += count
        self.owed -= made
        self._busy += time.perf_counter() - begun
        return made

    # ---- out

    @property
    def push_due(self) -> bool:
        """Whether it is time for `weights`: with `learn` off, once, if anything was learned.

        Else after `base_episodes`, and every `push_updates` of training. The first are of an actor that changes nothing: from
        then on the exploration noise of `control_node` is added to the base policy.
        """
        if not self.settings.learn:
            return self.phase == "training" and not self._best_sent
        if self.phase != "training":
            base, warmup = self.settings.base_episodes, self.settings.warmup_episodes
            return self.phase == "warmup" and self.version == 0 and base < warmup and self.replay.counters.episodes >= base
        return self.version == 0 or self.updates - self.pushed_at >= self.settings.push_updates

    def weights(self) -> ActorWeights:
        """The newest actor under the next version number; with `learn` off, the best one."""
        self.pushed_at = self.updates
        if self.settings.learn:
            return self._weights(self.algorithm.actor_tensors())
        self._best_sent = True
        return self.best_weights()

    def best_weights(self) -> ActorWeights:
        """The best actor so far, under the next version number; the newest while an actor has acted in fewer than `best_window` episodes."""
        return self._weights(self.best.tensors or self.algorithm.actor_tensors())

    def _weights(self, tensors: Tensors) -> ActorWeights:
        self.version += 1
        return ActorWeights(self.version, self.updates, self.architecture, self.identity, tensors, time.time_ns(), self.run)

    @property
    def true_utd(self) -> float:
        """Updates made per row received since warm-up; `updates_per_step` unless the machine is too slow."""
        return max(self.updates - self.settings.pretrain_updates, 0) / max(self.steps_after_warmup, 1)

    @property
    def updates_per_second_needed(self) -> float:
        """Updates that a second of robot time brings, on an average of the run: rate x share of critical phases x `updates_per_step`."""
        rows = self.replay.counters.rows
        robots = max(len(self.settings.robots), 1)  # at once; `robot_seconds` are all of theirs together
        return robots * rows * self.settings.updates_per_step / self.robot_seconds if self.robot_seconds else 0.0

    def stats(self) -> dict[str, Any]:
        """Figures for diagnostics and logs, all plain numbers and text; those of the algorithm from its newest update on."""
        now, r = time.perf_counter(), self.replay
        then, busy, updates = self._measured
        made = self.updates - updates
        if now - then > 0.5:
            self._rates = (made / (now - then), made / (self._busy - busy) if made else self._rates[1])
            self._measured = (now, self._busy, self.updates)
        found = {
            "phase": self.phase,
            "updates": self.updates,
            "updates_per_s": self._rates[0],
            "updates_per_busy_s": self._rates[1],  # what this machine can do
            "updates_per_s_needed": self.updates_per_second_needed,
            "updates_per_step": self.settings.updates_per_step,
            "updates_owed": self.updates_owed,
            "updates_forgone": self.forgone,
            "true_utd": self.true_utd,
            "weights_version": self.version,
            "bc_weight": self.bc_weight,
            "best_version": self.best.version,
            "best_successes_per_10min": self.best.throughput,
            "recent_successes_per_10min": self.best.recent or 0.0,
            "robot_seconds": self.robot_seconds,
            "steps": r.counters.rows,
            "steps_after_warmup": self.steps_after_warmup,
            "rows_lost": r.counters.rows_lost,
            "gaps": r.counters.gaps,
            "episodes": r.counters.episodes,
            "successes": r.counters.successes,
            **{f"steps_{name}": count for name, count in r.counters.sources.items()},
            "windows": r.window_count,
            "windows_built": r.counters.windows_built,
            "windows_dropped": r.counters.windows_dropped,
            "windows_aborted": r.counters.windows_aborted,
            "replay_transitions": len(r),
            "replay_tokens": r.token_count,
            "replay_bytes": r.bytes,
        }
        return found | self.algorithm.figures()

    # ---- disk

    def save(self, directory: str) -> None:
        """Write a checkpoint of everything into a folder, whole or not at all; of the rows, those that no journal holds.

        Raises:
            OSError: the disk is full or gone.
        """
        r = self.replay
        numbers, journalled = {name: getattr(self, name) for name in KEPT}, self.journal.numbers()
        state = {
            "identity": vars(self.identity),
            "architecture": vars(self.architecture),
            "updates": self.updates,
            "rows": r.counters.rows,
            "learner": {**numbers, "stamps": self._stamps, "journal_ns": self.journal.stamp_ns},
            "journal": journalled and {**journalled, "hold": self._episodes.hold},
            "replay": r.numbers(),
            "random": self._random.bit_generator.state,
            "best": self.best.numbers(),
        }
        best = {prefix + name: tensor for prefix, kept in ((BEST, self.best.tensors), (AVERAGE, self.best.average)) for name, tensor in kept.items()}
        held = {HELD + robot: rows for robot, rows in self._episodes.arrays().items()}
        rows = {TAIL: self.journal.tail(self.row_dtype)} if journalled else r.arrays()
        checkpoint.save(directory, state, {**self.algorithm.state(), **best}, {**rows, **held})

    def restore(self, directory: str, read: Read | None = None) -> bool:
        """Continue exactly from the newest checkpoint in a folder; False if there is none.

        Args:
            directory: of the run.
            read: reads its journal. Without it the rows that a checkpoint leaves to the journal are missing: nothing can be learned.

        Raises:
            ParameterError: it was made for another robot, VLA, encoder or network size.
            OSError: there are some, and none can be read.
        """
        checkpoint.refuse_mismatch(directory, self.identity, self.architecture)
        found = checkpoint.load(directory)
        if found is None:
            return False
        state, networks, arrays = found
        self.algorithm.restore({name: tensor for name, tensor in networks.items() if not name.startswith((BEST, AVERAGE))}, state["updates"])
        for name in KEPT:
            setattr(self, name, state["learner"][name])
        self._stamps = state["learner"].get("stamps", {})
        if journalled := state.get("journal"):
            episodes = Episodes(journalled["hold"])  # as it was then: other `robots` may have been named since
            for stamp_ns, robot, rows in self.journal.again(journalled, arrays[TAIL], read) if read else ():
                for ready in self._ready(episodes, rows, robot, stamp_ns):
                    self.replay.add(ready, robot)
            self.steps_missing = self.replay.settle(state["replay"])
        else:
            self.journal.whole = False
            self.replay.restore(arrays, state["replay"])
        held = {name[len(HELD) :]: rows for name, rows in arrays.items() if name.startswith(HELD)}
        if self._episodes.hold:
            self._episodes.restore(held)
        else:  # there is one robot now: nothing waits for the others any more
            for robot, rows in held.items():
                self.replay.add(rows, robot)
        self.journal.stamp_ns = state["learner"]["journal_ns"]
        self._random.bit_generator.state = state["random"]
        kept = ({name[len(prefix) :]: tensor for name, tensor in networks.items() if name.startswith(prefix)} for prefix in (BEST, AVERAGE))
        self.best.restore(state["best"], *kept)
        self._measured = (time.perf_counter(), self._busy, self.updates)
        return True


BEST, AVERAGE, HELD = "best.", "average.", "held."  # before the names of its tensors, and of robots, in a checkpoint
TAIL = "tail"  # rows that the journal may not have yet
KEPT = ("version", "pushed_at", "warm", "owed", "forgone", "steps_after_warmup", "robot_seconds", "warm_seconds")
