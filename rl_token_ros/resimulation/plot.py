"""One picture per joint: what was commanded, and what other pipelines would have commanded."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rl_token_ros.resimulation.figures import Figures

COLOURS = {"recorded": "black", "candidate": "tab:red", "base": "tab:blue"}


def draw(figures: Figures, folder: Path) -> list[Path]:
    """Write ``<joint>.png`` for each action into the folder; returns the files.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i, name in enumerate(figures.settings.action_names):
        unit = figures.settings.unit(name)
        plot, (above, below) = plt.subplots(2, 1, figsize=(11, 6), sharex=True, height_ratios=(2, 1), layout="constrained")
        for label, curve in figures.curves.items():
            if curve.times:
                times, values = _with_gaps(np.array(curve.times), np.array(curve.values)[:, i])
                above.plot(times, values, label=label, color=COLOURS.get(label), linewidth=0.8)
        base = figures.curves.get("base")
        for label, curve in figures.curves.items():
            if label in ("recorded", "base") or base is None or not curve.times:
                continue
            times, here, there = np.intersect1d(curve.times, base.times, return_indices=True)
            values = np.array(curve.values)[here, i] - np.array(base.values)[there, i]
            below.plot(*_with_gaps(times, values), label=f"{label} - base", linewidth=0.8, color="tab:red")
        above.set_ylabel(f"{name} [{unit}]")
        above.legend(loc="upper right")
        below.set_ylabel(f"from base [{unit}]")
        below.set_xlabel("time since the first step [s]")
        below.axhline(0.0, color="grey", linewidth=0.5)
        paths.append(folder / f"{name}.png")
        plot.savefig(paths[-1], dpi=110)
        plt.close(plot)
    return paths


def _with_gaps(times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A break in the line where nothing was commanded for long."""
    if len(times) < 3:
        return times, values
    gaps = np.flatnonzero(np.diff(times) > max(10 * float(np.median(np.diff(times))), 0.5)) + 1
    return np.insert(times, gaps, np.nan), np.insert(values, gaps, np.nan)
