"""sim_node: a simulated arm and task behind the topics of a real one."""

from __future__ import annotations

import math
import sys
import time

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped, WrenchStamped
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Bool

from rl_token_ros.interfaces import images
from rl_token_ros.interfaces.topics import CAMERA
from rl_token_ros.nodes import diagnostics
from rl_token_ros.nodes.discovery import use_short_lease
from rl_token_ros.nodes.ros_parameters import declare
from rl_token_ros.nodes.ros_topics import publisher, subscription
from rl_token_ros.nodes.running import run
from rl_token_ros.robot.yaw import tilt_of, yaw_of
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.sim import Sim
from rl_token_ros.sim.simulation import CAMERAS, TIMESTEP, Simulation
from rl_token_ros.system.timing import Percentiles

FIRST_STAMP_NS = 1_000_000_000  # a stamp of zero would mean "none"
DOWN = (1.0, 0.0, 0.0, 0.0)  # x, y, z, w of a tool that points down, its yaw 0
LARGEST_TILT = 0.1  # rad, of a commanded orientation
LONGEST_STEP = 0.05  # s; after a stall, simulated time lags rather than leaps
ANSWER_TIMEOUT = 1.0  # s; an outcome that no control_node answers with episode_ended resets the scene all the same


class SimNode(Node):
    """Steps the simulation on a steady timer. With use_sim_time it is the source of /clock; otherwise it follows the wall."""

    def __init__(self, **options) -> None:
        super().__init__("sim_node", **options)
        self.settings = settings = declare(self, Sim)
        self._source_of_time = self.get_parameter("use_sim_time").value
        if settings.real_time_factor != 1.0 and not self._source_of_time:
            raise ParameterError(
                f"parameter 'real_time_factor' is {settings.real_time_factor:g} without use_sim_time; write use_sim_time: true for all nodes"
            )
        self.simulation = Simulation(settings)
        self.simulation.images()  # the first picture takes a second: GL starts
        self._target = self.simulation.tool_pose
        self._wall = time.monotonic()
        self._critical = False
        self._outcome_sent_s: float | None = None
        self._began_s = 0.0
        self._images_due_s = 0.0
        self.step_time, self.render_time = Percentiles(), Percentiles()
        self.episodes = 0

        self._clock_topic = publisher(self, "/clock") if self._source_of_time else None
        self._joints = publisher(self, "joint_states")
        self._pose = publisher(self, "ee_pose")
        self._wrench = publisher(self, "wrench")
        self._images = {name: publisher(self, CAMERA["raw"], camera=name) for name in CAMERAS}
        self._critical_phase = publisher(self, "critical_phase")
        self._outcome = publisher(self, "outcome")
        self._diagnostics = publisher(self, "/diagnostics")
        subscription(self, "command", self._on_command, interface="pose")
        subscription(self, "episode_ended", lambda _: self._reset())
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0 / (settings.state_rate * settings.real_time_factor), self._advance, clock=steady)
        self.create_timer(1.0, self._report, clock=steady)

    def _on_command(self, message: PoseStamped) -> None:
        p, q = message.pose.position, message.pose.orientation
        target, turns = np.array([p.x, p.y, p.z]), self.simulation.scene.turns
        orientation = (q.x, q.y, q.z, q.w)
        level = not turns or (abs(math.hypot(*orientation) - 1.0) < 0.01 and tilt_of(orientation, DOWN) < LARGEST_TILT)
        if message.header.frame_id != self.settings.base_frame or not np.isfinite(target).all() or not level:
            told = f", orientation {list(orientation)}" if turns else ""
            wanted = f"; its tool points down: turn {list(DOWN)} about z alone" if turns else ""
            self.get_logger().error(
                f"'command' refused: frame '{message.header.frame_id}', position {target.tolist()}{told}; "
                f"send finite metres in '{self.settings.base_frame}'{wanted}",
                throttle_duration_sec=1.0,
            )
            return
        if turns:
            target = np.append(target, yaw_of(orientation, DOWN))
        self._target = target

    def _reset(self) -> None:
        if not self.simulation.resetting:
            self.simulation.begin_reset()
            self.episodes += 1
            self._outcome_sent_s = None
            self._set_critical(False)

    def _advance(self) -> None:
        now, before = time.monotonic(), self._wall
        self._wall = now
        period = 1.0 / self.settings.state_rate
        dt = period if self._source_of_time else min(round((now - before) / TIMESTEP) * TIMESTEP, LONGEST_STEP)
        if dt <= 0.0:
            return
        was_resetting = self.simulation.resetting
        self.simulation.step(self._target, dt)
        if self.simulation.resetting:
            self._target = self.simulation.tool_pose  # commands of before the reset are void
        self.step_time.add(time.monotonic() - now)
        stamp = self._publish_state()
        self._follow_episode(was_resetting)
        seconds = self._seconds()
        if seconds >= self._images_due_s:
            self._images_due_s = max(self._images_due_s + 1.0 / self.settings.camera_rate, seconds)
            self._publish_images(stamp)

    def _seconds(self) -> float:
        return self.simulation.time_ns * 1e-9

    def _publish_state(self) -> Time:
        simulation = self.simulation
        if self._clock_topic is not None:
            seconds, nanoseconds = divmod(simulation.time_ns + FIRST_STAMP_NS, 1_000_000_000)
            stamp = Time(sec=seconds, nanosec=nanoseconds)
            self._clock_topic.publish(ClockMessage(clock=stamp))
        else:
            stamp = self.get_clock().now().to_msg()
        joints = JointState(
            name=list(simulation.joint_names),
            position=simulation.joint_positions.tolist(),
            velocity=simulation.joint_velocities.tolist(),
            effort=simulation.joint_efforts.tolist(),
        )
        pose, wrench = PoseStamped(), WrenchStamped()
        for message in (joints, pose, wrench):
            message.header.stamp, message.header.frame_id = stamp, self.settings.base_frame
        p, q = pose.pose.position, pose.pose.orientation
        p.x, p.y, p.z = simulation.ee_position.tolist()
        q.x, q.y, q.z, q.w = simulation.ee_orientation.tolist()
        f, t = wrench.wrench.force, wrench.wrench.torque
        f.x, f.y, f.z, t.x, t.y, t.z = simulation.wrench.tolist()
        self._joints.publish(joints)
        self._pose.publish(pose)
        self._wrench.publish(wrench)
        return stamp

    def _publish_images(self, stamp: Time) -> None:
        begun = time.monotonic()
        pictures = self.simulation.images()
        self.render_time.add(time.monotonic() - begun)
        for name, pixels in pictures.items():
            message = images.from_rgb(pixels, Image())
            message.header.stamp, message.header.frame_id = stamp, f"camera_{name}"
            self._images[name].publish(message)

    def _follow_episode(self, was_resetting: bool) -> None:
        """Tell about the critical phase and the outcome; reset when nobody else ends the episode."""
        simulation, seconds = self.simulation, self._seconds()
        if simulation.resetting:
            return
        if was_resetting:
            self._began_s = seconds
        if simulation.critical and simulation.outcome is None:
            self._set_critical(True)
        if simulation.outcome is not None and self._outcome_sent_s is None:
            self._outcome_sent_s = seconds
            self._outcome.publish(Bool(data=simulation.outcome))
        unanswered = self._outcome_sent_s is not None and seconds - self._outcome_sent_s > ANSWER_TIMEOUT
        lost = not self._critical and seconds - self._began_s > self.settings.approach_limit
        if unanswered or lost:
            self._reset()

    def _set_critical(self, critical: bool) -> None:
        if critical != self._critical:
            self._critical = critical
            self._critical_phase.publish(Bool(data=critical))

    def _report(self) -> None:
        values = {
            "episodes": self.episodes,
            "renderer": getattr(self.simulation, "render_backend", "none yet"),
            **self.step_time.report("step_ms", 1e3),
            **self.render_time.report("render_ms", 1e3),
        }
        status = diagnostics.status(self.get_fully_qualified_name(), "ok", "running", values)
        self._diagnostics.publish(diagnostics.array(self.get_clock().now().to_msg(), status))

    def close(self) -> None:
        """Free the renderer."""
        self.simulation.close()


def main() -> None:
    """Entry point of `sim_node`."""
    use_short_lease()
    sys.exit(run(SimNode))


if __name__ == "__main__":
    main()
