"""The page: one HTML file with its pictures inside, for a phone as for a large screen."""

from __future__ import annotations

import base64
import math
import re
from datetime import datetime
from html import escape
from pathlib import Path

from rl_token_ros.evaluation import statistics
from rl_token_ros.evaluation.findings import findings
from rl_token_ros.evaluation.plots import groups_of
from rl_token_ros.evaluation.run_data import Run
from rl_token_ros.interfaces.codes import Source

STYLE = """
:root { color-scheme: light; --line: #e5e7eb; --soft: #6b7280; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; font: 16px/1.5 system-ui, sans-serif; color: #111827; background: #fff; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p { margin: .5rem 0; }
.soft, figcaption { color: var(--soft); font-size: .875rem; }
.verdict { margin: 1rem 0; padding: .75rem 1rem; border-left: .4rem solid #9ca3af; background: #f3f4f6; font-size: 1.1rem; }
.good { border-color: #16a34a; background: #f0fdf4; }
.bad { border-color: #dc2626; background: #fef2f2; }
.verdict b { display: block; }
.tiles { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fit, minmax(6.5rem, 1fr)); }
.tiles div { border: 1px solid var(--line); border-radius: .4rem; padding: .5rem .75rem; }
.tiles b { display: block; font-size: 1.35rem; line-height: 1.3; white-space: nowrap; }
.tiles span { display: block; color: var(--soft); font-size: .8rem; line-height: 1.25; }
.findings { border-left: .4rem solid #d97706; background: #fffbeb; margin: 1rem 0; padding: .5rem 1rem .5rem 2rem; }
.wide { overflow-x: auto; }
.ci { color: var(--soft); white-space: nowrap; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .9rem .35rem 0; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap; }
.nodes td { white-space: normal; overflow-wrap: anywhere; }
th { font-weight: 600; }
.pictures { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); }
figure { margin: 0; }
figure h3 { font-size: 1rem; margin: 0; }
img { width: 100%; height: auto; display: block; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .8rem; background: #f9fafb; padding: .75rem; }
ul { padding-left: 1.2rem; }
.nodes { display: grid; gap: 0 2rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); }
.nodes h3 { font-size: 1rem; margin: .75rem 0 0; }
.nodes table { width: 100%; }
.nodes td:first-child { width: 55%; color: var(--soft); }
@media (max-width: 40rem) {
  .wide table { width: 100%; }
  .wide th, .wide td { white-space: normal; padding-right: .4rem; font-size: .8rem; line-height: 1.3; vertical-align: top; }
  .wide th:last-child, .wide td:last-child { padding-right: 0; }
  .ci { display: block; font-size: .75rem; }
  .verdict { font-size: 1rem; }
  .tiles { gap: .4rem; }
  .tiles div { padding: .4rem .5rem; }
  .tiles b { font-size: 1.15rem; }
}
"""


def page(run: Run, pictures: list[tuple[str, str, Path]]) -> str:
    """The HTML of a report; ``pictures`` as plots.draw gives them."""
    kind, sentence = statistics.verdict(run.episodes)
    headline, _, why = sentence.partition(": ")
    name = escape(run.folder.resolve().name)
    parts = [
        f"<h1>{name}</h1>",
        f'<p class="soft">{escape(_when(run))}</p>',
        f'<p class="verdict {kind}"><b>{escape(headline)}</b>{escape(why[:1].upper() + why[1:])}</p>',
        _tiles(run),
        *_findings(run),
        "<h2>Scores</h2>",
        _scores(run),
        '<p class="soft">In brackets: 95 % intervals (success: Wilson; others: bootstrap over episodes). Throughput counts '
        f"{statistics.RESET_SECONDS:g} s of reset with each episode. Latest: the last {100 * statistics.LATEST_SHARE:.0f} % of the practice.</p>",
    ]
    if run.summary:
        parts += ["<h2>What the demo wrote</h2>", _table(_summary(run.summary))]
    if pictures:
        parts += ["<h2>Over time</h2>", *_about_stops(run), '<div class="pictures">', *[_figure(*picture) for picture in pictures], "</div>"]
    parts += ["<h2>The nodes at the end</h2>", _nodes(run)]
    if run.log:
        parts += ["<h2>Warnings and errors</h2>", f"<pre>{escape(chr(10).join(run.log))}</pre>"]
    if run.missing:
        parts += ["<h2>What is missing</h2>", _list(run.missing)]
    parts += ["<h2>Made from</h2>", _list(run.sources)]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{name}</title><style>{STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(parts) + "\n</body></html>\n"


def _tiles(run: Run) -> str:
    """The three figures that matter, of the base and of the latest practised episodes."""
    base, _, latest, _ = groups_of(run)
    if not base.episodes + latest.episodes:
        return ""
    tiles = []
    for what, name, form in (
        ("success [%]", "success", "{:.0f}"),
        ("median time to success [s]", "time", "{:.1f}"),
        ("successes per 10 min", "throughput", "{:.0f}"),
    ):
        figures = [form.format(value) if not math.isnan(value := getattr(group, name).value) else "–" for group in (base, latest) if group.episodes]
        tiles.append(f"<div><b>{' → '.join(figures)}</b><span>{what}</span></div>")
    who = "base → latest practised" if base.episodes and latest.episodes else "base alone" if base.episodes else "practised alone"
    return f'<p class="soft">{who}</p><div class="tiles">{"".join(tiles)}</div>'


def _findings(run: Run) -> list[str]:
    found = findings(run)
    if found:
        return ['<ul class="findings">' + "".join(f"<li>{escape(line)}</li>" for line in found) + "</ul>"]
    return ['<p class="soft">Nothing in the nodes\' figures stands out.</p>'] if run.nodes["control_node"].times else []


def _when(run: Run) -> str:
    if not run.ended:
        return "no times are known"
    begun = datetime.fromtimestamp(run.begun).strftime("%Y-%m-%d %H:%M")
    steps = {name: run.sources_of_steps[code] for name, code in (("VLA", Source.VLA), ("actor", Source.ACTOR), ("human", Source.HUMAN))}
    made = ", ".join(f"{count} by the {name}" if name != "human" else f"{count} by a human" for name, count in steps.items() if count)
    text = f"begun {begun}, {(run.ended - run.begun) / 60:.1f} min; {len(run.episodes)} episodes" + (
        f", {run.aborted} aborted beside" if run.aborted else ""
    )
    stopped = sum(end - begin for begin, end in run.stopped())
    return text + (f"; steps: {made}" if made else "") + (f"; stopped for {stopped / 60:.1f} min" if stopped else "")


def _about_stops(run: Run) -> list[str]:
    return ['<p class="soft">Red: the arm was stopped.</p>'] if run.stopped() else []


def _scores(run: Run) -> str:
    rows: list[tuple[str, ...]] = [("", "episodes", "success [%]", "median time [s]", "successes per 10 min")]
    for group in groups_of(run):
        if group.episodes:
            rows.append((group.name, str(group.episodes), group.success.text("{:.0f}"), group.time.text("{:.1f}"), group.throughput.text("{:.1f}")))
    return _table(rows) if len(rows) > 1 else '<p class="soft">no episodes</p>'


def _summary(summary: dict) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("", "episodes", "success [%]", "median time [s]", "successes per 10 min")]
    for name in ("base", "practised"):
        score = summary.get(name) or {}
        figures = [score.get("success_rate"), score.get("median_time_s"), score.get("successes_per_10min")]
        figures[0] = None if figures[0] is None else 100.0 * figures[0]
        rows.append((name, str(score.get("episodes", "–")), *["–" if value is None else f"{value:.3g}" for value in figures]))
    return rows


# node -> figures that are shown, with what they are
FIGURES = {
    "control_node": {
        "state": "state",
        "rate_hz": "control rate [Hz]", "ticks": "ticks", "missed_ticks": "missed", "compute_ms_p99": "tick compute p99 [ms]",
        "lateness_ms_p99": "tick lateness p99 [ms]", "observation_age_ms_p50": "chunk age p50 [ms]", "observation_age_ms_p99": "chunk age p99 [ms]",
        "push_to_use_ms_p99": "weights, push to use p99 [ms]", "weights_version": "weights version", "weights_refused": "weights refused",
        "weights_reverts": "returns to older weights", "ticks_stopped": "ticks stopped", "ticks_holding": "ticks holding",
        "refused_inputs": "refused inputs",
    },
    "learner_node": {
        "state": "state", "phase": "phase", "updates": "updates", "true_utd": "updates per sample", "critic_loss": "critic loss",
        "mean_q": "mean Q", "mean_return": "mean return", "action_sensitivity": "action sensitivity",
        "residual_saturated": "residuals at their bound, share", "rows_lost": "rows lost", "best_version": "best version",
    },
    "vla_node": {"state": "state", "queries": "queries", "failures": "failures", "query_ms_p50": "query p50 [ms]", "query_ms_p99": "query p99 [ms]"},
}  # fmt: skip


def _nodes(run: Run) -> str:
    parts = []
    for node, figures in FIGURES.items():
        told = run.nodes[node].last
        if told:
            parts.append(f"<div><h3>{node}</h3>{_table([(label, _short(told[name])) for name, label in figures.items() if name in told], '')}</div>")
    return '<div class="nodes">' + "".join(parts) + "</div>" if parts else '<p class="soft">nothing is known of them</p>'


def _short(text: str) -> str:
    """A number with as many digits as a person reads."""
    try:
        value = float(text)
    except ValueError:
        return text
    return text if text.lstrip("-").isdigit() else f"{value:.3g}"


def _table(rows: list[tuple[str, ...]], kind: str = "wide") -> str:
    """``kind`` wide: the first row is the head."""
    cells = ["".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) for n, row in enumerate(rows) for tag in ("td" if n or not kind else "th",)]
    cells = [re.sub(r" (\[[^\]<]+, [^\]<]+\])", r' <span class="ci">\1</span>', row) if kind else row for row in cells]  # intervals
    return f'<div class="{kind}"><table>' + "".join(f"<tr>{row}</tr>" for row in cells) + "</table></div>"


def _figure(title: str, about: str, path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure><h3>{escape(title)}</h3><img alt="{escape(title)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(about)}</figcaption></figure>"
    )


def _list(lines: list[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"
