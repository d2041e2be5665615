"""control_node: token encoder, residual actor, safety filter and episodes at control rate; the only node that commands the arm."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import String, UInt8
from std_srvs.srv import SetBool, Trigger

from rl_token_ros.control.arming import Refused
from rl_token_ros.control.command import Outputs
from rl_token_ros.control.condition import condition, figures
from rl_token_ros.control.pipeline import Pipeline
from rl_token_ros.control.tick_record import Event
from rl_token_ros.interfaces import measurements, replay_table
from rl_token_ros.interfaces.topics import SETTINGS, TICKS
from rl_token_ros.nodes import diagnostics
from rl_token_ros.nodes.background_work import Beside
from rl_token_ros.nodes.command_topic import CommandTopic
from rl_token_ros.nodes.command_writer import CommandWriter
from rl_token_ros.nodes.discovery import use_short_lease
from rl_token_ros.nodes.gripper_command import gripper_command
from rl_token_ros.nodes.measurement_topics import StateTopics
from rl_token_ros.nodes.ros_parameters import declare, on_change
from rl_token_ros.nodes.ros_topics import publisher, subscription
from rl_token_ros.nodes.running import run
from rl_token_ros.nodes.tool_pose import ToolPoseTopic
from rl_token_ros.policy.actor_weights import ActorWeights, WeightsError
from rl_token_ros.settings.control import Control
from rl_token_ros.settings.proprioception_groups import source
from rl_token_ros.system.realtime import prioritise
from rl_token_ros.system.timing import Percentiles, TickClock

WATCH_SECONDS = 0.2  # between two looks for other publishers of `command`, and for a change of state to report


class ControlNode(Node):
    """Ticks on the main thread; the encoder and the check of new weights run on a thread of their own."""

    def __init__(self, **options) -> None:
        super().__init__("control_node", **options)
        self.settings = settings = declare(self, Control)
        self._simulated_time = self.get_parameter("use_sim_time").value
        self.pipeline = Pipeline(settings, self._refuse, simulated=self._simulated_time)
        self.controller, self.gate, self.encoder = self.pipeline.controller, self.pipeline.gate, self.pipeline.encoder
        self.writer = CommandWriter(settings)
        self.ticks = TickClock(self.controller.period_ns)
        self.compute, self.push_to_use, self.age = (Percentiles() for _ in range(3))
        self.refused_inputs = 0
        self._started_ns = time.time_ns()
        self._newest_weights: ActorWeights | None = None
        self._reverts, self._told_stop, self._reported = 0, "", (False, False, False)
        self._scheduling = prioritise(settings.realtime_priority)
        self.get_logger().info(self._scheduling)
        self.beside = Beside(self, self.pipeline, self._refuse)

        self._command = publisher(self, "command", interface=settings.command_interface)
        self._grippers = gripper_command(self, settings) if settings.gripper_names else None
        self._replay = publisher(self, "replay")
        self._episode_ended = publisher(self, "episode_ended")
        self._tick_rows = publisher(self, TICKS)
        self._tick_table: PointCloud2 | None = None
        self._settings_text = publisher(self, SETTINGS)
        self._settings_text.publish(String(data=self.pipeline.settings_text()))
        self._diagnostics = publisher(self, "/diagnostics")
        needed = self.controller.needed
        self._tool_pose = None
        if settings.ee_pose_source != "topic":
            used = "ee_pose" in measurements.topics(needed)
            self._tool_pose = ToolPoseTopic(self, settings, self.pipeline.measure if used else None)
            needed = [group for group in needed if source(group) != "ee_pose"]
        self._state_topics = StateTopics(self, self.pipeline.measure, self.controller.state, needed)
        self._command_topic = CommandTopic(self, self._command, self._doubled)
        subscription(self, "vla/reference", lambda m: self.pipeline.propose(m, self._now()))
        subscription(self, "intervention", lambda m: self.pipeline.intervene(m, self._now()))
        subscription(self, "critical_phase", self._on_critical_phase)
        subscription(self, "outcome", self._on_outcome)
        self._serve(SetBool, "~/enable", lambda request: Event.ENABLE if request.data else Event.DISABLE)
        self._serve(SetBool, "~/critical_phase", lambda request: Event.CRITICAL if request.data else Event.NOT_CRITICAL)
        for name in ("success", "failure", "discard", "stop", "reset_stop", "rollback"):
            self._serve(Trigger, f"~/{name}", functools.partial(_always, Event[name.upper()]))
        on_change(self, settings, self._change)

        steady = Clock(clock_type=ClockType.STEADY_TIME)
        # A live tick must not stall when the system clock is set back; a simulated one must follow /clock.
        clock = self.get_clock() if self._simulated_time else steady
        ticking = self.create_timer(1.0 / settings.control_rate, self._tick, clock=clock)
        if self._simulated_time:  # a timer waits for its time to come again where /clock goes back: a bag that loops, a simulation begun anew
            backwards = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=False)
            self._jump = clock.create_jump_callback(backwards, post_callback=lambda _: ticking.reset())
        self.create_timer(1.0, self._report, clock=steady)
        self.create_timer(WATCH_SECONDS, self._watch, clock=steady)

    def _doubled(self) -> list[str]:
        return self._state_topics.doubled() + ([] if self._tool_pose is None else self._tool_pose.doubled())

    # --- inputs -------------------------------------------------------------------------------------------------------

    def _now(self) -> int:
        return self.get_clock().now().nanoseconds

    def _refuse(self, error: Exception) -> None:
        self.refused_inputs += 1
        self.get_logger().error(str(error), throttle_duration_sec=1.0)

    # --- the operator -------------------------------------------------------------------------------------------------

    def _on_critical_phase(self, message: Any) -> None:
        self._call(Event.CRITICAL if message.data else Event.NOT_CRITICAL)

    def _on_outcome(self, message: Any) -> None:
        self._call(Event.SUCCESS if message.data else Event.FAILURE)

    def _serve(self, kind: type, name: str, event_of: Callable[[Any], Event]) -> None:
        def handle(request: Any, response: Any) -> Any:
            try:
                response.message = self._call(event_of(request)).said
                response.success = True
            except (Refused, WeightsError) as error:
                response.success, response.message = False, str(error)
            return response

        self.create_service(kind, name, handle)

    def _call(self, event: Event) -> Outputs:
        """What an operator or a sensor says."""
        return self._step(event, self._now())

    def _step(self, event: Event, now: int) -> Outputs:
        """A call of the pipeline, with all that comes of it."""
        moving = self.controller.moving
        outputs = self.pipeline.step(event, now, self._command_topic)
        self._publish(outputs, now)
        if self.controller.moving and not moving:
            self.get_logger().info("enabled: the arm may move")
            if self._grippers is not None:
                self._grippers.forget()  # while it was disabled anyone may have moved them
        return outputs

    @property
    def _state(self) -> tuple[bool, bool, bool]:
        """Whether it is stopped, enabled, waiting: what an operator waits for."""
        return self.controller.stopped, self.controller.enabled, bool(self.controller.handshake.steps)

    def _watch(self) -> None:
        self._publish(self.pipeline.watch(self._now(), self._command_topic), self._now())
        if self._state != self._reported:
            self._report()  # at once: someone waits for it

    def _change(self, settings: Control) -> None:
        self.settings = settings
        self.pipeline.change(settings)
        self._settings_text.publish(String(data=self.pipeline.settings_text()))

    # --- the tick -----------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        begun = time.monotonic_ns()
        now = self._now()
        if now == 0:
            return  # simulated time before the first /clock
        self.ticks.tick(now if self._simulated_time else begun)
        if self._tool_pose is not None:
            self._tool_pose.measure(now)
        self._command_once(now)
        self._tell()
        self.compute.add((time.monotonic_ns() - begun) * 1e-9)
        if (chunk := self.controller.proposals.chunk) is not None:
            self.age.add(chunk.age_ns(now) * 1e-9)

    def _command_once(self, now: int) -> bool:
        """One control step, with all that it says; whether it commanded."""
        outputs = self._step(Event.TICK, now)
        if outputs.said:
            self.get_logger().info(outputs.said, throttle_duration_sec=2.0)
        return outputs.command is not None

    def _publish(self, outputs: Outputs, now: int) -> None:
        """The command stamped with the time of its tick, by which it is found again in a bag; then what it came of."""
        stamp = Time(sec=now // 1_000_000_000, nanosec=now % 1_000_000_000)
        if outputs.command is not None:
            self._command.publish(self.writer.message(outputs.command, stamp))
        if outputs.grippers is not None and self._grippers is not None:
            self._grippers.send(outputs.grippers, stamp)
        for row in outputs.rows:
            self._replay.publish(replay_table.encode(row, PointCloud2(), PointField, self.settings.base_frame))
        for code in outputs.endings:
            self._episode_ended.publish(UInt8(data=code))
        if outputs.ticks:
            rows = np.frombuffer(b"".join(outputs.ticks), self.pipeline.layout.dtype)
            if self._tick_table is None:
                self._tick_table = replay_table.encode(rows, PointCloud2(), PointField, self.settings.base_frame)
            else:
                replay_table.refill(rows, self._tick_table)  # its columns are set once: assigning them costs more than the rest
            self._tick_rows.publish(self._tick_table)

    def _tell(self) -> None:
        """Measure from a learner's export to the tick that takes it; log a stop, and when weights were returned from."""
        rollout, reason = self.controller.rollout, self.controller.stop_reason
        if reason != self._told_stop:
            self._told_stop = reason
            self.get_logger().error(f"stopped: {reason}; ~/reset_stop, then ~/enable") if reason else self.get_logger().info("the stop was reset")
        if rollout.newest is not self._newest_weights:
            self._newest_weights = newest = rollout.newest
            if newest is not None and newest.created_ns > self._started_ns:  # those of before were repeated for a late joiner
                self.push_to_use.add((time.time_ns() - newest.created_ns) * 1e-9)
        if rollout.reverts > self._reverts:
            self._reverts = rollout.reverts
            self.get_logger().error(rollout.last_revert)

    # --- diagnostics --------------------------------------------------------------------------------------------------

    def _report(self) -> None:
        self._reported = self._state
        level, message = condition(self.pipeline, self._now(), self._command_topic)
        values = {
            "rate_hz": self.settings.control_rate,
            "scheduling": self._scheduling,
            "ticks": self.ticks.ticks,
            "missed_ticks": self.ticks.missed,
            **self.ticks.period.report("period_ms", 1e3),
            **self.ticks.lateness.report("lateness_ms", 1e3),
            **self.compute.report("compute_ms", 1e3),
            **self.beside.encode.report("encode_ms", 1e3),
            **self.age.report("observation_age_ms", 1e3),
            **self.push_to_use.report("push_to_use_ms", 1e3),
            **figures(self.pipeline),
            **({} if self._grippers is None else self._grippers.figures()),
            "refused_inputs": self.refused_inputs + self._state_topics.refused,
        }
        if self._tool_pose is not None:
            values |= {"ee_pose": self._tool_pose.why, "refused_ee_poses": self._tool_pose.refused}
        status = diagnostics.status(self.get_fully_qualified_name(), level, message, values)
        self._diagnostics.publish(diagnostics.array(self.get_clock().now().to_msg(), status))

    def close(self) -> None:
        """The arm comes to rest, the running episode gets its ending, and then the node goes."""
        self._call(Event.DISABLE)
        while self._command_once(self._now()):
            time.sleep(1.0 / self.settings.control_rate)
        self.beside.close()
        if self._grippers is not None:
            self._grippers.close()


def _always(event: Event, _: Any) -> Event:
    """What a service without arguments calls."""
    return event


def main() -> None:
    """Entry point of `control_node`."""
    use_short_lease()
    sys.exit(run(ControlNode))


if __name__ == "__main__":
    main()
