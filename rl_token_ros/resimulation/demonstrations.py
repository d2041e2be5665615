"""Rows of `replay` from demonstrations that no control_node saw: each is lived again, with its measurements and pictures and its human.

What control_node decides is decided by control_node's own pipeline: token and reference are those of the VLA's newest answer, asked as vla_node
asks, the action is what the safety filter lets through of the demonstrator's. Before every step the command is where the demonstrator had it,
so that each step is judged by itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace as Message

import numpy as np

from rl_token_ros.control.arming import Refused
from rl_token_ros.control.resumable import ResumablePipeline
from rl_token_ros.control.tick_record import Event
from rl_token_ros.interfaces import measurements, plain_messages
from rl_token_ros.interfaces.codes import Ended
from rl_token_ros.interfaces.demonstration import Demonstration
from rl_token_ros.resimulation.vla_on_pictures import VlaOnPictures
from rl_token_ros.robot.history import StateHistory
from rl_token_ros.robot.readings import StateError
from rl_token_ros.settings.control import Control
from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla.backend import Backend, BackendError, Observation

SECOND_NS = 1_000_000_000
FIRST_NS = 1_000 * SECOND_NS  # stamp of the first demonstration
PAUSE_NS = 100 * SECOND_NS  # between two: longer than any answer counts
ROUNDING = 0.01  # of a control step: timestamps of data sets are float32
LONGEST = 3600.0  # s; a demonstration ends when it ends, not after episode_time_limit
ENDINGS = {Ended.SUCCESS: Event.SUCCESS, Ended.FAILURE: Event.FAILURE, Ended.ABORTED: Event.DISCARD}
NO_TURN = [0.0, 0.0, 0.0, 1.0]


class NotLived(Exception):
    """A demonstration of which no rows can be made; the message says why."""


@dataclasses.dataclass
class Figures:
    """What became of demonstrations.

    Attributes:
        beyond: rows whose action is further from the reference than the residual's bound, [A], and in any dimension ``beyond_any``.
        farthest: the largest distance from the reference, in bounds, [A].
        changed: the largest change that the filter made to an action, [A]; a position to be in is also braked for.
        steps: rows made.
        clipped: of them, those in which a limit changed the action.
        queries: of the VLA.
    """

    beyond: np.ndarray
    farthest: np.ndarray
    changed: np.ndarray
    steps: int = 0
    beyond_any: int = 0
    clipped: int = 0
    queries: int = 0


class Demonstrator:
    """Lives demonstrations.

    Args:
        control: parameters of control_node.
        vla: parameters of vla_node.
        backend: the VLA, in process or at its server.
        latency: of its answers, s.

    Raises:
        ParameterError: a model file does not fit.
    """

    def __init__(self, control: Control, vla: Vla, backend: Backend, latency: float) -> None:
        control = dataclasses.replace(control, mode="vla", enable_on_start=False, phase_model="", episode_time_limit=LONGEST)
        self._errors: list[Exception] = []
        self.pipeline = ResumablePipeline(control, self._errors.append)
        self._control, self._vla, self._backend, self._latency = control, vla, backend, latency
        self._scale, self._fastest = np.array(control.step_residual_scale), np.array(control.velocity_limit)
        nothing = np.zeros(control.action_size)
        self.figures = Figures(nothing.astype(int), nothing, nothing)
        self._now = FIRST_NS

    def live(self, demonstration: Demonstration) -> np.ndarray:
        """Its rows [n].

        Raises:
            NotLived: there are none.
        """
        self._errors.clear()
        try:
            rows = self._live(demonstration, self._now)
        except StateError as error:
            raise NotLived(str(error)) from None
        finally:
            self._leave()
        self._count(rows)
        return rows

    def _leave(self) -> None:
        """Whatever became of it, the next begins with an arm at rest, long after."""
        pipeline = self.pipeline
        pipeline.step(Event.RESET_STOP, self._now)
        while pipeline.step(Event.TICK, self._now).command is not None:
            self._now += pipeline.controller.period_ns
        self._backend.reset()
        self._now += PAUSE_NS

    def _live(self, demonstration: Demonstration, begin_ns: int) -> np.ndarray:
        pipeline, control = self.pipeline, self._control
        player = _Player(demonstration, control, self._vla, self._backend, self._latency, pipeline, self._errors.append, begin_ns)
        period_ns = pipeline.controller.period_ns
        length = float(demonstration.seconds[-1]) + demonstration.period
        steps = max(int(length * SECOND_NS / period_ns + ROUNDING), 1)
        path = _Path(demonstration, control, period_ns * 1e-9)
        pipeline.step(Event.TICK, begin_ns - period_ns)  # not enabled: time has passed since the one before
        rows: list[np.ndarray] = []
        speed_before: np.ndarray | None = None
        for step in range(steps):
            now = self._now = begin_ns + step * period_ns
            player.until(now)
            self._raise()
            if step == 0:
                try:
                    pipeline.step(Event.ENABLE, now)
                except Refused as error:
                    raise NotLived(str(error)) from None
            if player.critical and not pipeline.controller.episode.active:
                pipeline.step(Event.CRITICAL, now)
            before, target = path.step(step, pipeline.controller.state.measured(control.action_names))
            moved = target - before
            speed = np.clip(moved / path.seconds, -self._fastest, self._fastest)
            pipeline.follow(before, speed if speed_before is None else speed_before)
            speed_before = speed
            action = moved / control.action_rate if control.action_type == "delta" else target
            pipeline.intervene(Message(header=plain_messages.header(now), name=control.action_names, position=action), now)
            rows += pipeline.step(Event.TICK, now).rows
            self._raise()
            self.figures.changed = np.maximum(self.figures.changed, np.abs(pipeline.sent[0] - target))
            if pipeline.controller.stopped:
                raise NotLived(pipeline.controller.stop_reason)
        self.figures.queries += player.queries
        self._now += period_ns
        return np.concatenate([np.zeros(0, pipeline.controller.row_dtype), *rows, *self._end(demonstration.ended)])

    def _end(self, ended: int) -> list[np.ndarray]:
        """The rows that come with the end."""
        event = ENDINGS.get(Ended(ended))
        if event is None:  # the time is up
            self._now += round(LONGEST * SECOND_NS)
        return self.pipeline.step(Event.TICK if event is None else event, self._now).rows

    def _raise(self) -> None:
        """What the VLA or the pipeline refused ends the demonstration."""
        for error in self._errors:
            raise error if isinstance(error, BackendError) else NotLived(str(error))

    def _count(self, rows: np.ndarray) -> None:
        figures, size = self.figures, self._control.action_size
        figures.steps += len(rows)
        if not len(rows):
            return
        away = np.abs(rows["action"] - rows["reference"][:, :size]) / self._scale
        figures.beyond += (away > 1.0).sum(axis=0)
        figures.beyond_any += int((away > 1.0).any(axis=1).sum())
        figures.farthest = np.maximum(figures.farthest, away.max(axis=0))
        figures.clipped += int((rows["clipped"] != 0).sum())


class _Path:
    """Where the demonstrator had commanded the arm at each control step, and where to.

    Between frames a commanded position changes evenly, an increment is spread evenly.
    """

    def __init__(self, demonstration: Demonstration, control: Control, seconds: float) -> None:
        self.seconds = seconds  # of a control step
        self._delta, self._relative = control.action_type == "delta", control.action_type == "delta" and demonstration.command is None
        self._times, self._points = demonstration.seconds, np.asarray(demonstration.action, np.float64)
        if self._delta:
            self._times = np.append(self._times, self._times[-1] + demonstration.period)
            sums = np.concatenate([np.zeros((1, control.action_size)), np.cumsum(self._points, axis=0)])
            command = demonstration.command
            self._points = sums if command is None else np.concatenate([command, command[-1:] + self._points[-1:]])

    def step(self, number: int, measured: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions [A] before and after a control step, at which this one is measured."""
        now = number * self.seconds
        first = now if self._delta else now - self.seconds
        before, after = self._at(first), self._at(first + self.seconds)
        return (measured, measured + after - before) if self._relative else (before, after)

    def _at(self, seconds: float) -> np.ndarray:
        return np.array([np.interp(seconds, self._times, column) for column in self._points.T])


class _Player:
    """Plays measurements and pictures of a demonstration, at the times of their frames, to a VLA and its answers to the pipeline."""

    def __init__(
        self, demonstration: Demonstration, control: Control, vla: Vla, backend: Backend, latency: float, pipeline: ResumablePipeline,
        refused: Callable[[Exception], None], begin_ns: int,
    ) -> None:  # fmt: skip
        self._demonstration, self._control, self._pipeline, self._begin_ns = demonstration, control, pipeline, begin_ns
        self._vla = VlaOnPictures(vla, backend, latency, refused, self._looked)
        self._vla.take("task", Message(data=demonstration.task), begin_ns, [])
        self._cameras, self._latency_ns = vla.cameras, round(latency * SECOND_NS)
        self._of_vla = measurements.topics(vla.measured_groups)
        self._needed = [*pipeline.controller.needed, *(["ee_orientation"] if control.cartesian else [])]
        self._topics = measurements.topics(self._needed)
        self._history = StateHistory(len(control.joint_names))
        none, turn = np.zeros(3), np.array(control.tool_orientation or NO_TURN)
        self._unknown = {"ee_position": none, "ee_orientation": turn, "wrench_force": none, "wrench_torque": none}
        self._frame = 0  # the next one
        self.critical = False

    @property
    def queries(self) -> int:
        """Of the VLA."""
        return self._vla.queries

    def until(self, now_ns: int) -> None:
        """All frames up to now, and the state that is measured now, between that of two frames."""
        demonstration, last = self._demonstration, len(self._demonstration.seconds) - 1
        while self._frame <= last and (stamp := self._stamp(self._frame)) <= now_ns:
            self._keep(self._frame)
            for topic in self._of_vla:
                self._vla.take(topic, self._measured(topic, stamp, self._values(self._frame)), stamp, [self._pipeline])
            for camera in self._cameras:
                self._vla.take(f"camera/{camera}/image_raw", Message(header=plain_messages.header(stamp), frame=self._frame), stamp, [self._pipeline])
            self.critical = bool(demonstration.critical[self._frame])
            if self._frame == 0:  # as if it had been asked a moment before: what comes before it is no part of the demonstration
                self._vla.deliver(stamp + self._latency_ns, [self._pipeline])
            self._frame += 1
        if self._frame <= last:
            self._keep(self._frame)
        self._vla.deliver(now_ns, [self._pipeline])
        moment = self._history.at(now_ns, self._groups)
        assert moment is not None  # the first frame has all of it
        for topic in self._topics:
            self._pipeline.measure(topic, self._measured(topic, now_ns, moment.values), now_ns)

    @property
    def _groups(self) -> list[str]:
        return [group for group in self._demonstration.groups if group in self._needed]

    def _stamp(self, frame: int) -> int:
        return self._begin_ns + round(float(self._demonstration.seconds[frame]) * SECOND_NS)

    def _values(self, frame: int) -> dict[str, np.ndarray]:
        return {group: values[frame] for group, values in self._demonstration.groups.items()}

    def _keep(self, frame: int) -> None:
        stamp = self._stamp(frame)
        for topic in self._topics:
            reader = self._pipeline.controller.state.reader
            if (reading := measurements.read(reader, topic, self._measured(topic, stamp, self._values(frame)), stamp)) is not None:
                self._history.accept(reading)

    def _looked(self, observation: Observation) -> Observation:
        """With its pictures, which are read when the VLA is asked, once for all cameras."""
        (frame,) = {message.frame for _, message in observation.images.values()}
        return dataclasses.replace(observation, images=self._demonstration.look(frame))

    def _measured(self, topic: str, stamp_ns: int, values: dict[str, np.ndarray]) -> Message:
        """A message of one of `measurements.TYPES`; what nobody needs is zero, an orientation that is not known the one that is commanded."""
        known = {group: np.asarray(group_values) for group, group_values in values.items()}
        return plain_messages.measurement(topic, stamp_ns, self._control.joint_names, self._unknown | known)
