"""What vla_node adds to a policy server's own time, and whether control_node keeps its rate beside it.

    python benchmark/vla.py [--seconds 20] [--server-ms 80] [--half]

Processes: a policy server that takes --server-ms for an answer and gives embeddings of --tokens x --width, a real vla_node, a real
control_node with a token encoder for those embeddings, and this one, which publishes three 224 x 224 cameras at 30 Hz and the state
at 100 Hz. All on one machine over loopback: a network's own time comes on top. The server sleeps for its time, as one that waits for
a GPU; the encoder is a mean and a matrix product. "Added" is from the observation to both messages handed to the middleware, less the
server's time; the middleware's own sending, some 5 ms for embeddings of 5.7 MB, comes on top before they arrive.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
CAMERAS = ("base", "left_wrist", "right_wrist")
PICTURE = (224, 224, 3)
TOKEN = 128


class Policy:
    """What `vla_server` serves: `benchmark/vla.py` is its module."""

    def __init__(self) -> None:
        rows, width, self._seconds = json.loads(os.environ["BENCHMARK_POLICY"])
        self._embeddings = np.random.default_rng(0).normal(size=(rows, width)).astype(np.float32)
        self._actions = np.zeros((50, 3), np.float32)

    def infer(self, obs: dict) -> dict:
        time.sleep(self._seconds)
        return {"actions": self._actions, "embeddings": self._embeddings}


def main() -> None:
    options = _parse()
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ.setdefault("ROS_DOMAIN_ID", str(101 + os.getpid() % 100))
    with tempfile.TemporaryDirectory() as folder:
        processes = _start(options, Path(folder))
        try:
            figures = _measure(options)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(30.0)
    _table(figures, options)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="measured (20)")
    parser.add_argument("--server-ms", type=float, default=80.0, help="time of an inference (80)")
    parser.add_argument("--tokens", type=int, default=700, help="rows of the embeddings (700)")
    parser.add_argument("--width", type=int, default=2048, help="columns of the embeddings (2048)")
    parser.add_argument("--half", action="store_true", help="the server sends embeddings as float16")
    return parser.parse_args()


def _start(options: argparse.Namespace, folder: Path) -> list[subprocess.Popen]:
    from rl_token_ros.launching.compositions import NodeProcess

    _write_encoder(folder / "encoder.onnx", options.tokens, options.width)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'benchmark'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    environment["BENCHMARK_POLICY"] = json.dumps([options.tokens, options.width, options.server_ms * 1e-3])
    command = [sys.executable, "-m", "rl_token_ros.cli", "vla_server", "vla:Policy", "--port", "0", *(["--half"] if options.half else [])]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    url = server.stdout.readline().rpartition(" ")[2].strip()
    shared = {
        "cameras": list(CAMERAS), "action_names": ["x", "y", "z"], "residual_scale": [0.001] * 3, "token_size": TOKEN,
        "proprioception": ["ee_position"], "token_encoder": str(folder / "encoder.onnx"),
    }  # fmt: skip
    vla = {"backend": "openpi", "server": url, "query_rate": 100.0, "vla_proprioception": ["ee_position"]}
    control = {
        "command_interface": "pose", "enable_on_start": True, "position_min": [-1.0] * 3, "position_max": [1.0] * 3,
        "velocity_limit": [0.1] * 3, "acceleration_limit": [1.0] * 3, "lead_limit": [0.01] * 3,
    }  # fmt: skip
    nodes = [NodeProcess("vla_node", log_level="error").with_parameters(shared | vla, folder)]
    nodes += [NodeProcess("control_node", log_level="error").with_parameters(shared | control, folder)]
    return [server, *(subprocess.Popen(node.command()) for node in nodes)]


def _write_encoder(path: Path, rows: int, width: int) -> None:
    import onnx
    from onnx import TensorProto, helper

    weight = np.random.default_rng(1).normal(0.0, 0.01, (width, TOKEN)).astype(np.float32)
    constants = [
        helper.make_tensor("weight", TensorProto.FLOAT, weight.shape, weight.ravel()),
        helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
    ]
    nodes = [
        helper.make_node("ReduceMean", ["embeddings", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "weight"], ["token"]),
    ]
    values = [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, [1, rows, width])]
    outputs = [helper.make_tensor_value_info("token", TensorProto.FLOAT, [1, TOKEN])]
    graph = helper.make_graph(nodes, "encoder", values, outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)


def _measure(options: argparse.Namespace) -> dict[str, dict[str, str]]:
    """Feeds the nodes and returns what they report about themselves at the end."""
    import rclpy
    from diagnostic_msgs.msg import DiagnosticArray
    from geometry_msgs.msg import PoseStamped
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import Image

    from rl_token_ros.interfaces import images

    rclpy.init()
    node = rclpy.create_node("feeder")
    pose_publisher = node.create_publisher(PoseStamped, "ee_pose", QoSProfile(depth=5))
    cameras = [node.create_publisher(Image, f"camera/{name}/image_raw", QoSProfile(depth=1)) for name in CAMERAS]
    node.create_subscription(PoseStamped, "command", lambda _: None, QoSProfile(depth=1))  # without an arm it is not enabled
    reports: dict[str, dict[str, str]] = {}

    def hear(message: DiagnosticArray) -> None:
        for status in message.status:
            reports[status.name] = {pair.key: pair.value for pair in status.values} | {"message": status.message}

    node.create_subscription(DiagnosticArray, "/diagnostics", hear, 10)
    picture = images.from_rgb(np.random.default_rng(0).integers(0, 255, PICTURE, np.uint8), Image())
    pose = PoseStamped()
    pose.pose.orientation.w = 1.0
    begun = due = time.monotonic()
    tick, end = 0, begun + options.seconds + 10.0
    while due < end:
        time.sleep(max(due - time.monotonic(), 0.0))
        stamp = node.get_clock().now().to_msg()
        pose.header.stamp = picture.header.stamp = stamp
        pose_publisher.publish(pose)
        if tick % 3 == 0:
            for camera in cameras:
                camera.publish(picture)
        rclpy.spin_once(node, timeout_sec=0.0)
        tick, due = tick + 1, due + 0.01
    node.destroy_node()
    rclpy.shutdown()
    return reports


def _table(reports: dict[str, dict[str, str]], options: argparse.Namespace) -> None:
    vla, control = reports.get("/vla_node"), reports.get("/control_node")
    if not vla or not control or not int(vla["queries"]):
        raise SystemExit(f"no figures: {reports}")
    print(f"{options.tokens} x {options.width} embeddings{' as float16' if options.half else ''}, 3 cameras of 224 x 224; {vla['queries']} queries\n")
    print("| | p50 | p99 | max |\n| --- | --- | --- | --- |")
    for name, label in (("server", "server's own time [ms]"), ("query", "query, all of it [ms]"), ("added", "added [ms]")):
        print(f"| {label} | " + " | ".join(vla[f"{name}_ms_{part}"] for part in ("p50", "p99", "max")) + " |")
    for name, label in (("period_ms", "control period [ms]"), ("compute_ms", "control tick's compute [ms]"), ("encode_ms", "token encoder [ms]")):
        print(f"| {label} | " + " | ".join(control[f"{name}_{part}"] for part in ("p50", "p99", "max")) + " |")
    print(f"\ncontrol_node: {control['ticks']} ticks, {control['missed_ticks']} missed; {control['message']}; observation age "
          f"p50 {control['observation_age_ms_p50']} ms")  # fmt: skip


if __name__ == "__main__":
    main()
