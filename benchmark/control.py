"""Tick period, lateness and compute of control_node, alone and beside a learner at full speed, with and without weight pushes.

    python benchmark/control.py [--seconds 15] [--rates 50 100 200]

A real control_node in a process of its own, fed by this process over real topics: state at 100 Hz, chunks and embeddings at 10 Hz, an
episode running. Configurations are interleaved: each round runs all of them, and the medians over rounds are printed.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "config" / "sim.yaml"
PUSHES_PER_SECOND = 10
WARM_UP = 3.0  # s, thrown away


def main() -> None:
    options = _parse()
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ.setdefault("ROS_DOMAIN_ID", str(101 + os.getpid() % 100))
    if options.child:
        print(json.dumps(_child(options)))
        return
    if options.load:
        _load()
        return
    results: dict[tuple, list[dict]] = {}
    cases = [(rate, load, push) for rate in options.rates for load in (False, True) for push in (False, True)]
    for round_number in range(options.rounds):
        for i, case in enumerate(cases):
            left = (len(cases) * (options.rounds - round_number) - i) * (options.seconds + WARM_UP + 4)
            print(f"\r\x1b[Kround {round_number + 1} of {options.rounds}, {i + 1} of {len(cases)}, about {left:.0f} s left", end="", file=sys.stderr)
            results.setdefault(case, []).append(_measure(*case, options))
    print(file=sys.stderr)
    _table(results)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.0, help="measured per configuration and round")
    parser.add_argument("--rates", type=float, nargs="+", default=[50.0, 100.0, 200.0], help="control rates, Hz")
    parser.add_argument("--rounds", type=int, default=1, help="interleaved repetitions")
    parser.add_argument("--realtime-priority", type=int, default=50, help="of control_node; 0: ordinary scheduling")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--load", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _table(results: dict[tuple, list[dict]]) -> None:
    header = (
        "rate",
        "learner",
        "pushes/s",
        "period p50/p99/max [ms]",
        "lateness p50/p99/max [ms]",
        "compute p50/p99/max [ms]",
        "missed",
        "push to use p99 [ms]",
    )
    rows = [header]
    for (rate, load, push), runs in results.items():
        median = {key: float(np.median([run[key] for run in runs])) for key in runs[0]}

        def three(name: str) -> str:
            return " / ".join(f"{median[f'{name}_{part}']:.2f}" for part in ("p50", "p99", "max"))

        used = f"{median['push_p99']:.1f}" if push else "-"
        rows.append(
            (f"{rate:.0f}", "beside" if load else "-", str(PUSHES_PER_SECOND) if push else "-",
             three("period"), three("lateness"), three("compute"),
             f"{median['missed']:.0f}", used)
        )  # fmt: skip
    print("| " + " | ".join(header) + " |\n|" + " --- |" * len(header))
    for row in rows[1:]:
        print("| " + " | ".join(row) + " |")


def _measure(rate: float, load: bool, push: bool, options: argparse.Namespace) -> dict:
    """One configuration: the child measures itself while this process feeds it."""
    here = [sys.executable, __file__]
    arguments = ["--rates", str(rate), "--seconds", str(options.seconds), "--realtime-priority", str(options.realtime_priority)]
    child = subprocess.Popen([*here, "--child", *arguments], stdout=subprocess.PIPE, text=True)
    learner = subprocess.Popen([*here, "--load"]) if load else None
    try:
        feeder = Feeder(rate, push)
        while child.poll() is None:
            feeder.step()
        feeder.close()
        if child.returncode:
            raise SystemExit(f"control_node at {rate:g} Hz ended with exit status {child.returncode}; its output is above")
        return json.loads(child.stdout.read().splitlines()[-1])
    finally:
        if learner is not None:
            learner.kill()
            learner.wait()
        child.kill()


class Feeder:
    """The robot, the VLA and the pushing learner, as far as control_node can tell. Values do not matter, rates and sizes do."""

    def __init__(self, rate: float, push: bool) -> None:
        import rclpy
        from geometry_msgs.msg import PoseStamped, WrenchStamped
        from rclpy.qos import QoSProfile
        from sensor_msgs.msg import Image
        from std_msgs.msg import Bool
        from trajectory_msgs.msg import JointTrajectory

        from rl_token_ros.nodes import ros_topics
        from rl_token_ros.policy.actor_weights import Identity
        from rl_token_ros.rl_token.encoder import TokenEncoder
        from rl_token_ros.settings import node_settings
        from rl_token_ros.settings.files import resolve_path
        from rl_token_ros.settings.proprioception_groups import size

        self.control = node_settings.load("control_node", CONFIG, control_rate=rate)
        self.encoder = TokenEncoder(resolve_path(self.control.token_encoder), self.control.token_size)
        self.identity = Identity.of(self.control, self.encoder.sha256, self.encoder.vla_sha256)
        self.proprio = size(self.control.proprioception, len(self.control.joint_names), self.control.action_size)
        self.random = np.random.default_rng(0)
        self.push = push
        rclpy.init()
        self.node = rclpy.create_node("feeder")
        publisher = self.node.create_publisher
        self.pose = publisher(PoseStamped, "ee_pose", QoSProfile(depth=5))
        self.wrench = publisher(WrenchStamped, "wrench", QoSProfile(depth=5))
        self.reference = publisher(JointTrajectory, "vla/reference", QoSProfile(depth=1))
        self.embedding = publisher(Image, "vla/embedding", QoSProfile(depth=1))
        self.critical = publisher(Bool, "critical_phase", 10)
        self.weights = ros_topics.publisher(self.node, "actor/weights")
        # The arm's side: without anyone who takes `command` nothing is enabled. DDS acknowledges it; it need not be read.
        self.arm = self.node.create_subscription(PoseStamped, "command", lambda message: None, QoSProfile(depth=1))
        self.tick = 0
        self.due = time.monotonic()
        self.version = 0

    def step(self) -> None:
        """10 ms of feeding."""
        self.due = max(self.due + 0.01, time.monotonic() - 0.05)
        time.sleep(max(self.due - time.monotonic(), 0.0))
        stamp = self.node.get_clock().now().to_msg()
        self._publish_state(stamp)
        if self.tick % 10 == 0:
            self._publish_vla(stamp)
            from std_msgs.msg import Bool

            self.critical.publish(Bool(data=True))
        if self.version == 0 or (self.push and self.tick % (100 // PUSHES_PER_SECOND) == 5):
            self._publish_weights()
        self.tick += 1

    def _publish_state(self, stamp) -> None:
        from geometry_msgs.msg import PoseStamped, WrenchStamped

        pose, wrench = PoseStamped(), WrenchStamped()
        pose.header.stamp = wrench.header.stamp = stamp
        position = pose.pose.position
        position.x, position.y, position.z = [(a + b) / 2 for a, b in zip(self.control.position_min, self.control.position_max)]
        pose.pose.orientation.x, pose.pose.orientation.w = 1.0, 0.0
        self.pose.publish(pose)
        self.wrench.publish(wrench)

    def _publish_vla(self, stamp) -> None:
        from builtin_interfaces.msg import Duration
        from sensor_msgs.msg import Image
        from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

        from rl_token_ros.interfaces import images

        reference = JointTrajectory(joint_names=self.control.action_names)
        reference.header.stamp = stamp
        reference.points = [
            JointTrajectoryPoint(positions=[0.0] * self.control.action_size, time_from_start=Duration(nanosec=i * 20_000_000)) for i in range(50)
        ]
        embedding = images.from_matrix(self.random.normal(size=self.encoder.shape).astype(np.float32), Image())
        embedding.header.stamp = stamp
        self.embedding.publish(embedding)
        self.reference.publish(reference)

    def _publish_weights(self) -> None:
        import array

        from std_msgs.msg import UInt8MultiArray

        from rl_token_ros.policy import actor_weights

        c = self.control
        self.version += 1
        architecture = actor_weights.Architecture(c.token_size, self.proprio, c.chunk_length, c.action_size, 128, c.actor_layers)
        tensors = {name: self.random.normal(0, 0.02, shape).astype(np.float32) for name, shape in architecture.shapes().items()}
        tensors["input_scale"] = np.ones_like(tensors["input_scale"])
        blob = actor_weights.encode(actor_weights.ActorWeights(self.version, 0, architecture, self.identity, tensors, time.time_ns()))
        self.weights.publish(UInt8MultiArray(data=array.array("B", blob)))

    def close(self) -> None:
        import rclpy

        self.node.destroy_node()
        rclpy.shutdown()


def _child(options: argparse.Namespace) -> dict:
    """A real ControlNode; statistics are restarted after the warm-up."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    from rl_token_ros.nodes.control_node import ControlNode
    from rl_token_ros.system.timing import Percentiles, TickClock

    rate, seconds = options.rates[0], options.seconds
    arguments = [
        "--ros-args",
        "--params-file",
        str(CONFIG),
        "-p",
        f"control_node:control_rate:={rate}",
        "-p",
        "control_node:episode_time_limit:=3600.0",
    ]
    arguments += ["--log-level", "warn", "-p", f"control_node:realtime_priority:={options.realtime_priority}"]
    rclpy.init(args=arguments)
    node = ControlNode()
    gc.collect()
    gc.freeze()  # as in nodes/running.py
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def spin(duration: float) -> None:
        end = time.monotonic() + duration
        while time.monotonic() < end:
            executor.spin_once(timeout_sec=0.1)

    deadline = time.monotonic() + 30.0
    while not node.controller.episode.active or not node.controller.actor.version:
        executor.spin_once(timeout_sec=0.1)
        if time.monotonic() > deadline:
            raise SystemExit(f"no episode or no weights within 30 s: {node.controller.not_ready(node._now())} {node.gate.last_refusal}")
    spin(WARM_UP)
    size = int(seconds * rate * 2)
    node.ticks = TickClock(node.controller.period_ns, size)
    node.compute, node.push_to_use = Percentiles(size), Percentiles(size)
    spin(seconds)
    figures = {"missed": node.ticks.missed, "push_p99": node.push_to_use.at(99)[0] * 1e3}
    for name, values in (("period", node.ticks.period), ("lateness", node.ticks.lateness), ("compute", node.compute)):
        p50, p99 = values.at(50, 99)
        figures.update({f"{name}_p50": p50 * 1e3, f"{name}_p99": p99 * 1e3, f"{name}_max": values.maximum * 1e3})
    node.close()
    node.destroy_node()
    rclpy.shutdown()
    return figures


def _load() -> None:
    """A learner at full speed: real updates on random experience, at the priority of the real worker."""
    import torch
    from learner import SIZES, make_learner  # benchmark/learner.py, beside this file

    torch.set_num_threads(1)
    learner = make_learner(SIZES[0], "cpu")
    os.nice(learner.settings.worker_nice)
    while True:
        learner.update(100)


if __name__ == "__main__":
    main()
