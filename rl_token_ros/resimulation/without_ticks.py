"""Runs a bag without `~/ticks` through the pipeline: a run of another controller, or one that was never controlled at all.

Messages are taken in the order of their reception. Where the bag has commands, there is a control step for each, which starts from the
command before it; otherwise there is one at `control_rate`. Which inputs a control step of then used is not known, so commands may differ.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from rl_token_ros.bags import message_types
from rl_token_ros.bags.command_reader import CommandReader
from rl_token_ros.bags.reader import Record, Topic
from rl_token_ros.control.arming import Refused
from rl_token_ros.control.command import Outputs
from rl_token_ros.control.resumable import ResumablePipeline
from rl_token_ros.control.tick_record import NAMED, Event, Row
from rl_token_ros.policy.actor_weights import WeightsError
from rl_token_ros.resimulation.inputs import hand_over
from rl_token_ros.resimulation.resimulator import Step

UNKNOWN = "which inputs it used is not in the bag"


class ResimulatorWithoutTicks:
    """Gives a :class:`Step` for each control step; those of the bag are its ``row``.

    Args:
        topics: our names -> topics of the bag.
        pipeline: what runs.
        others: pipelines that follow it, by name.
        own_weights: names of those that keep the weights they have.
        refused: told about inputs that the pipeline does not take.
        look: takes the cameras' messages where the bag has no `vla/reference`, and asks a VLA.
    """

    def __init__(
        self,
        topics: dict[str, Topic],
        pipeline: ResumablePipeline,
        others: dict[str, ResumablePipeline],
        own_weights: set[str],
        refused: Callable[[Exception], None],
        look: Any = None,
    ) -> None:
        self._ours = {topic.name: ours for ours, topic in topics.items()}
        self._decode = {ours: message_types.decoder(topic.type, topic.definition, topic.encoding) for ours, topic in topics.items()}
        self.pipeline, self.others, self._own_weights, self._refused, self._look = pipeline, others, own_weights, refused, look
        self._settings = pipeline.controller.settings
        self._commands = CommandReader(self._settings, self._decode["command"]) if "command" in topics else None
        self._sent: tuple[int, np.ndarray] | None = None  # the last command of the bag
        self._velocity = np.zeros(self._settings.action_size)
        self._due_ns = 0
        self.rows: list[np.ndarray] = []

    def take(self, record: Record) -> Iterator[Step]:
        """One message; gives the control step that it is, or those that were due before it."""
        ours, now = self._ours[record.topic], record.stamp_ns
        if self._commands is not None and ours == "command":
            try:
                stamp, position = self._commands.read(record.data)
            except message_types.NotDecoded as error:
                self._refused(error)
                return
            yield from self._commanded(stamp or now, position)
            return
        if self._commands is None:
            yield from self._pass_time(now)
        try:
            message = self._decode[ours](record.data)
        except message_types.NotDecoded as error:
            self._refused(error)
            return
        for name, pipeline in {"": self.pipeline, **self.others}.items():
            if ours == "actor/weights" and name in self._own_weights:
                continue
            try:
                self._hand_over(pipeline, ours, message, now)
            except (ValueError, WeightsError) as error:
                if pipeline is self.pipeline:
                    self._refused(error)
        if self._look is not None:
            self._look.take(ours, message, now, [self.pipeline, *self.others.values()])

    def _hand_over(self, pipeline: ResumablePipeline, ours: str, message: Any, now: int) -> None:
        if ours in NAMED:
            hand_over(pipeline, ours, message, now)
        elif ours == "critical_phase":
            self._call(pipeline, Event.CRITICAL if message.data else Event.NOT_CRITICAL, now)
        elif ours == "outcome":
            self._call(pipeline, Event.SUCCESS if message.data else Event.FAILURE, now)
        elif ours == "actor/weights":
            pipeline.admit(bytes(message.data))

    def _pass_time(self, now: int) -> Iterator[Step]:
        period = self.pipeline.controller.period_ns
        if not -period <= now - self._due_ns < 10 * period:
            self._due_ns = now  # the first message, or a gap
        while self._due_ns <= now:
            yield self._step(self._due_ns, None)
            self._due_ns += period

    def _commanded(self, now: int, position: np.ndarray | None) -> Iterator[Step]:
        yield self._step(now, position)
        if self._sent is not None and now > self._sent[0] and position is not None:
            seconds = min((now - self._sent[0]) * 1e-9, 1.0)
            moved = self.pipeline.controller.space.difference(position, self._sent[1])
            self._velocity = moved / max(seconds, self.pipeline.controller.period_ns * 1e-9)
        if position is not None:
            self._sent = (now, position)

    def _step(self, now: int, position: np.ndarray | None) -> Step:
        others = {}
        again = self._tick(self.pipeline, now)
        for name, pipeline in self.others.items():
            other = self._tick(pipeline, now)
            if other.commands:
                others[name] = other.command
        nothing = np.full(self._settings.action_size, np.nan)
        row = dataclasses.replace(again, command=nothing if position is None else position, velocity=nothing)
        return Step(row, again, UNKNOWN, [], others)

    def _tick(self, pipeline: ResumablePipeline, now: int) -> Row:
        controller = pipeline.controller
        if controller.stopped:
            self._call(pipeline, Event.RESET_STOP, now)  # of this run's own making: then, nobody stopped
        if not controller.enabled:
            try:
                self._call(pipeline, Event.ENABLE, now)
            except Refused:
                pass
        if controller.enabled and self._sent is not None:
            pipeline.follow(self._sent[1], self._velocity)
        return pipeline.layout.unpack(self._call(pipeline, Event.TICK, now).ticks[-1])

    def _call(self, pipeline: ResumablePipeline, event: Event, now: int) -> Outputs:
        outputs = pipeline.step(event, now)
        if pipeline is self.pipeline:
            self.rows += outputs.rows
        return outputs
