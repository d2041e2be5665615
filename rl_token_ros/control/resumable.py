"""A pipeline that takes over the state in a row of `~/ticks`: a run of a bag begins in the middle, or goes on after what the bag lacks."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from rl_token_ros.control.pipeline import Pipeline
from rl_token_ros.control.tick_record import NAMED, Layout, Row
from rl_token_ros.interfaces import measurements
from rl_token_ros.policy import actor_weights
from rl_token_ros.policy.actor_weights import ActorWeights
from rl_token_ros.settings.control import Control

STOPPED = "as in the bag"  # rows do not tell why


class ResumablePipeline(Pipeline):
    """Beside what control_node drives, what the run of a bag needs.

    Args:
        settings: parameters of `control_node`.
        refuse: told about each input that cannot be used.
        layout: of the bag's rows; None: it has none. Where they know no phase, its beginning is a call of its own in the bag, and no model is asked.

    Raises:
        ParameterError: a model file does not fit.
    """

    def __init__(self, settings: Control, refuse: Callable[[Exception], None], layout: Layout | None = None) -> None:
        if layout is None or not layout.sizes.phase:
            settings = dataclasses.replace(settings, phase_model="")
        super().__init__(settings, refuse)
        if layout is not None:
            self.layout = layout

    def measure(self, topic: str, message: Any, now_ns: int) -> None:
        """A measurement that was believed live: rows name no others."""
        measurements.take(self.controller.state, topic, message, now_ns)

    def resume(self, row: Row, weights: Callable[[int], ActorWeights | None]) -> None:
        """Be as after the call that ``row`` was logged for. An input newer than the row's is forgotten.

        Args:
            row: of the bag.
            weights: gives those of a version, None for version 0.
        """
        controller, state = self.controller, row.state
        self.layout.give_back(controller, state)
        controller.stop_reason = STOPPED if state.stopped else ""
        controller.holding.resume(np.array(state.hold))
        if row.commands:
            controller.filter.command, controller.filter.velocity = row.command, row.velocity
        controller.policy.resume(state.begun_ns, state.drawn, state.executed, state.plan_version, np.array(state.plan))
        left, acting, waiting = (weights(version) for version in (state.weights_left, state.weights_version, state.weights_waiting))
        controller.rollout.resume(acting, state.share, left, waiting, state.weights_held)
        for topic, stamp in self._held.items():
            if stamp > row.inputs.get(topic, 0) or (topic == "joint_states" and any(map(operator.gt, controller.state.joint_stamps, row.joint_ns))):
                (controller.state if topic in measurements.TYPES else controller.proposals).forget(topic)
        self.offered = row.weights_offered
        self._ready.clear()

    def follow(self, command: np.ndarray, velocity: np.ndarray, row: Row | None = None) -> None:
        """Go on from the command that was really sent, float64 [A] each, NaN: from one's own; enabled, stopped and waiting as after ``row``."""
        controller = self.controller
        if np.isfinite(command).all():
            controller.filter.command, controller.filter.velocity = command.copy(), velocity.copy()
        if row is not None:
            controller.enabled, controller.stop_reason = row.state.enabled, STOPPED if row.state.stopped else ""
            controller.handshake.steps = row.state.awaiting

    @property
    def sent(self) -> tuple[np.ndarray, np.ndarray]:
        """Position and velocity [A] of the last command."""
        return self.controller.filter.command, self.controller.filter.velocity

    def forget_row(self) -> None:
        """The last step is not known for certain: its row of `replay` is not given out."""
        self.controller.episode.forget()

    def lacks(self, row: Row) -> dict[str, int]:
        """Stamp in ns of each input that a row used and that is not held; of joints see :meth:`lacks_joints` where its rows name them."""
        held = self._held
        return {topic: stamp for topic, stamp in row.inputs.items() if held[topic] != stamp and not (row.joint_ns and topic == "joint_states")}

    @property
    def _held(self) -> dict[str, int]:
        """Stamp in ns of each of tick_record.NAMED; 0 for what is not held."""
        return dict(zip(NAMED, (*self.controller.input_stamps, self.controller.state.stamps.get("extra", 0))))

    def lacks_joints(self, row: Row) -> dict[int, set[str]]:
        """Stamps in ns, the oldest first, of the measurements that a row used and that are not held, with the joints that each brought."""
        mine = self.controller.state.joint_stamps
        return row.joints([name if stamp != held else "" for name, stamp, held in zip(self.controller.settings.joint_names, row.joint_ns, mine)])

    def measure_joints(self, message: Any, now_ns: int, names: set[str]) -> None:
        """Believe what a `joint_states` says of some joints."""
        state = self.controller.state
        reading = measurements.read(state.reader, "joint_states", message, now_ns)
        if reading is not None and (part := reading.only([state.joint_names.index(name) for name in names])) is not None:
            state.accept(part)

    def intervened_long_ago(self, stamp_ns: int) -> None:
        """A human acted then, which does not matter any more; what he did is not known."""
        self.controller.proposals.set_human(stamp_ns, np.zeros(self.controller.settings.action_size))

    # --- weights ------------------------------------------------------------------------------------------------------

    @property
    def versions(self) -> set[int]:
        """Versions of the weights that act, that are taken over from, and that wait."""
        rollout = self.controller.rollout
        return {self.controller.actor.version, rollout.left_version, rollout.waiting_version}

    def holds(self, version: int) -> ActorWeights | None:
        """The weights of this version, if they are among those."""
        return next((held for held in self.controller.rollout.weights if held is not None and held.version == version), None)

    def prepare(self, blob: bytes) -> ActorWeights:
        """Weights ready to run, without the gate: they ran in the bag.

        Raises:
            WeightsError: they cannot be read, or do not run.
        """
        return self.controller.actor.prepare(actor_weights.decode(blob), self.controller.policy.observation)

    def act_with(self, blob: bytes) -> None:
        """These weights, and no others, act from now on.

        Raises:
            WeightsError: they were made for another robot, encoder or VLA.
        """
        ready = self.gate.admit(blob, self.controller.policy.observation)
        self.controller.rollout.resume(ready, share=1.0, left=None, waiting=None, held=0)
