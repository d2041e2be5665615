"""Drivers of an arm with a gripper, as real robots have them: parts from several, a second one that says what is not so, an encoder that misreads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import small_robot
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

JOINTS, GRIPPER = ["j1", "j2", "j3"], "finger"
HOME = np.array([0.3, -0.5, 0.8])  # rad
LEAD, SPEED = 0.15, 0.6  # rad, rad/s
PERIOD = 0.01  # s
PARAMETERS: dict[str, Any] = {
    "joint_names": [*JOINTS, GRIPPER], "cameras": ["base"], "action_names": JOINTS, "proprioception": ["joint_position", "command_lead"],
    "vla_proprioception": ["joint_position"], "command_interface": "joint_state", "chunk_length": small_robot.CHUNK, "token_size": 0,
    "residual_scale": [0.002] * 3, "position_min": [-2.0] * 3, "position_max": [2.0] * 3, "velocity_limit": [SPEED] * 3,
    "acceleration_limit": [3.0] * 3, "lead_limit": [LEAD] * 3, "replan_interval": small_robot.CHUNK, "state_timeout": 1.0, "hold_timeout": 30.0,
}  # fmt: skip


def names(second: str) -> list[str]:
    """What the first driver brings beside this kind of second one."""
    return {"gripper": JOINTS, "halves": [*JOINTS[:2], GRIPPER]}.get(second, [*JOINTS, GRIPPER])


class Arm(Node):
    """The first driver, with the arm: it follows `command` at up to 1 rad/s; and a VLA that asks for no motion.

    Attributes:
        brings: names that it publishes.
        misreads: what becomes of the positions that it says.
        silent: it says nothing.
        farthest: rad, of a command from where the arm began: nobody asks it to move.
    """

    def __init__(self, brings: list[str], **options: Any) -> None:
        super().__init__("broadcaster", **options)
        self.brings, self.silent = brings, False
        self.misreads: Callable[[np.ndarray], np.ndarray] = lambda position: position
        self.position, self.commands, self.farthest = HOME.copy(), 0, 0.0
        self.report: dict[str, str] = {}
        self._command: np.ndarray | None = None
        self._states = self.create_publisher(JointState, "joint_states", 10)
        self._reference = self.create_publisher(JointTrajectory, "vla/reference", 1)
        self.create_subscription(JointState, "command", self._on_command, 10)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.enable = self.create_client(SetBool, "control_node/enable")
        self.reset_stop = self.create_client(Trigger, "control_node/reset_stop")
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(PERIOD, self._say, clock=steady)
        self.create_timer(0.1, self._propose, clock=steady)

    def _on_command(self, message: JointState) -> None:
        command = dict(zip(message.name, message.position))
        self._command = np.array([command[name] for name in JOINTS])
        self.commands += 1
        self.farthest = max(self.farthest, float(np.abs(self._command - HOME).max()))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == "/control_node":
                self.report = {**{value.key: value.value for value in status.values}, "message": status.message}

    def _say(self) -> None:
        if self._command is not None:
            self.position = self.position + np.clip(self._command - self.position, -PERIOD, PERIOD)
        if not self.silent:
            said = dict(zip([*JOINTS, GRIPPER], [*self.misreads(self.position), 0.0]))
            self._states.publish(joint_state(self, self.brings, [said[name] for name in self.brings]))

    def _propose(self) -> None:
        message = JointTrajectory(joint_names=JOINTS)
        message.header.stamp = self.get_clock().now().to_msg()
        for i in range(small_robot.HORIZON):
            point = JointTrajectoryPoint(positions=[0.0] * len(JOINTS))
            point.time_from_start.nanosec = i * 20_000_000
            message.points.append(point)
        self._reference.publish(message)


class Second(Node):
    """Another driver on `joint_states`, of a kind: gripper, halves, zeros (resting values, as of a joint_state_publisher that was left running)."""

    def __init__(self, kind: str, arm: Arm, **options: Any) -> None:
        super().__init__("joint_state_publisher", **options)
        self._kind, self._arm = kind, arm
        self._states = self.create_publisher(JointState, "joint_states", 10)
        self.create_timer(0.013, self._say, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _say(self) -> None:
        if self._kind == "gripper":
            said = {GRIPPER: 0.0}
        elif self._kind == "halves":
            said = {JOINTS[2]: self._arm.position[2]}
        else:
            said = dict.fromkeys([*JOINTS, GRIPPER], 0.0)
        self._states.publish(joint_state(self, list(said), list(said.values())))


def joint_state(node: Node, names: list[str], position: list[float]) -> JointState:
    """Of this moment."""
    message = JointState(name=names, position=[float(value) for value in position])
    message.header.stamp = node.get_clock().now().to_msg()
    return message
