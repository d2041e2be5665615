"""The critical phase entered by itself: a logistic regression on token and proprioception, learned from the operator's own switches.

It only begins the phase. It ends as always: by an outcome, the time limit, or the operator, who always wins: what he ends is not begun
again before the arm has left the region in which it would be.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from rl_token_ros.robot.proprioception import RobotState
from rl_token_ros.settings.control import Control
from rl_token_ros.settings.files import resolve_path
from rl_token_ros.settings.parameters import ParameterError

FORMAT_VERSION = 1
CONFIRM = 3  # tokens in a row beyond a threshold: one alone may be a blink of the light
ITERATIONS = 50  # of Newton's method, which needs ten


def groups(settings: Control) -> list[str]:
    """The proprioception that is looked at: what is measured, and not what was commanded."""
    return [group for group in settings.proprioception if group != "command_lead"]


def features(token: np.ndarray, state: RobotState, settings: Control) -> np.ndarray:
    """float64 [F]: token, then proprioception."""
    return np.concatenate([token, state.vector(groups(settings))]).astype(np.float64)


@dataclass(frozen=True)
class PhaseModel:
    """Probability of the critical phase: 1 / (1 + exp(-(weights @ features + bias))).

    Attributes:
        weights: float64 [F].
        bias: number.
        enter: probability above which the phase begins; below half of it the arm counts as outside.
        encoder_sha256: fingerprint of the token encoder that it was learned with.
        proprioception: groups among its features.
    """

    weights: np.ndarray
    bias: float
    enter: float
    encoder_sha256: str
    proprioception: list[str]

    def probability(self, values: np.ndarray) -> np.ndarray:
        """Of features [F] or [N, F]."""
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values @ self.weights + self.bias, -50.0, 50.0))))


def fit(values: np.ndarray, labels: np.ndarray, ridge: float = 1.0) -> tuple[np.ndarray, float]:
    """Weights [F] and bias of a logistic regression of labels bool [N] on features [N, F].

    Features are standardised, both classes count alike, and ``ridge`` holds the weights of standardised features small; solved by
    Newton's method.
    """
    mean, spread = values.mean(0), np.maximum(values.std(0), 1e-9)
    x = np.concatenate([(values - mean) / spread, np.ones((len(values), 1))], 1)
    share = np.where(labels, 0.5 / max(labels.mean(), 1e-9), 0.5 / max(1.0 - labels.mean(), 1e-9))
    penalty = np.full(x.shape[1], ridge)
    penalty[-1] = 1e-6
    w = np.zeros(x.shape[1])
    for _ in range(ITERATIONS):
        p = 1.0 / (1.0 + np.exp(-np.clip(x @ w, -50.0, 50.0)))
        gradient = x.T @ (share * (p - labels)) + penalty * w
        hessian = (x * (share * p * (1.0 - p))[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient)
        w -= step
        if np.abs(step).max() < 1e-8:
            break
    weights = w[:-1] / spread
    return weights, float(w[-1] - weights @ mean)


class PhaseSwitch:
    """Turns probabilities into a switch, with hysteresis.

    It begins the phase once CONFIRM probabilities in a row are above ``enter``, and is ready for that only after CONFIRM in a row below half
    of it. After a phase, whoever ended it, it must become ready anew; so it must when the operator says that there is none.
    """

    def __init__(self, enter: float) -> None:
        self._enter = enter
        self.ready = False
        self.count = 0

    def refuse(self) -> None:
        """The operator says that this is not the critical phase."""
        self.ready, self.count = False, 0

    def see(self, probability: float, critical: bool) -> bool:
        """A new probability, while the phase runs or not; True: begin it."""
        if critical:
            self.refuse()
            return False
        beyond = probability > self._enter if self.ready else probability < 0.5 * self._enter
        self.count = self.count + 1 if beyond else 0
        if self.count < CONFIRM:
            return False
        self.ready, self.count = not self.ready, 0
        return not self.ready


class PhaseWatch:
    """Model and switch beside a running controller.

    Args:
        settings: parameters of `control_node`; `phase_model` is not empty.
        encoder_sha256: fingerprint of its token encoder.

    Raises:
        ParameterError: see :func:`load`.
    """

    def __init__(self, settings: Control, encoder_sha256: str) -> None:
        self.model = load(settings, encoder_sha256)
        self.switch = PhaseSwitch(self.model.enter)
        self.probability = 0.0
        self._settings = settings
        self.seen_ns = 0

    def look(self, token: tuple[int, np.ndarray] | None, state: RobotState, moving: bool, critical: bool) -> bool:
        """Whether the phase begins now.

        Args:
            token: the newest one with its stamp; each is looked at once.
            state: measurements.
            moving: whether the arm may move; where it may not there is no phase.
            critical: whether the phase runs.
        """
        if token is None or token[0] == self.seen_ns or state.missing(groups(self._settings)):
            return False
        self.seen_ns = token[0]
        self.probability = float(self.model.probability(features(token[1], state, self._settings)))
        if not moving:
            self.switch.refuse()
            return False
        return self.switch.see(self.probability, critical)


def save(model: PhaseModel, path: Path) -> None:
    """Write a safetensors file."""
    metadata = {
        "format_version": str(FORMAT_VERSION),
        "enter": repr(model.enter),
        "encoder_sha256": model.encoder_sha256,
        "proprioception": json.dumps(model.proprioception),
    }
    tensors = {"weights": np.ascontiguousarray(model.weights, np.float64), "bias": np.array([model.bias], np.float64)}
    safetensors.numpy.save_file(tensors, path, metadata)


def load(settings: Control, encoder_sha256: str) -> PhaseModel:
    """The file that `phase_model` names.

    Raises:
        ParameterError: it cannot be read, or was made with another token encoder or proprioception.
    """
    path = resolve_path(settings.phase_model)
    if not path.is_file():
        raise ParameterError(f"parameter 'phase_model' names '{path}', which does not exist; make one with train_phase, or write nothing")
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            weights, bias = file.get_tensor("weights"), file.get_tensor("bias")
        if metadata["format_version"] != str(FORMAT_VERSION):
            raise ValueError(f"format version {metadata['format_version']}, this node reads {FORMAT_VERSION}")
        model = PhaseModel(weights, float(bias[0]), float(metadata["enter"]), metadata["encoder_sha256"], json.loads(metadata["proprioception"]))
    except (SafetensorError, KeyError, ValueError, IndexError, TypeError) as error:
        raise ParameterError(f"parameter 'phase_model': '{path}' cannot be read: {error}") from None
    if model.encoder_sha256 != encoder_sha256:
        raise ParameterError(
            f"parameter 'phase_model': '{path}' was made with the token encoder {model.encoder_sha256[:12] or 'none'}..., this robot has "
            f"{encoder_sha256[:12] or 'none'}...; make it anew with train_phase"
        )
    if model.proprioception != groups(settings):
        raise ParameterError(
            f"parameter 'phase_model': '{path}' was made with the proprioception [{', '.join(model.proprioception)}], this robot has "
            f"[{', '.join(groups(settings))}]; make it anew with train_phase"
        )
    if model.weights.ndim != 1 or not np.isfinite(model.weights).all() or not np.isfinite(model.bias) or not 0.0 < model.enter < 1.0:
        raise ParameterError(f"parameter 'phase_model': '{path}' holds numbers that cannot be used; make it anew with train_phase")
    return model
