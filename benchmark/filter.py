"""What the safety filter costs per control step: `python benchmark/filter.py`.

Every step is one that limits change, the dearest kind: half of them increments, half positions to rest at.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from rl_token_ros.control.safety_filter import Limits, SafetyFilter

PERIOD = 0.02


def measure(size: int, steps: int, seed: int = 0) -> np.ndarray:
    """Time of each of ``steps`` filter steps of a robot of ``size`` joints, s."""
    random = np.random.default_rng(seed)
    limits = Limits(np.full(size, -3.0), np.full(size, 3.0), np.full(size, 1.0), np.full(size, 5.0), np.full(size, 0.2))
    limiter = SafetyFilter(limits, PERIOD)
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
    for size in (3, 7, 14, 28):
        p50, p99 = np.percentile(measure(size, options.steps) * 1e6, [50, 99])
        print(f"| {size} | {p50:.1f} | {p99:.1f} |")


if __name__ == "__main__":
    main()
