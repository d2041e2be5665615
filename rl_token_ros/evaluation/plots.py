"""The pictures of a report. Small and with large letters: most are looked at on a phone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np

from rl_token_ros.evaluation import statistics
from rl_token_ros.evaluation.run_data import Run, Series
from rl_token_ros.interfaces.codes import Ended

matplotlib.use("Agg")
from matplotlib import pyplot

BASE, ACTOR, HUMAN = "#6b7280", "#2563eb", "#d97706"
COLOURS = {"base": BASE, "actor": ACTOR, "human": HUMAN}
SIZE, DPI = (4.6, 3.0), 180
MARKERS: dict[int, str] = {Ended.SUCCESS: "o", Ended.TIME_LIMIT: "s"}  # others: x


def draw(run: Run, folder: Path) -> list[tuple[str, str, Path]]:
    """Write every picture for which there are data; title, what to look for, and file of each."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()  # of a report made before; this one may have fewer
    made = []
    with pyplot.rc_context({"font.size": 10.5, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25}):
        for name, title, about, plot in PICTURES:
            figure, axes = pyplot.subplots(figsize=SIZE, constrained_layout=True)
            if plot(run, axes):
                path = folder / f"{name}.png"
                figure.savefig(path, dpi=DPI)
                made.append((title, about, path))
            pyplot.close(figure)
    return made


def who(episode) -> str:
    """Whose episode it was; a human's where one took part."""
    return "human" if episode.human else "actor" if episode.practised else "base"


def _minutes(run: Run, times) -> np.ndarray:
    return (np.asarray(times, float) - run.begun) / 60.0


def _episodes(run: Run, axes) -> bool:
    if not run.episodes:
        return False
    for name, colour in COLOURS.items():
        for ended in sorted({episode.ended for episode in run.episodes}):
            mine = [e for e in run.episodes if who(e) == name and e.ended == ended]
            if mine:
                axes.plot(
                    _minutes(run, [e.end for e in mine]),
                    [e.seconds for e in mine],
                    linestyle="",
                    markersize=5,
                    marker=MARKERS.get(ended, "x"),
                    color=colour,
                    label=f"{name}: {Ended(ended).label}",
                    fillstyle="full" if ended == Ended.SUCCESS else "none",
                )
    return _finish(run, axes, "critical phase [s]")


def _throughput(run: Run, axes) -> bool:
    alone = [episode for episode in run.episodes if not episode.human]
    times, values = statistics.moving(alone)
    if len(times) < 2:
        return False
    minutes = _minutes(run, times)
    axes.plot(minutes, values[:, 0], color=ACTOR, label=f"last {statistics.WINDOW} episodes")
    axes.fill_between(minutes, values[:, 1], values[:, 2], color=ACTOR, alpha=0.15, linewidth=0)
    base = statistics.group("base", statistics.base_of(alone)).throughput
    if not np.isnan(base.value):
        axes.axhline(base.value, color=BASE, linestyle="--", label="base, all episodes")
        if not np.isnan(base.low):
            axes.axhspan(base.low, base.high, color=BASE, alpha=0.12, linewidth=0)
    _mark_begin(run, axes)
    return _finish(run, axes, "successes per 10 min")


def _compare(run: Run, axes) -> bool:
    groups = [group for group in groups_of(run) if group.episodes]
    if len(groups) < 2:
        return False
    values = [group.throughput.value for group in groups]
    errors = [[max(v - g.throughput.low, 0.0), max(g.throughput.high - v, 0.0)] for v, g in zip(values, groups)]
    colours = [COLOURS[group.name.split(",")[0]] for group in groups]
    axes.bar([f"{g.name}\nn = {g.episodes}" for g in groups], values, color=colours, width=0.6, yerr=np.nan_to_num(np.array(errors).T), capsize=5)
    axes.set_ylabel("successes per 10 min")
    axes.set_ylim(bottom=0)
    axes.grid(axis="x", visible=False)
    return True


def groups_of(run: Run) -> list[statistics.Group]:
    """Base, actor, the latest of the actor's, and human."""
    actor = [episode for episode in run.episodes if who(episode) == "actor"]
    return [
        statistics.group("base", statistics.base_of(run.episodes)),
        statistics.group("actor", actor),
        statistics.group("actor, latest", statistics.latest_of(run.episodes)),
        statistics.group("human", [episode for episode in run.episodes if who(episode) == "human"]),
    ]


def _updates(run: Run, axes) -> bool:
    series = run.nodes["learner_node"]
    drawn = _lines(run, axes, series, (("updates_per_s", ACTOR, "updates per second"), ("updates_per_busy_s", BASE, "while busy")))
    return drawn and _finish(run, axes, "per second")


def _values(run: Run, axes) -> bool:
    series = run.nodes["learner_node"]
    drawn = _lines(run, axes, series, (("mean_q", ACTOR, "Q, mean of a batch"), ("mean_return", HUMAN, "return that followed a success or failure")))
    return drawn and _finish(run, axes, "value", zero=False)


def _losses(run: Run, axes) -> bool:
    series = run.nodes["learner_node"]
    drawn = _lines(run, axes, series, (("critic_loss", ACTOR, "critic loss"), ("action_sensitivity", HUMAN, "action sensitivity")), positive=True)
    if drawn:
        axes.set_yscale("log")
    return drawn and _finish(run, axes, "log scale", zero=False)


def _residual(run: Run, axes) -> bool:
    drawn = _lines(run, axes, run.nodes["control_node"], (("residual_mean", ACTOR, "residual / its bound"),), positive=True)
    if run.episodes:
        minutes = _minutes(run, [e.end for e in run.episodes])
        axes.plot(minutes, [e.changed for e in run.episodes], ".", color=HUMAN, label="changed by the filter")
        drawn = True
    return drawn and _finish(run, axes, "share")


def _ages(run: Run, axes) -> bool:
    lines = (
        ("observation_age_ms_p99", BASE, "chunk age p99"), ("compute_ms_p99", ACTOR, "tick compute p99"),
        ("lateness_ms_p99", HUMAN, "tick lateness p99"), ("push_to_use_ms_p99", "#059669", "weights, push to use p99"),
    )  # fmt: skip
    drawn = _lines(run, axes, run.nodes["control_node"], lines, positive=True)
    if drawn:
        axes.set_yscale("log")
    return drawn and _finish(run, axes, "ms", zero=False)


def _versions(run: Run, axes) -> bool:
    drawn = bool(run.versions)
    if drawn:
        times, versions = zip(*run.versions)
        axes.step(_minutes(run, times), versions, where="post", color=BASE, linewidth=4, alpha=0.5, label="sent by the learner")
    series = run.nodes["control_node"]
    drawn |= _lines(run, axes, series, (("weights_version", ACTOR, "acting"),))
    reverts = series.of("weights_reverts")
    if drawn and len(reverts) and np.nanmax(reverts) > 0:
        at = [series.times[i] for i in np.flatnonzero(np.diff(reverts, prepend=reverts[0]) > 0)]
        for n, minute in enumerate(_minutes(run, at)):
            axes.axvline(minute, color="#dc2626", linewidth=1, label="returned to older ones" if n == 0 else None)
    return drawn and _finish(run, axes, "weights version")


def _lines(run: Run, axes, series: Series, wanted, positive: bool = False) -> bool:
    """Lines of figures of a node; those that were never said (or never above 0) are left out."""
    drawn = False
    for name, colour, label in wanted:
        values = series.of(name)
        if positive:
            values = np.where(values > 0.0, values, np.nan)
        if len(values) and np.isfinite(values).any():
            axes.plot(_minutes(run, series.times), values, color=colour, linewidth=1.5, label=label)
            drawn = True
    return drawn


def _mark_begin(run: Run, axes) -> None:
    first = next((e for e in run.episodes if e.practised), None)
    if first is not None:
        axes.axvline(_minutes(run, [first.end - first.seconds])[0], color=HUMAN, linewidth=1, label="residual begins")


def _finish(run: Run, axes, what: str, zero: bool = True) -> bool:
    """The same time under every picture, and red where the arm was stopped."""
    for begin, end in run.stopped():
        axes.axvspan(*_minutes(run, [begin, end]), color="#dc2626", alpha=0.08, linewidth=0)
    axes.set_xlim(0.0, max((run.ended - run.begun) / 60.0, 1e-3))
    axes.set_xlabel("robot time [min]")
    axes.set_ylabel(what)
    if zero:
        axes.set_ylim(0.0, 1.06 * max(axes.get_ylim()[1], 1e-3))
    axes.legend(
        fontsize=9, frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.1, ncols=2, columnspacing=1.2, handlelength=1.4
    )
    return True


Plot = Callable[[Run, "pyplot.Axes"], bool]
PICTURES: tuple[tuple[str, str, str, Plot], ...] = (
    (
        "throughput",
        "Successes per 10 minutes",
        "Above the dashed line and its band, practice has paid. 3 s of reset are counted with each episode.",
        _throughput,
    ),
    ("compare", "Base, actor, human", "With 95 % intervals and the number of episodes n; latest: the last part of practice.", _compare),
    ("episodes", "Every episode", "How long each took and how it ended. The filled circles should sink, the other marks become rare.", _episodes),
    ("values", "Q and what followed", "Q should stay near the return that followed; far above it the critic overestimates.", _values),
    ("losses", "Critic", "The loss settles; action sensitivity near 0 means that the critic does not look at the action.", _losses),
    ("updates", "Updates per second", "The learner's speed; zero while it waits for episodes.", _updates),
    (
        "residual",
        "Residual and filter",
        "A residual near 1 sits at its bound. Much changed by the filter: the arm cannot do what is asked.",
        _residual,
    ),
    ("versions", "Weights on the time line", "What acts should follow what is sent.", _versions),
    ("ages", "Ages and ticks", "Milliseconds. Lateness near the tick's period means missed ticks.", _ages),
)
