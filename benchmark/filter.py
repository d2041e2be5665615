"""What the safety filter costs per control step: `python benchmark/filter.py`.

Every step is one that limits change, the dearest kind: half of them increments, half positions to rest at.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from rl_token_ros.control.command_filter import CommandFilter, PoseFilter
from rl_token_ros.control.safety_filter import Limits, SafetyFilter

PERIOD = 0.02
POSE = 6  # x, y, z, rx, ry, rz


def make(size: int, pose: bool) -> CommandFilter:
    """The filter of a robot of so many joints, or of a tool's whole pose."""
    limits = Limits(np.full(size, -3.0), np.full(size, 3.0), np.full(size, 1.0), np.full(size, 5.0), np.full(size, 0.2))
    return PoseFilter(limits, POSE - 3, 2.0, PERIOD) if pose else SafetyFilter(limits, PERIOD)


def measure(size: int, steps: int, pose: bool = False, seed: int = 0) -> np.ndarray:
    """Time of each of ``steps`` filter steps, s."""
    random = np.random.default_rng(seed)
    limiter = make(size, pose)
    limiter.seed(np.zeros(size))
    targets = random.normal(0.0, 0.5, (steps, size))
    spent = np.zeros(steps)
    for i in range(steps):
        measured = 0.9 * limiter.command
        begun = time.perf_counter()
        limiter.step(targets[i], measured, stop_at_target=bool(i % 2))
        spent[i] = time.perf_counter() - begun
    return spent


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    options = parser.parse_args()
    measure(7, 1000)  # warm up
    print("| joints | p50 [us] | p99 [us] |\n| --- | --- | --- |")
    for size, pose in ((3, False), (7, False), (14, False), (28, False), (POSE, True)):
        p50, p99 = np.percentile(measure(size, options.steps, pose) * 1e6, [50, 99])
        print(f"| {'x, y, z, rx, ry, rz' if pose else size} | {p50:.1f} | {p99:.1f} |")


if __name__ == "__main__":
    main()
