"""How a pipeline is, for `/diagnostics`: one sentence with its level, and figures."""

from __future__ import annotations

from typing import Any

import numpy as np

from rl_token_ros.control.arming import second_publisher
from rl_token_ros.control.command_side import CommandSide
from rl_token_ros.control.pipeline import Pipeline


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
    return "ok", f"enabled, mode {controller.settings.mode}"


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
        "critical": int(controller.episode.active),
        **({} if controller.phase is None else {"phase_probability": controller.phase.probability}),
        **controller.counts,
        **{f"{topic}_not_believed": leaps for topic, leaps in pipeline.plausibility.leaps.items()},
        "out_of_order": controller.state.out_of_order,
    }
