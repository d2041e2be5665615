"""Lets actor weights in, or refuses them with the reason; remembers the previous good ones for a rollback."""

from __future__ import annotations

import numpy as np

from rl_token_ros import weights as wire
from rl_token_ros.actor import ResidualActor
from rl_token_ros.weights import ActorWeights, Identity, WeightsError


class WeightsGate:
    """Checks weights off the tick; the control loop takes the result between two ticks.

    Args:
        actor: the actor they are for.
        identity: what they must have been trained for.
    """

    def __init__(self, actor: ResidualActor, identity: Identity) -> None:
        self.accepted = self.refused = 0
        self.last_refusal = ""
        self.change = 0.0
        self._actor = actor
        self._identity = identity
        self._newest = 0
        self._previous: ActorWeights | None = None

    def admit(self, blob: bytes, observation: np.ndarray) -> ActorWeights | None:
        """Weights ready to run, or None when this version is already known (weights are repeated for late joiners).

        Args:
            blob: an `actor/weights` message.
            observation: a stored observation float32 [inputs] to try them on.

        Raises:
            WeightsError: not let in; the message says why. The current weights stay.
        """
        try:
            weights = wire.decode(blob)
            if weights.version == self._newest:
                return None
            wire.refuse_mismatch(weights, self._actor.architecture, self._identity)
            if weights.version < self._newest:
                raise WeightsError(f"weights version {weights.version} are older than version {self._newest}, seen before")
            ready = self._actor.prepare(weights, observation)
        except WeightsError as error:
            self.refused += 1
            self.last_refusal = str(error)
            raise
        if self._actor.weights is not None:
            self.change = float(np.abs(self._actor.run(observation, ready) - self._actor.run(observation)).max())
        self._newest = ready.version
        self.accepted += 1
        return ready

    def install(self, ready: ActorWeights) -> None:
        """Make admitted weights the current ones; called between two ticks."""
        self._previous, self._actor.weights = self._actor.weights, ready

    def rollback(self) -> str:
        """Return to the previous good weights; says what happened.

        Raises:
            WeightsError: there are none.
        """
        if self._previous is None:
            raise WeightsError("there are no previous weights to return to")
        left = self._actor.version
        self._actor.weights, self._previous = self._previous, None
        return f"weights version {left} left, version {self._actor.version} is running"
