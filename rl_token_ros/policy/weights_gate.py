"""Lets actor weights in, or refuses them with the reason."""

from __future__ import annotations

import numpy as np

from rl_token_ros.policy import actor_weights
from rl_token_ros.policy.actor import ResidualActor
from rl_token_ros.policy.actor_weights import ActorWeights, Identity, WeightsError


class WeightsGate:
    """Checks weights off the tick; :class:`rollout.Rollout` takes the result between two ticks.

    Versions count up within a run of a learner. Weights of another run are let in as those of a learner that began anew; the run
    they replace is over, so that two learners cannot take turns.

    Args:
        actor: the actor they are for.
        identity: what they must have been trained for.
        change_limit: largest mean change of the residuals on the stored observation, in shares of their bound; 2 is any.
    """

    def __init__(self, actor: ResidualActor, identity: Identity, change_limit: float = 2.0) -> None:
        self.accepted = self.refused = 0
        self.last_refusal = ""
        self.change = 0.0  # that the newest weights made
        self._actor = actor
        self._identity = identity
        self._change_limit = change_limit
        self._newest: tuple[str, int] | None = None  # run and version
        self._runs_left: set[str] = set()

    @property
    def large_change(self) -> bool:
        """Whether the newest weights changed the residuals by half of what is allowed, or more."""
        return self.change >= 0.5 * self._change_limit

    def admit(self, blob: bytes, observation: np.ndarray) -> ActorWeights | None:
        """Weights ready to run, or None when this version is already known (weights are repeated for late joiners).

        Args:
            blob: an `actor/weights` message.
            observation: a stored observation float32 [inputs] to try them on.

        Raises:
            WeightsError: not let in; the message says why. The current weights stay.
        """
        try:
            weights = actor_weights.decode(blob)
            if (weights.run, weights.version) == self._newest:
                return None
            actor_weights.refuse_mismatch(weights, self._actor.architecture, self._identity)
            self._refuse_old(weights)
            ready = self._actor.prepare(weights, observation)
            change = self._compare(ready, observation)
        except WeightsError as error:
            self.refused += 1
            self.last_refusal = str(error)
            raise
        if self._newest is not None and self._newest[0] != ready.run:
            self._runs_left.add(self._newest[0])
        self._newest = ready.run, ready.version
        self.change = change
        self.accepted += 1
        return ready

    def _refuse_old(self, weights: ActorWeights) -> None:
        run, version = self._newest or ("", 0)
        if weights.run in self._runs_left:
            raise WeightsError(
                f"weights version {weights.version} are of the learner's run '{weights.run}', which was left for run '{run}'; "
                "stop one of the two learners, and restart control_node to return to the old run"
            )
        if weights.run == run and weights.version < version:
            raise WeightsError(f"weights version {weights.version} are older than version {version}, seen before")

    def _compare(self, ready: ActorWeights, observation: np.ndarray) -> float:
        """Mean change of the residuals from the current actor's, or from the base where there is none yet."""
        current = self._actor.run(observation) if self._actor.weights is not None else 0.0
        change = float(np.abs(self._actor.run(observation, ready) - current).mean())
        if change > self._change_limit:
            raise WeightsError(
                f"weights version {ready.version} change the residuals by {change:.2f} of residual_scale on the stored observation; "
                f"weights_change_limit is {self._change_limit:g}"
            )
        return change
