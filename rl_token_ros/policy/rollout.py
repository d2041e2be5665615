"""Which actor weights act, and how much of the residual is theirs: ramps, rollbacks, and returning by itself to the last good ones.

A new version takes over from the one before it over `rollout_ramp` seconds of acting: its share of the residual grows from 0 to 1, while
newer versions wait, the newest of them only. Time is counted in control steps, so that the same inputs give the same commands.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from rl_token_ros.interfaces.codes import Clipped, Ended
from rl_token_ros.policy.actor import ResidualActor
from rl_token_ros.policy.actor_weights import ActorWeights, WeightsError
from rl_token_ros.settings.control import Control

PAST = 10  # versions that have acted, for rollbacks
# What the filter changes because the arm cannot do it. That the command may not lead the arm further, or changes too fast, is no such
# sign: in contact the one is every second command, and the other happens wherever a chunk meets the next.
IMPOSSIBLE, NOT_FINITE = int(Clipped.POSITION | Clipped.VELOCITY), int(Clipped.NOT_FINITE)
WINDOW, REFERENCE, LEAST_REFERENCE = 20, 50, 10  # episodes: the newest, those before, and how few of those say something
SPACING = 5  # episodes between two versions that are kept for a return: weights take megabytes
IMPROBABLE = 1e-6  # of a jump that is none; it is looked for after every episode, and chance gets there once in 10^5 of them


class Jump:
    """Says when the rate of bad episodes has jumped, and which weights acted before it did.

    The newest n episodes, for every n up to WINDOW, are held against those before: as many bad ones as these or more, by chance and at
    the rate of before, must be IMPROBABLE. That half of all episodes are bad, or a slow change, is no jump. Whole episodes, because
    what happens within one is not independent.
    """

    def __init__(self) -> None:
        self._events: deque[tuple[bool, ActorWeights | None]] = deque(maxlen=WINDOW + REFERENCE)
        self._kept: ActorWeights | None = None  # of a good episode, at most SPACING old
        self._age = SPACING

    def add(self, bad: bool, weights: ActorWeights | None) -> tuple[str, ActorWeights | None] | None:
        """One episode under these weights; if it is a jump, what jumped, and the weights of a good episode shortly before."""
        self._age += 1
        if not bad and self._age >= SPACING:
            self._kept, self._age = weights, 0
        self._events.append((bad, self._kept))
        if not bad:
            return None
        events = list(self._events)
        for newest in range(2, min(WINDOW, len(events) - LEAST_REFERENCE) + 1):
            before, now = events[:-newest], events[-newest:]
            count = sum(bad for bad, _ in now)
            rate = (sum(bad for bad, _ in before) + 1) / (len(before) + 2)  # Laplace: never certain
            if count > rate * newest and _at_least(count, newest, rate) < IMPROBABLE:
                good = next((weights for bad, weights in reversed(before) if not bad), None)
                return f"{count} of the last {newest}, {sum(bad for bad, _ in before)} of the {len(before)} before", good
        return None

    def forget(self) -> None:
        """What follows is not to be held against what was before."""
        self._events.clear()


def _at_least(count: int, of: int, rate: float) -> float:
    """Probability of ``count`` or more of ``of`` independent events that each have probability ``rate``."""
    return sum(math.comb(of, k) * rate**k * (1.0 - rate) ** (of - k) for k in range(count, of + 1))


class Rollout:
    """Swaps an actor's weights between two control steps.

    Args:
        actor: the actor whose weights it sets.
        settings: parameters of `control_node`.
    """

    def __init__(self, actor: ResidualActor, settings: Control) -> None:
        self.actor = actor
        self.reverts = 0
        self.last_revert = ""
        self._ramp = round(settings.rollout_ramp * settings.control_rate)
        self._hold = round(settings.rollback_seconds * settings.control_rate)
        self._automatic = settings.auto_revert
        self._steps = self._ramp  # of acting since the current weights began to take over
        self._left: ActorWeights | None = None  # what they take over from; None: the base
        self._waiting: ActorWeights | None = None
        self.newest: ActorWeights | None = None  # that was offered
        self.held = 0  # ticks for which newer weights still wait after a rollback
        self._past: deque[ActorWeights] = deque(maxlen=PAST)
        self._failures, self._interventions = Jump(), Jump()
        self._acted = self._impossible = 0  # control steps of this episode, and those that asked for what the arm cannot do
        self._return_to: tuple[str, ActorWeights | None] | None = None

    # --- which weights ------------------------------------------------------------------------------------------------

    @property
    def share(self) -> float:
        """Of the current weights in the residual, 0 to 1; the rest is that of the weights before, or of none."""
        return 1.0 if self._steps >= self._ramp else self._steps / self._ramp

    def offer(self, ready: ActorWeights) -> None:
        """Admitted weights; they begin to take over in one of the next ticks."""
        self._waiting = self.newest = ready

    def take(self, acting: bool) -> None:
        """A control step begins: the moment for other weights. ``acting``: an episode runs, and a ramp under way is to end first."""
        if self._return_to is not None:
            reason, good = self._return_to
            self._return_to = None
            if good is self.actor.weights:  # these were good before: something else has changed
                return
            self.reverts += 1
            self.last_revert = f"weights version {self.actor.version} left for {good.version if good else 'none'}: {reason}"
            self._go_back(good)
        elif self.held:
            self.held -= 1
        elif self._waiting is not None and (self.share >= 1.0 or not acting):
            self._take_over(self._waiting)
            self._waiting = None

    def _take_over(self, ready: ActorWeights) -> None:
        current = self.actor.weights
        if self._steps > 0 and current is not None:  # else it never acted, and nothing is to be returned to
            self._past.append(current)
        if self.share >= 0.5:
            self._left = current
        self.actor.weights, self._steps = ready, 0

    @property
    def weights(self) -> tuple[ActorWeights | None, ActorWeights | None, ActorWeights | None]:
        """Those that act, those that are taken over from, and those that wait."""
        return self.actor.weights, self._left, self._waiting

    @property
    def left_version(self) -> int:
        """Version that is taken over from; 0: none."""
        return self._left.version if self._left and self.share < 1.0 else 0

    @property
    def waiting_version(self) -> int:
        """Version that takes over next; 0: none."""
        return self._waiting.version if self._waiting else 0

    def resume(self, weights: ActorWeights | None, share: float, left: ActorWeights | None, waiting: ActorWeights | None, held: int) -> None:
        """Be as when ``weights`` had this share, and ``left`` the rest; to what could be returned then is not known."""
        self.actor.weights, self._left, self._waiting, self.held, self._return_to = weights, left, waiting, held, None
        self._steps = round(share * self._ramp)

    def begin(self) -> None:
        """The residual acts from now on: the current weights take over from the base."""
        self._left, self._steps = None, 0

    def rollback(self) -> str:
        """Return at once to weights that acted before; newer ones wait for `rollback_seconds`. Says what happened.

        Raises:
            WeightsError: there are none.
        """
        if not self._past:
            raise WeightsError("there are no previous weights to return to")
        left = self.actor.version
        self._go_back(self._past.pop())
        return f"weights version {left} left, version {self.actor.version} is running"

    def _go_back(self, weights: ActorWeights | None) -> None:
        self.actor.weights, self._steps, self._left, self.held = weights, self._ramp, None, self._hold
        self._failures.forget()
        self._interventions.forget()
        self._acted = self._impossible = 0

    # --- their residual -----------------------------------------------------------------------------------------------

    def run(self, observation: np.ndarray) -> np.ndarray:
        """Residuals float32 [C, A] in [-1, 1] for an observation float32 [inputs]."""
        residual, share = self.actor.run(observation), self.share
        if share >= 1.0:
            return residual
        before = self.actor.run(observation, self._left) if self._left is not None else np.zeros_like(residual)
        mixed: np.ndarray = np.float32(share) * residual + np.float32(1.0 - share) * before
        return mixed

    # --- how it goes --------------------------------------------------------------------------------------------------

    def acted(self, clipped: int) -> None:
        """A control step of theirs was executed; ``clipped``: why the filter changed it, bits of :class:`Clipped`."""
        self._steps += 1
        self._acted += 1
        self._impossible += bool(clipped & IMPOSSIBLE)
        if clipped & NOT_FINITE:
            self._note("its residuals are not finite", self._past[-1] if self._past else None)

    def episode_ended(self, code: int) -> None:
        """An episode ended with a code of :class:`Ended`."""
        if self._acted and code != Ended.ABORTED:
            current = self.actor.weights
            for what, jumps, bad in (
                ("episodes failed", self._failures, code != Ended.SUCCESS),
                ("episodes had most commands changed by the filter", self._interventions, 2 * self._impossible > self._acted),
            ):
                if (found := jumps.add(bad, current)) is not None:
                    self._note(f"{what}: {found[0]}", found[1])
        self._acted = self._impossible = 0

    def _note(self, reason: str, good: ActorWeights | None) -> None:
        if self._automatic:
            self._return_to = reason, good
