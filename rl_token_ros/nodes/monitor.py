"""Watches a run from outside: episodes from `replay`, figures from `/diagnostics`; enables a simulated arm again that was stopped."""

from __future__ import annotations

import time

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.client import Client
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from sensor_msgs.msg import PointCloud2
from std_srvs.srv import SetBool, Trigger

from rl_token_ros.evaluation.demo_report import Run
from rl_token_ros.evaluation.scores import EpisodeScorer
from rl_token_ros.interfaces import replay_table
from rl_token_ros.nodes.ros_topics import subscription
from rl_token_ros.settings.control import Control
from rl_token_ros.settings.proprioception_groups import size

STOPPED = "stopped: "  # how control_node begins the reason


class Monitor:
    """A context manager that fills a Run while :meth:`spin` is called.

    Args:
        run: what is filled.
        control: parameters of the `control_node` that is watched; they give the shape of its `replay`.
    """

    def __init__(self, run: Run, control: Control) -> None:
        self.run = run
        self._scorer = EpisodeScorer(control.control_rate)
        proprio = size(control.proprioception, len(control.joint_names), control.action_size)
        self._dtype = replay_table.row_dtype(control.token_size, proprio, control.chunk_length, control.action_size)
        self._newest = 0.0
        self._messages: dict[str, str] = {}
        self._started = time.monotonic()
        self._answer: Future | None = None  # of the service called last, while a stopped arm is brought back

    def __enter__(self) -> Monitor:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node("monitor")
        subscription(self._node, "replay", self._on_replay)
        subscription(self._node, "/diagnostics", self._on_diagnostics)
        self._reset: Client = self._node.create_client(Trigger, "control_node/reset_stop")
        self._enable: Client = self._node.create_client(SetBool, "control_node/enable")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown()

    @property
    def waited(self) -> float:
        """Wall time since the start, s."""
        return time.monotonic() - self._started

    def spin(self, seconds: float) -> None:
        """Handle messages for this long (wall time)."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def seconds_left(self) -> float:
        """Robot time until the run is over."""
        gone = 0.0 if self.run.begun is None else self._newest - self.run.begun
        return 60.0 * self.run.minutes - gone

    def go_on(self) -> str:
        """What a person beside a simulated arm does when it was stopped: reset that and enable it again. Call it now and then.

        Returns:
            Why it was stopped, once; else nothing.
        """
        if self._answer is None:
            state = self._messages.get("control_node", "")
            if not state.startswith(STOPPED):
                return ""
            self._answer = self._reset.call_async(Trigger.Request())
            return state.removeprefix(STOPPED)
        if not self._answer.done():
            return ""
        said = self._answer.result()
        if isinstance(said, SetBool.Response) and said.success:
            self._answer, self._messages["control_node"] = None, ""
        elif isinstance(said, SetBool.Response) and STOPPED in said.message:
            self._answer = self._reset.call_async(Trigger.Request())
        else:  # the stop is reset, or it was too early to enable
            self._answer = self._enable.call_async(SetBool.Request(data=True))
        return ""

    def complaints(self) -> str:
        """What the nodes say is wrong."""
        return "; ".join(f"{name}: {message}" for name, message in self._messages.items() if message)

    def _on_replay(self, message: PointCloud2) -> None:
        rows = replay_table.decode(message, self._dtype)
        stamp = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
        self._newest = max(self._newest, stamp)
        if self.run.begun is None:
            self.run.begun = stamp
        for episode in self._scorer.add(rows):
            self.run.add(episode)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            name = status.name.rsplit("/", 1)[-1]
            values = {pair.key: pair.value for pair in status.values}
            if name == "control_node":
                self.run.control = values
                self._newest = max(self._newest, message.header.stamp.sec + message.header.stamp.nanosec * 1e-9)
            elif name == "learner_node":
                self.run.saw_learner(message.header.stamp.sec + message.header.stamp.nanosec * 1e-9, values)
            self._messages[name] = "" if status.level == DiagnosticStatus.OK else status.message
