"""Training and evaluation in one process, faster than real time, with the nodes' own pipeline, replay and learner."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rl_token_ros.evaluation.scores import EpisodeScorer, ScoredEpisode
from rl_token_ros.interfaces.codes import Ended, Source
from rl_token_ros.learning.algorithm import MakeAlgorithm
from rl_token_ros.learning.learner import Learner
from rl_token_ros.learning.td3 import Td3
from rl_token_ros.policy import actor_weights
from rl_token_ros.policy.residual_policy import ResidualPolicy
from rl_token_ros.settings import node_settings
from rl_token_ros.sim.closed_loop import ClosedLoop

EVALUATION_SEED = 1_000_000  # scenes of evaluations are never those of a training
WORLDS = ("sim_node", "gym_node")  # whose seed is that of the scenes


@dataclasses.dataclass(frozen=True)
class Hand:
    """A hand that acts in some episodes after those of the base alone.

    Attributes:
        episodes: in how many.
        act: called with the loop after every control step of them.
    """

    episodes: int
    act: Callable[[ClosedLoop], None]


@dataclasses.dataclass(frozen=True)
class Variant:
    """What is trained: parameters, and the parts in the place of the method's own.

    Attributes:
        what: how it differs from the method, in a few words.
        shared: parameters of all nodes of the robot.
        control, learner: parameters of that node.
        encoder: makes what stands in the token's place, from the VLA's fingerprint; None: what the parameters say.
        policy: class of what acts.
        algorithm: makes what learns.
        hand: a human's, or nobody's.
    """

    what: str
    shared: dict[str, Any] = dataclasses.field(default_factory=dict)
    control: dict[str, Any] = dataclasses.field(default_factory=dict)
    learner: dict[str, Any] = dataclasses.field(default_factory=dict)
    encoder: Callable[[str], Any] | None = None
    policy: type[ResidualPolicy] = ResidualPolicy
    algorithm: MakeAlgorithm = Td3
    hand: Hand | None = None

    def overrides(self, given: dict[str, dict[str, Any]] | None = None) -> dict[str, dict[str, Any]]:
        """``{node: {parameter: value}}``; what is given wins over the variant's own."""
        own = {"vla_node": self.shared, "control_node": {**self.shared, **self.control}, "learner_node": {**self.shared, **self.learner}}
        given = given or {}
        return {node: {**own.get(node, {}), **given.get(node, {})} for node in {**own, **given}}

    def loop(self, parameter_file: str | Path, overrides: dict[str, dict[str, Any]]) -> ClosedLoop:
        """The loop in which it acts."""
        return ClosedLoop(parameter_file, overrides=overrides, encoder=self.encoder, policy=self.policy)


METHOD = Variant("the method")


@dataclasses.dataclass
class Training:
    """What a training left: its scored episodes, how many of them were warm-up, the best weights, the learner's figures, seconds used.

    ``hand_seconds`` of the ``robot_seconds`` a hand acted.
    """

    episodes: list[ScoredEpisode]
    warmup: int
    blob: bytes
    stats: dict[str, Any]
    robot_seconds: float
    hand_seconds: float


def train(
    parameter_file: str | Path,
    seed: int,
    robot_seconds: float,
    overrides: dict[str, dict[str, Any]] | None = None,
    progress: Callable[[float, list[ScoredEpisode]], None] | None = None,
    variant: Variant = METHOD,
    checkpoint: str | Path | None = None,
) -> Training:
    """Train for ``robot_seconds`` of robot time: approaches, critical phases and resets all count.

    Args:
        parameter_file: of the simulated robot.
        seed: of scene, exploration and learner.
        overrides: ``{node: {parameter: value}}``.
        progress: called after every episode with the robot time and the episodes so far.
        variant: what is trained.
        checkpoint: folder into which the learner is kept at the end, as its node's `run_directory`.
    """
    given = variant.overrides(overrides)
    seeded = {node: {"seed": seed, **given.get(node, {})} for node in (*WORLDS, "control_node", "learner_node")}
    overrides = {**given, **seeded}
    loop = variant.loop(parameter_file, overrides)
    learner_settings = node_settings.load("learner_node", parameter_file, **overrides["learner_node"])
    learner = _learner_for(loop, learner_settings, variant)
    scorer = EpisodeScorer(loop.controller.settings.control_rate)
    episodes: list[ScoredEpisode] = []

    def learn(rows: np.ndarray) -> None:
        learner.add(rows)
        while learner.updates_owed and learner.update(learner.updates_owed):
            pass
        if learner.push_due:
            loop.pipeline.admit(actor_weights.encode(learner.weights()))

    begun, by_hand = loop.now_ns, 0

    def corrected() -> Callable[[], None] | None:
        hand, ended = variant.hand, learner.replay.counters.episodes - learner_settings.base_episodes
        return functools.partial(hand.act, loop) if hand is not None and 0 <= ended < hand.episodes else None

    while (gone := (loop.now_ns - begun) * 1e-9) < robot_seconds:
        result = loop.episode(on_rows=learn, on_step=corrected())
        by_hand += int((result.rows["source"] == Source.HUMAN).sum())
        episodes += scorer.add(result.rows)
        if progress:
            progress(gone, episodes)
    loop.close()
    blob = actor_weights.encode(learner.best_weights()) if learner.warm else b""
    if checkpoint is not None:
        learner.save(str(checkpoint))
    used, hand_seconds = (loop.now_ns - begun) * 1e-9, by_hand / loop.controller.settings.control_rate
    return Training(episodes, learner_settings.warmup_episodes, blob, learner.stats(), used, hand_seconds)


def evaluate(
    parameter_file: str | Path,
    seed: int,
    episodes: int,
    blob: bytes = b"",
    overrides: dict[str, dict[str, Any]] | None = None,
    variant: Variant = METHOD,
    progress: Callable[[int], None] | None = None,
) -> tuple[list[ScoredEpisode], float]:
    """Score weights (none: the base alone) on scenes that depend on ``seed`` only; also the share that reached the critical phase.

    An actor keeps half of its exploration noise: without any it wedges where it is wrong.
    """
    given = variant.overrides(overrides)
    sigma = node_settings.load("control_node", parameter_file, **given.get("control_node", {})).exploration_sigma
    merged = {
        **given,
        **{node: {**given.get(node, {}), "seed": EVALUATION_SEED + seed} for node in WORLDS},
        "control_node": {"rollout_ramp": 0.0, **given.get("control_node", {}), "seed": seed, "exploration_sigma": sigma / 2, "exploration_gain": 0.0},
    }
    loop = variant.loop(parameter_file, merged)
    if blob:
        loop.pipeline.admit(blob)
    return run_episodes(loop, episodes, progress=progress)


def best_of_run(parameter_file: str | Path, run_directory: str | Path) -> bytes:
    """The best actor in the newest checkpoint of a `learner_node` that learned from the simulated robot.

    Raises:
        ParameterError: the checkpoint is of another robot, VLA, encoder or network size.
        FileNotFoundError: there is no checkpoint.
    """
    loop = METHOD.loop(parameter_file, {})
    learner = _learner_for(loop, node_settings.load("learner_node", parameter_file), METHOD)
    loop.close()
    if not learner.restore(str(run_directory)):
        raise FileNotFoundError(f"there is no checkpoint in '{run_directory}'; write the run_directory of a learner_node")
    return actor_weights.encode(learner.best_weights())


def _learner_for(loop: ClosedLoop, learner_settings: node_settings.Learner, variant: Variant) -> Learner:
    """A variant's learner for what a loop records."""
    proprio, encoder = loop.controller.row_dtype["proprio"].shape[0], loop.pipeline.encoder
    return Learner(learner_settings, proprio, encoder.sha256, encoder.vla_sha256, variant.algorithm)


def run_episodes(
    loop: ClosedLoop, episodes: int, on_step: Callable[[], None] | None = None, progress: Callable[[int], None] | None = None
) -> tuple[list[ScoredEpisode], float]:
    """Score so many episodes of a loop, which is closed then; also the share that reached the critical phase.

    Args:
        on_step: called after every control step.
        progress: called after every episode with the number of those done.
    """
    scorer = EpisodeScorer(loop.controller.settings.control_rate)
    scored: list[ScoredEpisode] = []
    reached = 0
    for done in range(episodes):
        result = loop.episode(on_step=on_step)
        reached += result.reached
        if result.ended != Ended.ABORTED:
            scored += scorer.add(result.rows)
        if progress is not None:
            progress(done + 1)
    loop.close()
    return scored, reached / episodes
