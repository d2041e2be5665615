"""Practice in process and faster than real time, over seeds: base against practised, with bootstrap intervals.

    python benchmark/learning.py [--seeds 5] [--robot-seconds 900] [--episodes 100] [--jobs 2] [--set NODE.PARAMETER=VALUE ...]

Protocol: for each seed, practise for the robot seconds given (approaches, critical phases and resets count), then run base and practised
policy over the same unseen scenes. Throughput is successes per 10 minutes of critical phases plus 3 s of reset per episode. The same
controller, weights gate, replay and learner as in the nodes; settings are those of config/sim.yaml and the same for all seeds.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
WINDOW = 100.0  # s of robot time: the worst such window after warm-up shows whether practice fell before it rose


def main() -> None:
    options = _parse()
    overrides: dict[str, dict] = {}
    for item in options.set:
        key, value = item.split("=", 1)
        node, name = key.split(".", 1)
        overrides.setdefault(node, {})[name] = yaml.safe_load(value)
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
    results = []
    begun = time.monotonic()
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(one_seed, str(options.config), seed, options.robot_seconds, options.episodes, overrides) for seed in seeds]
        for job in as_completed(jobs):
            results.append(job.result())
            gone = time.monotonic() - begun
            left = gone / len(results) * (len(jobs) - len(results))
            print(f"{len(results)} of {len(jobs)} seeds, {gone:.0f} s, about {left:.0f} s left", file=sys.stderr, flush=True)
            if options.out:
                options.out.parent.mkdir(parents=True, exist_ok=True)
                options.out.write_text(json.dumps(results, indent=1))
    print(table(results))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--robot-seconds", type=float, default=900.0, help="practice per seed")
    parser.add_argument("--episodes", type=int, default=100, help="of the evaluation, per seed and policy")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    parser.add_argument("--config", type=Path, default=ROOT / "config" / "sim.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="NODE.PARAMETER=VALUE", help="other settings")
    parser.add_argument("--out", type=Path, help="also write everything to this JSON file")
    return parser.parse_args()


def one_seed(config: str, seed: int, robot_seconds: float, episodes: int, overrides: dict) -> dict:
    """Practise and evaluate one seed; plain values."""
    import torch

    from rl_token_ros.scoring import score
    from rl_token_ros.sim.practice import evaluate, practise

    torch.set_num_threads(1)
    begun = time.monotonic()
    practice = practise(config, seed, robot_seconds, overrides)
    wall = time.monotonic() - begun
    base, base_reached = evaluate(config, seed, episodes, overrides=overrides)
    practised, _ = evaluate(config, seed, episodes, practice.blob, overrides=overrides)
    warm = [e for e in practice.episodes if e.practised]
    base_score = score(base)
    return {
        "seed": seed,
        "base": dataclasses.asdict(base_score) | {"reached": base_reached},
        "practised": dataclasses.asdict(score(practised)),
        "worst_window": worst_window(warm) / max(base_score.successes_per_10min, 1e-9) if warm else None,
        "episodes": [(round(e.end, 2), e.ended, round(e.seconds, 2), e.weights_version) for e in practice.episodes],
        "wall_seconds": wall,
        "stats": {key: value for key, value in practice.stats.items() if isinstance(value, (int, float, str))},
    }


def worst_window(episodes: list) -> float:
    """The lowest throughput of any WINDOW of practice."""
    from rl_token_ros.scoring import score

    begin = episodes[0].end - episodes[0].seconds
    windows = [[x for x in episodes if e.end - WINDOW < x.end <= e.end] for e in episodes if e.end - WINDOW >= begin]
    return min((score(window).successes_per_10min for window in windows), default=float("nan"))


def interval(values: list[float], resamples: int = 10_000) -> str:
    """Median with its bootstrap 95 % interval."""
    values = np.array([v for v in values if v is not None], float)
    if not len(values):
        return "-"
    random = np.random.default_rng(0)
    medians = np.median(random.choice(values, (resamples, len(values))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return f"{np.median(values):.3g} [{low:.3g}, {high:.3g}]"


def table(results: list[dict]) -> str:
    """Markdown: medians over seeds with intervals."""
    lines = ["| | base | practised |", "| --- | --- | --- |"]
    for name, label, factor in (
        ("success_rate", "success [%]", 100.0),
        ("median_time_s", "median time to success [s]", 1.0),
        ("successes_per_10min", "successes per 10 min", 1.0),
    ):
        cells = [
            interval([None if r[policy][name] is None else factor * r[policy][name] for r in results]) for policy in ("base", "practised")
        ]
        lines.append(f"| {label} | {cells[0]} | {cells[1]} |")
    ratios = [r["practised"]["successes_per_10min"] / max(r["base"]["successes_per_10min"], 1e-9) for r in results]
    lines += [
        "",
        f"reaches the critical phase (base): {interval([100 * r['base']['reached'] for r in results])} %",
        f"throughput practised / base: {interval(ratios)} over {len(results)} seeds",
        f"worst {WINDOW:.0f} s of practice / base: {interval([r['worst_window'] for r in results])}",
        f"wall time of a practice: {interval([r['wall_seconds'] for r in results])} s",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
