"""The whole loop in one process and in simulated time: environment, VLA, and the pipeline that control_node and a replayed bag drive.

For benchmarks, for training the models and for tests. Nothing here decides anything: it hands messages over, and calls, in the order
and with the delays that the topics would.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace as Message
from typing import TYPE_CHECKING, Any

import numpy as np

from rl_token_ros.control.arming import Refused
from rl_token_ros.control.command import Outputs
from rl_token_ros.control.condition import unrecorded
from rl_token_ros.control.pipeline import Pipeline
from rl_token_ros.control.tick_record import Event
from rl_token_ros.interfaces import correction, measurements, plain_messages
from rl_token_ros.interfaces.codes import Ended
from rl_token_ros.policy.actor_weights import fingerprint
from rl_token_ros.policy.residual_policy import ResidualPolicy
from rl_token_ros.settings import node_settings
from rl_token_ros.settings.control import Control
from rl_token_ros.settings.gym import Gym
from rl_token_ros.settings.proprioception_groups import size
from rl_token_ros.settings.sim import Sim
from rl_token_ros.settings.vla import Vla
from rl_token_ros.sim.environment import Environment, load, refuse_misfit
from rl_token_ros.sim.timed import Timed, joined
from rl_token_ros.vla.backend import Answer
from rl_token_ros.vla.in_process import InProcessVla
from rl_token_ros.vla.observation import Synchroniser
from rl_token_ros.vla.onnx import OnnxBackend

if TYPE_CHECKING:
    from rl_token_ros.sim.simulation import Simulation  # with mujoco, which another environment does without

NODES = ("gym_node", "sim_node", "vla_node", "control_node")


@dataclass(frozen=True)
class EpisodeResult:
    """How a critical phase went.

    Attributes:
        ended: code of :class:`Ended`; ABORTED also when the critical phase was never reached.
        rows: what `replay` would have carried, structured array [n].
        reached: whether the critical phase was entered.
        decided: whether the environment said how it went.
    """

    ended: int
    rows: np.ndarray
    reached: bool
    decided: bool


class NothingRecorded(RuntimeError):
    """An episode without a row; the message says why its steps were not recorded."""


class Stopped(RuntimeError):
    """The arm was stopped in an earlier episode, and nobody is here to reset that; the message says why it was."""


class ClosedLoop:
    """Runs episodes, in the environment that `env` of gym_node names, else in the simulated robot of sim_node.

    Args:
        parameter_file: a ROS parameter file that configures gym_node or sim_node, vla_node and control_node.
        vla_latency: time from observation to answer, s; the nodes measure 5 to 40 ms.
        overrides: ``{node: {parameter: value}}``.
        on_answer: called with each answer of the VLA, for recording.
        encoder: makes what stands in for the token encoder, from the VLA's fingerprint.
        policy: class of what acts.

    Attributes:
        environment: in which it runs.
        pipeline: as control_node has it. An input that it refuses raises: a measurement must not go on without it.
        controller: that of the pipeline.
        refusal: why the arm cannot be enabled, or nothing.
        ticks: rows of `~/ticks` of the newest step, and of calls between it and the one before.
    """

    def __init__(
        self,
        parameter_file: str | Path,
        *,
        vla_latency: float = 0.03,
        overrides: dict[str, dict] | None = None,
        on_answer: Callable[[Answer], None] | None = None,
        encoder: Callable[[str], Any] | None = None,
        policy: type[ResidualPolicy] = ResidualPolicy,
    ) -> None:
        given = {node: node_settings.load(node, parameter_file, **(overrides or {}).get(node, {})) for node in NODES}
        self.vla_settings: Vla = given["vla_node"]
        self.control_settings: Control = given["control_node"]
        control, vla = self.control_settings, self.vla_settings
        self.environment, where = _environment(given["gym_node"], given["sim_node"])
        self._approach_ns = where.approach_limit * 1e9
        self._timed = Timed(self.environment, where.seed, where.reset_time)
        refuse_misfit(self.environment, control, {*control.needed_groups, *vla.measured_groups})
        self.backend = OnnxBackend(vla, size(vla.vla_proprioception, len(vla.joint_names), vla.action_size))
        stand_in = encoder(fingerprint(self.backend.path)) if encoder else None
        self.pipeline = Pipeline(control, _raise, stand_in, policy, simulated=True)
        self.controller = self.pipeline.controller
        self.synchroniser = Synchroniser(vla)
        takers = ((self.pipeline.measure, self.controller.needed), (self.synchroniser.measure, vla.measured_groups))
        self._takers = {topic: [take for take, groups in takers if topic in measurements.topics(groups)] for topic in measurements.TYPES}
        self.refusal = ""
        self.ticks: list[bytes] = []
        self._log: list[bytes] = []
        self._rows: list[np.ndarray] = []
        self._endings: list[int] = []
        self._on_answer = on_answer
        self._vla = InProcessVla(vla, self.backend, vla_latency)
        self._unread: Any = None  # `vla/embedding` whose token nobody has needed yet
        self._target: np.ndarray | None = None  # [A + G]
        self._grippers: np.ndarray | None = None  # [G], the last commanded in this episode

    @property
    def now_ns(self) -> int:
        """Stamp of this moment."""
        return self._timed.stamp_ns

    @property
    def simulation(self) -> Simulation:
        """The environment where it is our simulated robot, for what knows its truth."""
        from rl_token_ros.sim.simulation import Simulation

        assert isinstance(self.environment, Simulation)
        return self.environment

    def close(self) -> None:
        """Free the environment."""
        self.environment.close()

    def episode(self, on_rows: Callable[[np.ndarray], None] | None = None, on_step: Callable[[], None] | None = None) -> EpisodeResult:
        """One episode, from the start pose to its end, and the reset after it (`reset_time` of robot time).

        ``on_rows`` is handed each row of `replay` [1] when it would be published; new weights may be installed then. ``on_step`` is
        called after every control step up to the end, not during the reset.

        Raises:
            NothingRecorded: it ended without a row, thus nothing can be learned.
            Stopped: it cannot begin.
        """
        environment, controller = self.environment, self.controller
        if controller.stop_reason:
            raise Stopped(f"the arm was stopped: {controller.stop_reason}")
        begun_ns, reached, ended = self.now_ns, False, None
        rows: list[np.ndarray] = []
        while ended is None:
            self.step()
            if on_step is not None:
                on_step()
            commanded = controller.enabled or controller.stop_reason  # at the very first, nobody commands before the VLA has answered
            if environment.critical and not reached and environment.outcome is None and commanded:
                reached = True
                self._call(Event.CRITICAL)
                self._read()
            if environment.outcome is not None:
                self._call(Event.SUCCESS if environment.outcome else Event.FAILURE)
            new_rows, endings = self._rows, self._endings
            self._rows, self._endings = [], []
            rows += new_rows
            if on_rows is not None:
                for row in new_rows:
                    on_rows(row)
            if endings:
                ended = endings[0]
            elif not controller.episode.active and (reached or environment.outcome is not None or self.now_ns - begun_ns > self._approach_ns):
                ended = Ended.ABORTED  # not reached, or the arm was stopped by then
        decided = environment.outcome is not None
        self._timed.reset()
        self._grippers = None
        if reached:
            self._call(Event.NOT_CRITICAL)
        while self._timed.resetting:
            self.step()
        if reached and not rows and ended != Ended.ABORTED:
            skipped = controller.episode.skipped
            raise NothingRecorded(f"an episode ended without a row: {unrecorded(skipped, 0, least=1) or dict(skipped)}")
        return EpisodeResult(ended, np.concatenate(rows) if rows else np.zeros(0, controller.row_dtype), reached, decided)

    def step(self) -> None:
        """One control period: physics, measurements, VLA, tick."""
        self._timed.step(self._target, self.controller.period_ns)
        now, measured = self.now_ns, self.environment.measured()
        for topic, takers in self._takers.items():
            if takers:
                message = plain_messages.measurement(topic, now, self.control_settings.joint_names, measured)
                for take in takers:
                    take(topic, message, now)
        self._look(now)
        if not self.controller.enabled:
            try:
                self._call(Event.ENABLE)
                self.refusal = ""
            except Refused as error:
                self.refusal = str(error)  # as with `enable_on_start`: tried again at the next tick
        outputs = self._call(Event.TICK)
        if outputs.grippers is not None:
            self._grippers = outputs.grippers
        position = None if outputs.command is None else outputs.command.position
        self._target = joined(position, self._grippers, self.control_settings.gripper_names)
        self.ticks, self._log = self._log, []

    def _call(self, event: Event) -> Outputs:
        outputs = self.pipeline.step(event, self.now_ns)
        self._log += outputs.ticks
        self._rows += outputs.rows
        self._endings += outputs.endings
        return outputs

    def intervene(self, action: np.ndarray, corrects: bool = False) -> None:
        """A human's action [A] of this moment, in units of the action; instead of the VLA's, or added to it."""
        names, frame = self.control_settings.action_names, correction.FRAME if corrects else ""
        self.pipeline.intervene(Message(header=plain_messages.header(self.now_ns, frame), name=names, position=action), self.now_ns)

    def _look(self, now: int) -> None:
        """Deliver an answer that is due, then look and ask again, as the scheduler says."""
        if (due := self._vla.take(now)) is not None:
            reference, embedding = due
            self.pipeline.propose(reference, now)
            if self.control_settings.token_size and embedding is not None:
                self._unread = embedding
            if self.controller.episode.active:
                self._read()
        if not self._vla.scheduler.due(now):
            return
        pictures = self.environment.images()
        for camera in self.vla_settings.cameras:
            self.synchroniser.set_image(camera, now, pictures[camera])
        observation, _ = self.synchroniser.observation(now)
        if observation is None:
            return
        answer = self._vla.ask(observation, now)
        if self._on_answer is not None:
            self._on_answer(answer)

    def _read(self) -> None:
        """Hand over the newest embeddings.

        control_node encodes all that come, beside its ticks. Only the critical phase uses a token, so here, where it would take time from
        the practice, those of before wait until one begins; the commands are the same.
        """
        if self._unread is not None:
            self.pipeline.encode(self._unread)
            self._unread = None


def _raise(error: Exception) -> None:
    raise error


def _environment(gym: Gym, sim: Sim) -> tuple[Environment, Gym | Sim]:
    """The environment that a parameter file names, and the parameters of its clock."""
    if gym.env:
        return load(gym.env), gym
    from rl_token_ros.sim.simulation import Simulation

    return Simulation(sim), sim
