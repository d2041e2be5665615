"""`rl_token practise`: practice in one process, faster than real time, in our simulation or an environment of yours; base against practised.

    rl_token practise --env my_module:MyEnvironment --config my_robot.yaml

The environment is a Python class (docs/your_simulation.md), VLA and token are ONNX files that the parameter file names. Needs no ROS. First the
base alone is scored, then it practises, then the best actor is scored over the same scenes. OUT keeps the actor, the learner's checkpoint and
the figures.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rl_token_ros.evaluation import statistics
from rl_token_ros.evaluation.scores import ScoredEpisode
from rl_token_ros.evaluation.statistics import Group
from rl_token_ros.robot.readings import StateError
from rl_token_ros.settings import node_settings
from rl_token_ros.settings.files import config_file
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.sim import training
from rl_token_ros.sim.closed_loop import ClosedLoop, EpisodeResult, NothingRecorded, Stopped
from rl_token_ros.system.progress import Progress
from rl_token_ros.vla.backend import BackendError

TRIALS = 3  # episodes within which the critical phase must begin once

Overrides = dict[str, dict[str, Any]]


class NothingLearned(RuntimeError):
    """Practice that never came to learn; the message says why."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="rl_token practise", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="", metavar="MODULE:CLASS", help="your environment; without it gym_node's `env`, or else our simulation")
    parser.add_argument("--config", default="sim", help="parameter file: a path, or a name in the package's config (sim)")
    parser.add_argument("--seconds", type=float, default=900.0, help="robot time of practice, approaches and resets included (900)")
    parser.add_argument("--episodes", type=int, default=100, help="of each of the two evaluations (100)")
    parser.add_argument("--seed", type=int, default=0, help="of scenes, exploration and learner (0)")
    parser.add_argument("--out", type=Path, default=Path("runs/practise"), help="folder for actor, checkpoint and figures (runs/practise)")
    options = parser.parse_args(arguments)
    for name in ("seconds", "episodes"):
        if not getattr(options, name) > 0:
            parser.error(f"--{name} is {getattr(options, name):g}; write a number above 0")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Returns 0, 1 when nothing was learned, 2 for bad input."""
    options = parse(arguments)
    try:
        config = config_file(options.config)
        options.out.mkdir(parents=True, exist_ok=True)
        overrides: Overrides = {"gym_node": {"env": options.env}} if options.env else {}
        try_out(config, overrides)
        run(config, overrides, options)
    except (ParameterError, OSError, BackendError, StateError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (NothingLearned, NothingRecorded, Stopped) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def try_out(config: Path, overrides: Overrides) -> None:
    """Some episodes of the base alone, before hours are spent.

    Raises:
        ParameterError: environment, parameter file and models do not fit, or the critical phase never begins.
    """
    vla = node_settings.load("vla_node", config, **overrides.get("vla_node", {}))
    if vla.backend != "onnx":
        raise ParameterError(
            f"parameter 'backend' is {vla.backend}; practise asks an ONNX file in this process: write backend: onnx, or run the nodes, "
            "`rl_token up gym`"
        )
    loop = ClosedLoop(config, overrides=overrides)
    results: list[EpisodeResult] = []
    while len(results) < TRIALS and not any(result.reached for result in results):
        results.append(loop.episode())
    loop.close()
    if not loop.controller.enabled and not loop.controller.stop_reason:
        raise ParameterError(f"the robot cannot be enabled: {loop.refusal}")
    if not any(result.reached for result in results):
        decided = sum(result.decided for result in results)
        told = f"; {decided} were decided before it" if decided else ""
        raise ParameterError(
            f"in {TRIALS} episodes of the base alone the critical phase never began{told}. Let `critical` become True earlier, where the last "
            "millimetres begin, give it more time with 'approach_limit', or look whether the base comes there at all"
        )


def run(config: Path, overrides: Overrides, options: argparse.Namespace) -> None:
    """Score the base, practise, score the best actor, and keep it.

    Raises:
        NothingLearned: the warm-up was not over in time.
    """
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # as the learner's own process does
    base, reached = evaluate(config, overrides, options, "base alone")
    told = f"the base alone reached {reached:.0%} of the critical phases and succeeded in {_percent(base)} % of these"
    print(told, flush=True)
    learner = options.out / "learner"
    shutil.rmtree(learner, ignore_errors=True)  # begins to learn anew
    progress = Progress("practice, s", round(options.seconds))
    done = training.train(
        config, options.seed, options.seconds, overrides, lambda gone, episodes: progress(round(gone), _recent(episodes)), checkpoint=learner
    )
    progress(round(options.seconds))
    if not done.blob:
        raise NothingLearned(
            f"the warm-up was not over after {done.robot_seconds:.0f} s: {len(done.episodes)} of {done.warmup} episodes; {told}. Write a larger "
            "--seconds, or fewer warmup_episodes"
        )
    (options.out / "actor.safetensors").write_bytes(done.blob)
    practised, _ = evaluate(config, overrides, options, "practised", done.blob)
    groups = [statistics.group("base", base), statistics.group("practised", practised)]
    gain = statistics.ratio(practised, base)
    print(f"\n{table(groups, gain)}\n")
    figures = {"env": options.env, "seed": options.seed, "robot_seconds": done.robot_seconds, "base_reached": reached, "throughput_over_base": gain}
    (options.out / "summary.json").write_text(json.dumps(_plain({**figures, **{found.name: found for found in groups}}), indent=2) + "\n")
    print(f"wrote {options.out}/actor.safetensors and summary.json; to use it, give learner_node learn: false and run_directory: {learner}")


def evaluate(config: Path, overrides: Overrides, options: argparse.Namespace, what: str, blob: bytes = b"") -> tuple[list[ScoredEpisode], float]:
    """Episodes of weights, or of the base alone, over the scenes of the seed; and the share that reached the critical phase."""
    progress = Progress(what, options.episodes)
    return training.evaluate(config, options.seed, options.episodes, blob, overrides, progress=progress)


def table(groups: Sequence[Group], gain: statistics.Estimate) -> str:
    """Base against practised, with 95 % intervals."""
    rows = [("", "episodes", "success [%]", "median time [s]", "successes per 10 min", "/ base")]
    for i, found in enumerate(groups):
        ratio = gain.text() if i else "1"
        rows.append((found.name, str(found.episodes), found.success.text("{:.0f}"), found.time.text(), found.throughput.text(), ratio))
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows)


def _percent(episodes: Sequence[ScoredEpisode]) -> str:
    return statistics.group("", episodes).success.text("{:.0f}")


def _plain(value: Any) -> Any:
    """As JSON knows it: what is not known is null, not NaN."""
    if dataclasses.is_dataclass(value):
        value = vars(value)
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return None if value != value else value


def _recent(episodes: Sequence[ScoredEpisode]) -> str:
    last = episodes[-20:]
    return f"({sum(episode.success for episode in last)} of the last {len(last)} succeeded)"


if __name__ == "__main__":
    sys.exit(main())
