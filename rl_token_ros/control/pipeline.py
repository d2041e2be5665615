"""Messages and calls in, commands and rows out: everything that control_node decides, without ROS.

The node, the run of a bag and the simulation that runs faster than real time drive this same object, and nothing behind it. Messages are
anything with the fields of the ROS type. Inputs are taken in whenever they come; what is called (:meth:`Pipeline.step`: a tick, an enable,
an outcome) is logged as a row of `~/ticks` with the stamps of the inputs it used, from which the same call can be made again.
"""

from __future__ import annotations

import dataclasses
import json
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from rl_token_ros.control import chunk
from rl_token_ros.control.arming import Refused, second_publisher
from rl_token_ros.control.command import Outputs
from rl_token_ros.control.command_side import ASSURED, UNNAMED, CommandSide
from rl_token_ros.control.controller import Controller
from rl_token_ros.control.gripper import Gripper
from rl_token_ros.control.tick_record import Event, Layout, Sizes
from rl_token_ros.interfaces import correction, measurements
from rl_token_ros.interfaces.codes import Ended, Source
from rl_token_ros.interfaces.stamps import stamp_to_ns
from rl_token_ros.policy.actor import ResidualActor
from rl_token_ros.policy.actor_weights import ActorWeights, Identity
from rl_token_ros.policy.residual_policy import ResidualPolicy
from rl_token_ros.policy.weights_gate import WeightsGate
from rl_token_ros.rl_token import encoder
from rl_token_ros.robot.plausibility import Plausibility
from rl_token_ros.settings.control import Control
from rl_token_ros.settings.proprioception_groups import size

NO_TOKEN = np.zeros(0, np.float32)
NOTHING = Outputs()  # of what is no control step
ENDINGS = {Event.SUCCESS: Ended.SUCCESS, Event.FAILURE: Ended.FAILURE, Event.DISCARD: Ended.ABORTED}


class Pipeline:
    """Encoder, controller, grippers, phase switch and the gate of new weights of one robot.

    All methods belong to one thread, except :meth:`encode` and :meth:`admit`: they take long and may run on another. What they finish is
    taken over at the beginning of the next call.

    Args:
        settings: parameters of `control_node`.
        refuse: told about each input that cannot be used, on the thread it came on.
        stand_in: encodes in place of the file that the parameters name; as :class:`encoder.TokenEncoder`.
        policy: class of what acts.
        simulated: time is: the arm is none of metal, and may leap where a scene begins anew.

    Attributes:
        controller: to look at; whoever drives the pipeline changes nothing in it.
        parameters: number of the current set, counted from the first.
        offered: version of the newest weights let in.
        enable_when_ready: whether a live arm is enabled as soon as it can be.

    Raises:
        ParameterError: a model file does not fit.
    """

    def __init__(
        self, settings: Control, refuse: Callable[[Exception], None], stand_in: Any = None, policy: type[ResidualPolicy] = ResidualPolicy,
        simulated: bool = False,
    ) -> None:  # fmt: skip
        self.encoder = encoder.load(settings) if stand_in is None else stand_in
        proprio = size(settings.proprioception, len(settings.joint_names), settings.action_size)
        actor = ResidualActor(settings.token_size, proprio, settings.chunk_length, settings.action_size, settings.actor_layers)
        self.controller = Controller(settings, actor, policy, self.encoder.sha256)
        self.gate = WeightsGate(actor, Identity.of(settings, self.encoder.sha256, self.encoder.vla_sha256), settings.weights_change_limit)
        self.parameters = 0
        self.offered = 0
        self.enable_when_ready = settings.enable_on_start
        self._refuse = refuse
        self.plausibility = Plausibility(settings, simulated)
        self._gripper = Gripper(settings, self.controller.proposals)
        # Newest only; one thread appends, one other pops, each in one atomic operation.
        self._tokens: deque[tuple[int, np.ndarray]] = deque(maxlen=1)
        self._no_token = ""  # why the newest `vla/embedding` gave none
        self._ready: deque[ActorWeights] = deque(maxlen=1)
        self._log: list[bytes] = []
        self._sequence = 0
        action = settings.action_size
        measured = measurements.topics(self.controller.needed)
        joints, extra = len(settings.joint_names) if "joint_states" in measured else 0, int("extra" in measured)
        sizes = Sizes(action, settings.chunk_length * action, len(settings.gripper_names), int(self.controller.phase is not None), joints, extra)
        self.layout = Layout(sizes)

    @property
    def _commanding(self) -> bool:
        """Whether the arm is told anything, be it to hold or to come to rest."""
        return self.controller.enabled or self.controller.holding.leaving > 0

    # --- inputs -------------------------------------------------------------------------------------------------------

    def measure(self, topic: str, message: Any, now_ns: int) -> None:
        """A measurement of one of `measurements.TYPES`.

        Raises:
            StampError, StateError: it cannot be used, or not be believed.
        """
        controller = self.controller
        state = controller.state
        if (reading := measurements.read(state.reader, topic, message, now_ns)) is not None:
            self.plausibility.judge(reading, state, now_ns, controller.moved_ns if self._commanding else None)
            state.accept(reading)

    def propose(self, message: Any, now_ns: int) -> None:
        """A `vla/reference`."""
        settings, proposals = self.controller.settings, self.controller.proposals
        try:
            newest = chunk.from_trajectory(message, settings.action_names, settings.chunk_dt, settings.gripper_names)
            proposals.set_chunk(newest, now_ns)
            if not settings.token_size:  # no embedding will come: the reference brings the empty token
                proposals.set_token(newest.stamp_ns, NO_TOKEN, now_ns)
            if settings.gripper_names and newest.grippers is None:
                raise chunk.ChunkError(
                    f"'vla/reference' has no finite positions of {', '.join(settings.gripper_names)}; they keep their grip. Write the same "
                    "'gripper_names' for vla_node and control_node"
                )
        except chunk.ChunkError as error:
            self._refuse(error)

    def encode(self, message: Any) -> bool:
        """A `vla/embedding`: its token is used from the next call on. False if it was refused. Any thread."""
        try:
            token = encoder.token_of(message, self.encoder, self.controller.settings.token_size)
        except Exception as error:  # of any kind: on a thread of its own nobody would see it
            self._no_token = str(error)
            self._refuse(error)
            return False
        self._no_token = ""
        self._tokens.append((stamp_to_ns(message.header.stamp), token))
        return True

    def intervene(self, message: Any, now_ns: int) -> None:
        """An `intervention`, instead of the VLA's action or added to it (`interfaces.correction`); without a stamp it counts as of now."""
        names = self.controller.settings.action_names
        try:
            position = dict(zip(message.name, message.position))
            action = np.array([position[name] for name in names], np.float64)
            stamp_ns, adds = stamp_to_ns(message.header.stamp) or now_ns, correction.corrects(message.header.frame_id)
            self.controller.proposals.set_human(stamp_ns, action, self._gripper.of_human(message), adds)
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

    def change(self, settings: Control, number: int | None = None) -> None:
        """Changed live parameters; they are the set with this number, or the next one."""
        self.parameters = self.parameters + 1 if number is None else number
        self.controller.change(settings)

    def settings_text(self) -> str:
        """The current parameters as JSON, for `~/settings`: a bag with it needs no parameter file to be run again."""
        return json.dumps(
            {
                "number": self.parameters,
                "encoder_sha256": self.encoder.sha256,
                "vla_sha256": self.encoder.vla_sha256,
                "parameters": dataclasses.asdict(self.controller.settings),
            }
        )

    # --- calls --------------------------------------------------------------------------------------------------------

    def step(self, event: Event, now_ns: int, side: CommandSide = ASSURED) -> Outputs:
        """One call.

        Args:
            event: what is called. Live, AWAIT_HANDSHAKE and HANDSHAKE come of ENABLE and TICK by themselves.
            now_ns: time.
            side: who takes `command`.

        Raises:
            Refused, WeightsError: what was asked for cannot be; the message says why. Nothing has changed.
        """
        controller = self.controller
        outputs = Outputs()
        if event == Event.TICK:
            self._tick(now_ns, side, outputs)
        elif event == Event.ENABLE:
            self._enable(now_ns, side)
        elif event == Event.DISABLE:
            self.enable_when_ready = False
            self._logged(event, now_ns, controller.disable)
        elif event == Event.CRITICAL:
            self._logged(event, now_ns, lambda: controller.set_critical(True, now_ns))
        elif event == Event.NOT_CRITICAL:
            self._logged(event, now_ns, lambda: controller.set_critical(False, now_ns))
        elif event in ENDINGS:
            self._logged(event, now_ns, lambda: controller.end_episode(ENDINGS[event]))
        elif event == Event.STOP:
            self._logged(event, now_ns, lambda: controller.stop("~/stop was called"))
        elif event == Event.RESET_STOP:
            self._logged(event, now_ns, controller.reset_stop)
        elif event == Event.ROLLBACK:
            outputs.said = self._logged(event, now_ns, self._rollback)
        elif event == Event.AWAIT_HANDSHAKE:
            self._logged(event, now_ns, controller.await_handshake)
        else:
            self._logged(Event.HANDSHAKE, now_ns, controller.shaken)
        return self._handed_out(outputs)

    def watch(self, now_ns: int, side: CommandSide) -> Outputs:
        """Two that command one arm, or an arm that no longer listens, and would jump when it did again: held until someone has looked."""
        controller, others = self.controller, side.others()
        reason = ""
        if controller.moving and others:
            reason = second_publisher(others)
        elif controller.moving and (doubled := side.doubled()):
            reason = doubled[0]
        elif controller.moving and not side.taken:
            reason = "nobody takes 'command' any more; start the arm's controller"
        elif others and UNNAMED in controller.stop_reason:
            controller.stop_reason = second_publisher(others)  # now that its name is known
        if reason:
            self._logged(Event.STOP, now_ns, lambda: controller.stop(reason))
        return self._handed_out(Outputs())

    def _tick(self, now_ns: int, side: CommandSide, outputs: Outputs) -> None:
        controller = self.controller
        if (leaps := self.plausibility.persisting(self._commanding)) and controller.moving:
            self._logged(Event.STOP, now_ns, lambda: controller.stop(leaps))
        if side.live and self.enable_when_ready:
            try:
                self._enable(now_ns, side)
                self.enable_when_ready = False
            except Refused as error:
                outputs.said = f"waiting to enable: {error}"
        if side.live and controller.handshake.steps and controller.handshake.proven(side.acknowledged, side.silent):
            self._logged(Event.HANDSHAKE, now_ns, controller.shaken)
        self._logged(Event.TICK, now_ns, lambda: self._control(now_ns, outputs), outputs)

    def _control(self, now_ns: int, outputs: Outputs) -> None:
        controller = self.controller
        outputs.command = command = controller.tick(now_ns)
        if command is not None and not command.holding:
            outputs.grippers = self._gripper.position(now_ns, controller.source)
        controller.watch_phase(now_ns)

    def _enable(self, now_ns: int, side: CommandSide) -> None:
        controller = self.controller
        if controller.moving:
            return  # the pose it was enabled at must not change
        others = side.others()
        if not side.taken:
            raise Refused("nobody takes 'command'; start the arm's controller")
        if not others and not side.settled:
            raise Refused("who else publishes 'command' is not known yet; enable it again in a moment")
        if reasons := self.disagreements(now_ns, side):
            raise Refused("; ".join(filter(None, [*controller.not_ready(now_ns), *reasons, second_publisher(others)])))
        self._logged(Event.ENABLE, now_ns, lambda: controller.enable(now_ns, others))
        if side.live:
            self._logged(Event.AWAIT_HANDSHAKE, now_ns, controller.await_handshake)

    def disagreements(self, now_ns: int, side: CommandSide) -> list[str]:
        """What speaks against believing the measurements of a live arm, and what vla_node says, a sentence each."""
        if not side.live:
            return []
        return [*(side.doubled() or self.plausibility.disagreements(now_ns)), *filter(None, [self._no_token])]  # leaps are what two drivers make

    def _rollback(self) -> str:
        told = self.controller.rollout.rollback()
        self.controller.policy.reset()  # what is left of a chunk of the weights left behind is not executed
        return told

    def _take_finished(self, now_ns: int) -> None:
        """Take over tokens and weights that were finished on another thread: between two calls, never within one."""
        if self._tokens:
            try:
                self.controller.proposals.set_token(*self._tokens.pop(), now_ns)
            except ValueError as error:
                self._refuse(error)
        if self._ready:
            ready = self._ready.pop()
            self.offered = ready.version
            self.controller.rollout.offer(ready)

    def _logged(self, event: Event, now_ns: int, action: Callable[[], Any], outputs: Outputs = NOTHING) -> Any:
        """Make a call and log it; ``outputs``: those of a control step, which the call fills."""
        self._take_finished(now_ns)
        controller, layout = self.controller, self.layout
        stamps, joint_stamps, extra_stamp = controller.input_stamps, controller.state.joint_stamps.copy(), controller.state.stamps.get("extra", 0)
        result = action()
        ticked, command = event == Event.TICK, outputs.command
        values: list[Any] = [
            self._sequence, event, now_ns, stamps, self.offered, self.parameters,
            controller.source if ticked else Source.NONE, controller.clipped if ticked else 0,
            layout.no_action if command is None else command.position.tolist(),
            layout.no_action if command is None else command.velocity.tolist(),
        ]  # fmt: skip
        if layout.sizes.gripper:
            values.append(layout.no_gripper if outputs.grippers is None else outputs.grippers.tolist())
        if layout.sizes.joint:
            values.append([max(stamp, 0) for stamp in joint_stamps])
        if layout.sizes.extra:
            values.append(extra_stamp)
        self._log.append(layout.pack(values, layout.snapshot(controller)))
        self._sequence += 1
        return result

    def _handed_out(self, outputs: Outputs) -> Outputs:
        outputs.rows, outputs.endings = self.controller.episode.take()
        outputs.ticks, self._log = self._log, []
        return outputs
