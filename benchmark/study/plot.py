"""One picture of a study: throughput in training, and of the evaluations, over seeds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import matplotlib
import numpy as np

from rl_token_ros.evaluation.scores import ScoredEpisode
from study.study import BASE, BOUNDED, SCRIPTED, WINDOW, Folder, throughput_before

matplotlib.use("Agg")
from matplotlib import pyplot

STEP = 10.0  # s between two points of a curve
GREY = "#6b7280"
CONTROLLERS = (BASE, BOUNDED, SCRIPTED)


def draw(folder: Folder, arms: Iterable[str], seeds: Iterable[int], path: Path) -> None:
    """Write the picture: to the left training, median and range of the seeds; to the right the evaluations, a dot for each seed."""
    arms, seeds = list(arms), list(seeds)
    jobs = (BASE, *arms, BOUNDED, SCRIPTED)
    found = {job: [result for seed in seeds if (result := folder.load(job, seed))] for job in jobs}
    found = {job: results for job, results in found.items() if results}
    colours = {job: GREY if job in CONTROLLERS else f"C{arms.index(job)}" for job in found}
    style = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25}
    with pyplot.rc_context(style):
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(9.0, 3.4), sharey=True, constrained_layout=True)
        for arm in (job for job in found if job not in CONTROLLERS):
            times, throughput = curves([result["practice"] for result in found[arm]])
            left.plot(times / 60.0, np.median(throughput, 0), color=colours[arm], label=arm)
            left.fill_between(times / 60.0, throughput.min(0), throughput.max(0), color=colours[arm], alpha=0.15, linewidth=0)
        if BASE in found:
            left.axhline(np.median(_throughput(found[BASE])), color=GREY, linestyle="--", label=BASE)
        left.set(xlabel="robot time [min]", ylabel="successes per 10 min", title=f"training, the {WINDOW:.0f} s before")
        left.legend(frameon=False)
        for place, (job, results) in enumerate(found.items()):
            values = _throughput(results)
            right.plot(np.full(len(values), place), values, "o", color=colours[job], alpha=0.6, markersize=4)
            right.hlines(np.median(values), place - 0.3, place + 0.3, color=colours[job])
        right.set_xticks(range(len(found)), list(found), rotation=40, ha="right")
        right.set_title("evaluation, best actor")
        left.set_ylim(bottom=0.0)  # last: it ends the automatic limits of both
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=160)
        pyplot.close(figure)


def curves(runs: list[list[list[float]]]) -> tuple[np.ndarray, np.ndarray]:
    """Times [T], s, and throughput [N, T] in the window before each, of N runs: lists of (end, ended, seconds, weights version).

    An episode belongs to the window in which it ended.
    """
    scored = [[ScoredEpisode(i, ended, seconds, end, version > 0, version) for i, (end, ended, seconds, version) in enumerate(run)] for run in runs]
    last = min(episodes[-1].end for episodes in scored)
    times = np.arange(WINDOW, max(last, WINDOW) + STEP / 2, STEP)
    return times, np.array([[throughput_before(time, episodes) or 0.0 for time in times] for episodes in scored])


def _throughput(results: list[dict]) -> np.ndarray:
    return np.array([result["successes_per_10min"] or 0.0 for result in results])
