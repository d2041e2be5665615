"""learner_node: takes `replay`, lets a process of its own learn from it, and sends `actor/weights`."""

from __future__ import annotations

import array
import functools
import sys
import time

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import UInt8MultiArray

from rl_token_ros.evaluation.pace import outrun
from rl_token_ros.interfaces import replay_table
from rl_token_ros.interfaces.replay_table import ReplayError
from rl_token_ros.learning.identity import find_identity
from rl_token_ros.learning.worker import Worker
from rl_token_ros.nodes import diagnostics
from rl_token_ros.nodes.ros_parameters import declare
from rl_token_ros.nodes.ros_topics import publisher, subscription
from rl_token_ros.nodes.running import log_at, run
from rl_token_ros.policy.actor_weights import Architecture, Identity
from rl_token_ros.settings.learner import Learner
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.proprioception_groups import size

WATCH_SECONDS = 0.1  # between two looks whether the process has started or ended, which is reported at once
STALE_SECONDS = 15.0  # without figures from the process


class LearnerNode(Node):
    """Callbacks decode and hand over; they never wait for the learner."""

    def __init__(self, **options) -> None:
        super().__init__("learner_node", **options)
        self.settings = s = declare(self, Learner)
        proprio = size(s.proprioception, len(s.joint_names), s.action_size)
        self.row_dtype = replay_table.row_dtype(s.token_size, proprio, s.chunk_length, s.action_size)
        architecture = Architecture(s.token_size, proprio, s.chunk_length, s.action_size, hidden=s.hidden_size, layers=s.actor_layers)
        self.received = dict.fromkeys(s.robots or [""], 0)  # rows, by robot
        self.refused = self.pushes = 0
        self.pushed_ns = 0
        self._reported = ""  # state of the process
        self._weights = [publisher(self, "actor/weights", robot=robot) for robot in self.received]
        self._diagnostics = publisher(self, "/diagnostics")
        identity = find_identity(s)
        self.worker = Worker(s, self.row_dtype, identity, architecture, on_weights=self._push, log=self._log)
        self._seed(identity)
        for robot in self.received:
            subscription(self, "replay", functools.partial(self._on_replay, robot), robot=robot, raw=True)  # kept as it came
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._report, clock=steady)
        self.create_timer(WATCH_SECONDS, self._watch, clock=steady)
        self.create_timer(s.repeat_seconds, self._repeat, clock=steady)
        self._repeat()

    def _seed(self, identity: Identity) -> None:
        """Rows of old bags come before all others, once: a run that is continued has them in its journal."""
        if not self.settings.seed_bags or not self.worker.new:
            return
        from rl_token_ros.bags.seeds import Seed  # the libraries for bags

        try:
            for seed in [Seed(path, self.settings, self.row_dtype, identity) for path in self.settings.seed_bags]:
                for rows, message in seed:
                    self.worker.seed(rows, message)
                self._log("info", f"'{seed.path}': {seed.steps} steps of 'replay' to begin with")
                for problem in seed.problems:
                    self._log("warn", problem)
        except ParameterError:
            self.worker.close()
            raise

    def _on_replay(self, robot: str, message: bytes) -> None:
        try:
            rows = replay_table.decode(deserialize_message(message, PointCloud2), self.row_dtype)
        except Exception as error:  # of any kind: whoever is on the network writes these bytes
            self.refused += 1
            told = str(error) if isinstance(error, ReplayError) else f"'replay' is no PointCloud2: {error}"
            self.get_logger().error(told, throttle_duration_sec=1.0)
            return
        self.received[robot] += len(rows)
        self.worker.send(rows, message, robot)

    def _push(self, blob: bytes) -> None:
        """New weights, at once; runs on a thread of the worker's."""
        self.pushes += 1
        self.pushed_ns = time.time_ns()
        self._send(blob)

    def _repeat(self) -> None:
        """The newest weights again: a late joiner may have missed them."""
        if self.worker.newest is not None:
            self._send(self.worker.newest)

    def _send(self, blob: bytes) -> None:
        message = UInt8MultiArray(data=array.array("B", blob))
        for weights in self._weights:
            weights.publish(message)

    def _log(self, level: str, text: str) -> None:
        log_at(self.get_logger(), level, text)

    def _watch(self) -> None:
        if self.worker.state != self._reported:
            self._report()

    def _report(self) -> None:
        worker = self.worker
        self._reported = worker.state
        if worker.failed:
            raise ParameterError(worker.failed)
        age = time.monotonic() - worker.stats_at
        level, message = "ok", worker.stats.get("phase", "")
        if worker.state != "running":
            level, message = ("error" if worker.state == "given up" else "warn"), f"learner process: {worker.state}"
        elif age > STALE_SECONDS:
            level, message = "warn", f"no figures from the learner process for {age:.0f} s"
        elif worker.rows_lost:
            level, message = "warn", f"{worker.rows_lost} rows lost: the learner process does not keep up"
        elif behind := outrun(worker.stats):
            level, message = "warn", behind
        values = {
            **worker.stats,
            "state": worker.state,
            "restarts": worker.restarts,
            "rows_received": sum(self.received.values()),
            **{f"rows_received_{robot}": count for robot, count in self.received.items() if robot},
            "rows_refused": self.refused,
            "rows_not_taken": worker.rows_lost,
            "disk_errors": worker.disk_errors,
            "run": worker.run,
            "pushes": self.pushes,
            "pushed_ns": self.pushed_ns,
        }
        status = diagnostics.status(self.get_fully_qualified_name(), level, message, values)
        self._diagnostics.publish(diagnostics.array(self.get_clock().now().to_msg(), status))

    def close(self) -> None:
        """End the process with a checkpoint while its last weights can still be published."""
        self.worker.close()


def main() -> None:
    """Entry point of `learner_node`."""
    sys.exit(run(LearnerNode))


if __name__ == "__main__":
    main()
