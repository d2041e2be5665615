"""Whether the learner keeps its word: as many updates as `updates_per_step` asks for, while the robot practises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BEHIND = 0.95  # of what is needed: less is not the noise of a measurement


def outrun(figures: Mapping[str, Any]) -> str:
    """A sentence that says what to change, where practice brings more updates than this machine makes; else nothing.

    Args:
        figures: of `Learner.stats`, as numbers or as text.
    """
    names = ("updates_per_s_needed", "updates_per_busy_s", "updates_per_step", "updates_forgone")
    needed, able, per_step, forgone = (float(figures.get(name, 0)) for name in names)
    if figures.get("phase") != "training" or not able or able >= BEHIND * needed:
        return ""
    told = f", {forgone:.0f} are forgone for good" if forgone else ""
    return (
        f"practice outruns the learner: it needs {needed:.0f} updates a second, {able:.0f} are made{told}; write device: cuda, "
        f"updates_per_step: {per_step * able / needed:.2g}, or a smaller token_size, hidden_size or batch_size"
    )
