"""control_node: token encoder, residual actor, safety filter and episodes at control rate; the only node that commands the arm."""

from __future__ import annotations

import sys
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState, PointCloud2, PointField
from std_msgs.msg import Bool, UInt8, UInt8MultiArray
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from rl_token_ros import chunk, diagnostics, images, replay_record
from rl_token_ros.actor import ResidualActor
from rl_token_ros.chunk import stamp_to_ns
from rl_token_ros.command_message import CommandWriter
from rl_token_ros.controller import Controller, Refused
from rl_token_ros.encoder import TokenEncoder
from rl_token_ros.nodes.realtime import prioritise
from rl_token_ros.nodes.ros_parameters import declare, on_change
from rl_token_ros.nodes.running import run
from rl_token_ros.nodes.state_topics import LATCHED, StateTopics
from rl_token_ros.parameters import resolve_path
from rl_token_ros.proprioception import size
from rl_token_ros.settings import Control
from rl_token_ros.timing import Percentiles, TickClock
from rl_token_ros.weights import ActorWeights, Identity, WeightsError
from rl_token_ros.weights_gate import WeightsGate


class ControlNode(Node):
    """Ticks on the main thread; the encoder and the check of new weights run on a thread of their own."""

    def __init__(self, **options) -> None:
        super().__init__("control_node", **options)
        self.settings = settings = declare(self, Control)
        vla_model = resolve_path(settings.vla_model) if settings.vla_model else None
        self.encoder = TokenEncoder(resolve_path(settings.token_encoder), settings.token_size, vla_model)
        proprio = size(settings.proprioception, len(settings.joint_names), settings.action_size)
        actor = ResidualActor(
            settings.token_size, proprio, settings.chunk_length, settings.action_size, settings.actor_layers
        )
        self.controller = Controller(settings, actor)
        self.gate = WeightsGate(actor, Identity.of(settings, self.encoder.sha256, self.encoder.vla_sha256))
        self.writer = CommandWriter(settings)
        self.ticks = TickClock(self.controller.period_ns)
        self.compute, self.encode, self.push_to_use, self.age = (Percentiles() for _ in range(4))
        self.refused_inputs = 0
        self._started_ns = time.time_ns()
        # Newest only; one thread appends, one other pops, each in one atomic operation.
        self._embeddings: deque[Image] = deque(maxlen=1)
        self._blobs: deque[bytes] = deque(maxlen=1)
        self._ready: deque[ActorWeights] = deque(maxlen=1)
        self._scheduling = prioritise(settings.realtime_priority)
        self.get_logger().info(self._scheduling)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="control_worker")
        self._enable_when_ready = settings.enable_on_start

        self._command = self.create_publisher(self.writer.type, "command", QoSProfile(depth=1))
        self._replay = self.create_publisher(PointCloud2, "replay", QoSProfile(depth=1000))
        self._episode_ended = self.create_publisher(UInt8, "episode_ended", 10)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._state_topics = StateTopics(self, self.controller.state, self.controller.needed)
        self.create_subscription(JointTrajectory, "vla/reference", self._on_reference, QoSProfile(depth=1))
        self.create_subscription(Image, "vla/embedding", self._on_embedding, QoSProfile(depth=1))
        self.create_subscription(JointState, "intervention", self._on_intervention, qos_profile_sensor_data)
        self.create_subscription(Bool, "critical_phase", lambda m: self._critical(m.data), 10)
        self.create_subscription(Bool, "outcome", lambda m: self._outcome(m.data), 10)
        self.create_subscription(UInt8MultiArray, "actor/weights", self._on_weights, LATCHED)
        self.create_service(SetBool, "~/enable", self._serve_enable)
        self.create_service(SetBool, "~/critical_phase", self._serve_critical)
        self._serve("~/success", lambda: self._outcome(True))
        self._serve("~/failure", lambda: self._outcome(False))
        self._serve("~/discard", lambda: self._end_episode(replay_record.ABORTED))
        self._serve("~/stop", lambda: self.controller.stop("~/stop was called"))
        self._serve("~/reset_stop", self.controller.reset_stop)
        self._serve("~/rollback", self._rollback)
        on_change(self, settings, self._change)

        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._simulated_time = self.get_parameter("use_sim_time").value
        # A live tick must not stall when the system clock is set back; a simulated one must follow /clock.
        clock = self.get_clock() if self._simulated_time else steady
        self.create_timer(1.0 / settings.control_rate, self._tick, clock=clock)
        self.create_timer(1.0, self._report, clock=steady)

    # --- inputs -------------------------------------------------------------------------------------------------------

    def _now(self) -> int:
        return self.get_clock().now().nanoseconds

    def _on_reference(self, message: JointTrajectory) -> None:
        try:
            newest = chunk.from_trajectory(message, self.settings.action_names, self.settings.chunk_dt)
            self.controller.set_chunk(newest, self._now())
        except chunk.ChunkError as error:
            self._refuse(error)

    def _on_embedding(self, message: Image) -> None:
        self._embeddings.append(message)
        self._worker.submit(self._encode)

    def _encode(self) -> None:
        if not self._embeddings:
            return  # a newer one took its place, and has been encoded
        message, begun = self._embeddings.pop(), time.perf_counter()
        try:
            token = self.encoder.run(images.to_matrix(message, "vla/embedding"))
            self.controller.set_token(stamp_to_ns(message.header.stamp), token, self._now())
        except Exception as error:  # of any kind: a dead job would be silent
            self._refuse(error)
            return
        self.encode.add(time.perf_counter() - begun)

    def _on_intervention(self, message: JointState) -> None:
        try:
            position = dict(zip(message.name, message.position))
            action = np.array([position[name] for name in self.settings.action_names])
            self.controller.set_intervention(stamp_to_ns(message.header.stamp) or self._now(), action)
        except KeyError as error:
            self._refuse(ValueError(f"'intervention' has no {error}; write all of {self.settings.action_names}"))
        except ValueError as error:
            self._refuse(error)

    def _on_weights(self, message: UInt8MultiArray) -> None:
        self._blobs.append(bytes(message.data))
        self._worker.submit(self._admit)

    def _admit(self) -> None:
        if not self._blobs:
            return
        try:
            ready = self.gate.admit(self._blobs.pop(), self.controller.policy.observation.copy())
        except Exception as error:  # of any kind: a dead job would be silent
            self.get_logger().error(f"'actor/weights' refused: {error}", throttle_duration_sec=1.0)
            return
        if ready is not None:
            self._ready.append(ready)

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
                self._hold_still()
                self.controller.disable()
            response.success = True
        except Refused as error:
            response.success, response.message = False, str(error)
        self._publish_rows()
        return response

    def _rollback(self) -> str:
        told = self.gate.rollback()
        self.controller.policy.reset()  # what is left of a chunk of the weights left behind is not executed
        return told

    def _enable(self) -> None:
        if self.controller.enabled and not self.controller.stop_reason:
            return  # moving already: the pose it was enabled at must not change
        self.controller.enable(self._now(), self._other_publishers())
        self.writer.begin(self.controller.state.values)
        self.get_logger().info("enabled: the arm may move")

    def _other_publishers(self) -> int:
        return self.count_publishers(self._command.topic_name) - 1

    def _serve_critical(self, request, response):
        self._critical(request.data)
        response.success = True
        return response

    def _critical(self, critical: bool) -> None:
        self.controller.set_critical(critical, self._now())
        self._publish_rows()

    def _outcome(self, success: bool) -> None:
        self._end_episode(replay_record.SUCCESS if success else replay_record.FAILURE)

    def _end_episode(self, code: int) -> None:
        self.controller.end_episode(code)
        self._publish_rows()

    def _change(self, settings: Control) -> None:
        self.settings = settings
        self.controller.change(settings)

    # --- the tick -----------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        begun = time.monotonic_ns()
        now = self._now()
        if now == 0:
            return  # simulated time before the first /clock
        self.ticks.tick(now if self._simulated_time else begun)
        if self._ready:
            ready = self._ready.pop()
            self.gate.install(ready)
            if ready.created_ns > self._started_ns:  # those of before were repeated for a late joiner
                self.push_to_use.add((time.time_ns() - ready.created_ns) * 1e-9)
        if self._enable_when_ready:
            self._try_enable()
        command = self.controller.tick(now)
        if command is not None:
            self._command.publish(self.writer.message(command, self.get_clock().now().to_msg()))
        self._publish_rows()
        self.compute.add((time.monotonic_ns() - begun) * 1e-9)
        if (age := self.controller.chunk_age_ns(now)) is not None:
            self.age.add(age * 1e-9)

    def _try_enable(self) -> None:
        try:
            self._enable()
            self._enable_when_ready = False
        except Refused as error:
            self.get_logger().info(f"waiting to enable: {error}", throttle_duration_sec=2.0)

    def _publish_rows(self) -> None:
        rows, endings = self.controller.episode.take()
        for row in rows:
            self._replay.publish(replay_record.encode(row, PointCloud2(), PointField, self.settings.base_frame))
        for code in endings:
            self._episode_ended.publish(UInt8(data=code))

    def _hold_still(self) -> None:
        """The last command: stay where the arm was measured, at rest."""
        command = self.controller.last_command()
        if command is not None:
            self._command.publish(self.writer.message(command, self.get_clock().now().to_msg()))

    # --- diagnostics --------------------------------------------------------------------------------------------------

    def _report(self) -> None:
        controller = self.controller
        others = self._other_publishers()
        if others > 0:
            level, message = "error", f"{others} other publisher(s) on 'command'"
        elif controller.stop_reason:
            level, message = "error", f"stopped: {controller.stop_reason}"
        elif not controller.enabled:
            level, message = "warn", "disabled: " + "; ".join(controller.not_ready(self._now()) or ["call ~/enable"])
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
            **self.encode.report("encode_ms", 1e3),
            **self.age.report("observation_age_ms", 1e3),
            **self.push_to_use.report("push_to_use_ms", 1e3),
            "weights_version": controller.actor.version,
            "weights_accepted": self.gate.accepted,
            "weights_refused": self.gate.refused,
            "weights_change": self.gate.change,
            "residual_mean": float(np.abs(controller.policy.residual).mean()),  # share of the bound; in shadow mode too
            "residual_max": float(np.abs(controller.policy.residual).max()),
            "last_refusal": self.gate.last_refusal,
            "episode": controller.episode.number,
            "critical": int(controller.episode.active),
            "refused_inputs": self.refused_inputs + self._state_topics.refused,
            **controller.counts,
        }
        status = diagnostics.status(self.get_fully_qualified_name(), level, message, values)
        self._diagnostics.publish(diagnostics.array(self.get_clock().now().to_msg(), status))

    def close(self) -> None:
        """A last safe command, and the ending of a running episode, before the node goes."""
        self._hold_still()
        self.controller.disable()
        self._publish_rows()
        self._worker.shutdown(wait=True, cancel_futures=True)


def main() -> None:
    """Entry point of `control_node`."""
    sys.exit(run(ControlNode))


if __name__ == "__main__":
    main()
