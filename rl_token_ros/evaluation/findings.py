"""What a person should look at first: figures of a run that say that something is not as it should be, a sentence each."""

from __future__ import annotations

import numpy as np

from rl_token_ros.evaluation.pace import outrun
from rl_token_ros.evaluation.run_data import Run, Series

SHARE = 0.05  # of the control steps in which nothing was done, that is worth a word
MISSED = 0.01  # of the ticks, or of a VLA's queries
LATE_SHARE = 0.4  # of the learner's figures, at their end
ABOVE = 0.3  # of Q over the return that followed, where a success is worth 1


def findings(run: Run) -> list[str]:
    """Sentences, the gravest first; empty where nothing stands out."""
    return _arm(run) + _weights(run) + _learner(run.nodes["learner_node"]) + _vla(run.nodes["vla_node"])


def _arm(run: Run) -> list[str]:
    control, found = run.nodes["control_node"], []
    ticks = control.number("ticks")
    stopped, held, missed = (control.number(name) for name in ("ticks_stopped", "ticks_holding", "missed_ticks"))
    if stopped > SHARE * ticks:
        found.append(f"The arm was stopped in {100 * stopped / ticks:.0f} % of the control steps; the warnings below say why.")
    if held > SHARE * ticks:
        found.append(
            f"In {100 * held / ticks:.0f} % of the control steps the arm was held because no chunk was fresh: the VLA answers too late or not at all."
        )
    if missed > MISSED * ticks:
        found.append(f"{100 * missed / ticks:.1f} % of the ticks were missed: the machine has too much to do, or control_node no real-time priority.")
    return found


def _weights(run: Run) -> list[str]:
    control, found = run.nodes["control_node"], []
    refused, reverts = control.number("weights_refused"), control.number("weights_reverts")
    if refused:
        found.append(f"control_node refused weights {refused:.0f} times, at last because: {control.last.get('last_refusal') or 'not said'}.")
    elif run.versions and control.times and not control.number("weights_version"):
        found.append("Weights were sent, and none acted; is 'actor/weights' connected, and has control_node the same parameter file as the learner?")
    if reverts:
        found.append(f"control_node returned to older weights {reverts:.0f} times, at last: {control.last.get('last_revert') or 'not said'}.")
    return found


def _learner(learner: Series) -> list[str]:
    found = []
    if learner.last.get("phase") in ("training", "practice") and "updates" in learner.last and not learner.number("updates"):
        found.append("The learner has made no update although it practises.")
    for name, text in (
        ("rows_lost", "{:.0f} rows of 'replay' did not reach the learner."),
        ("rows_refused", "The learner refused {:.0f} rows of 'replay'; its log says why."),
        ("restarts", "The learner's process was started again {:.0f} times."),
        ("disk_errors", "{:.0f} times the learner could not write to its disk."),
    ):
        if value := learner.number(name):
            found.append(text.format(value))
    if behind := outrun(learner.last):
        found.append(behind[0].upper() + behind[1:] + ".")
    above = learner.of("q_minus_return")
    above = above[int(len(above) * (1.0 - LATE_SHARE)) :]
    if np.isfinite(above).any() and (height := float(np.nanmean(above))) > ABOVE:
        found.append(f"Q is {height:.2g} above the returns that followed: the critic overestimates, and the actor follows it.")
    return found


def _vla(vla: Series) -> list[str]:
    failures, queries = vla.number("failures"), vla.number("queries")
    return [f"{failures:.0f} of {queries:.0f} queries of the VLA failed."] if failures > MISSED * queries else []
