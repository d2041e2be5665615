"""What a bag holds of what rows of `~/ticks` name: messages by their stamp, weights by version, sets of parameters by number."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from rl_token_ros.bags import message_types
from rl_token_ros.bags.reader import Record, Topic
from rl_token_ros.bags.run_settings import read_settings
from rl_token_ros.control.pipeline import Pipeline
from rl_token_ros.control.resumable import ResumablePipeline
from rl_token_ros.control.tick_record import NAMED, Row
from rl_token_ros.interfaces.topics import SETTINGS
from rl_token_ros.policy import actor_weights
from rl_token_ros.policy.actor_weights import ActorWeights, WeightsError
from rl_token_ros.resimulation.pending import STAMP_BYTES, Inbox
from rl_token_ros.settings.control import Control

KEEP_WEIGHTS = 16  # versions, and beyond that for as long as a row that names them may still come
KEEP_WEIGHTS_NS = 3_000_000_000


class Inputs:
    """Takes messages as they come and hands them to pipelines as rows ask for them.

    Args:
        topics: our names -> topics of the bag.
        refused: told about weights that cannot be read.
        fallback: parameters where the bag does not hold them.
    """

    def __init__(self, topics: dict[str, Topic], refused: Callable[[Exception], None], fallback: dict | None) -> None:
        self._decode = {ours: message_types.decoder(topic.type, topic.definition, topic.encoding) for ours, topic in topics.items()}
        self._refused, self._fallback = refused, fallback
        self._inbox = Inbox()
        self._decoded: dict[str, tuple[bytes, Any]] = {}  # the newest of each topic: several pipelines take it one after the other
        self._guessed: dict[str, int] = {}  # topic -> stamp in the rows, of the newest messages that were taken for theirs
        self._settings: dict[int, dict] = {}  # by number
        self._weights: dict[int, bytes] = {}  # by version; what came or was named by a row last is at the end
        self._named_ns: dict[int, int] = {}  # recording time of that
        self._ready: dict[int, ActorWeights] = {}  # of those, what a pipeline resumed with

    def take(self, ours: str, record: Record) -> None:
        """A message of any topic; of those that rows name none by, only the time counts."""
        if ours in NAMED:
            if len(record.data) < STAMP_BYTES:
                self._refused(message_types.NotDecoded(f"a message of '{ours}' has {len(record.data)} bytes, too few for a header"))
                return
            self._inbox.put(ours, record.stamp_ns, record.data)
            return
        self._inbox.pass_time(record.stamp_ns)
        try:
            if ours == SETTINGS:
                settings = read_settings(self._decode[ours](record.data))
                self._settings[settings["number"]] = settings
            elif ours == "actor/weights":
                self._take_weights(bytes(self._decode[ours](record.data).data))
        except ValueError as error:
            self._refused(error)

    def _take_weights(self, blob: bytes) -> None:
        try:
            version = actor_weights.decode(blob).version
        except WeightsError as error:
            self._refused(error)  # as live
            return
        if self._weights.get(version) != blob:
            self._ready.pop(version, None)
        self._weights[version] = blob
        self._keep(version)
        while len(self._weights) > KEEP_WEIGHTS:
            oldest = next(iter(self._weights))
            if self.time_ns - self._named_ns[oldest] < KEEP_WEIGHTS_NS:
                break
            for kept in (self._weights, self._named_ns, self._ready):
                kept.pop(oldest, None)

    def _keep(self, version: int) -> None:
        """A version that a row names is the last to go: what an actor takes over from may be dozens of versions old."""
        if version in self._weights:
            self._weights[version] = self._weights.pop(version)
            self._named_ns[version] = self.time_ns

    @property
    def time_ns(self) -> int:
        """Recording time that has passed."""
        return self._inbox.time_ns

    def settings(self, number: int) -> dict | None:
        """The set of parameters with this number."""
        return self._settings.get(number, self._fallback)

    def weights(self, version: int, pipeline: ResumablePipeline) -> ActorWeights | None:
        """The weights of a version, ready to run; None for version 0, and where the bag lacks them."""
        if (held := pipeline.holds(version)) is not None:
            return held
        if version in self._weights and version not in self._ready:
            self._ready[version] = pipeline.prepare(self._weights[version])
        return self._ready.get(version)

    def _message(self, topic: str, data: bytes) -> Any:
        known = self._decoded.get(topic)
        if known is None or known[0] is not data:
            known = self._decoded[topic] = data, self._decode[topic](data)
        return known[1]

    # --- what is missing ----------------------------------------------------------------------------------------------

    def absent(self, row: Row, pipeline: ResumablePipeline | None) -> list[str]:
        """Topics with messages that this row used, and that have not come (yet)."""
        missing = []
        first = row.parameters if pipeline is None else min(pipeline.parameters + 1, row.parameters)
        if any(self.settings(number) is None for number in range(first, row.parameters + 1)):
            missing.append(SETTINGS)
        lacking, joints = (row.inputs, {}) if pipeline is None else (pipeline.lacks(row), pipeline.lacks_joints(row))
        if pipeline is None and row.joint_ns and (told := self.settings(row.parameters)) is not None:
            lacking, joints = {t: s for t, s in lacking.items() if t != "joint_states"}, row.joints(told["parameters"]["joint_names"])
        missing += [topic for topic, stamp in lacking.items() if not self._inbox.find(topic, stamp) and not _over(topic, row, pipeline)]
        if not all(names <= self._brought(stamp) for stamp, names in joints.items()):
            missing.append("joint_states")
        return missing

    def _brought(self, stamp: int) -> set[str]:
        """Names of the joints in messages with this stamp."""
        names: set[str] = set()
        for data in self._inbox.find("joint_states", stamp):
            try:
                names.update(self._message("joint_states", data).name)
            except message_types.NotDecoded:
                pass  # said when it is handed over
        return names

    def weights_lost(self, row: Row, pipeline: ResumablePipeline | None) -> bool:
        """Whether the bag lacks weights that this row names (so far)."""
        state = row.state
        versions = {state.weights_version, state.weights_left, state.weights_waiting} - {0}
        for version in versions:
            self._keep(version)
        if pipeline is not None:
            versions -= pipeline.versions
        return not versions <= self._weights.keys()

    def guessed(self, row: Row) -> list[str]:
        """Topics without stamps of which it is not certain which message this row used."""
        return [
            topic for topic, stamp in self._guessed.items() if stamp == row.inputs.get(topic) or (topic == "joint_states" and stamp in row.joint_ns)
        ]

    # --- handing over -------------------------------------------------------------------------------------------------

    def feed(
        self, pipeline: ResumablePipeline, row: Row, refused: Callable[[Exception], None],
        settings_of: Callable[[dict], Control], own_weights: bool = False,
    ) -> list[str]:  # fmt: skip
        """Hand over what this row used and the pipeline does not hold yet; gives the topics of messages that are damaged.

        Args:
            settings_of: the pipeline's parameters, given those of `~/settings`.
            own_weights: the pipeline keeps those it has.
        """
        for number in range(pipeline.parameters + 1, row.parameters + 1):
            if (told := self._settings.get(number)) is not None:
                pipeline.change(settings_of(told), number)
        if self._fallback is not None:
            pipeline.parameters = row.parameters
        damaged: list[str] = []
        for topic, stamp in pipeline.lacks(row).items():
            found = self._inbox.find(topic, stamp)
            if not found and _over(topic, row, pipeline):
                pipeline.intervened_long_ago(stamp)
            now = max(row.now_ns, stamp) if topic in ("vla/reference", "vla/embedding") else stamp  # the clock may have been set back since
            for data in found:
                self._hand_over(topic, stamp, data, functools.partial(hand_over, pipeline, topic, now_ns=now), refused, damaged)
        for stamp, names in pipeline.lacks_joints(row).items():
            take = functools.partial(pipeline.measure_joints, now_ns=stamp, names=names)
            for data in self._inbox.find("joint_states", stamp):
                self._hand_over("joint_states", stamp, data, take, refused, damaged)
        offered = row.weights_offered
        if offered and offered != pipeline.offered and offered in self._weights and not own_weights:
            try:
                pipeline.admit(self._weights[offered])
            except WeightsError as error:
                refused(error)
        return damaged

    def _hand_over(
        self, topic: str, stamp: int, data: bytes, take: Callable[[Any], object], refused: Callable[[Exception], None], damaged: list[str]
    ) -> None:
        try:
            take(self._message(topic, data))
        except message_types.NotDecoded as error:
            damaged.append(topic)
            refused(error)
        except ValueError as error:
            refused(error)
        if self._inbox.is_guess(topic, stamp):
            self._guessed[topic] = stamp


def _over(topic: str, row: Row, pipeline: Pipeline | None) -> bool:
    """Whether what the human did does not matter any more: it is held until the next time, which may be never."""
    if topic != "intervention" or pipeline is None:
        return False
    return abs(row.now_ns - row.inputs[topic]) > pipeline.controller.settings.intervention_timeout * 1e9


def hand_over(pipeline: Pipeline, topic: str, message: Any, now_ns: int) -> None:
    """A message of one of tick_record.NAMED.

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
        pipeline.measure(topic, message, now_ns)
