"""Runs a recorded run through the pipeline again, call by call, as the rows of `~/ticks` say.

Each row names the messages that its control step used. They are handed over in that order, the call is made, and what comes of it is
compared with the row, bit for bit. Other pipelines (other weights, another mode) may follow: they see what the first one sees and start
each step from the command that was really sent, so that each of their commands is an answer to the arm as it was.
"""

from __future__ import annotations

import bisect
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Callable, Iterator

import numpy as np

from rl_token_ros import parameters, replay_record, state_messages, tick_record, weights
from rl_token_ros.arming import Refused
from rl_token_ros.bags import types
from rl_token_ros.bags.inbox import Inbox
from rl_token_ros.bags.names import SETTINGS, TICKS
from rl_token_ros.bags.reader import Record, Topic
from rl_token_ros.bags.tables import TableReader
from rl_token_ros.pipeline import Pipeline
from rl_token_ros.settings import Control
from rl_token_ros.tick_record import INPUTS, Layout, Row
from rl_token_ros.weights import WeightsError

WAIT_NS = 2_000_000_000  # of recording time, in which a message that a row names may still come: recorders mix topics up
SORT_NS = 500_000_000  # likewise, in which rows are put into their order
KEEP_WEIGHTS = 32
ABOUT_WEIGHTS = {"weights_offered", "weights_version", "share"}


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

    def make(self, told: dict) -> Pipeline:
        """The pipeline, with its weights if they are its own.

        Raises:
            WeightsError: they were made for another robot, encoder or VLA.
        """
        pipeline = Pipeline(self.settings(told), lambda error: None)
        if self.weights is not None:
            ready = pipeline.gate.admit(self.weights, pipeline.controller.policy.observation)
            pipeline.controller.authority.resume(ready, 1.0)
        return pipeline


class Replayer:
    """Takes a bag's messages in any order and gives a :class:`Step` for each row.

    Args:
        topics: our names -> topics of the bag.
        make: makes a pipeline for parameters as they were on `~/settings`, the first one and one after each restart of control_node.
        others: the pipelines that follow, by name.
        refused: told about inputs that the pipeline does not take.
        fallback: parameters where the bag does not hold them.
    """

    def __init__(
        self,
        topics: dict[str, Topic],
        make: Callable[[dict], Pipeline],
        others: dict[str, Other] | None = None,
        refused: Callable[[Exception], None] = lambda error: None,
        fallback: dict | None = None,
    ) -> None:
        self._ours = {topic.name: ours for ours, topic in topics.items()}
        self._decode = {ours: types.decoder(topic.type, topic.definition, topic.encoding) for ours, topic in topics.items()}
        self._make, self._others, self._refused = make, others or {}, refused
        self._inbox = Inbox()
        self._settings: dict[int, dict] = {}
        self._fallback = fallback
        self._weights: dict[int, bytes] = {}  # by version
        self._waiting: list[tuple[int, int, Row]] = []  # seq, recording time, row; in the order of seq
        self._tables = TableReader()
        self._layout: Layout | None = None
        self.pipeline: Pipeline | None = None
        self.others: dict[str, Pipeline] = {}
        self.rows: list[np.ndarray] = []  # of `replay`, made again; the caller takes them
        self.missing: Counter[str] = Counter()  # messages that rows name and the bag lacks, by topic
        self._previous: Row | None = None
        self._known = False  # whether the pipeline's state is that of then
        self._weights_lost = False  # whether the run had weights that the bag lacks
        self._resumed = False  # whether what was before the bag is unknown

    # --- messages -----------------------------------------------------------------------------------------------------

    def take(self, record: Record) -> Iterator[Step]:
        """One message of the bag; gives the steps that are complete with it."""
        ours = self._ours[record.topic]
        if ours in INPUTS:
            self._inbox.put(ours, record.stamp_ns, record.data)
        else:
            self._inbox.pass_time(record.stamp_ns)
            if ours == TICKS:
                self._take_rows(record)
            elif ours == SETTINGS:
                settings = json.loads(self._decode[ours](record.data).data)
                self._settings[settings["number"]] = settings
            elif ours == "actor/weights":
                self._take_weights(bytes(self._decode[ours](record.data).data))
        yield from self._ready()

    def finish(self) -> Iterator[Step]:
        """The bag has ended; gives the rest."""
        yield from self._ready(ended=True)

    def _take_rows(self, record: Record) -> None:
        if self._layout is None:
            columns = {column.name: column.count for column in self._decode[TICKS](record.data).fields}
            self._layout = Layout(columns.get("command", 1))
        for row in self._tables.rows(record.data, self._decode[TICKS], self._layout.dtype, TICKS):
            row = self._layout.unpack(row)
            bisect.insort(self._waiting, (row.seq, self._inbox.time_ns, row), key=lambda entry: entry[:2])

    def _take_weights(self, blob: bytes) -> None:
        try:
            version = weights.decode(blob).version
        except WeightsError as error:
            self._refused(error)  # as live
            return
        self._weights.pop(version, None)
        self._weights[version] = blob
        while len(self._weights) > KEEP_WEIGHTS:
            del self._weights[next(iter(self._weights))]

    # --- rows ---------------------------------------------------------------------------------------------------------

    def _ready(self, ended: bool = False) -> Iterator[Step]:
        while self._waiting:
            _, since, row = self._waiting[0]
            waited = WAIT_NS if ended else self._inbox.time_ns - since
            if waited < SORT_NS and (self._previous is None or row.seq != self._previous.seq + 1):
                return  # the one before it may come yet
            absent = self._absent(row)
            if absent and waited < WAIT_NS:
                return
            del self._waiting[0]
            if not self._restarted(row) and row.seq <= self._previous.seq:
                continue  # it comes after its place, or twice
            self.missing.update(absent)
            yield self._step(row, absent)

    def _absent(self, row: Row) -> list[str]:
        """Inputs that this row needs and that have not come (yet)."""
        pipeline = None if self._restarted(row) else self.pipeline
        number = row.parameters
        if pipeline is None or pipeline.parameters != number:
            if number not in self._settings and self._fallback is None:
                return [SETTINGS]
        held = dict(zip(INPUTS, pipeline.controller.input_stamps)) if pipeline is not None else {}
        absent = [
            topic
            for topic, stamp in row.inputs.items()
            if held.get(topic) != stamp and self._inbox.find(topic, stamp) is None
        ]
        offered = row.weights_offered
        if offered and (pipeline is None or offered != pipeline.offered) and offered not in self._weights:
            absent.append("actor/weights")
        return absent

    def _restarted(self, row: Row) -> bool:
        previous = self._previous
        return previous is None or (row.seq <= previous.seq and (row.seq == 0 or row.now_ns > previous.now_ns))

    def _step(self, row: Row, absent: list[str]) -> Step:
        step = Step(row)
        if self._restarted(row):
            self._begin(row)
        elif row.seq != self._previous.seq + 1:
            step.unchecked = f"{row.seq - self._previous.seq - 1} rows of '{TICKS}' before it are not in the bag"
        if absent:
            step.unchecked = f"the bag lacks what it used of {', '.join(absent)}"
        if step.unchecked:
            self._known = False
        if self.pipeline is not None and "actor/weights" in absent:
            self._weights_lost, self.pipeline.offered = True, row.weights_offered  # said once
        if self.pipeline is None:
            self._previous = row
            return step
        if not self._known:
            step.unchecked = step.unchecked or "the state before it is not in the bag"
            if self._previous is not None:
                self._resume(self._previous)
        before = self.pipeline.controller.filter.command, self.pipeline.controller.filter.velocity
        self._feed(self.pipeline, row, None)
        step.again = self._call(self.pipeline, row)
        self._follow(row, step, before)
        self._judge(step)
        self._previous = row
        rows, _ = self.pipeline.controller.episode.take()
        if self._known:
            self.rows += rows
        return step

    def _begin(self, row: Row) -> None:
        """A control_node that started: a new pipeline. One that was running when the bag began: as far as the row says."""
        self.pipeline, self.others = None, {}
        settings = self._settings.get(row.parameters, self._fallback)
        self._known = row.seq == 0
        self._resumed = not self._known
        self._previous = None
        if settings is None:
            return
        self.pipeline = self._make(settings)
        self.others = {name: other.make(settings) for name, other in self._others.items()}
        for pipeline in (self.pipeline, *self.others.values()):
            pipeline.parameters = row.parameters

    def _resume(self, row: Row) -> None:
        """Be as after this row."""
        pipeline, version = self.pipeline, row.weights_version
        pipeline.resume(row)
        if version != pipeline.controller.actor.version and version in self._weights:
            ready = pipeline.controller.actor.prepare(weights.decode(self._weights[version]), pipeline.controller.policy.observation)
            pipeline.controller.authority.resume(ready, row.share)
            pipeline.offered = version

    def _judge(self, step: Step) -> None:
        """Compare; where the two must not agree yet, or do not, go on from what the row says."""
        row, again = step.row, step.again
        if again is not None:
            step.differs = self._layout.differing(row.raw, again.raw)
        version = 0 if again is None else again.weights_version
        self._weights_lost &= version != row.weights_version
        if self._weights_lost and row.source != replay_record.SOURCE_ACTOR:  # they decided nothing here
            step.differs = [name for name in step.differs if name not in ABOUT_WEIGHTS]
        elif self._weights_lost and not step.unchecked:
            step.unchecked, self._known = "the bag lacks the weights that acted", False
        elif self._known and self._resumed and version != row.weights_version:
            step.unchecked = "the weights that it returned to acted before the bag began"
            self._known = False
        if not self._known and again is not None and not step.differs and _settles(row):
            self._known = True  # from here on everything follows
        if self._known and step.differs:
            controller = self.pipeline.controller
            if "command" in step.differs and row.commands:
                controller.filter.command, controller.filter.velocity = row.command, row.velocity
            if "enabled" in step.differs or "stopped" in step.differs:
                self._known = False

    # --- one pipeline -------------------------------------------------------------------------------------------------

    def _feed(self, pipeline: Pipeline, row: Row, other: Other | None) -> None:
        """Hand over what this row used and the pipeline does not hold yet."""
        refused = self._refused if other is None else lambda error: None  # said once
        number = row.parameters
        for n in range(pipeline.parameters + 1, number + 1):
            if n in self._settings:
                pipeline.change(control_of(self._settings[n]) if other is None else other.settings(self._settings[n]))
        pipeline.parameters = number
        held = dict(zip(INPUTS, pipeline.controller.input_stamps))
        for topic, stamp in row.inputs.items():
            if held[topic] == stamp:
                continue
            data = self._inbox.find(topic, stamp)
            if data is None:
                continue
            message = self._decode[topic](data)
            try:
                hand_over(pipeline, topic, message, stamp if topic not in ("vla/reference", "vla/embedding") else row.now_ns)
            except ValueError as error:
                refused(error)
        offered = row.weights_offered
        if offered and offered != pipeline.offered and offered in self._weights and (other is None or other.weights is None):
            try:
                pipeline.admit(self._weights[offered])
            except WeightsError as error:
                refused(error)

    def _call(self, pipeline: Pipeline, row: Row) -> Row | None:
        try:
            pipeline.call(row.event, row.now_ns)
        except (Refused, WeightsError) as error:
            self._refused(error)
        log = pipeline.take_log()
        if not log:
            return None
        return row if log[-1][4:] == row.raw[4:] else self._layout.unpack(log[-1])

    def _follow(self, row: Row, step: Step, before: tuple[np.ndarray, np.ndarray]) -> None:
        """The other pipelines: same inputs, same call, from the command before."""
        for name, pipeline in self.others.items():
            controller = pipeline.controller
            if np.isfinite(before[0]).all():
                controller.filter.command, controller.filter.velocity = before[0].copy(), before[1].copy()
            if (previous := self._previous) is not None:
                controller.enabled, controller.stop_reason = previous.enabled, "as in the bag" if previous.stopped else ""
            self._feed(pipeline, row, self._others[name])
            again = self._call(pipeline, row)
            controller.episode.take()
            if again is not None and again.commands:
                step.others[name] = again.command


def hand_over(pipeline: Pipeline, topic: str, message: Any, now_ns: int) -> None:
    """A message of one of tick_record.INPUTS.

    Raises:
        ValueError: a measurement that cannot be used.
    """
    if topic == "vla/reference":
        pipeline.propose(message, now_ns)
    elif topic == "vla/embedding":
        pipeline.encode(message)
    elif topic == "intervention":
        pipeline.intervene(message, now_ns)
    else:
        state_messages.take(pipeline.controller.state, topic, message, now_ns)


def control_of(settings: dict, **changes: Any) -> Control:
    """The parameters in a message of `~/settings`; the VLA's file need not be at hand, its fingerprint is there.

    Raises:
        ParameterError: a value that this version does not take.
    """
    values = {**settings["parameters"], "vla_model": "", "vla_sha256": settings.get("vla_sha256", ""), **changes}
    return parameters.build(Control, values)


def _settles(row: Row) -> bool:
    """Whether nothing but its inputs and the command before decided this row, so that what follows is decided, too."""
    if row.event != tick_record.TICK:
        return False
    if row.source == replay_record.SOURCE_ACTOR:
        return row.executed == 1 and row.share == 1.0
    return row.source in (replay_record.SOURCE_VLA, replay_record.SOURCE_HUMAN, tick_record.SOURCE_NONE)
