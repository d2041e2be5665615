"""Episodes of the base policy alone, faster than real time, through the same chunk alignment and safety filter as on the robot.

They show what the base does and are what the token encoder is trained on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import numpy as np

from rl_token_ros.actor import session
from rl_token_ros.chunk import Chunk
from rl_token_ros.filter import Limits, SafetyFilter
from rl_token_ros.sim import arm
from rl_token_ros.sim.simulation import Simulation

PERIOD = 0.02  # s, control step
QUERY_STEPS = 5  # control steps between two queries
LATENCY_STEPS = 2  # control steps until a query is answered

LIMITS = Limits(
    position_min=np.array([arm.CENTRE[0] - 0.07, arm.CENTRE[1] - 0.07, 0.0]),
    position_max=np.array([arm.CENTRE[0] + 0.07, arm.CENTRE[1] + 0.07, 0.15]),
    velocity=np.full(3, 0.10),
    acceleration=np.full(3, 1.0),
    lead=np.full(3, 0.008),
)


@dataclass
class Recording:
    """Observations of many episodes, one row per VLA query in the critical phase; lengths in m.

    Attributes:
        embeddings: float32 [M, D] each.
        proprio: float32 [9] each: ee_position, command lead, force.
        offset: float64 [2] each: true lateral offset of the peg.
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


def roll_out(
    simulation: Simulation,
    vla: Path,
    episodes: range,
    time_limit: float = 20.0,
    keep_embeddings: bool = True,
    progress: Callable[[int, str], None] = lambda done, note: None,
) -> Recording:
    """Run the base policy once from each seed in `episodes`, for at most `time_limit` s in the critical phase."""
    model, recording = session(vla), Recording()
    for done, seed in enumerate(episodes):
        simulation.reset(seed)
        _episode(simulation, model, recording, seed, time_limit, keep_embeddings)
        progress(done + 1, f"({recording.outcomes.count('inserted')} inserted)")
    return recording


def _episode(sim: Simulation, model, recording: Recording, number: int, time_limit: float, keep: bool) -> None:
    safety = SafetyFilter(LIMITS, PERIOD)
    safety.seed(sim.ee_position)
    chunk, answer, began, arrival, dt_ns = None, None, None, np.nan, round(PERIOD * 1e9)
    for i in range(round((time_limit + 20.0) / PERIOD)):
        now, here = sim.time_ns, sim.ee_position
        if i % QUERY_STEPS == 0:
            feed = {f"image_{name}": image[None] for name, image in sim.images().items()}
            actions, embeddings = model.run(["actions", "embeddings"], {**feed, "proprio": here.astype(np.float32)[None]})
            answer = (i + LATENCY_STEPS, Chunk(now, dt_ns, actions[0].astype(np.float64)))
            if sim.critical and keep:
                recording.embeddings.append(embeddings[0])
                recording.proprio.append(np.concatenate([here, safety.command - here, sim.wrench[:3]]).astype(np.float32))
                recording.offset.append(sim.lateral_offset)
                recording.episode.append(number)
        if answer is not None and i >= answer[0]:
            chunk, answer = answer[1], None
        step = None if chunk is None else chunk.at(now)
        command, _ = safety.step(safety.command + (0.0 if step is None else step), here, stop_at_target=False)
        sim.step(command, PERIOD)
        if sim.critical and began is None:
            began = i
        # Until the peg touches or enters, its height is what the arm would see.
        if np.isnan(arrival) and (sim.peg_position - sim.hole_position)[2] < 0.0003:
            arrival = float(np.linalg.norm(sim.lateral_offset))
        if sim.outcome is not None or (began is not None and (i - began) * PERIOD > time_limit):
            break
    recording.outcomes.append("inserted" if sim.outcome else sim.failure or "time")
    recording.seconds.append((i - began) * PERIOD if began is not None else np.nan)
    recording.arrival.append(arrival)

