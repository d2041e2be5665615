"""A scripted arm of three joints with a camera, at the other end of real topics: every fault of what it says is an attribute.

What it says and what it is told goes through an audit, which proves that no command broke a limit and that none moved the arm on measurements
or chunks beyond their age.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import small_robot
from audit import SECOND, CommandAudit
from onlooker import DEEP, Onlooker
from rclpy.clock import Clock, ClockType
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import Image, JointState, PointCloud2
from std_msgs.msg import Bool, UInt8
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from rl_token_ros.control.safety_filter import Limits
from rl_token_ros.interfaces import images, replay_table
from rl_token_ros.interfaces.stamps import stamp_to_ns
from rl_token_ros.nodes.ros_topics import publisher, subscription

JOINTS = ["j1", "j2", "j3"]
HOME = np.array([0.3, 0.0, 0.1])  # rad
PERIOD, HORIZON, CHUNK, TOKEN, PROPRIO = 0.02, small_robot.HORIZON, small_robot.CHUNK, small_robot.TOKEN, 6
STATE_TIMEOUT, CHUNK_TIMEOUT, HOLD_TIMEOUT = 2.0, 1.0, 2.5  # s; the first is long: a busy machine stalls this process too; the last longer still
LIMIT, VELOCITY, ACCELERATION = 0.5, 0.5, 5.0  # rad, rad/s, rad/s^2
BRAKING = VELOCITY / ACCELERATION + 0.3  # s, with what messages take to arrive
TURN = 0.02  # rad per step of the circle that the VLA leads the arm on, wide enough to touch the limits
DTYPE = replay_table.row_dtype(TOKEN, PROPRIO, CHUNK, 3)


def parameters(models: dict[str, Path], run_directory: Path, **changes: Any) -> dict[str, Any]:
    """Parameters of control_node, vla_node and learner_node for this arm."""
    return {
        "joint_names": JOINTS, "cameras": ["base"], "action_names": JOINTS, "proprioception": ["joint_position", "command_lead"],
        "vla_proprioception": ["joint_position"], "command_interface": "joint_state", "chunk_length": CHUNK, "token_size": TOKEN,
        "residual_scale": [0.002] * 3, "position_min": [-LIMIT] * 3, "position_max": [LIMIT] * 3, "velocity_limit": [VELOCITY] * 3,
        "acceleration_limit": [ACCELERATION] * 3, "lead_limit": [0.1] * 3, "replan_interval": CHUNK, "mode": "actor",
        "enable_on_start": True, "state_timeout": STATE_TIMEOUT, "chunk_timeout": CHUNK_TIMEOUT, "hold_timeout": HOLD_TIMEOUT,
        "vla_model": str(models["vla"]), "token_encoder": str(models["encoder"]), "run_directory": str(run_directory), "warmup_episodes": 1,
        "pretrain_updates": 10, "push_updates": 50, "batch_size": 8, "hidden_size": 16, "checkpoint_seconds": 2.0, "repeat_seconds": 0.5,
        "worker_nice": 0, "worker_restarts": 100, **changes,
    }  # fmt: skip


def write_models(folder: Path) -> dict[str, Path]:
    """A VLA that leads the first two joints on a widening circle, and an encoder made for it."""
    from onnx import TensorProto, helper

    circle = np.array([[np.cos(TURN) - 1.0, np.sin(TURN), 0.0], [-np.sin(TURN), np.cos(TURN) - 1.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
    spread = np.random.default_rng(0).normal(size=(6, small_robot.ROWS * small_robot.WIDTH)).astype(np.float32)
    constants = [
        helper.make_tensor("circle", TensorProto.FLOAT, circle.shape, circle.ravel()),
        helper.make_tensor("horizon", TensorProto.INT64, [3], [1, HORIZON, 3]),
        helper.make_tensor("row", TensorProto.INT64, [3], [1, 1, 3]),
        helper.make_tensor("spread", TensorProto.FLOAT, spread.shape, spread.ravel()),
        helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("shape", TensorProto.INT64, [3], [1, small_robot.ROWS, small_robot.WIDTH]),
    ]
    nodes = [
        helper.make_node("MatMul", ["proprio", "circle"], ["step"]),
        helper.make_node("Reshape", ["step", "row"], ["one"]),
        helper.make_node("Expand", ["one", "horizon"], ["actions"]),
        helper.make_node("Cast", ["image_base"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["colour"], keepdims=0),
        helper.make_node("Concat", ["colour", "proprio"], ["seen"], axis=1),
        helper.make_node("MatMul", ["seen", "spread"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["embeddings"]),
    ]
    size = small_robot.IMAGE
    inputs = [
        helper.make_tensor_value_info("image_base", TensorProto.UINT8, [1, size, size, 3]),
        helper.make_tensor_value_info("proprio", TensorProto.FLOAT, [1, 3]),
    ]
    outputs = [
        helper.make_tensor_value_info("actions", TensorProto.FLOAT, [1, HORIZON, 3]),
        helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, [1, small_robot.ROWS, small_robot.WIDTH]),
    ]
    graph = helper.make_graph(nodes, "vla", inputs, outputs, constants)
    vla = small_robot._save(folder / "vla.onnx", graph, {"dt": PERIOD, "action_names": JOINTS})
    return {"vla": vla, "encoder": small_robot.write_encoder(folder / "encoder.onnx", vla)}


def write_parameters(path: Path, values: dict[str, Any]) -> Path:
    """A parameter file for every node. JSON is YAML."""
    path.write_text(json.dumps({"/**": {"ros__parameters": values}}))
    return path


def trajectory(stamp_ns: int, actions: np.ndarray) -> JointTrajectory:
    """A `vla/reference` of actions [H, 3]."""
    message = JointTrajectory(joint_names=JOINTS)
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, SECOND)
    for i, action in enumerate(actions):
        point = JointTrajectoryPoint(positions=[float(value) for value in action])
        point.time_from_start.sec, point.time_from_start.nanosec = divmod(i * 20_000_000, SECOND)
        message.points.append(point)
    return message


class ScriptedArm(Onlooker):
    """A perfect arm: it is where it was last told to be. Joints at 100 Hz, a camera at 20 Hz, episodes of a second one after the other.

    Attributes:
        silent: of joints, image, episodes, what is not sent or begun.
        speak: stands for the VLA if set: called with the time in ns at 10 Hz, gives actions [H, 3] and the age in ns to stamp them with.
        joints: what becomes of a measurement: called with stamp in ns and position, gives what is sent.
        image: what becomes of a picture.
        rows: time of arrival, stamp in ns, sequence number of each row of `replay`.
    """

    def __init__(self, sim_time: bool = False, **options: Any) -> None:
        limits = Limits(np.full(3, -LIMIT), np.full(3, LIMIT), np.full(3, VELOCITY), np.full(3, ACCELERATION), np.full(3, np.inf))
        ages = {"chunk": min(HORIZON * PERIOD, CHUNK_TIMEOUT) + BRAKING, "measurement": STATE_TIMEOUT + BRAKING}
        audit = CommandAudit(limits, PERIOD, HOME, ages)
        super().__init__("scripted_arm", audit, JointState, lambda message: np.array(message.position), **options)
        self.silent: set[str] = set()
        self.speak = self.image = None
        self.joints = lambda stamp, position: (stamp, position)
        self.position = HOME.copy()
        self.rows: list[tuple[float, int, int]] = []
        self.blobs: list[bytes] = []
        self.clock_ns = 1000 * SECOND if sim_time else None
        self._episode_at = 0.0
        self._outcome = True
        self._joint_states = self.create_publisher(JointState, "joint_states", 10)
        self._camera = self.create_publisher(Image, "camera/base/image_raw", 5)
        self._critical = self.create_publisher(Bool, "critical_phase", 10)
        self._success = self.create_publisher(Bool, "outcome", 10)
        self._clock_topic = self.create_publisher(ClockMessage, "/clock", 10)
        self.reference = self.create_publisher(JointTrajectory, "vla/reference", 1)
        self.embedding = self.create_publisher(Image, "vla/embedding", 1)
        self.weights = publisher(self, "actor/weights")
        self.replay = self.create_publisher(PointCloud2, "replay", 1000)
        self.create_subscription(PointCloud2, "replay", self._on_replay, DEEP)
        self.create_subscription(JointTrajectory, "vla/reference", self._on_reference, DEEP)
        self.create_subscription(UInt8, "episode_ended", lambda _: setattr(self, "_episode_at", 0.0), DEEP)
        subscription(self, "actor/weights", lambda m: self.blobs.append(bytes(m.data)))
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(0.01, self._sense, clock=steady)
        self.create_timer(0.05, self._look, clock=steady)
        self.create_timer(0.1, self._propose, clock=steady)
        self.create_timer(0.1, self._lead_episodes, clock=steady)

    # --- what it says -------------------------------------------------------------------------------------------------

    def now_ns(self) -> int:
        """The time that stamps are made of."""
        return self.get_clock().now().nanoseconds if self.clock_ns is None else self.clock_ns

    def _sense(self) -> None:
        if self.clock_ns is not None:
            self.clock_ns += 10_000_000
            message = ClockMessage()
            message.clock.sec, message.clock.nanosec = divmod(self.clock_ns, SECOND)
            self._clock_topic.publish(message)
        if "joints" in self.silent:
            return
        now = self.now_ns()
        stamp, position = self.joints(now, self.position)
        message = JointState(name=JOINTS, position=position.tolist())
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, SECOND)
        self._joint_states.publish(message)
        if stamp <= now and np.isfinite(position).all():
            self.audit.said("measurement", time.time_ns(), stamp)

    def _look(self) -> None:
        if "image" in self.silent:
            return
        stamp = self.now_ns()
        size = small_robot.IMAGE
        picture = np.full((size, size, 3), stamp // 50_000_000 % 256, np.uint8)
        message = Image(encoding="rgb8", height=size, width=size, step=3 * size, data=picture.tobytes())
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, SECOND)
        self._camera.publish(self.image(message) if self.image else message)

    def _propose(self) -> None:
        if self.speak is None:
            return
        now = self.now_ns()
        actions, age = self.speak(now)
        message = trajectory(now - age, actions)
        embedding = images.from_matrix(np.ones((small_robot.ROWS, small_robot.WIDTH), np.float32), Image())
        embedding.header.stamp = message.header.stamp
        self.embedding.publish(embedding)
        self.reference.publish(message)

    def _lead_episodes(self) -> None:
        now = time.monotonic()
        if not self._episode_at:
            if "episodes" in self.silent:
                return
            self._episode_at = now
            self._critical.publish(Bool(data=True))
        elif now - self._episode_at > 1.0:
            self._episode_at, self._outcome = 0.0, not self._outcome
            self._success.publish(Bool(data=self._outcome))

    # --- what it is told ----------------------------------------------------------------------------------------------

    def leap(self, clock_ns: int) -> None:
        """Set the clock."""
        self.clock_ns = clock_ns
        self.audit.leap(clock_ns)

    def _on_command(self, message: JointState, info: Any) -> None:
        super()._on_command(message, info)
        position = np.array(message.position)
        if np.isfinite(position).all():
            self.position = position

    def _on_reference(self, message: JointTrajectory, info: Any) -> None:
        stamp = stamp_to_ns(message.header.stamp)
        if stamp <= self.now_ns() + 200_000_000:
            self.audit.said("chunk", info["source_timestamp"], stamp)

    def _on_replay(self, message: PointCloud2) -> None:
        try:
            rows = replay_table.decode(message, DTYPE)
        except replay_table.ReplayError:
            return  # the fuzzer's
        now = time.monotonic()
        self.rows += [(now, int(row["stamp_sec"]) * SECOND + int(row["stamp_nanosec"]), int(row["seq"])) for row in rows]
