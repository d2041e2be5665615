"""The whole loop in one process and in simulated time: simulator, VLA, encoder and controller, through the code the nodes use.

For benchmarks, for training the models and for tests. Nothing here decides anything: it hands measurements over in the order and
with the delays that the topics would.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import numpy as np

from rl_token_ros import encoder as encoders
from rl_token_ros import replay_record, settings
from rl_token_ros.actor import ResidualActor
from rl_token_ros.chunk import Chunk
from rl_token_ros.controller import Controller
from rl_token_ros.observation import Synchroniser
from rl_token_ros.proprioception import size
from rl_token_ros.settings import Control, Sim, Vla
from rl_token_ros.sim.simulation import Simulation
from rl_token_ros.vla.backend import Answer
from rl_token_ros.vla.onnx import OnnxBackend
from rl_token_ros.weights import fingerprint

FIRST_STAMP_NS = 1_000_000_000  # as in sim_node


@dataclass(frozen=True)
class EpisodeResult:
    """How a critical phase went.

    Attributes:
        ended: code of replay_record.ENDINGS; ABORTED also when the critical phase was never reached.
        rows: what `replay` would have carried, structured array [n].
        reached: whether the critical phase was entered.
    """

    ended: int
    rows: np.ndarray
    reached: bool


class ClosedLoop:
    """Runs episodes.

    Args:
        parameter_file: a ROS parameter file that configures sim_node, vla_node and control_node.
        vla_latency: time from observation to answer, s; the nodes measure 5 to 40 ms.
        overrides: ``{node: {parameter: value}}``.
        on_answer: called with each answer of the VLA, for recording.
        encoder: makes what stands in for the token encoder, from the VLA's fingerprint.
    """

    def __init__(
        self,
        parameter_file: str | Path,
        *,
        vla_latency: float = 0.03,
        overrides: dict[str, dict] | None = None,
        on_answer: Callable[[Answer], None] | None = None,
        encoder: Callable[[str], Any] | None = None,
    ) -> None:
        overrides = overrides or {}
        self.sim_settings: Sim = settings.load("sim_node", parameter_file, **overrides.get("sim_node", {}))
        self.vla_settings: Vla = settings.load("vla_node", parameter_file, **overrides.get("vla_node", {}))
        self.control_settings: Control = settings.load("control_node", parameter_file, **overrides.get("control_node", {}))
        control, vla = self.control_settings, self.vla_settings
        joints = len(control.joint_names)
        self.simulation = Simulation(self.sim_settings)
        self.backend = OnnxBackend(vla, size(vla.vla_proprioception, joints, control.action_size))
        self.encoder = encoders.load(control) if encoder is None else encoder(fingerprint(self.backend.path))
        self.synchroniser = Synchroniser(vla)
        actor = ResidualActor(
            control.token_size,
            size(control.proprioception, joints, control.action_size),
            control.chunk_length,
            control.action_size,
            control.actor_layers,
        )
        self.controller = Controller(control, actor)
        self._on_answer = on_answer
        self._latency_ns = round(vla_latency * 1e9)
        self._pending: tuple[int, Chunk, np.ndarray | None] | None = None  # due time, chunk and embeddings of an answer
        self._unread: tuple[int, np.ndarray | None] | None = None  # stamp and embeddings whose token nobody has needed yet
        self._asked_ns = -(10**12)
        self._target = self.simulation.tool_pose

    @property
    def now_ns(self) -> int:
        """Stamp of this moment."""
        return self.simulation.time_ns + FIRST_STAMP_NS

    def episode(
        self, on_rows: Callable[[np.ndarray], None] | None = None, on_step: Callable[[], None] | None = None
    ) -> EpisodeResult:
        """One episode, from the start pose to its end, and the reset after it (`reset_time` of robot time).

        ``on_rows`` is handed each row of `replay` [1] when it would be published; new weights may be installed then. ``on_step`` is
        called after every control step up to the end, not during the reset.
        """
        simulation, controller = self.simulation, self.controller
        begun_ns, reached, ended = self.now_ns, False, None
        rows: list[np.ndarray] = []
        while ended is None:
            self.step()
            if on_step is not None:
                on_step()
            if simulation.critical and not reached and simulation.outcome is None:
                reached = True
                controller.set_critical(True, self.now_ns)
                self._read()
            if simulation.outcome is not None:
                controller.end_episode(replay_record.SUCCESS if simulation.outcome else replay_record.FAILURE)
            new_rows, endings = controller.episode.take()
            rows += new_rows
            if on_rows is not None:
                for row in new_rows:
                    on_rows(row)
            if endings:
                ended = endings[0]
            elif not reached and (simulation.outcome is not None or self.now_ns - begun_ns > self.sim_settings.approach_limit * 1e9):
                ended = replay_record.ABORTED
        simulation.begin_reset()
        while simulation.resetting:
            self.step()
        return EpisodeResult(ended, np.concatenate(rows) if rows else np.zeros(0, controller.row_dtype), reached)

    def step(self) -> None:
        """One control period: physics, measurements, VLA, tick."""
        simulation, controller = self.simulation, self.controller
        simulation.step(self._target, controller.period_ns * 1e-9)
        now = self.now_ns
        joints = (simulation.joint_positions, simulation.joint_velocities, simulation.joint_efforts)
        wrench = simulation.wrench
        for state in (controller.state, self.synchroniser.state):
            state.update_joints(now, list(simulation.joint_names), *joints)
            state.update_pose(now, simulation.ee_position, simulation.ee_orientation)
            state.update_wrench(now, wrench[:3], wrench[3:])
        self._look(now)
        if not controller.enabled and not controller.not_ready(now):
            controller.enable(now)
        command = controller.tick(now)
        self._target = simulation.tool_pose if command is None or simulation.resetting else command.position

    def _look(self, now: int) -> None:
        """Deliver an answer that is due, then look and ask again, no oftener than query_rate allows."""
        if self._pending is not None and now >= self._pending[0]:
            _, chunk, embeddings = self._pending
            self._pending = None
            self.controller.proposals.set_chunk(chunk, now)
            self._unread = chunk.stamp_ns, embeddings
            if self.controller.episode.active:
                self._read()
        if self._pending is not None or now - self._asked_ns < 0.95e9 / self.vla_settings.query_rate:
            return
        for camera, picture in self.simulation.images().items():
            self.synchroniser.set_image(camera, now, picture)
        observation, _ = self.synchroniser.observation(now)
        if observation is None:
            return
        self._asked_ns = now
        answer = self.backend.query(observation)
        if self._on_answer is not None:
            self._on_answer(answer)
        chunk = Chunk(observation.stamp_ns, round(self.vla_settings.chunk_dt * 1e9), answer.actions.astype(np.float64))
        self._pending = (now + self._latency_ns, chunk, answer.embeddings)

    def _read(self) -> None:
        """The newest answer's token, which only the critical phase needs."""
        if self._unread is not None:
            stamp_ns, embeddings = self._unread
            self._unread = None
            self.controller.proposals.set_token(stamp_ns, self.encoder.run(embeddings), self.now_ns)
