"""Training in process and faster than real time, over seeds and arms: base against trained, with bootstrap intervals.

    python benchmark/learning.py [--arms token,none] [--seeds 0-4] [--robot-seconds 900] [--episodes 100] [--jobs 2]
                                 [--set NODE.PARAMETER=VALUE ...] [--out runs/learning] [--plot FILE.png]
                                 [--run runs/demo/learner]

Protocol: for each seed and arm, train for the robot seconds given (approaches, critical phases and resets count), then run the best
actor over the same unseen scenes as the base and a scripted controller that knows the true offset. Throughput is successes per 10
minutes of critical phases plus 3 s of reset per episode. The same controller, weights gate, replay and learner as in the nodes; settings
are those of config/sim.yaml and the same for all seeds.

Every finished job is a file in --out: the same command goes on where it was stopped, and files of several folders may be put together.

--run takes the best actor that the real processes left in real time (rl_token demo --minutes 15), runs it over the scenes of the first
seed, and says whether it is inside the interval of the arm `token`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import yaml

from rl_token_ros.settings.parameters import ParameterError
from study import study
from study.variants import VARIANTS

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """0, or 2 for results in --out that are not of this protocol."""
    options = _parse()
    overrides: dict[str, dict] = {}
    for item in options.set:
        key, value = item.split("=", 1)
        node, name = key.split(".", 1)
        overrides.setdefault(node, {})[name] = yaml.safe_load(value)
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
    protocol = study.Protocol(options.config, options.robot_seconds, options.episodes, overrides)
    folder = study.Folder(options.out, protocol)
    try:
        _work(folder, protocol, options)
        print(study.table(folder, options.arms, options.seeds))
        if options.run:
            print("\n" + study.compare_run(folder, protocol, options.run, options.seeds))
        if options.plot:
            from study import plot

            plot.draw(folder, options.arms, options.seeds, options.plot)
    except (study.StudyError, ParameterError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _work(folder: study.Folder, protocol: study.Protocol, options: argparse.Namespace) -> None:
    missing = folder.missing(options.arms, options.seeds)
    begun = time.monotonic()
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        jobs = {pool.submit(study.run, protocol, *job): job for job in missing}
        for done, future in enumerate(as_completed(jobs), 1):
            job, seed = jobs[future]
            folder.save(job, seed, future.result())
            gone = time.monotonic() - begun
            left = gone / done * (len(jobs) - done)
            print(f"{job} {seed}: {done} of {len(jobs)} jobs, {gone:.0f} s, about {left:.0f} s left", file=sys.stderr, flush=True)


def arms(text: str) -> list[str]:
    """Names, comma-separated."""
    names = text.split(",")
    if unknown := [name for name in names if name not in VARIANTS]:
        raise argparse.ArgumentTypeError(f"there is no arm '{unknown[0]}'; write some of {','.join(VARIANTS)}")
    return names


def seeds(text: str) -> list[int]:
    """0-4, or 0,2,5."""
    parts = [part.split("-") for part in text.split(",")]
    return [seed for part in parts for seed in range(int(part[0]), int(part[-1]) + 1)]


def _parse() -> argparse.Namespace:
    told = "\n".join(f"  {name:<14}{arm.what}" for name, arm in VARIANTS.items())
    parser = argparse.ArgumentParser(description=f"{__doc__}\narms:\n{told}", formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", type=arms, default=["token"], help="comma-separated")
    parser.add_argument("--seeds", type=seeds, default=list(range(5)), help="as in 0-4 or 0,2")
    parser.add_argument("--robot-seconds", type=float, default=900.0, help="of training, per seed")
    parser.add_argument("--episodes", type=int, default=100, help="of the evaluation, per seed and policy")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    parser.add_argument("--config", type=Path, default=ROOT / "config" / "sim.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="NODE.PARAMETER=VALUE", help="other settings")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "learning", help="folder of the finished jobs")
    parser.add_argument(
        "--run", type=Path, metavar="DIRECTORY", help="run_directory of the learner_node of a demo: its best actor against the interval"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="a picture of training and evaluations (needs matplotlib: the extra `demo`)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
