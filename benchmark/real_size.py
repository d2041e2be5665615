"""A VLA at its real size behind a server: what a query costs vla_node and the wire, and whether control_node keeps its rate beside it.

    python benchmark/real_size.py [--seconds 60] [--only server]

Processes: a policy server that takes 80 ms for a chunk of 50 x 14 and embeddings of 968 x 2048 with an encoder for tokens of 2,048 (random
weights, 16 x 128 readouts by attention); the drivers of benchmark/cameras.py, three pictures of 640 x 480 at 30 Hz; a real vla_node; a real
control_node with 14 joints at 50 Hz, an actor of random weights in shadow and an episode running; and this one, which is the arm. The token is
made by the server, or on the robot of embeddings that come as float32 or float16. All on one machine over loopback: a cable's time for the
bytes comes on top (at 1 Gbit/s 8 ms a megabyte).

"Added" is from the observation, pictures not yet decoded, to both messages handed to the middleware, less the server's own time, which is that
of policy and encoder. "Picture [ms]" is the age of the observation at a control step.
"""

from __future__ import annotations

import argparse
import array
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
JOINTS = [f"{side}_joint{i}" for side in ("left", "right") for i in range(1, 8)]
CAMERAS = ("base", "left", "right")
ROWS, WIDTH, TOKEN, QUERIES, HORIZON = 968, 2048, 2048, 16, 50
SERVER_SECONDS = 0.08
SOURCES = {"server": "", "robot, float32": "float32", "robot, float16": "float16"}  # who makes the token: `embeddings` of vla_node
VLA_SHA256 = "a" * 64


class Policy:
    """What `vla_server` serves: asks for no motion."""

    metadata = {"vla_sha256": VLA_SHA256}  # noqa: RUF012

    def __init__(self) -> None:
        self._embeddings = np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32)
        self._actions = np.zeros((HORIZON, len(JOINTS)), np.float32)

    def infer(self, obs: dict) -> dict:
        time.sleep(SERVER_SECONDS)
        return {"actions": self._actions, "embeddings": self._embeddings}


def main() -> None:
    options = _parse()
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    print(f"{ROWS} x {WIDTH}, token {TOKEN}, {HORIZON} x {len(JOINTS)}, {len(CAMERAS)} cameras of 640 x 480, {options.seconds:g} s each\n")
    head = ("token made by", "request [kB]", "reply [kB]", "queries per s", "server's own [ms]", "added p50 / p99 / max [ms]",
            "ticks", "missed", "period p50 / p99 / max [ms]", "compute p50 / p99 / max [ms]", "encode [ms]", "picture [ms]")  # fmt: skip
    print("| " + " | ".join(head) + " |\n|" + " --- |" * len(head), flush=True)
    for number, source in enumerate(each for each in SOURCES if options.only in each):
        os.environ["ROS_DOMAIN_ID"] = str(101 + (os.getpid() + number) % 100)
        print(trial(source, options.seconds), flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each row (60)")
    parser.add_argument("--only", default="", help=f"rows whose first column contains this; of {', '.join(SOURCES)}")
    return parser.parse_args()


def write_encoder(path: Path) -> None:
    """Attention of 16 queries over the embeddings, 128 values each: the work of an encoder that train_token makes."""
    import onnx
    from onnx import TensorProto, helper

    random, each = np.random.default_rng(1), TOKEN // QUERIES
    shapes = {"query": (QUERIES, each), "key": (WIDTH, each), "value": (WIDTH, each)}
    weights = {name: random.normal(0.0, shape[0] ** -0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    constants = [helper.make_tensor(name, TensorProto.FLOAT, weight.shape, weight.ravel()) for name, weight in weights.items()]
    nodes = [
        helper.make_node("MatMul", ["embeddings", "key"], ["keys"]),
        helper.make_node("Transpose", ["keys"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["query", "turned"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["attention"], axis=-1),
        helper.make_node("MatMul", ["embeddings", "value"], ["values"]),
        helper.make_node("MatMul", ["attention", "values"], ["read"]),
        helper.make_node("Flatten", ["read"], ["token"]),
    ]
    inputs = [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, [1, ROWS, WIDTH])]
    outputs = [helper.make_tensor_value_info("token", TensorProto.FLOAT, [1, TOKEN])]
    graph = helper.make_graph(nodes, "encoder", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, {"vla_sha256": VLA_SHA256})
    onnx.save(model, path)


def trial(source: str, seconds: float) -> str:
    """One row of the table."""
    from cameras import Arm, driver_setting, elapsed, without_profile  # beside this file

    with tempfile.TemporaryDirectory() as folder, Arm(JOINTS) as arm:
        write_encoder(Path(folder) / "encoder.onnx")
        processes, control = start(source, Path(folder))
        order = json.dumps({"cameras": CAMERAS, "reliable": True, "seconds": seconds + 20.0})
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True}
        drivers = subprocess.Popen(
            [sys.executable, str(ROOT / "benchmark" / "cameras.py"), "--drive", order], env=without_profile() | dict([driver_setting()]), **pipes
        )
        processes.append(drivers)
        try:
            say = episode_and_weights(arm, control)
            arm.live(lambda: arm.report("vla_node") and arm.report("control_node"), "the nodes")
            print("go", file=drivers.stdin, flush=True)
            arm.live(lambda: arm.report("vla_node")["message"] == "answering", "answers")
            running = lambda: arm.report("control_node")["critical"] == "1" and arm.report("control_node")["weights_version"] == "1"  # noqa: E731
            arm.live(lambda: say() or running(), "an episode with weights")
            arm.live(elapsed(3.0), "a calm start")
            before = [dict(arm.report(node)) for node in ("vla_node", "control_node")]
            arm.live(elapsed(seconds), "the end", seconds + 60.0)
            vla, control_report = (arm.report(node) for node in ("vla_node", "control_node"))
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(30.0)
    if control_report["critical"] != "1" or int(control_report["refused_inputs"]) or int(vla["failures"]):
        print(f"not as meant: {vla['failures']} queries failed, control_node says: {control_report['message']}", file=sys.stderr)
    ticks, missed = (int(control_report[name]) - int(before[1][name]) for name in ("ticks", "missed_ticks"))
    three = lambda report, name: " / ".join(report[f"{name}_{part}"] for part in ("p50", "p99", "max"))  # noqa: E731
    cells = (
        source, f"{int(vla['request_bytes']) / 1e3:.1f}", f"{int(vla['reply_bytes']) / 1e3:.1f}",
        f"{(int(vla['queries']) - int(before[0]['queries'])) / seconds:.1f}", vla["server_ms_p50"], three(vla, "added_ms"),
        str(ticks), str(missed), three(control_report, "period_ms"), three(control_report, "compute_ms"),
        control_report["encode_ms_p50"], control_report["observation_age_ms_p50"],
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def start(source: str, folder: Path) -> tuple[list[subprocess.Popen], dict]:
    """Policy server, vla_node and control_node; and the latter's parameters."""
    from cameras import without_profile

    from rl_token_ros.launching.compositions import NodeProcess

    environment = without_profile()
    path = f"{ROOT / 'benchmark'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    command = [sys.executable, "-m", "rl_token_ros.cli", "vla_server", "real_size:Policy", "--port", "0"]
    command += ["--token-encoder", str(folder / "encoder.onnx")]
    server = subprocess.Popen(command, env=environment | {"PYTHONPATH": path}, stdout=subprocess.PIPE, text=True)
    line = server.stdout.readline()
    while line and not line.startswith("serving "):
        line = server.stdout.readline()
    many = len(JOINTS)
    shared = {
        "cameras": list(CAMERAS), "joint_names": JOINTS, "action_names": JOINTS, "residual_scale": [0.01] * many, "token_size": TOKEN,
        "token_encoder": str(folder / "encoder.onnx"), "proprioception": ["joint_position", "command_lead"], "control_rate": 50.0, "chunk_dt": 0.02,
    }  # fmt: skip
    vla = {
        "backend": "openpi", "server": line.rpartition(" ")[2].strip(), "query_rate": 100.0, "vla_proprioception": ["joint_position"],
        "embeddings": SOURCES[source],
    }  # fmt: skip
    control = {
        "command_interface": "joint_state", "mode": "shadow", "enable_on_start": True, "position_min": [-1.0] * many, "position_max": [1.0] * many,
        "velocity_limit": [0.5] * many, "acceleration_limit": [2.0] * many, "lead_limit": [0.1] * many, "episode_time_limit": 3600.0,
    }  # fmt: skip
    nodes = [
        NodeProcess(name, log_level="error").with_parameters(shared | own, folder) for name, own in (("vla_node", vla), ("control_node", control))
    ]
    return [server, *(subprocess.Popen(node.command(), env=environment) for node in nodes)], shared | control


def episode_and_weights(arm, control: dict):
    """Gives a function that begins an episode, and publishes weights once: random ones for the actor of this size."""
    from std_msgs.msg import Bool, UInt8MultiArray

    from rl_token_ros.nodes import ros_topics
    from rl_token_ros.policy import actor_weights
    from rl_token_ros.rl_token.encoder import TokenEncoder
    from rl_token_ros.settings import parameters
    from rl_token_ros.settings.control import Control
    from rl_token_ros.settings.proprioception_groups import size

    settings, random = parameters.build(Control, control), np.random.default_rng(2)
    encoder = TokenEncoder(Path(settings.token_encoder))
    proprio = size(settings.proprioception, len(JOINTS), len(JOINTS))
    architecture = actor_weights.Architecture(TOKEN, proprio, settings.chunk_length, len(JOINTS), 128, settings.actor_layers)
    tensors = {name: random.normal(0, 0.02, shape).astype(np.float32) for name, shape in architecture.shapes().items()}
    tensors["input_scale"] = np.ones_like(tensors["input_scale"])
    identity = actor_weights.Identity.of(settings, encoder.sha256, encoder.vla_sha256)
    blob = actor_weights.encode(actor_weights.ActorWeights(1, 0, architecture, identity, tensors, time.time_ns()))
    weights = ros_topics.publisher(arm.node, "actor/weights")  # latched
    weights.publish(UInt8MultiArray(data=array.array("B", blob)))
    critical = arm.node.create_publisher(Bool, "critical_phase", 10)
    return lambda: critical.publish(Bool(data=True))


if __name__ == "__main__":
    main()
