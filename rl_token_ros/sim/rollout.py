"""Episodes of the base policy alone: they show what it does, and are what the token encoder is trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rl_token_ros.settings.files import config_file
from rl_token_ros.sim.closed_loop import ClosedLoop
from rl_token_ros.vla.backend import Answer

TOUCH = 0.0003  # m above the surface: the peg has come to it


@dataclass
class Recording:
    """Observations of many episodes, one row per VLA query in the critical phase; lengths in m.

    Attributes:
        embeddings: float32 [M, D] each.
        proprio: float32 [P] each, as `proprioception` in the parameter file says.
        offset: float64 [2] or [3] each: true offset, `Simulation.offset`, m and rad.
        episode: int each.
        outcomes: one of "inserted", "force", "missed", "wandered", "time" per episode.
        seconds: length of the critical phase per episode.
        arrival: distance from the peg's middle to the hole's when the peg first came to the surface; nan if it never did.
    """

    embeddings: list = field(default_factory=list)
    proprio: list = field(default_factory=list)
    offset: list = field(default_factory=list)
    episode: list = field(default_factory=list)
    outcomes: list = field(default_factory=list)
    seconds: list = field(default_factory=list)
    arrival: list = field(default_factory=list)

    def summary(self) -> str:
        """The base policy in one line."""
        inserted = np.array([outcome == "inserted" for outcome in self.outcomes])
        arrival = np.array(self.arrival)
        took = np.median(np.array(self.seconds)[inserted]) if inserted.any() else np.nan
        ways = ", ".join(f"{self.outcomes.count(way)} {way}" for way in dict.fromkeys(self.outcomes))
        return (
            f"{len(inserted)} episodes: reached the hole {np.mean(arrival < 0.005):.0%}, inserted {inserted.mean():.0%} "
            f"in {took:.1f} s (median); {np.nanmedian(arrival) * 1e3:.2f} mm beside it at the surface (median); {ways}"
        )


class _Recorder:
    """Watches a loop and writes down what the robot saw and what was true."""

    def __init__(self, recording: Recording, keep_embeddings: bool) -> None:
        self.recording, self.keep = recording, keep_embeddings
        self.loop: ClosedLoop
        self.number = 0
        self.begin()

    def begin(self) -> None:
        self.arrival, self.steps, self.outcome = np.nan, 0, "time"

    def answered(self, answer: Answer) -> None:
        sim, controller = self.loop.simulation, self.loop.controller
        if self.keep and sim.critical and sim.outcome is None:
            groups = controller.settings.proprioception
            lead = np.nan_to_num(controller.filter.command - sim.tool_pose)
            self.recording.embeddings.append(answer.embeddings)
            self.recording.proprio.append(controller.state.vector(groups, lead))
            self.recording.offset.append(sim.offset)
            self.recording.episode.append(self.number)

    def stepped(self) -> None:
        sim = self.loop.simulation
        self.steps += sim.critical
        if np.isnan(self.arrival) and (sim.peg_position - sim.hole_position)[2] < TOUCH:
            self.arrival = float(np.linalg.norm(sim.lateral_offset))
        if sim.outcome is not None:
            self.outcome = "inserted" if sim.outcome else sim.failure

    def end(self) -> None:
        self.recording.outcomes.append(self.outcome)
        self.recording.seconds.append(self.steps / self.loop.control_settings.control_rate)
        self.recording.arrival.append(self.arrival)


def roll_out(
    vla: Path,
    episodes: range,
    sim: dict[str, Any] | None = None,
    keep_embeddings: bool = True,
    progress: Callable[[int, str], None] = lambda done, note: None,
    config: str = "sim",
) -> Recording:
    """Run the base policy in a simulated robot, without token and residual.

    Args:
        vla: ONNX file of the policy.
        episodes: their numbers; the first one is the scene's seed.
        sim: other parameters of `sim_node`.
        keep_embeddings: whether to keep what the token encoder is trained on.
        progress: called after each episode.
        config: name of the robot's parameter file.
    """
    recorder = _Recorder(Recording(), keep_embeddings)
    alone = {"mode": "vla", "vla_model": str(vla), "token_encoder": "", "token_size": 0}
    loop = ClosedLoop(
        config_file(config),
        overrides={"sim_node": {**(sim or {}), "seed": episodes.start}, "vla_node": {"vla_model": str(vla)}, "control_node": alone},
        on_answer=recorder.answered,
    )
    recorder.loop = loop
    for done, number in enumerate(episodes):
        recorder.number = number
        recorder.begin()
        loop.episode(on_step=recorder.stepped)
        recorder.end()
        progress(done + 1, f"({recorder.recording.outcomes.count('inserted')} inserted)")
    loop.close()
    return recorder.recording
