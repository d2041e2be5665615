"""control_node: token encoder, residual actor, safety filter and episodes at control rate; the only node that commands the arm."""

from __future__ import annotations

import sys
import time

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node
from sensor_msgs.msg import JointState, PointCloud2, PointField
from std_msgs.msg import String, UInt8
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from rl_token_ros.control.arming import Refused, second_publisher
from rl_token_ros.control.controller import Command
from rl_token_ros.control.gripper import Gripper
from rl_token_ros.control.phase_switch import PhaseWatch
from rl_token_ros.control.pipeline import Pipeline
from rl_token_ros.interfaces import diagnostics, replay_table
from rl_token_ros.interfaces.codes import Ended
from rl_token_ros.interfaces.topics import SETTINGS, TICKS
from rl_token_ros.nodes.background_work import Beside
from rl_token_ros.nodes.command_topic import UNNAMED, CommandTopic
from rl_token_ros.nodes.command_writer import CommandWriter
from rl_token_ros.nodes.discovery import use_short_lease
from rl_token_ros.nodes.measurement_topics import StateTopics
from rl_token_ros.nodes.ros_parameters import declare, on_change
from rl_token_ros.nodes.ros_topics import publisher, subscription
from rl_token_ros.nodes.running import run
from rl_token_ros.policy.actor_weights import ActorWeights, WeightsError
from rl_token_ros.settings.control import Control
from rl_token_ros.system.realtime import prioritise
from rl_token_ros.system.timing import Percentiles, TickClock

WATCH_SECONDS = 0.2  # between two looks for other publishers of `command`, and for a change of state to report


class ControlNode(Node):
    """Ticks on the main thread; the encoder and the check of new weights run on a thread of their own."""

    def __init__(self, **options) -> None:
        super().__init__("control_node", **options)
        self.settings = settings = declare(self, Control)
        self.pipeline = Pipeline(settings, self._refuse)
        self.controller, self.gate, self.encoder = self.pipeline.controller, self.pipeline.gate, self.pipeline.encoder
        self.writer = CommandWriter(settings)
        self.gripper = Gripper(settings) if settings.gripper_names else None
        self.phase = PhaseWatch(settings, self.encoder.sha256) if settings.phase_model else None
        self.ticks = TickClock(self.controller.period_ns)
        self.compute, self.push_to_use, self.age = (Percentiles() for _ in range(3))
        self.refused_inputs = 0
        self._started_ns = time.time_ns()
        self._newest_weights: ActorWeights | None = None
        self._reverts, self._told_stop, self._reported = 0, "", (False, False, False)
        self._scheduling = prioritise(settings.realtime_priority)
        self.get_logger().info(self._scheduling)
        self.beside = Beside(self, self.pipeline, self._refuse)
        self._enable_when_ready = settings.enable_on_start

        self._command = publisher(self, "command", interface=settings.command_interface)
        self._command_topic = CommandTopic(self, self._command)
        if self.gripper is not None:
            self._gripper_command = publisher(self, "gripper/command", interface=settings.gripper_interface)
        self._replay = publisher(self, "replay")
        self._episode_ended = publisher(self, "episode_ended")
        self._tick_rows = publisher(self, TICKS)
        self._tick_table: PointCloud2 | None = None
        self._settings_text = publisher(self, SETTINGS)
        self._settings_text.publish(String(data=self.pipeline.settings_text()))
        self._diagnostics = publisher(self, "/diagnostics")
        self._state_topics = StateTopics(self, self.controller.state, self.controller.needed)
        subscription(self, "vla/reference", self._on_reference)
        subscription(self, "intervention", self._on_intervention)
        subscription(self, "critical_phase", lambda m: self._critical(m.data))
        subscription(self, "outcome", lambda m: self._outcome(m.data))
        self.create_service(SetBool, "~/enable", self._serve_enable)
        self.create_service(SetBool, "~/critical_phase", self._serve_critical)
        self._serve("~/success", lambda: self._outcome(True))
        self._serve("~/failure", lambda: self._outcome(False))
        self._serve("~/discard", lambda: self._end_episode(Ended.ABORTED))
        self._serve("~/stop", lambda: self.pipeline.stop(self._now()))
        self._serve("~/reset_stop", lambda: self.pipeline.reset_stop(self._now()))
        self._serve("~/rollback", lambda: self.pipeline.rollback(self._now()))
        on_change(self, settings, self._change)

        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._simulated_time = self.get_parameter("use_sim_time").value
        # A live tick must not stall when the system clock is set back; a simulated one must follow /clock.
        clock = self.get_clock() if self._simulated_time else steady
        ticking = self.create_timer(1.0 / settings.control_rate, self._tick, clock=clock)
        if self._simulated_time:  # a timer waits for its time to come again where /clock goes back: a bag that loops, a simulation begun anew
            backwards = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=False)
            self._jump = clock.create_jump_callback(backwards, post_callback=lambda _: ticking.reset())
        self.create_timer(1.0, self._report, clock=steady)
        self.create_timer(WATCH_SECONDS, self._watch, clock=steady)

    # --- inputs -------------------------------------------------------------------------------------------------------

    def _now(self) -> int:
        return self.get_clock().now().nanoseconds

    def _on_reference(self, message: JointTrajectory) -> None:
        self.pipeline.propose(message, self._now())
        if self.gripper is not None:
            self.gripper.propose(message, self._now())

    def _on_intervention(self, message: JointState) -> None:
        self.pipeline.intervene(message, self._now())
        if self.gripper is not None:
            self.gripper.intervene(message, self._now())

    def _refuse(self, error: Exception) -> None:
        self.refused_inputs += 1
        self.get_logger().error(str(error), throttle_duration_sec=1.0)

    # --- the operator -------------------------------------------------------------------------------------------------

    def _serve(self, name: str, action) -> None:
        def handle(_, response):
            try:
                response.success, response.message = True, action() or ""
            except (Refused, WeightsError) as error:
                response.success, response.message = False, str(error)
            self._publish_rows()
            return response

        self.create_service(Trigger, name, handle)

    def _serve_enable(self, request, response):
        try:
            if request.data:
                self._enable()
            else:
                self._enable_when_ready = False
                self.pipeline.disable(self._now())
            response.success = True
        except Refused as error:
            response.success, response.message = False, str(error)
        self._publish_rows()
        return response

    def _enable(self) -> None:
        if self.controller.enabled and not self.controller.stop_reason:
            return  # moving already: the pose it was enabled at must not change
        if not self._command_topic.taken:
            raise Refused("nobody takes 'command'; start the arm's controller")
        others = self._command_topic.others()
        if not others and not self._command_topic.settled:
            raise Refused("who else publishes 'command' is not known yet; enable it again in a moment")
        now = self._now()
        self.pipeline.enable(now, others)
        self.pipeline.await_reception(now)
        self.writer.begin(self.controller.state.values)
        self.get_logger().info("enabled: the arm may move")

    @property
    def _state(self) -> tuple[bool, bool, bool]:
        """Whether it is stopped, enabled, waiting: what an operator waits for."""
        return bool(self.controller.stop_reason), self.controller.enabled, bool(self.controller.reception.steps)

    def _watch(self) -> None:
        """Two that command one arm, or an arm that no longer listens, and would jump when it did again: held until someone has looked."""
        controller, others = self.controller, self._command_topic.others()
        moving = controller.enabled and not controller.stop_reason
        if moving and others:
            self._stop(second_publisher(others))
        elif moving and not self._command_topic.taken:
            self._stop("nobody takes 'command' any more; start the arm's controller")
        elif others and UNNAMED in controller.stop_reason:
            controller.stop_reason = second_publisher(others)
        if self._state != self._reported:
            self._report()  # at once: someone waits for it

    def _stop(self, reason: str) -> None:
        self.pipeline.stop(self._now(), reason)
        self._publish_rows()

    def _serve_critical(self, request, response):
        self._critical(request.data)
        response.success = True
        return response

    def _critical(self, critical: bool) -> None:
        if self.phase is not None and not critical:
            self.phase.switch.refuse()
        self.pipeline.set_critical(critical, self._now())
        self._publish_rows()

    def _watch_phase(self) -> None:
        """The critical phase begins by itself where the operator began it before."""
        controller = self.controller
        moving = controller.enabled and not controller.stop_reason
        if self.phase.look(controller.proposals.token, controller.state, moving, controller.episode.active):
            self._critical(True)

    def _outcome(self, success: bool) -> None:
        self._end_episode(Ended.SUCCESS if success else Ended.FAILURE)

    def _end_episode(self, code: int) -> None:
        self.pipeline.end_episode(code, self._now())
        self._publish_rows()

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
        if self._enable_when_ready:
            self._try_enable()
        self._command_once(now)
        if self.phase is not None:
            self._watch_phase()
        self._tell()
        self.compute.add((time.monotonic_ns() - begun) * 1e-9)
        if (chunk := self.controller.proposals.chunk) is not None:
            self.age.add(chunk.age_ns(now) * 1e-9)

    def _command_once(self, now: int | None = None) -> Command | None:
        """One control step, with all that it says."""
        now = self._now() if now is None else now
        controller = self.controller
        if controller.reception.steps and controller.reception.proven(self._command_topic.acknowledged, self._command_topic.silent):
            self.pipeline.received(now)
        command = self.pipeline.tick(now)
        if command is not None and controller.reception.steps and not controller.stop_reason:
            self.writer.begin(controller.state.values)  # it says where the arm is, as if it had been enabled this moment
        self._publish_command(command, now)
        self._publish_rows()
        return command

    def _try_enable(self) -> None:
        try:
            self._enable()
            self._enable_when_ready = False
        except Refused as error:
            self.get_logger().info(f"waiting to enable: {error}", throttle_duration_sec=2.0)

    def _publish_rows(self) -> None:
        rows, endings = self.controller.episode.take()
        for row in rows:
            self._replay.publish(replay_table.encode(row, PointCloud2(), PointField, self.settings.base_frame))
        for code in endings:
            self._episode_ended.publish(UInt8(data=code))
        self._publish_ticks()

    def _publish_ticks(self) -> None:
        log = self.pipeline.take_log()
        if not log:
            return
        rows = np.frombuffer(b"".join(log), self.pipeline.layout.dtype)
        if self._tick_table is None:
            self._tick_table = replay_table.encode(rows, PointCloud2(), PointField, self.settings.base_frame)
        else:
            replay_table.refill(rows, self._tick_table)  # its columns are set once: assigning them costs more than the rest
        self._tick_rows.publish(self._tick_table)

    def _publish_command(self, command: Command | None, now: int) -> None:
        """Stamped with the time of its tick, by which it is found again in a bag."""
        if command is None:
            return
        stamp = Time(sec=now // 1_000_000_000, nanosec=now % 1_000_000_000)
        self._command.publish(self.writer.message(command, stamp))
        if self.gripper is not None and not command.holding:
            position = self.gripper.position(now, self.controller.source)
            if position is not None:
                self._gripper_command.publish(self.writer.gripper_message(position, stamp))

    def _tell(self) -> None:
        """Measure from a learner's export to the tick that takes it; log a stop, and when weights were returned from."""
        authority, reason = self.controller.authority, self.controller.stop_reason
        if reason != self._told_stop:
            self._told_stop = reason
            self.get_logger().error(f"stopped: {reason}; ~/reset_stop, then ~/enable") if reason else self.get_logger().info("the stop was reset")
        if authority.newest is not self._newest_weights:
            self._newest_weights = newest = authority.newest
            if newest.created_ns > self._started_ns:  # those of before were repeated for a late joiner
                self.push_to_use.add((time.time_ns() - newest.created_ns) * 1e-9)
        if authority.reverts > self._reverts:
            self._reverts = authority.reverts
            self.get_logger().error(authority.last_revert)

    # --- diagnostics --------------------------------------------------------------------------------------------------

    def _report(self) -> None:
        controller, self._reported = self.controller, self._state
        others = self._command_topic.others()
        if controller.stop_reason:
            level, message = "error", f"stopped: {controller.stop_reason}"
        elif others:
            level, message = "error", second_publisher(others)
        elif not controller.enabled:
            level, message = "warn", "disabled: " + "; ".join(controller.not_ready(self._now()) or ["call ~/enable"])
        elif controller.reception.steps:
            level, message = "warn", "enabled, waiting until 'command' is acknowledged"
        else:
            level, message = "ok", f"enabled, mode {self.settings.mode}"
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
            **self.pipeline.figures(),
            **({} if self.phase is None else {"phase_probability": self.phase.probability}),
            "refused_inputs": self.refused_inputs + self._state_topics.refused,
        }
        status = diagnostics.status(self.get_fully_qualified_name(), level, message, values)
        self._diagnostics.publish(diagnostics.array(self.get_clock().now().to_msg(), status))

    def close(self) -> None:
        """The arm comes to rest, the running episode gets its ending, and then the node goes."""
        self.pipeline.disable(self._now())
        while self._command_once() is not None:
            time.sleep(1.0 / self.settings.control_rate)
        self.beside.close()


def main() -> None:
    """Entry point of `control_node`."""
    use_short_lease()
    sys.exit(run(ControlNode))


if __name__ == "__main__":
    main()
