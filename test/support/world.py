"""A node that stands for everything around control_node: a perfect arm, a VLA, an operator, and a recorder of what comes out."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
import small_robot
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, WrenchStamped
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image, JointState, PointCloud2
from std_msgs.msg import Bool, UInt8, UInt8MultiArray
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from rl_token_ros.interfaces import images, replay_table
from rl_token_ros.nodes.ros_topics import publisher
from rl_token_ros.policy import actor_weights

DTYPE = replay_table.row_dtype(small_robot.TOKEN, 9, small_robot.CHUNK, 3)


class World(Node):
    """Publishes measurements at 100 Hz and a chunk with embeddings at 20 Hz; what is in ``silent`` is not sent."""

    def __init__(self, **options: Any) -> None:
        super().__init__("world", **options)
        self.silent: set[str] = set()
        self.position = small_robot.HOME.copy()
        self.commands: list[PoseStamped] = []
        self.rows: list[np.ndarray] = []
        self.endings: list[int] = []
        self.report: dict[str, str] = {}
        self.message = ""
        self.pose = self.create_publisher(PoseStamped, "ee_pose", 10)
        self.wrench = self.create_publisher(WrenchStamped, "wrench", 10)
        self.reference = self.create_publisher(JointTrajectory, "vla/reference", 1)
        self.embedding = self.create_publisher(Image, "vla/embedding", 1)
        self.critical = self.create_publisher(Bool, "critical_phase", 10)
        self.outcome = self.create_publisher(Bool, "outcome", 10)
        self.intervention = self.create_publisher(JointState, "intervention", 10)
        self.weights = publisher(self, "actor/weights")
        self.command_subscription = self.create_subscription(PoseStamped, "command", self._on_command, 10)
        self.create_subscription(PointCloud2, "replay", lambda m: self.rows.extend(replay_table.decode(m, DTYPE)), 1000)
        self.create_subscription(UInt8, "episode_ended", lambda m: self.endings.append(m.data), 10)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.services_of_control = {
            "enable": self.create_client(SetBool, "control_node/enable"),
            "critical_phase": self.create_client(SetBool, "control_node/critical_phase"),
            **{
                name: self.create_client(Trigger, f"control_node/{name}")
                for name in ("success", "failure", "discard", "stop", "reset_stop", "rollback")
            },
        }
        self.set_parameters_of_control = self.create_client(SetParameters, "control_node/set_parameters")
        self.create_timer(0.01, self._sense)
        self.create_timer(0.05, self._answer)

    def _on_command(self, message: PoseStamped) -> None:
        p = message.pose.position
        self.commands.append(message)
        self.position = np.array([p.x, p.y, p.z])

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == "/control_node":
                self.report = {value.key: value.value for value in status.values}
                self.message = status.message

    def _sense(self) -> None:
        stamp = self.get_clock().now().to_msg()
        if "pose" not in self.silent:
            pose = PoseStamped()
            pose.header.stamp = stamp
            p, q = pose.pose.position, pose.pose.orientation
            p.x, p.y, p.z = self.position.tolist()
            q.x, q.y, q.z, q.w = small_robot.DOWN
            self.pose.publish(pose)
        if "wrench" not in self.silent:
            wrench = WrenchStamped()
            wrench.header.stamp = stamp
            self.wrench.publish(wrench)

    def _answer(self) -> None:
        if "vla" not in self.silent:
            stamp = self.get_clock().now().to_msg()
            self.reference.publish(trajectory(stamp))
            embedding = images.from_matrix(np.ones((small_robot.ROWS, small_robot.WIDTH), np.float32), Image())
            embedding.header.stamp = stamp
            self.embedding.publish(embedding)

    def push(self, control: Any, version: int, residual: float = 0.0) -> None:
        """Send actor weights made for this control_node's models."""
        identity = small_robot.identity(encoder_sha256=control.encoder.sha256, vla_sha256=control.encoder.vla_sha256)
        self.send_weights(actor_weights.encode(small_robot.make_weights(version, residual, identity=identity)))

    def send_weights(self, blob: bytes) -> None:
        """Send any bytes as actor weights."""
        self.weights.publish(UInt8MultiArray(data=array.array("B", blob)))

    def change(self, graph: Any, **values: Any) -> list[Any]:
        """Set parameters of control_node, each by itself; returns the results."""
        parameters: list[ParameterMessage] = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        return graph.call(self.set_parameters_of_control, SetParameters.Request(parameters=parameters)).results

    def call(self, graph: Any, service: str, data: bool | None = None) -> Any:
        """Call a service of control_node."""
        request = Trigger.Request() if data is None else SetBool.Request(data=data)
        return graph.call(self.services_of_control[service], request)


def trajectory(stamp: Any, steps: int = small_robot.HORIZON) -> JointTrajectory:
    """A `vla/reference` of the small robot."""
    message = JointTrajectory(joint_names=["x", "y", "z"])
    message.header.stamp = stamp
    for i in range(steps):
        point = JointTrajectoryPoint(positions=small_robot.STEP.tolist())
        point.time_from_start.nanosec = i * 20_000_000
        message.points.append(point)
    return message
