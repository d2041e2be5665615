"""The study of training: which jobs there are, what each measures, and the folder in which finished ones are kept.

A job is one file, written when it has finished, so that a long study can be stopped, continued and put together from several folders.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from rl_token_ros.evaluation import scores
from rl_token_ros.evaluation.scores import ScoredEpisode
from rl_token_ros.settings import node_settings

WINDOW = 100.0  # s of robot time: the worst such window after warm-up shows whether training fell before it rose
DEMONSTRATIONS = 40
# Jobs beside those of the arms; the last has no seeds. BOUNDED: scripted within the residual's bounds.
BASE, BOUNDED, SCRIPTED, DEMONSTRATED = "base", "bounded", "scripted", "demonstrations"


class StudyError(ValueError):
    """Results that cannot be taken; the message says why."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What is the same for all jobs of a study.

    Attributes:
        config: parameter file of the simulated robot.
        robot_seconds: of training.
        episodes: of an evaluation.
        overrides: ``{node: {parameter: value}}``, for every arm.
    """

    config: Path
    robot_seconds: float
    episodes: int
    overrides: dict[str, dict] = dataclasses.field(default_factory=dict)

    def described(self) -> dict[str, Any]:
        """As it is written beside each result; the parameters as their fingerprint."""
        text = json.dumps(yaml.safe_load(self.config.read_text()), sort_keys=True)
        config = hashlib.sha256(text.encode()).hexdigest()
        return {"config_sha256": config, "robot_seconds": self.robot_seconds, "episodes": self.episodes, "overrides": self.overrides}


class Folder:
    """Results of one protocol, a JSON file per job.

    Args:
        path: made when the first result is written.
        protocol: results of another one are refused.
    """

    def __init__(self, path: Path, protocol: Protocol) -> None:
        self.path, self.protocol = path, protocol.described()

    def load(self, job: str, seed: int) -> dict[str, Any] | None:
        """The result of a job; None until it has finished.

        Raises:
            StudyError: it was measured by another protocol, or is no result.
        """
        path = self._file(job, seed)
        if not path.exists():
            return None
        try:
            kept = json.loads(path.read_text())
            protocol, result = kept["protocol"], kept["result"]
        except (ValueError, KeyError, TypeError):
            raise StudyError(f"'{path}' is no result of this study; remove it, or write another --out") from None
        for name, mine in self.protocol.items():
            if protocol.get(name) != mine:
                raise StudyError(f"'{path}' was measured with {name} {protocol.get(name)}, not {mine}; write another --out")
        return result

    def save(self, job: str, seed: int, result: dict[str, Any]) -> None:
        """Keep a result, whole or not at all."""
        self.path.mkdir(parents=True, exist_ok=True)
        path = self._file(job, seed)
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps({"protocol": self.protocol, "result": result}, indent=1))
        draft.rename(path)

    def missing(self, arms: Iterable[str], seeds: Iterable[int]) -> list[tuple[str, int]]:
        """Jobs without a result, seed by seed, so that a study that is stopped has whole seeds."""
        jobs = [(DEMONSTRATED, 0), *((job, seed) for seed in seeds for job in (BASE, BOUNDED, SCRIPTED, *arms))]
        return [job for job in jobs if self.load(*job) is None]

    def _file(self, job: str, seed: int) -> Path:
        return self.path / (f"{job}.json" if job == DEMONSTRATED else f"{job}-{seed}.json")


def run(protocol: Protocol, job: str, seed: int) -> dict[str, Any]:
    """Do one job; plain values."""
    if job == DEMONSTRATED:
        return {"seconds": demonstrate(protocol, DEMONSTRATIONS)}
    if job in (SCRIPTED, BOUNDED):
        from study import scripted

        return _scored(scripted.perform(protocol.config, seed, protocol.episodes, protocol.overrides, bounded=job == BOUNDED))
    from rl_token_ros.sim.training import evaluate

    if job == BASE:
        episodes, reached = evaluate(protocol.config, seed, protocol.episodes, overrides=protocol.overrides)
        return _scored(episodes) | {"reached": reached}
    return train(protocol, job, seed)


def train(protocol: Protocol, name: str, seed: int) -> dict[str, Any]:
    """Train an arm, then evaluate the best actor."""
    import torch

    from rl_token_ros.sim import training
    from study.variants import VARIANTS

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # as the learner's own process does
    begun, computed = time.monotonic(), time.process_time()
    done = training.train(protocol.config, seed, protocol.robot_seconds, protocol.overrides, variant=VARIANTS[name])
    wall, computed = time.monotonic() - begun, time.process_time() - computed
    episodes, _ = training.evaluate(protocol.config, seed, protocol.episodes, done.blob, protocol.overrides, VARIANTS[name])
    return _scored(episodes) | {
        "worst_window": worst_window(done.episodes[done.warmup :]),
        "hand_seconds": done.hand_seconds,
        "wall_seconds": wall,
        "cpu_seconds": computed,  # what a core does in that time is not always for this training
        "practice": [(round(e.end, 2), e.ended, round(e.seconds, 2), e.weights_version) for e in done.episodes],
        "stats": {key: value for key, value in done.stats.items() if isinstance(value, (int, float, str))},
    }


def compare_run(folder: Folder, protocol: Protocol, run_directory: Path, seeds: list[int]) -> str:
    """One sentence about the best actor of a run with the real processes: over the scenes of the first seed, against the arm `token`.

    Raises:
        ParameterError: the run is of another robot, VLA, encoder or network size.
        FileNotFoundError: there is no checkpoint.
    """
    from rl_token_ros.sim import training

    blob = training.best_of_run(protocol.config, run_directory)
    episodes, _ = training.evaluate(protocol.config, seeds[0], protocol.episodes, blob, protocol.overrides)
    found = scores.score(episodes)
    told = f"real processes ({run_directory}): success {100 * found.success_rate:.0f} %, {found.successes_per_10min:.3g} per 10 min"
    tokens = [result for seed in seeds if (result := folder.load("token", seed))]
    for key, value, factor in (("success_rate", found.success_rate, 100.0), ("successes_per_10min", found.successes_per_10min, 1.0)):
        _, low, high = bootstrap(result[key] for result in tokens)
        where = "below" if value < low else "above" if value > high else "inside"
        told += f"; {key} is {where} [{factor * low:.3g}, {factor * high:.3g}]"
    return told


def demonstrate(protocol: Protocol, count: int) -> list[float]:
    """Lengths of the critical phases of undisturbed demonstrations, s: performed as those that the VLA was cloned from, in the task of today."""
    from rl_token_ros.sim.demonstrator import Demonstrator, that_day
    from rl_token_ros.sim.train_vla import SLIP

    sim = node_settings.load("sim_node", protocol.config, **protocol.overrides.get("sim_node", {}))
    demonstrator = Demonstrator(that_day(sim, SLIP), seed=0)
    frames: dict[str, list] = {name: [] for name in ("base", "wrist", "proprio", "pace", "offset", "height", "episode")}
    taken = [demonstrator.perform(False, frames, number) for number in range(count)]
    demonstrator.simulation.close()
    return [round(seconds, 2) for seconds in taken if seconds is not None]


def worst_window(episodes: list[ScoredEpisode]) -> float | None:
    """The lowest throughput of any WINDOW of training; None where it was shorter."""
    begin = episodes[0].end - episodes[0].seconds if episodes else 0.0
    return min((throughput_before(e.end, episodes) for e in episodes if e.end - WINDOW >= begin), default=None)


def throughput_before(time: float, episodes: Iterable[ScoredEpisode]) -> float | None:
    """Throughput of the episodes that ended in the WINDOW before a robot time in s; None without any."""
    return scores.score(e for e in episodes if time - WINDOW < e.end <= time).successes_per_10min


def _scored(episodes: list[ScoredEpisode]) -> dict[str, Any]:
    return dataclasses.asdict(scores.score(episodes))


# --- the table -----------------------------------------------------------------------------------------------------------


def bootstrap(values: Iterable[float | None], resamples: int = 10_000) -> tuple[float, float, float]:
    """Median over seeds with the ends of its bootstrap 95 % interval; NaN without values."""
    known = np.array([value for value in values if value is not None], float)
    if not len(known):
        return np.nan, np.nan, np.nan
    random = np.random.default_rng(0)
    medians = np.median(random.choice(known, (resamples, len(known))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(np.median(known)), float(low), float(high)


def interval(values: Iterable[float | None]) -> str:
    """As :func:`bootstrap`, for the table."""
    median, low, high = bootstrap(values)
    return "-" if np.isnan(median) else f"{median:.3g} [{low:.3g}, {high:.3g}]"


def table(folder: Folder, arms: Iterable[str], seeds: Iterable[int]) -> str:
    """Markdown: medians over the seeds that have finished, with intervals. Ratios are of each seed with itself."""
    seeds = list(seeds)
    found = {job: {seed: result for seed in seeds if (result := folder.load(job, seed))} for job in (BASE, *arms, BOUNDED, SCRIPTED)}
    lines = [
        "| | seeds | success [%] | median time to success [s] | successes per 10 min | / base | / token | / scripted |"
        " worst 100 s of practice / base |",
        "| --- " * 9 + "|",
    ]
    for job, results in found.items():
        if not results:
            continue

        def ratio(other: str, key: str = "successes_per_10min") -> str:
            if other == job and key == "successes_per_10min":
                return "1"
            return interval(_share(mine[key], found[other][seed]) for seed, mine in results.items() if seed in found.get(other, {}) and key in mine)

        cells = [
            interval(_times(100.0, r["success_rate"]) for r in results.values()),
            interval(r["median_time_s"] for r in results.values()),
            interval(r["successes_per_10min"] for r in results.values()),
            ratio(BASE), ratio("token"), ratio(SCRIPTED), ratio(BASE, "worst_window"),
        ]  # fmt: skip
        lines.append(f"| {job} | {len(results)} | " + " | ".join(cells) + " |")
    lines += ["", *_remarks(folder, found)]
    return "\n".join(lines)


def _remarks(folder: Folder, found: dict[str, dict[int, dict]]) -> list[str]:
    lines = []
    if demonstrated := folder.load(DEMONSTRATED, 0):
        lines.append(f"demonstrations: {np.median(demonstrated['seconds']):.2f} s (median of {len(demonstrated['seconds'])})")
    if found[BASE]:
        lines.append(f"the base reaches the critical phase in {interval(100 * r['reached'] for r in found[BASE].values())} %")
    for job, results in found.items():
        if spent := [r for r in results.values() if "wall_seconds" in r]:
            wall, computed = (interval(r.get(key) for r in spent) for key in ("wall_seconds", "cpu_seconds"))
            lines.append(f"a training of {job} takes {wall} s, of which it computes {computed}")
    return lines


def _times(factor: float, value: float | None) -> float | None:
    return None if value is None else factor * value


def _share(value: float | None, other: dict[str, Any]) -> float | None:
    return None if value is None else value / max(other["successes_per_10min"] or 0.0, 1e-9)
