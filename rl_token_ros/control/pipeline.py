"""Messages and calls in, commands and rows out: everything control_node does, without ROS.

The node, a replayed bag and the simulation that runs faster than real time drive this same object. Messages are anything with the fields of the ROS type. Inputs are
taken in whenever they come; what is called (a tick, an enable, an outcome) is logged as a row of `~/ticks` with the stamps of the inputs
it used, from which :meth:`Pipeline.call` makes the same call again.
"""

from __future__ import annotations

import dataclasses
import json
from collections import deque
from typing import Any, Callable, Sequence

import numpy as np

from rl_token_ros.control import chunk, tick_record
from rl_token_ros.control.controller import Command, Controller
from rl_token_ros.control.tick_record import Event, Row
from rl_token_ros.interfaces import images
from rl_token_ros.interfaces.codes import Ended, Source
from rl_token_ros.interfaces.stamps import stamp_to_ns
from rl_token_ros.policy.actor import ResidualActor
from rl_token_ros.policy.actor_weights import ActorWeights, Identity
from rl_token_ros.policy.residual_policy import ResidualPolicy
from rl_token_ros.policy.weights_gate import WeightsGate
from rl_token_ros.rl_token import encoder
from rl_token_ros.settings.control import Control
from rl_token_ros.settings.proprioception_groups import size

NO_TOKEN = np.zeros(0, np.float32)


class Pipeline:
    """Encoder, controller and the gate of new weights of one robot.

    All methods belong to one thread, except :meth:`encode` and :meth:`admit`: they take long and may run on another. What they finish is
    taken over at the beginning of the next call. Measurements go into ``controller.state`` (`state_messages.take`).

    Args:
        settings: parameters of `control_node`.
        refuse: told about each input that cannot be used, on the thread it came on.
        stand_in: encodes in place of the file that the parameters name; as :class:`encoder.TokenEncoder`.
        policy: class of what acts.

    Raises:
        ParameterError: a model file does not fit.
    """

    def __init__(self, settings: Control, refuse: Callable[[Exception], None], stand_in: Any = None, policy: type[ResidualPolicy] = ResidualPolicy) -> None:
        self.encoder = encoder.load(settings) if stand_in is None else stand_in
        proprio = size(settings.proprioception, len(settings.joint_names), settings.action_size)
        actor = ResidualActor(
            settings.token_size, proprio, settings.chunk_length, settings.action_size, settings.actor_layers
        )
        self.controller = Controller(settings, actor, policy)
        identity = Identity.of(settings, self.encoder.sha256, self.encoder.vla_sha256)
        self.gate = WeightsGate(actor, identity, settings.weights_change_limit)
        self.parameters = 0  # number of the current set, counted from the first
        self.offered = 0  # version of the newest weights let in
        self._refuse = refuse
        # Newest only; one thread appends, one other pops, each in one atomic operation.
        self._tokens: deque[tuple[int, np.ndarray]] = deque(maxlen=1)
        self._ready: deque[ActorWeights] = deque(maxlen=1)
        self._log: list[bytes] = []
        self._sequence = 0
        self.layout = tick_record.Layout(settings.action_size, settings.chunk_length)

    # --- inputs -------------------------------------------------------------------------------------------------------

    def propose(self, message: Any, now_ns: int) -> None:
        """A `vla/reference`."""
        settings = self.controller.settings
        try:
            newest = chunk.from_trajectory(message, settings.action_names, settings.chunk_dt)
            self.controller.proposals.set_chunk(newest, now_ns)
            if not settings.token_size:  # no embedding will come: the reference brings the empty token
                self.controller.proposals.set_token(newest.stamp_ns, NO_TOKEN, now_ns)
        except chunk.ChunkError as error:
            self._refuse(error)

    def encode(self, message: Any) -> bool:
        """A `vla/embedding`: its token is used from the next call on. False if it was refused. Any thread."""
        try:
            token = self.encoder.run(images.to_matrix(message, "vla/embedding"))
        except Exception as error:  # of any kind: on a thread of its own nobody would see it
            self._refuse(error)
            return False
        self._tokens.append((stamp_to_ns(message.header.stamp), token))
        return True

    def intervene(self, message: Any, now_ns: int) -> None:
        """An `intervention`; without a stamp it counts as of now."""
        names = self.controller.settings.action_names
        try:
            position = dict(zip(message.name, message.position))
            action = np.array([position[name] for name in names], np.float64)
            self.controller.proposals.set_human(stamp_to_ns(message.header.stamp) or now_ns, action)
        except KeyError as error:
            self._refuse(ValueError(f"'intervention' has no {error}; write all of {names}"))
        except ValueError as error:
            self._refuse(error)

    def admit(self, blob: bytes) -> None:
        """An `actor/weights`: used from the next call on. Any thread.

        Raises:
            WeightsError: not let in; the message says why.
        """
        ready = self.gate.admit(blob, self.controller.policy.observation.copy())
        if ready is not None:
            self._ready.append(ready)

    def change(self, settings: Control) -> None:
        """Changed live parameters."""
        self.parameters += 1
        self.controller.change(settings)

    def settings_text(self) -> str:
        """The current parameters as JSON, for `~/settings`: a bag with it needs no parameter file to be replayed."""
        return json.dumps(
            {
                "number": self.parameters,
                "encoder_sha256": self.encoder.sha256,
                "vla_sha256": self.encoder.vla_sha256,
                "parameters": dataclasses.asdict(self.controller.settings),
            }
        )

    def figures(self) -> dict[str, Any]:
        """Weights, residual, episode and counts, for `/diagnostics`."""
        controller, gate = self.controller, self.gate
        authority, residual = controller.authority, np.abs(controller.policy.residual)
        return {
            "weights_version": controller.actor.version,
            "weights_accepted": gate.accepted,
            "weights_refused": gate.refused,
            "weights_change": gate.change,
            "residual_mean": float(residual.mean()),  # share of the bound; in shadow mode too
            "residual_max": float(residual.max()),
            "last_refusal": gate.last_refusal,
            "weights_share": authority.share,  # the rest is that of the version before
            "weights_held_s": authority.held / controller.settings.control_rate,
            "weights_reverts": authority.reverts,
            "last_revert": authority.last_revert,
            "episode": controller.episode.number,
            "critical": int(controller.episode.active),
            **controller.counts,
        }

    # --- calls --------------------------------------------------------------------------------------------------------

    def tick(self, now_ns: int) -> Command | None:
        """One control step; None while the arm is disabled."""
        return self._logged(Event.TICK, now_ns, lambda: self.controller.tick(now_ns))

    def enable(self, now_ns: int, other_publishers: Sequence[str] = ()) -> None:
        """Let the arm move, unless other nodes, of these names, publish `command`.

        Raises:
            Refused: it may not; the message says why.
        """
        self._logged(Event.ENABLE, now_ns, lambda: self.controller.enable(now_ns, other_publishers))

    def await_reception(self, now_ns: int) -> None:
        """Enabled it moves no earlier than :meth:`received`; where commands arrive in any case, as in a simulation, neither is called."""
        self._logged(Event.AWAIT_HANDSHAKE, now_ns, self.controller.await_reception)

    def received(self, now_ns: int) -> None:
        """Commands arrive where they should."""
        self._logged(Event.RECEIVED, now_ns, self.controller.received)

    def disable(self, now_ns: int) -> None:
        """Stop commanding; the commands of the next ticks bring the arm to rest where it is measured now."""
        self._logged(Event.DISABLE, now_ns, self.controller.disable)

    def set_critical(self, critical: bool, now_ns: int) -> None:
        """The critical phase begins or ends."""
        event = Event.CRITICAL if critical else Event.NOT_CRITICAL
        self._logged(event, now_ns, lambda: self.controller.set_critical(critical, now_ns))

    def end_episode(self, code: int, now_ns: int) -> None:
        """The running episode ends: success, failure, or discarded (aborted)."""
        event = {Ended.SUCCESS: Event.SUCCESS, Ended.FAILURE: Event.FAILURE}.get(code, Event.DISCARD)
        self._logged(event, now_ns, lambda: self.controller.end_episode(code))

    def stop(self, now_ns: int, reason: str = "~/stop was called") -> None:
        """Latched: hold the measured position."""
        self._logged(Event.STOP, now_ns, lambda: self.controller.stop(reason))

    def reset_stop(self, now_ns: int) -> None:
        """Clear a latched stop; the arm is disabled then."""
        self._logged(Event.RESET_STOP, now_ns, self.controller.reset_stop)

    def rollback(self, now_ns: int) -> str:
        """Return to the previous good weights; says what happened.

        Raises:
            WeightsError: there are none.
        """
        return self._logged(Event.ROLLBACK, now_ns, self._rollback)

    def call(self, event: int, now_ns: int) -> Command | None:
        """The call that a row of `~/ticks` with this ``event`` was logged for."""
        made: Callable[[], Any] = {
            Event.TICK: lambda: self.tick(now_ns),
            Event.ENABLE: lambda: self.enable(now_ns),
            Event.DISABLE: lambda: self.disable(now_ns),
            Event.CRITICAL: lambda: self.set_critical(True, now_ns),
            Event.NOT_CRITICAL: lambda: self.set_critical(False, now_ns),
            Event.SUCCESS: lambda: self.end_episode(Ended.SUCCESS, now_ns),
            Event.FAILURE: lambda: self.end_episode(Ended.FAILURE, now_ns),
            Event.DISCARD: lambda: self.end_episode(Ended.ABORTED, now_ns),
            Event.STOP: lambda: self.stop(now_ns),
            Event.RESET_STOP: lambda: self.reset_stop(now_ns),
            Event.ROLLBACK: lambda: self.rollback(now_ns),
            Event.AWAIT_HANDSHAKE: lambda: self.await_reception(now_ns),
            Event.RECEIVED: lambda: self.received(now_ns),
        }[event]
        result = made()
        return result if isinstance(result, Command) else None

    def resume(self, row: Row, weights: Callable[[int], ActorWeights | None]) -> None:
        """Be as after the call that a row of `~/ticks` was logged for, for a replay that begins in the middle.

        Args:
            weights: gives those of a version, None for version 0.
        """
        state = row.state
        self.controller.resume(row, weights(state.weights_left), weights(state.weights_version), weights(state.weights_waiting))
        self.offered = row.weights_offered
        self._ready.clear()

    def take_log(self) -> list[bytes]:
        """Rows of `~/ticks` since the last time, see tick_record.Layout."""
        log, self._log = self._log, []
        return log

    def _rollback(self) -> str:
        told = self.controller.authority.rollback()
        self.controller.policy.reset()  # what is left of a chunk of the weights left behind is not executed
        return told

    def take_finished(self, now_ns: int) -> None:
        """Take over tokens and weights that were finished on another thread: between two calls, never within one."""
        if self._tokens:
            try:
                self.controller.proposals.set_token(*self._tokens.pop(), now_ns)
            except ValueError as error:
                self._refuse(error)
        if self._ready:
            ready = self._ready.pop()
            self.offered = ready.version
            self.controller.authority.offer(ready)

    def _logged(self, event: int, now_ns: int, action: Callable[[], Any]) -> Any:
        self.take_finished(now_ns)
        controller = self.controller
        stamps = controller.input_stamps
        result = action()
        command = result if isinstance(result, Command) else None
        ticked = event == Event.TICK
        row = self.layout.pack(
            self._sequence,
            event,
            now_ns,
            stamps,
            self.offered,
            self.parameters,
            controller.source if ticked else Source.NONE,
            controller.clipped if ticked else 0,
            self.layout.no_action if command is None else command.position.tolist(),
            self.layout.no_action if command is None else command.velocity.tolist(),
            controller.snapshot(),
        )
        self._sequence += 1
        self._log.append(row)
        return result
