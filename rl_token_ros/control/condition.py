"""How a pipeline is, for `/diagnostics`: one sentence with its level, and figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rl_token_ros.control.arming import second_publisher
from rl_token_ros.control.command_side import CommandSide
from rl_token_ros.control.pipeline import Pipeline

LEAST_STEPS, MOST_UNRECORDED = 50, 0.1  # steps, and their share, from which on it is said
WHY_UNRECORDED = {
    "no_token": "want of a token: is 'vla/embedding' published?",
    "no_chunk": "want of a 'vla/reference'",
    "old_token": "tokens older than chunk_timeout: vla_node's message in /diagnostics says what it waits for",
    "short_window": "chunks that do not reach chunk_length steps from now on: vla_node's message in /diagnostics says what to write",
}


def condition(pipeline: Pipeline, now_ns: int, side: CommandSide) -> tuple[str, str]:
    """Level (ok, warn, error) and a sentence: why the arm does not move, or in which mode it does."""
    controller, others = pipeline.controller, side.others()
    if controller.stop_reason:
        return "error", f"stopped: {controller.stop_reason}"
    if others:
        return "error", second_publisher(others)
    if not controller.enabled:
        return "warn", "disabled: " + "; ".join([*controller.not_ready(now_ns), *pipeline.disagreements(now_ns, side)] or ["call ~/enable"])
    if controller.handshake.steps:
        return "warn", "enabled, waiting until 'command' is acknowledged"
    state = f"enabled, mode {controller.settings.mode}"
    lost = unrecorded(controller.episode.skipped, controller.episode.recorded)
    return ("warn", f"{state}, but {lost}") if lost else ("ok", state)


def unrecorded(skipped: Mapping[str, int], recorded: int, least: int = LEAST_STEPS) -> str:
    """The sentence about critical steps that are not recorded, thus not learned from, if they are many, and ``least`` at least."""
    reasons = {why: count for why, count in skipped.items() if why in WHY_UNRECORDED}
    lost = sum(reasons.values())
    if lost < least or lost < MOST_UNRECORDED * (lost + recorded):
        return ""
    most = max(reasons, key=lambda name: reasons[name])
    return f"{lost} of {lost + recorded} critical steps were not recorded, mostly for {WHY_UNRECORDED[most]}"


def figures(pipeline: Pipeline) -> dict[str, Any]:
    """Weights, residual, episode and counts."""
    controller, gate, rollout = pipeline.controller, pipeline.gate, pipeline.controller.rollout
    residual = np.abs(controller.policy.residual)
    return {
        "weights_version": controller.actor.version,
        "weights_accepted": gate.accepted,
        "weights_refused": gate.refused,
        "weights_change": gate.change,
        "residual_mean": float(residual.mean()),  # share of the bound; in shadow mode too
        "residual_max": float(residual.max()),
        "last_refusal": gate.last_refusal,
        "weights_share": rollout.share,  # the rest is that of the version before
        "weights_held_s": rollout.held / controller.settings.control_rate,
        "weights_reverts": rollout.reverts,
        "last_revert": rollout.last_revert,
        "episode": controller.episode.number,
        "recorded": controller.episode.recorded,
        **{f"not_recorded_{why}": count for why, count in controller.episode.skipped.items()},
        "critical": int(controller.episode.active),
        **({} if controller.phase is None else {"phase_probability": controller.phase.probability}),
        **controller.counts,
        **{f"{topic}_not_believed": leaps for topic, leaps in pipeline.plausibility.leaps.items()},
        "out_of_order": controller.state.out_of_order,
    }
