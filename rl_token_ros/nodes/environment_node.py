"""What `sim_node` and `gym_node` are: an environment behind the topics of a real robot."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped, WrenchStamped
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Bool

from rl_token_ros.bags.command_reader import CommandReader
from rl_token_ros.interfaces import images
from rl_token_ros.interfaces.plain_messages import extras
from rl_token_ros.interfaces.topics import CAMERA
from rl_token_ros.nodes import diagnostics
from rl_token_ros.nodes.ros_parameters import declare
from rl_token_ros.nodes.ros_topics import publisher, subscription
from rl_token_ros.robot.yaw import tilt_of
from rl_token_ros.settings.gym import Gym
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.proprioception_groups import EXTRA, measured_group
from rl_token_ros.settings.sim import Simulated
from rl_token_ros.sim.environment import Environment, refuse_misfit
from rl_token_ros.sim.timed import Timed, joined
from rl_token_ros.system.timing import Percentiles

LARGEST_TILT = 0.1  # rad, of a commanded orientation where only yaw is an action
LONGEST_STEP = 0.05  # s; after a stall, simulated time lags rather than leaps
ANSWER_TIMEOUT = 1.0  # s; an outcome that no control_node answers with episode_ended resets the scene all the same


class EnvironmentNode(Node):
    """Steps an environment on a steady timer. With use_sim_time it is the source of /clock; otherwise it follows the wall.

    Args:
        name: of the node.
        group: of its parameters.
        make: of these the environment, and what its topics say.
    """

    def __init__(self, name: str, group: type[Simulated], make: Callable[[Any], tuple[Environment, Gym]], **options: Any) -> None:
        super().__init__(name, **options)
        settings = declare(self, group)
        self._source_of_time = self.get_parameter("use_sim_time").value
        if settings.real_time_factor != 1.0 and not self._source_of_time:
            raise ParameterError(
                f"parameter 'real_time_factor' is {settings.real_time_factor:g} without use_sim_time; write use_sim_time: true for all nodes"
            )
        self.environment, self.settings = make(settings)
        self.timed = Timed(self.environment, self.settings.seed, self.settings.reset_time)
        # Also for the first picture, which takes a second: GL starts.
        refuse_misfit(self.environment, self.settings, [measured_group(self.settings.cartesian), *self.settings.proprioception])
        self._reader = CommandReader(self.settings, lambda message: message)
        self._target: np.ndarray | None = None  # [A]; None: none since the last reset
        self._grippers: np.ndarray | None = None  # [G] likewise
        self._wall = time.monotonic()
        self._critical = False
        self._outcome_sent_s: float | None = None
        self._began_s = 0.0
        self._images_due_s = 0.0
        self.step_time, self.render_time = Percentiles(), Percentiles()
        self.episodes = self.refused = 0
        self._make_topics()
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0 / (settings.state_rate * settings.real_time_factor), self._advance, clock=steady)
        self.create_timer(1.0, self._report, clock=steady)

    def _make_topics(self) -> None:
        settings, measured = self.settings, self.environment.measured()
        self._clock_topic = publisher(self, "/clock") if self._source_of_time else None
        self._joints = publisher(self, "joint_states") if "joint_position" in measured else None
        self._pose = publisher(self, "ee_pose") if "ee_position" in measured else None
        self._wrench = publisher(self, "wrench") if "wrench_force" in measured else None
        self._extra = publisher(self, "extra") if any(group.startswith(EXTRA) for group in measured) else None
        self._images = {name: publisher(self, CAMERA["raw"], camera=name) for name in settings.cameras}
        self._critical_phase = publisher(self, "critical_phase")
        self._outcome = publisher(self, "outcome")
        self._diagnostics = publisher(self, "/diagnostics")
        subscription(self, "command", self._on_command, interface=settings.command_interface)
        if settings.gripper_names:
            subscription(self, "gripper/command", self._on_gripper, interface=settings.gripper_interface)
        subscription(self, "episode_ended", lambda _: self._reset())

    # --- in ---------------------------------------------------------------------------------------------------------------

    def _on_command(self, message: Any) -> None:
        if why := self._useless(message):
            return self._refuse(f"'command' refused: {why}")
        _, position = self._reader.read(message)
        if position is None or not np.isfinite(position).all():
            told = "not for these actions" if position is None else f"{position.tolist()}"
            return self._refuse(f"'command' refused: it is {told}; send finite positions of {', '.join(self.settings.action_names)}")
        self._target = position

    def _useless(self, message: Any) -> str:
        """Why a pose is no target, or nothing."""
        settings = self.settings
        if settings.command_interface != "pose":
            return ""
        p, q = message.pose.position, message.pose.orientation
        orientation, zero = (q.x, q.y, q.z, q.w), settings.tool_orientation
        turns = settings.turns or settings.rotation_at is not None
        unit = not turns or abs(math.hypot(*orientation) - 1.0) < 0.01
        level = unit and (not settings.turns or tilt_of(orientation, zero) < LARGEST_TILT)
        if message.header.frame_id == settings.base_frame and np.isfinite((p.x, p.y, p.z)).all() and level:
            return ""
        told = f", orientation {list(orientation)}" if turns else ""
        wanted = f"; only yaw is an action: turn {list(zero)} about z alone" if settings.turns else ""
        return f"frame '{message.header.frame_id}', position {[p.x, p.y, p.z]}{told}; send finite metres in '{settings.base_frame}'{wanted}"

    def _on_gripper(self, message: Any) -> None:
        names, kind = self.settings.gripper_names, self.settings.gripper_interface
        if kind == "forward":
            found = dict(zip(names, message.data))
        elif kind == "joint_state":
            found = dict(zip(message.name, message.position))
        else:
            found = dict(zip(message.joint_names, message.points[0].positions)) if message.points else {}
        positions = np.array([found.get(name, np.nan) for name in names])
        if not np.isfinite(positions).all():
            return self._refuse(f"'gripper/command' refused: {found}; send finite positions of {', '.join(names)}")
        self._grippers = positions

    def _refuse(self, why: str) -> None:
        self.refused += 1
        self.get_logger().error(why, throttle_duration_sec=1.0)

    def _reset(self) -> None:
        if not self.timed.resetting:
            self.timed.reset()
            self.episodes += 1
            self._outcome_sent_s = None
            self._set_critical(False)

    # --- on -----------------------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        now, before = time.monotonic(), self._wall
        self._wall = now
        dt = 1.0 / self.settings.state_rate if self._source_of_time else min(now - before, LONGEST_STEP)
        was_resetting = self.timed.resetting
        self.timed.step(joined(self._target, self._grippers, self.settings.gripper_names), round(dt * 1e9))
        if was_resetting:
            self._target = self._grippers = None  # commands of before the episode are void
        self.step_time.add(time.monotonic() - now)
        stamp = self._publish_state()
        self._follow_episode(was_resetting)
        seconds = self.timed.time_ns * 1e-9
        if seconds >= self._images_due_s:
            self._images_due_s = max(self._images_due_s + 1.0 / self.settings.camera_rate, seconds)
            self._publish_images(stamp)

    def _follow_episode(self, was_resetting: bool) -> None:
        """Tell about the critical phase and the outcome; reset when nobody else ends the episode."""
        environment, seconds = self.environment, self.timed.time_ns * 1e-9
        if self.timed.resetting:
            return
        if was_resetting:
            self._began_s = seconds
        if environment.critical and environment.outcome is None and self._target is not None:  # before a command nobody begins an episode
            self._set_critical(True)
        if environment.outcome is not None and self._outcome_sent_s is None:
            self._outcome_sent_s = seconds
            self._outcome.publish(Bool(data=environment.outcome))
        unanswered = self._outcome_sent_s is not None and seconds - self._outcome_sent_s > ANSWER_TIMEOUT
        lost = not self._critical and seconds - self._began_s > self.settings.approach_limit
        if unanswered or lost:
            self._reset()

    # --- out --------------------------------------------------------------------------------------------------------------

    def _publish_state(self) -> Time:
        if self._clock_topic is not None:
            seconds, nanoseconds = divmod(self.timed.stamp_ns, 1_000_000_000)
            stamp = Time(sec=seconds, nanosec=nanoseconds)
            self._clock_topic.publish(ClockMessage(clock=stamp))
        else:
            stamp = self.get_clock().now().to_msg()
        measured = self.environment.measured()
        if self._joints is not None:
            self._joints.publish(self._stamped(_joints(self.settings.joint_names, measured), stamp))
        if self._pose is not None:
            self._pose.publish(self._stamped(_pose(measured), stamp))
        if self._wrench is not None:
            self._wrench.publish(self._stamped(_wrench(measured), stamp))
        if self._extra is not None:
            self._extra.publish(self._stamped(_extra(measured), stamp))
        return stamp

    def _stamped(self, message: Any, stamp: Time) -> Any:
        message.header.stamp, message.header.frame_id = stamp, self.settings.base_frame
        return message

    def _publish_images(self, stamp: Time) -> None:
        begun = time.monotonic()
        pictures = self.environment.images()
        self.render_time.add(time.monotonic() - begun)
        for name, topic in self._images.items():
            message = images.from_rgb(pictures[name], Image())
            message.header.stamp, message.header.frame_id = stamp, f"camera_{name}"
            topic.publish(message)

    def _set_critical(self, critical: bool) -> None:
        if critical != self._critical:
            self._critical = critical
            self._critical_phase.publish(Bool(data=critical))

    def figures(self) -> dict[str, Any]:
        """For `/diagnostics`."""
        return {
            "episodes": self.episodes,
            "commands_refused": self.refused,
            **self.step_time.report("step_ms", 1e3),
            **self.render_time.report("render_ms", 1e3),
        }

    def _report(self) -> None:
        status = diagnostics.status(self.get_fully_qualified_name(), "ok", "running", self.figures())
        self._diagnostics.publish(diagnostics.array(self.get_clock().now().to_msg(), status))

    def close(self) -> None:
        """Free the environment."""
        self.environment.close()


def _joints(names: list[str], measured: Mapping[str, np.ndarray]) -> JointState:
    values = {part: measured[group].tolist() for part, group in (("velocity", "joint_velocity"), ("effort", "joint_effort")) if group in measured}
    return JointState(name=names, position=measured["joint_position"].tolist(), **values)


def _pose(measured: Mapping[str, np.ndarray]) -> PoseStamped:
    message = PoseStamped()
    p, q = message.pose.position, message.pose.orientation
    p.x, p.y, p.z = measured["ee_position"].tolist()
    q.x, q.y, q.z, q.w = measured["ee_orientation"].tolist()
    return message


def _wrench(measured: Mapping[str, np.ndarray]) -> WrenchStamped:
    message = WrenchStamped()
    f, t = message.wrench.force, message.wrench.torque
    f.x, f.y, f.z = measured["wrench_force"].tolist()
    t.x, t.y, t.z = measured["wrench_torque"].tolist()
    return message


def _extra(measured: Mapping[str, np.ndarray]) -> JointState:
    values = extras(measured)
    return JointState(name=list(values), position=list(values.values()))
