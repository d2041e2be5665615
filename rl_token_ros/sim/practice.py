"""Practice and evaluation in one process, faster than real time, with the nodes' own pipeline, replay and learner."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Callable

import numpy as np

from rl_token_ros import replay_record, settings, weights
from rl_token_ros.learning.learner import Learner
from rl_token_ros.scoring import EpisodeScorer, ScoredEpisode
from rl_token_ros.sim.arms import ARMS, Arm
from rl_token_ros.sim.closed_loop import ClosedLoop

EVALUATION_SEED = 1_000_000  # scenes of evaluations are never those of a practice


@dataclasses.dataclass
class Practice:
    """What a practice left: its scored episodes, how many of them were warm-up, the best weights, the learner's figures, robot seconds used."""

    episodes: list[ScoredEpisode]
    warmup: int
    blob: bytes
    stats: dict
    robot_seconds: float


def practise(
    parameter_file: str | Path,
    seed: int,
    robot_seconds: float,
    overrides: dict[str, dict] | None = None,
    progress: Callable[[float, list[ScoredEpisode]], None] | None = None,
    arm: Arm = ARMS["token"],
) -> Practice:
    """Practise for ``robot_seconds`` of robot time: approaches, critical phases and resets all count.

    Args:
        parameter_file: of the simulated robot.
        seed: of scene, exploration and learner.
        overrides: ``{node: {parameter: value}}``.
        progress: called after every episode with the robot time and the episodes so far.
        arm: what practises.
    """
    given = arm.overrides(overrides)
    seeded = {node: {"seed": seed, **given.get(node, {})} for node in ("sim_node", "control_node", "learner_node")}
    overrides = {**given, **seeded}
    loop = arm.loop(parameter_file, overrides)
    learner_settings = settings.load("learner_node", parameter_file, **overrides["learner_node"])
    learner = _learner_for(loop, learner_settings, arm)
    scorer = EpisodeScorer(loop.controller.settings.control_rate)
    episodes: list[ScoredEpisode] = []

    def learn(rows: np.ndarray) -> None:
        learner.add(rows)
        while learner.updates_owed and learner.update(learner.updates_owed):
            pass
        if learner.push_due:
            loop.pipeline.admit(weights.encode(learner.weights()))

    begun = loop.now_ns
    while (gone := (loop.now_ns - begun) * 1e-9) < robot_seconds:
        result = loop.episode(on_rows=learn)
        episodes += scorer.add(result.rows)
        if progress:
            progress(gone, episodes)
    loop.simulation.close()
    blob = weights.encode(learner.best_weights()) if learner.warm else b""
    return Practice(episodes, learner_settings.warmup_episodes, blob, learner.stats(), (loop.now_ns - begun) * 1e-9)


def evaluate(
    parameter_file: str | Path,
    seed: int,
    episodes: int,
    blob: bytes = b"",
    overrides: dict[str, dict] | None = None,
    arm: Arm = ARMS["token"],
) -> tuple[list[ScoredEpisode], float]:
    """Score weights (none: the base alone) on scenes that depend on ``seed`` only; also the share that reached the critical phase.

    An actor keeps half of its exploration noise: without any it wedges where it is wrong.
    """
    given = arm.overrides(overrides)
    sigma = settings.load("control_node", parameter_file, **given.get("control_node", {})).exploration_sigma
    merged = {
        **given,
        "sim_node": {**given.get("sim_node", {}), "seed": EVALUATION_SEED + seed},
        "control_node": {"authority_ramp": 0.0, **given.get("control_node", {}), "seed": seed, "exploration_sigma": sigma / 2},
    }
    loop = arm.loop(parameter_file, merged)
    if blob:
        loop.pipeline.admit(blob)
    return run_episodes(loop, episodes)


def best_of_run(parameter_file: str | Path, run_directory: str | Path) -> bytes:
    """The best actor in the newest checkpoint of a `learner_node` that learned from the simulated robot.

    Raises:
        ParameterError: the checkpoint is of another robot, VLA, encoder or network size.
        FileNotFoundError: there is no checkpoint.
    """
    arm = ARMS["token"]
    loop = arm.loop(parameter_file, {})
    learner = _learner_for(loop, settings.load("learner_node", parameter_file), arm)
    loop.simulation.close()
    if not learner.restore(str(run_directory)):
        raise FileNotFoundError(f"there is no checkpoint in '{run_directory}'; write the run_directory of a learner_node")
    return weights.encode(learner.best_weights())


def _learner_for(loop: ClosedLoop, learner_settings: settings.Learner, arm: Arm) -> Learner:
    """An arm's learner for what a loop records."""
    proprio, encoder = loop.controller.row_dtype["proprio"].shape[0], loop.pipeline.encoder
    return arm.learner_of(learner_settings, proprio, encoder.sha256, encoder.vla_sha256)


def run_episodes(
    loop: ClosedLoop, episodes: int, on_step: Callable[[], None] | None = None
) -> tuple[list[ScoredEpisode], float]:
    """Score so many episodes of a loop, which is closed then; also the share that reached the critical phase.

    Args:
        on_step: called after every control step.
    """
    scorer = EpisodeScorer(loop.controller.settings.control_rate)
    scored: list[ScoredEpisode] = []
    reached = 0
    for _ in range(episodes):
        result = loop.episode(on_step=on_step)
        reached += result.reached
        if result.ended != replay_record.ABORTED:
            scored += scorer.add(result.rows)
    loop.simulation.close()
    return scored, reached / episodes
