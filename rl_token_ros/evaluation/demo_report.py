"""What the demo shows and leaves behind: status line, table, summary.json, learning curve."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rl_token_ros.evaluation.scores import Score, ScoredEpisode, score
from rl_token_ros.interfaces.codes import Ended

RECENT_SECONDS = 60.0  # "now" in the status line and in the curve
PRACTISED_SHARE = 0.4  # of the practice, at its end: what counts as practised


@dataclass
class Run:
    """Everything that was seen of a run so far."""

    minutes: float
    seed: int
    episodes: list[ScoredEpisode] = field(default_factory=list)
    control: dict[str, str] = field(default_factory=dict)
    learner: dict[str, str] = field(default_factory=dict)
    begun: float | None = None  # robot time at the beginning of the first episode, s
    interrupted: bool = False
    stops: list[str] = field(default_factory=list)  # why the arm was stopped, each time
    _practice_began: tuple[float, float] | None = None
    _practice_now: tuple[float, float] | None = None

    def saw_learner(self, stamp: float, values: dict[str, str]) -> None:
        """Figures of learner_node at a time in s."""
        self.learner = values
        if values.get("phase") == "training":
            self._practice_now = (stamp, float(values["updates"]))
            self._practice_began = self._practice_began or self._practice_now

    def updates_per_second(self) -> float | None:
        """Mean over the practice, resets included; the learner catches up while the arm returns."""
        if self._practice_began is None or self._practice_now is None:
            return None
        (t0, n0), (t1, n1) = self._practice_began, self._practice_now
        return (n1 - n0) / (t1 - t0) if t1 - t0 >= 1.0 else None

    def add(self, episode: ScoredEpisode) -> None:
        """An episode that has ended."""
        if self.begun is None:
            self.begun = episode.end - episode.seconds
        self.episodes.append(episode)

    def base(self) -> Score:
        """The VLA alone: the first `base_episodes`."""
        return score(e for e in self.episodes if not e.practised)

    def practised(self) -> Score:
        """The last part of the episodes with weights, exploration included; of a short run some are warm-up."""
        mine = [e for e in self.episodes if e.practised]
        if not mine:
            return score([])
        begin = mine[0].end - mine[0].seconds
        return score(e for e in mine if e.end >= mine[-1].end - PRACTISED_SHARE * (mine[-1].end - begin))

    def recent(self, end: float) -> Score:
        """Episodes that ended in the RECENT_SECONDS before a time."""
        return score(e for e in self.episodes if end - RECENT_SECONDS < e.end <= end)

    def summary(self) -> dict:
        """The figures of summary.json."""

        def number(source: dict[str, str], name: str, kind=float):
            return kind(float(source[name])) if name in source else None

        return {
            "minutes": self.minutes,
            "seed": self.seed,
            "interrupted": self.interrupted,
            "base": asdict(self.base()),
            "practised": asdict(self.practised()),
            "control": {
                "rate_hz": number(self.control, "rate_hz"),
                "ticks": number(self.control, "ticks", int),
                "missed_ticks": number(self.control, "missed_ticks", int),
                "compute_p99_ms": number(self.control, "compute_ms_p99"),
                "stops": self.stops,
            },
            "learner": {
                "updates": number(self.learner, "updates", int),
                "updates_per_s": self.updates_per_second(),
                "weights_version": number(self.learner, "weights_version", int),
                "push_to_use_p99_ms": number(self.control, "push_to_use_ms_p99") or None,  # 0: nothing was pushed
            },
        }


def status_line(run: Run, seconds_left: float) -> str:
    """The line shown while it runs."""
    parts = [f"{int(seconds_left) // 60}:{int(seconds_left) % 60:02d} left"]
    if run.episodes:
        last = run.episodes[-1]
        parts.append(f"episode {last.number}: {Ended(last.ended).label} in {last.seconds:.1f} s")
        parts.append(f"now {_brief(run.recent(last.end))}")
    parts.append(f"base {_brief(run.base())}")
    parts.append(f"weights v{run.control.get('weights_version', '0')}")
    parts.append(f"{float(run.learner.get('updates_per_s', 0)):.0f} updates/s")
    parts.append(f"tick p99 {float(run.control.get('compute_ms_p99', 0)):.2f} ms")
    return " | ".join(parts)


def _brief(value: Score) -> str:
    if value.success_rate is None or value.successes_per_10min is None:  # no episodes
        return "-"
    return f"{100 * value.success_rate:.0f} % {value.successes_per_10min / 10:.1f}/min"


def table(run: Run) -> str:
    """Base against practised, and how control and learner kept up."""
    summary = run.summary()
    rows = [("", "episodes", "success", "median time", "successes per 10 min")]
    for name in ("base", "practised"):
        s = summary[name]
        rows.append(
            (
                name,
                str(s["episodes"]),
                "-" if s["success_rate"] is None else f"{100 * s['success_rate']:.0f} %",
                "-" if s["median_time_s"] is None else f"{s['median_time_s']:.1f} s",
                "-" if s["successes_per_10min"] is None else f"{s['successes_per_10min']:.0f}",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows]
    control, learner = summary["control"], summary["learner"]
    lines.append("")
    lines.append(
        f"control  {_text(control['rate_hz'])} Hz, {_text(control['ticks'])} ticks, {_text(control['missed_ticks'])} missed, "
        f"p99 of a tick's compute {_text(control['compute_p99_ms'])} ms"
    )
    lines.append(
        f"learner  {_text(learner['updates'])} updates, {_text(learner['updates_per_s'])} per second, weights version "
        f"{_text(learner['weights_version'])}, push to use p99 {_text(learner['push_to_use_p99_ms'])} ms"
    )
    lines += [f"stopped  {reason}; went on" for reason in control["stops"]]
    return "\n".join(lines)


def _text(value: float | int | None) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def write_summary(run: Run, folder: Path) -> Path:
    """summary.json, complete or not at all."""
    path = folder / "summary.json"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(run.summary(), indent=2) + "\n")
    os.replace(temporary, path)
    return path


def draw(run: Run, folder: Path) -> Path:
    """learning_curve.png: each episode's time, and the throughput of the last minute, over robot time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(2, 1, figsize=(9, 6.5), sharex=True, constrained_layout=True)
    begun = 0.0 if run.begun is None else run.begun  # without episodes
    minutes = [(e.end - begun) / 60 for e in run.episodes]
    for wanted, colour, marker, label in ((True, "tab:green", "o", "success"), (False, "tab:red", "x", "no success")):
        chosen = [i for i, e in enumerate(run.episodes) if e.success is wanted]
        above.plot([minutes[i] for i in chosen], [run.episodes[i].seconds for i in chosen], marker, color=colour, label=label)
    above.set_ylabel("critical phase [s]")
    above.set_ylim(bottom=0)
    above.set_title(f"{len(run.episodes)} episodes, seed {run.seed}")
    below.plot(minutes, [run.recent(e.end).successes_per_10min for e in run.episodes], color="tab:blue", label="last minute")
    if (base := run.base().successes_per_10min) is not None:
        below.axhline(base, color="grey", linestyle="--", label="base")
    below.set_ylabel("successes per 10 min\n(3 s reset per episode)")
    below.set_xlabel("robot time [min]")
    below.set_ylim(bottom=0)
    first = next((m for m, e in zip(minutes, run.episodes) if e.practised), None)
    for axes in (above, below):
        if first is not None:
            axes.axvline(first, color="tab:orange", linewidth=1, label="residual begins")
        axes.grid(alpha=0.3)
        axes.legend(loc="upper right", fontsize=8)
    path = folder / "learning_curve.png"
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path
