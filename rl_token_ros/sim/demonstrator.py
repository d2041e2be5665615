"""Slow, hesitant demonstrations of the task, by a demonstrator that sees the true hole.

They are what the stand-in VLA is cloned from, and the reason why it is slow. As in DART (Laskey et al. 2017), disturbances push the
arm off its way while the recorded actions are those the demonstrator would take from there, so that a clone learns to come back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rl_token_ros.settings.sim_task import SimParameters
from rl_token_ros.sim.simulation import CAMERAS, Simulation

LEAD = np.array([0.005, 0.005, 0.005, 0.03])  # m and rad: how far the command is ahead of the arm at most
CHUNK = 50  # H: steps of a chunk
STEP = 0.02  # s, between two actions
FRAME_STEPS = 5  # steps between two recorded frames

HOVER = 0.004  # height at which the demonstrator lines up, m
NEARBY, FUNNEL, TRANSIT = 0.002, 4.0, 0.028  # further than NEARBY to the side, it stays higher, up to TRANSIT, m
APPROACH_SPEED, CRITICAL_SPEED, RISE_SPEED, INSERT_SPEED = 0.030, 0.010, 0.007, 0.005  # m/s
GAIN = 2.5  # 1/s
ALIGNED, ASTRAY = 0.00060, 0.00110  # sideways error below which it inserts, above which it lines up, m
# Of a plug, rad and rad/s: the same in yaw, how fast it turns, and what disturbs it, per metre of what disturbs the rest.
TURN_ALIGNED, TURN_ASTRAY, TURN_SPEED, TURN_PER_METRE = 0.040, 0.075, 0.35, 25.0
TURN_SLIP = 0.035  # rad: the most that the plug had turned in the grip on the day of the demonstrations


def velocity(side: np.ndarray, height: np.ndarray) -> np.ndarray:
    """The demonstrator's unhurried velocity, m/s.

    Args:
        side: [..., 2] m, x, y from the peg to the hole; of a plug [..., 3], with the turn to it, rad.
        height: [...] m, peg above the socket's surface.

    Returns:
        [..., 3] m/s; of a plug [..., 4], with rad/s.
    """
    side, turn = side[..., :2], side[..., 2:]
    distance = np.linalg.norm(side, axis=-1)
    fastest = np.where(height > 0.025, APPROACH_SPEED, CRITICAL_SPEED)
    sideways = side * (np.minimum(GAIN * distance, fastest) / np.maximum(distance, 1e-9))[..., None]
    lined_up = np.clip((ASTRAY - distance) / (ASTRAY - ALIGNED), 0.0, 1.0)
    if turn.shape[-1]:
        lined_up = lined_up * np.clip((TURN_ASTRAY - np.abs(turn[..., 0])) / (TURN_ASTRAY - TURN_ALIGNED), 0.0, 1.0)
    inside = height < -0.001
    down = np.where(inside, 1.0, lined_up) * -INSERT_SPEED
    wanted = np.minimum(HOVER + FUNNEL * np.maximum(distance - NEARBY, 0.0), TRANSIT)
    above = np.clip(GAIN * (wanted - height), -fastest, RISE_SPEED)
    high = height > HOVER + 0.001
    up = np.where(high, above, down + (1.0 - lined_up) * above)
    turning = np.clip(GAIN * turn, -TURN_SPEED, TURN_SPEED)
    return np.concatenate([sideways, np.where(inside, -INSERT_SPEED, up)[..., None], turning], axis=-1)


def intended(side: np.ndarray, height: np.ndarray, pace: np.ndarray) -> np.ndarray:
    """What the demonstrator does next from N states, undisturbed, at its pace.

    Args:
        side, height: [N, 2] or [N, 3], [N], as in :func:`velocity`.
        pace: [N, H] (0: pause, 1: unhurried).

    Returns:
        [N, H, 3] m per step, or [N, H, 4].
    """
    side, height = side.astype(float), height.astype(float)
    steps = np.zeros((*pace.shape, side.shape[1] + 1), np.float32)
    for i in range(pace.shape[1]):
        step = velocity(side, height) * (pace[:, i : i + 1] * STEP)
        side, height = side - np.delete(step, 2, axis=1), height + step[:, 2]
        steps[:, i] = step
    return steps


@dataclass
class Demonstrations:
    """Frames of many demonstrations, one after the other.

    Attributes:
        images: uint8 [N, h, w, 3] by camera.
        proprio: float32 [N, P], what the scene's VLA sees of it.
        actions: float32 [N, H, A], m and rad per step.
        offset: float32 [N, A - 1], m and rad, `Simulation.offset` (truth, for measuring only).
        height: float32 [N], m.
        episode: int32 [N].
        seconds: float32 [E], length of each critical phase that succeeded undisturbed.
    """

    images: dict[str, np.ndarray]
    proprio: np.ndarray
    actions: np.ndarray
    offset: np.ndarray
    height: np.ndarray
    episode: np.ndarray
    seconds: np.ndarray


def draw_pace(random: np.random.Generator, steps: int) -> np.ndarray:
    """[steps] in 0..1: a person's pace with pauses to look."""
    pace = np.full(steps, random.uniform(0.7, 1.0))
    at = 0
    while at < steps:
        at += int(random.exponential(2.5) / STEP)
        pause = int(random.uniform(0.3, 0.8) / STEP)
        pace[at : at + pause] = 0.0
        at += pause
    return pace


class Demonstrator:
    """Performs demonstrations in a simulation of its own.

    Args:
        parameters: of the simulation; grip and cameras are as on the day of the demonstrations (see :func:`that_day`).
        seed: of everything random.
    """

    def __init__(self, parameters: SimParameters, seed: int) -> None:
        self.simulation = Simulation(parameters)
        self.random = np.random.default_rng(seed)
        self.simulation.reset(seed)

    def perform(self, disturbed: bool, frames: dict[str, list], number: int) -> float | None:
        """One demonstration, appended to `frames`; returns the length of its critical phase if it succeeded."""
        sim, random = self.simulation, self.random
        sim.place()
        if disturbed and random.random() < 0.6:
            self._go_near_hole()
        pace = draw_pace(random, 2500)
        size = len(sim.scene.actions)
        unit = np.array([1.0, 1.0, 1.0, TURN_PER_METRE])[:size]
        push, kick, began = np.zeros(size), np.zeros(size), None
        roughness = random.uniform(0.0, 0.006) if disturbed else 0.0
        command = sim.tool_pose
        for i in range(1500):
            side, height = -sim.offset, float((sim.peg_position - sim.hole_position)[2])
            if i % FRAME_STEPS == 0:
                for name, image in sim.images().items():
                    frames[name].append(image)
                frames["proprio"].append(np.concatenate([getattr(sim, group) for group in sim.scene.proprioception]))
                frames["pace"].append(pace[i : i + CHUNK])
                frames["offset"].append(-side)
                frames["height"].append(height)
                frames["episode"].append(number)
            if sim.critical and began is None:
                began = i
            if sim.outcome is not None:
                break
            if roughness:
                push = 0.95 * push + 0.31 * random.normal(0.0, roughness, size)
                if random.random() < 0.008:
                    kick = random.normal(0.0, 0.012, size) * (1.0, 1.0, 0.7, 1.0)[:size]
                kick *= 0.92
            command = command + (velocity(side, np.float64(height)) * pace[i] + push * unit + kick * unit) * STEP
            measured = sim.tool_pose
            command = measured + np.clip(command - measured, -LEAD[:size], LEAD[:size])
            sim.step(command, STEP)
        return (i - began) * STEP if sim.outcome and not disturbed and began is not None else None

    def _go_near_hole(self) -> None:
        sim, random = self.simulation, self.random
        slip = sim.peg_position - sim.ee_position
        goal = sim.hole_position - slip + np.array([*random.normal(0.0, 0.002, 2), random.uniform(0.001, 0.015)])
        command = sim.tool_pose
        if sim.scene.turns:
            goal = np.append(goal, command[3] - sim.offset[2] + random.normal(0.0, 0.08))
        while np.linalg.norm(goal - command) > 1e-4 and sim.outcome is None:
            way = goal - command
            command = command + way * min(1.0, 0.08 * STEP / np.linalg.norm(way[:3]))
            sim.step(command, STEP)


def that_day(parameters: SimParameters, slip: float) -> SimParameters:
    """The day of the demonstrations: the peg slipped at most `slip` metres in the gripper, a plug turned hardly; the cameras shook a little."""
    turn = min(TURN_SLIP, parameters.peg_turn_max)
    return replace(parameters, peg_offset_min=0.0, peg_offset_max=slip, peg_turn_min=0.0, peg_turn_max=turn, camera_jitter=0.0005, force_limit=60.0)


def record(parameters: SimParameters, episodes: range, progress=lambda done: None) -> Demonstrations:
    """Perform and record demonstrations; three in four are disturbed. Same numbers, same frames."""
    frames: dict[str, list] = {name: [] for name in ("base", "wrist", "proprio", "pace", "offset", "height", "episode")}
    demonstrator = Demonstrator(parameters, seed=1000 + episodes.start)
    seconds = []
    for done, number in enumerate(episodes):
        taken = demonstrator.perform(number % 4 != 0, frames, number)
        seconds += [] if taken is None else [taken]
        progress(done + 1)
    demonstrator.simulation.close()
    offset, height = np.array(frames["offset"], np.float32), np.array(frames["height"], np.float32)
    return Demonstrations(
        images={name: np.stack(frames[name]) for name in CAMERAS},
        proprio=np.array(frames["proprio"], np.float32),
        actions=intended(-offset, height, np.array(frames["pace"])),
        offset=offset,
        height=height,
        episode=np.array(frames["episode"], np.int32),
        seconds=np.array(seconds, np.float32),
    )
