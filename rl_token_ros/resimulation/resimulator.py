"""Runs a recorded run through the pipeline again, call by call, as the rows of `~/ticks` say.

Each row names the messages that its control step used. They are handed over in that order, the call is made, and what comes of it is
compared with the row, bit for bit. Where that cannot be, because the bag lacks something, the pipeline takes over the state that the row
says it left, and the next row is compared again. Other pipelines (other weights, another mode) may follow: they see what the first one
sees and start each step from the command that was really sent, so that each of their commands is an answer to the arm as it was.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from rl_token_ros.bags import message_types
from rl_token_ros.bags.reader import Record, Topic
from rl_token_ros.bags.run_settings import control_of
from rl_token_ros.bags.table_rows import TableReader
from rl_token_ros.control.arming import Refused
from rl_token_ros.control.resumable import ResumablePipeline
from rl_token_ros.control.tick_record import Event, Layout, Row, layout_of
from rl_token_ros.interfaces.codes import Source
from rl_token_ros.interfaces.topics import TICKS
from rl_token_ros.policy.actor_weights import WeightsError
from rl_token_ros.resimulation.inputs import Inputs
from rl_token_ros.settings.control import Control

WAIT_NS = 2_000_000_000  # of recording time, in which a message that a row names may still come: recorders mix topics up
SORT_NS = 500_000_000  # likewise, in which rows are put into their order
# Columns that say nothing about a command that the residual had no part in.
ABOUT_WEIGHTS = {
    "weights_offered", "weights_version", "share", "weights_left", "weights_waiting", "weights_held", "drawn", "executed", "plan_version", "plan",
}  # fmt: skip


@dataclass
class Step:
    """One call of then, and what became of it now.

    Attributes:
        row: as recorded.
        again: the row of the replay; None where the call could not be made.
        unchecked: why the two need not agree; empty when they must.
        differs: names of the columns in which they do not agree.
        others: command float64 [A] of each other pipeline, where it gave one.
    """

    row: Row
    again: Row | None = None
    unchecked: str = ""
    differs: list[str] = field(default_factory=list)
    others: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Other:
    """A pipeline that follows the first one.

    Attributes:
        settings: its parameters, given those of `~/settings` at the time.
        weights: its weights; None: those that the run used.
    """

    settings: Callable[[dict], Control]
    weights: bytes | None = None

    def make(self, told: dict, layout: Layout | None) -> ResumablePipeline:
        """The pipeline, with its weights if they are its own.

        Args:
            told: what `~/settings` said.
            layout: of the bag's rows, where it has any.

        Raises:
            WeightsError: they were made for another robot, encoder or VLA.
        """
        pipeline = ResumablePipeline(self.settings(told), lambda error: None, layout)
        if self.weights is not None:
            pipeline.act_with(self.weights)
        return pipeline


class Resimulator:
    """Takes a bag's messages in any order and gives a :class:`Step` for each row.

    Args:
        topics: our names -> topics of the bag.
        make: makes a pipeline for parameters as they were on `~/settings` and the layout of the rows, the first one and one after each
            restart of control_node.
        others: the pipelines that follow, by name.
        refused: told about inputs that the pipeline does not take.
        fallback: parameters where the bag does not hold them.
    """

    def __init__(
        self,
        topics: dict[str, Topic],
        make: Callable[[dict, Layout], ResumablePipeline],
        others: dict[str, Other] | None = None,
        refused: Callable[[Exception], None] = lambda error: None,
        fallback: dict | None = None,
    ) -> None:
        self._ours = {topic.name: ours for ours, topic in topics.items()}
        ticks = topics[TICKS]
        self._decode = message_types.decoder(ticks.type, ticks.definition, ticks.encoding)
        self._make, self._others, self._refused = make, others or {}, refused
        self._inputs = Inputs(topics, refused, fallback)
        self._waiting: list[tuple[int, int, Row]] = []  # seq, recording time, row; in the order of seq
        self._tables = TableReader()
        self._layout: Layout | None = None  # of the rows, from the first on
        self.pipeline: ResumablePipeline | None = None
        self.others: dict[str, ResumablePipeline] = {}
        self.rows: list[np.ndarray] = []  # of `replay`, made again; the caller takes them
        self.missing: Counter[str] = Counter()  # messages that rows name and the bag lacks, by topic
        self._previous: Row | None = None
        self._in_step = False  # whether the pipeline's state is that after the previous row
        self._told = False  # whether that row, and those before it, tell the command before the next one
        self._resumed = False  # whether which weights acted before is not known

    # --- rows ---------------------------------------------------------------------------------------------------------

    def take(self, record: Record) -> Iterator[Step]:
        """One message of the bag; gives the steps that are complete with it."""
        ours = self._ours[record.topic]
        self._inputs.take(ours, record)
        if ours == TICKS:
            self._take_rows(record)
        yield from self._ready()

    def finish(self) -> Iterator[Step]:
        """The bag has ended; gives the rest."""
        yield from self._ready(ended=True)

    def _take_rows(self, record: Record) -> None:
        try:
            if self._layout is None:
                self._layout = layout_of(self._decode(record.data))
            rows = self._tables.rows(record.data, self._decode, self._layout.dtype, TICKS)
        except ValueError as error:  # damaged, or not like the first
            self._refused(error)
            return
        for row in map(self._layout.unpack, rows):
            bisect.insort(self._waiting, (row.seq, self._inputs.time_ns, row), key=lambda entry: entry[:2])

    def _ready(self, ended: bool = False) -> Iterator[Step]:
        while self._waiting:
            _, since, row = self._waiting[0]
            waited = WAIT_NS if ended else self._inputs.time_ns - since
            if waited < SORT_NS and (self._previous is None or row.seq != self._previous.seq + 1):
                return  # the one before it may come yet
            pipeline = None if self._restarted(row) else self.pipeline
            absent, weights_lost = self._inputs.absent(row, pipeline), self._inputs.weights_lost(row, pipeline)
            if (absent or weights_lost) and waited < WAIT_NS:
                return
            del self._waiting[0]
            if self._previous is not None and not self._restarted(row) and row.seq <= self._previous.seq:
                continue  # it comes after its place, or twice
            self.missing.update(absent + ["actor/weights"] * weights_lost)
            yield self._step(row, absent, weights_lost)

    def _restarted(self, row: Row) -> bool:
        previous = self._previous
        return previous is None or (row.seq <= previous.seq and (row.seq == 0 or row.now_ns > previous.now_ns))

    # --- one step -----------------------------------------------------------------------------------------------------

    def _step(self, row: Row, absent: list[str], weights_lost: bool) -> Step:
        step, previous = Step(row), self._previous
        if previous is None or self._restarted(row) or self.pipeline is None:
            previous = None
            self._begin(row)
            if row.seq:
                step.unchecked = "the state before it is not in the bag"
        elif lost := row.seq - previous.seq - 1:
            step.unchecked, self._in_step, self._told = f"{lost} rows of '{TICKS}' before it are not in the bag", False, False
        elif not (self._in_step or self._told):
            step.unchecked = "the command before it is not in the bag"
        if absent and not step.unchecked:
            step.unchecked = f"the bag lacks what it used of {', '.join(absent)}"
        self._previous = row
        if (pipeline := self.pipeline) is None:
            return step
        if not self._in_step and previous is not None:
            self._resumed = True
            pipeline.resume(previous, lambda version: self._inputs.weights(version, pipeline))
        before = pipeline.sent
        damaged = self._inputs.feed(pipeline, row, self._refused, control_of)
        if damaged and not step.unchecked:
            step.unchecked = f"what it used of {', '.join(damaged)} is damaged in the bag"
        step.again, rows = self._call(pipeline, row)
        self._follow(row, previous, step, before)
        self._judge(step, weights_lost, pipeline)
        if step.unchecked:
            pipeline.forget_row()
        else:
            self.rows += rows
        self._in_step = not (step.unchecked or step.differs or weights_lost or step.again is None)
        if row.event in (Event.ENABLE, Event.HANDSHAKE):
            self._told = self._in_step  # the next command starts from what was measured then, which the row does not tell
        # A step without a command while the arm is awaited tells nothing: what it goes on from may have been said in a row that was lost.
        self._told |= self._in_step or (row.event == Event.TICK and (row.commands or not row.state.enabled))
        return step

    def _begin(self, row: Row) -> None:
        """A control_node that started: a new pipeline."""
        self.pipeline, self.others, self._previous = None, {}, None
        self._in_step = self._told = row.seq == 0
        self._resumed = not self._in_step
        settings = self._inputs.settings(row.parameters)
        if settings is None or self._layout is None:
            return
        self.pipeline = self._make(settings, self._layout)
        self.others = {name: other.make(settings, self._layout) for name, other in self._others.items()}
        for pipeline in (self.pipeline, *self.others.values()):
            pipeline.parameters = row.parameters

    def _judge(self, step: Step, weights_lost: bool, pipeline: ResumablePipeline) -> None:
        """Compare, and say why where the two need not agree."""
        row, again = step.row, step.again
        if again is None:
            return
        step.differs = pipeline.layout.differing(row.raw, again.raw)
        acted = row.source == Source.ACTOR
        if weights_lost and not acted:
            step.differs = [name for name in step.differs if name not in ABOUT_WEIGHTS]
        if step.unchecked:
            return
        if weights_lost and acted:
            step.unchecked = "the bag lacks the weights that acted"
        elif step.differs and (guessed := self._inputs.guessed(row)):
            step.unchecked = f"messages of {', '.join(guessed)} have no stamps, and which one it used is a guess"
        elif self._resumed and again.state.weights_version != row.state.weights_version:
            step.unchecked = "to which weights it returned depends on what is not in the bag"

    # --- one pipeline -------------------------------------------------------------------------------------------------

    def _call(self, pipeline: ResumablePipeline, row: Row) -> tuple[Row | None, list[np.ndarray]]:
        """The row that the call is logged as now, None: it could not be made; and the rows of `replay` that came of it."""
        try:
            outputs = pipeline.step(Event(row.event), row.now_ns)
        except (Refused, WeightsError, ValueError) as error:  # the last: a damaged row names no call
            self._refused(error)
            return None, []
        if not outputs.ticks:
            return None, outputs.rows
        raw = outputs.ticks[-1]
        return row if raw[4:] == row.raw[4:] else pipeline.layout.unpack(raw), outputs.rows

    def _follow(self, row: Row, previous: Row | None, step: Step, before: tuple[np.ndarray, np.ndarray]) -> None:
        """The other pipelines: same inputs, same call, from the command before."""
        for name, pipeline in self.others.items():
            other = self._others[name]
            pipeline.follow(*before, previous)
            self._inputs.feed(pipeline, row, lambda error: None, other.settings, own_weights=other.weights is not None)  # refusals are said once
            again, _ = self._call(pipeline, row)
            if again is not None and again.commands:
                step.others[name] = again.command
