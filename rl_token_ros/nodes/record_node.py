"""record: writes the topics of a run into a bag as they come, without decoding them."""

from __future__ import annotations

import fnmatch
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from rl_token_ros.bags.recorder import Message, Recorder
from rl_token_ros.bags.writer import BagWriter, qos
from rl_token_ros.interfaces.camera_stream import BEST_EFFORT, RELIABLE, best_reliability
from rl_token_ros.interfaces.topics import RECORDED, TABLE
from rl_token_ros.nodes import diagnostics
from rl_token_ros.nodes.discovery import use_short_lease
from rl_token_ros.nodes.ros_parameters import declare
from rl_token_ros.nodes.ros_topics import interface_class, publisher
from rl_token_ros.nodes.running import log_at, run
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.record import Record

LOOK_SECONDS = 0.05  # between two looks for new topics: what is sent before the first that finds a topic is not in the bag
LOOKS = 10  # for new topics to one at what is offered on those that are recorded: drivers come back with another QoS
DEPTH = 1000  # messages of one topic that may wait while another is taken


def _reliable(offered: QoSProfile) -> bool:
    return bool(offered.reliability == ReliabilityPolicy.RELIABLE)


def _latched(offered: QoSProfile) -> bool:
    return bool(offered.durability == DurabilityPolicy.TRANSIENT_LOCAL)


class RecordNode(Node):
    """Subscribes to what matches as soon as somebody publishes it, with the QoS it is offered with."""

    def __init__(self, **options) -> None:
        super().__init__("record", **options)
        self.settings = settings = declare(self, Record)
        folder = Path(settings.bag).expanduser() if settings.bag else Path("runs/bags") / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        self._patterns = [self.resolve_topic_name(topic) if "*" not in topic else self._absolute(topic) for topic in settings.topics or RECORDED]
        try:
            self._writer = BagWriter(folder, split_bytes=settings.split_size, limit_bytes=settings.size_limit, compression=settings.compression)
        except OSError as error:
            raise ParameterError(f"parameter 'bag': '{folder}' cannot be written: {error.strerror}") from None
        self.recorder = Recorder(
            self._writer,
            sync_seconds=settings.sync_seconds,
            queue_bytes=settings.queue_size,
            free_bytes=settings.free_space,
            log=lambda level, text: log_at(self.get_logger(), level, text),
        )
        self.topics: dict[str, str] = {}  # subscribed, with their types
        self._asked: dict[str, Subscription] = {}
        self._looks = 0
        self._roles = self._resolved()
        self._refused: set[str] = set()
        self._diagnostics = publisher(self, "/diagnostics")
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(LOOK_SECONDS, self._look, clock=steady)
        self.create_timer(1.0, self._report, clock=steady)
        self._look()
        self.get_logger().info(f"recording to '{folder}'")

    def _absolute(self, pattern: str) -> str:
        return pattern if pattern.startswith("/") else f"{self.get_namespace().rstrip('/')}/{pattern}"

    def _resolved(self) -> dict[str, str]:
        """Full names -> ours, by this node's namespace and remappings. Of two that are one topic, the one that matters more for a replay."""
        found = {}
        for topic in sorted(TABLE, key=lambda topic: (topic.actuates, topic.recorded)):  # the last one counts
            for camera in self.settings.cameras if "{camera}" in topic.name else ("",):
                ours = topic.name.replace("{camera}", camera)
                found[self.resolve_topic_name(ours)] = ours
        return found

    def _look(self) -> None:
        """Subscribe to what has appeared since the last look, and again to what is offered otherwise."""
        self._looks += 1
        for topic in self.topics if self._looks % LOOKS == 0 else ():
            self._follow(topic)
        for topic, kinds in self.get_topic_names_and_types():
            if topic in self.topics or topic in self._refused or not any(fnmatch.fnmatchcase(topic, pattern) for pattern in self._patterns):
                continue
            offered = self.get_publishers_info_by_topic(topic)
            if not offered:
                continue  # somebody listens, nobody speaks yet
            if len(kinds) != 1:
                self._refuse(topic, f"it has several types: {', '.join(kinds)}")
                continue
            self._subscribe(topic, kinds[0], [info.qos_profile for info in offered])

    def _subscribe(self, topic: str, kind: str, offered: list[QoSProfile]) -> None:
        try:
            message_class = interface_class(kind)
        except (ImportError, AttributeError):
            self._refuse(topic, f"its type {kind} is not installed here; source the workspace that has it")
            return
        reliable = best_reliability([_reliable(each) for each in offered], BEST_EFFORT) == RELIABLE
        latched = all(_latched(each) for each in offered)
        self._writer.add_topic(topic, kind, qos(reliable=reliable, latched=latched, depth=max(offered[0].depth, 1)), self._roles.get(topic, ""))
        self.topics[topic] = kind
        self._take(topic, message_class, reliable, latched)

    def _follow(self, topic: str) -> None:
        """A subscriber gets nothing from a publisher that offers less than it asks for."""
        offered = [info.qos_profile for info in self.get_publishers_info_by_topic(topic)]
        asked = self._asked[topic].qos_profile
        now = RELIABLE if _reliable(asked) else BEST_EFFORT
        wanted = best_reliability([_reliable(each) for each in offered], now)
        latched = _latched(asked) and all(_latched(each) for each in offered)  # not again: what is kept would be recorded twice
        if (wanted, latched) != (now, _latched(asked)):
            self.get_logger().info(f"'{topic}' is offered with another QoS from now on: {wanted}, {'latched' if latched else 'volatile'}")
            old = self._asked[topic]
            self._take(topic, old.msg_type, wanted == RELIABLE, latched)
            self.destroy_subscription(old)

    def _take(self, topic: str, message_class: Any, reliable: bool, latched: bool) -> None:
        """Record it from now on, asked for like this."""
        profile = QoSProfile(
            depth=DEPTH,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )
        clock = self.get_clock()

        def take(data: Any) -> None:  # bytes, which Jazzy's rclpy declares otherwise
            self.recorder.take(Message(topic, self.topics[topic], clock.now().nanoseconds, data))

        self._asked[topic] = self.create_subscription(message_class, topic, take, profile, raw=True)

    def _refuse(self, topic: str, why: str) -> None:
        self._refused.add(topic)
        self.get_logger().error(f"'{topic}' is not recorded: {why}")

    def _report(self) -> None:
        recorder = self.recorder
        level, message = ("ok", "recording") if recorder.state == "recording" else ("error", recorder.state)
        if recorder.lost and level == "ok":
            level, message = "warn", f"recording; {recorder.lost} messages lost: the disk does not keep up or was full"
        values = {
            "topics": len(self.topics),
            "topics_refused": len(self._refused),
            "messages": recorder.messages,
            "messages_lost": recorder.lost,
            "bytes": recorder.bytes,
            "files_deleted": self._writer.deleted,
        }
        status = diagnostics.status(self.get_fully_qualified_name(), level, message, values)
        self._diagnostics.publish(diagnostics.array(self.get_clock().now().to_msg(), status))

    def close(self) -> None:
        """Write what was received, with the index."""
        self.recorder.close()
        told = f"{self.recorder.messages} messages of {len(self.topics)} topics in '{self._writer.folder}'"
        self.get_logger().info(told + (f"; {self.recorder.lost} lost" if self.recorder.lost else ""))


def main() -> None:
    """Entry point of `record`."""
    use_short_lease()
    sys.exit(run(RecordNode))


if __name__ == "__main__":
    main()
