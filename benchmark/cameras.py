"""What of ordinary cameras arrives, and what the VLA is asked meanwhile.

    python benchmark/cameras.py [--seconds 60] [--cameras 3] [--only reliable]

Processes: drivers that publish --cameras pictures of 640 x 480 rgb8 at 30 Hz at one moment, a policy server that takes 50 ms for an
answer, a real vla_node that asks it 10 times a second, a real control_node at 50 Hz, and this one, which is the arm: joint_states at
100 Hz. Drivers with and without the profile that the package has for them; vla_node as it starts by itself (UDP where the kernel allows),
with the profile for shared memory alone, and without any profile.

Pictures are counted by vla_node, out of its /diagnostics, against what the drivers say they have sent, from the first picture on. Queries
and their pictures' stamps are noted by the policy: each picture bears its stamp in blocks of black and white. The drivers send pictures
serialised once, as cheaply as one in C++.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
JOINTS = [f"joint{i}" for i in range(1, 8)]
HEIGHT, WIDTH, RATE = 480, 640, 30.0
BITS, BLOCK = 20, 32  # of a stamp in a picture; pixels
TICK = 1e-4  # s, what the last bit of a stamp means
CAMERA_NAMES = ("base", "wrist", "left", "right", "top", "side")
FASTDDS = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
RECEPTIONS = {"as it starts": "", "shared memory": "large_messages", "no profile": "short_lease"}  # of vla_node: profile


class Policy:
    """What `vla_server` serves: asks for no motion, and notes when it was asked and how far apart the pictures' stamps were."""

    def __init__(self) -> None:
        self._log = open(os.environ["BENCHMARK_LOG"], "w", buffering=1)

    def infer(self, obs: dict) -> dict:
        stamps = [read_stamp(picture) for key, picture in obs.items() if key.startswith("image")]
        self._log.write(f"{time.monotonic()} {max(stamps) - min(stamps)}\n")
        time.sleep(0.05)
        return {"actions": np.zeros((16, 7))}


def write_stamp(picture: np.ndarray, seconds: float) -> None:
    """Into the uppermost rows of a picture uint8 [480, 640, 3]."""
    count = round(seconds / TICK) % (1 << BITS)
    bits = (count >> np.arange(BITS)) & 1
    picture[:BLOCK] = np.repeat(255 * bits, BLOCK)[None, :, None]


def read_stamp(picture: np.ndarray) -> float:
    """The same, out of one of 224 x 224 with black bars, in s modulo 104."""
    side = picture.shape[1] / BITS
    row = round((picture.shape[0] - picture.shape[1] * HEIGHT / WIDTH) / 2 + side / 2)
    bits = picture[row, ((np.arange(BITS) + 0.5) * side).astype(int), 0] > 127
    return float((bits.astype(int) << np.arange(BITS)).sum() * TICK)


def main() -> None:
    options = _parse()
    if options.drive:
        drive(json.loads(options.drive))
        return
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    print(f"{options.cameras} cameras, {WIDTH} x {HEIGHT} rgb8, {RATE:g} Hz, at one moment, {options.seconds:g} s\n")
    head = ("driver", "its profile", "vla_node", "pictures of each camera [%]", "longest gap [s]", "said lost", "queries per s",
            "longest gap [s]", "spread p50, p99 [ms]", "control ticks", "missed")  # fmt: skip
    print("| " + " | ".join(head) + " |\n|" + " --- |" * len(head), flush=True)
    number = 0
    for reliable in (True, False):
        for shipped in (False, True):
            for reception in RECEPTIONS:
                name = f"{'reliable' if reliable else 'best effort'}, {'with' if shipped else 'without'}, {reception}"
                number += 1
                if options.only in name:
                    os.environ["ROS_DOMAIN_ID"] = str(101 + (os.getpid() + number) % 100)
                    print(trial(options, reliable, shipped, reception), flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each row (60)")
    parser.add_argument("--cameras", type=int, default=3, help="(3)")
    parser.add_argument("--only", default="", help="rows whose name contains this, as 'best effort, without, as it starts'")
    parser.add_argument("--drive", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def drive(options: dict) -> None:
    """The cameras' process: publishes after a line on stdin, says what it sent, and stays until stdin ends."""
    import rclpy
    from rclpy.qos import QoSProfile, qos_profile_sensor_data
    from rclpy.serialization import serialize_message
    from rclpy.signals import SignalHandlerOptions
    from sensor_msgs.msg import Image

    from rl_token_ros.interfaces import images

    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)  # SIGTERM ends it
    node = rclpy.create_node("drivers")
    quality = QoSProfile(depth=10) if options["reliable"] else qos_profile_sensor_data
    publishers = [node.create_publisher(Image, f"camera/{name}/image_raw", quality) for name in options["cameras"]]
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    raw = bytearray(serialize_message(images.from_rgb(noise, Image())))
    picture = np.frombuffer(raw, np.uint8)[-noise.nbytes :].reshape(noise.shape)
    stamp = np.frombuffer(raw, "<u4")[1:3]
    sys.stdin.readline()
    begun = due = time.monotonic()
    count, slowest = 0, 0.0
    while due < begun + options["seconds"]:
        time.sleep(max(due - time.monotonic(), 0.0))
        at = time.monotonic()
        for publisher in publishers:
            now = time.time_ns()
            stamp[:] = divmod(now, 1_000_000_000)
            write_stamp(picture, now * 1e-9)
            publisher.publish(bytes(raw))
        count, due, slowest = count + 1, due + 1 / RATE, max(slowest, time.monotonic() - at)
    print(json.dumps({"sent": count, "begun": begun, "ended": time.monotonic(), "slowest": slowest}), flush=True)
    sys.stdin.readline()


def trial(options: argparse.Namespace, reliable: bool, shipped: bool, reception: str) -> str:
    """One row of the table."""
    cameras = CAMERA_NAMES[: options.cameras]
    with tempfile.TemporaryDirectory() as folder, Arm() as arm:
        processes = start(cameras, Path(folder), reception)
        environment = without_profile()
        if shipped:
            environment |= dict([driver_setting()])
        order = json.dumps({"cameras": cameras, "reliable": reliable, "seconds": options.seconds})
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        drivers = subprocess.Popen([sys.executable, __file__, "--drive", order], env=environment, **pipes)
        processes.append(drivers)
        try:
            asked = "reliable" if reliable else "best_effort"
            said = lambda what: [arm.report("vla_node").get(f"camera/{name}/image_raw/{what}") for name in cameras]  # noqa: E731
            found = lambda: set(said("publishers")) == {"1"} and set(said("reliability")) == {asked}  # noqa: E731
            arm.live(lambda: found() and arm.report("control_node"), "the nodes")
            arm.live(elapsed(1.0), "a second")
            print("go", file=drivers.stdin, flush=True)
            arm.live(lambda: arm.report("vla_node")["message"] == "answering", "answers")
            before = arm.report("control_node")
            os.set_blocking(drivers.stdout.fileno(), False)
            line: list[str] = []
            arm.live(lambda: line.append(drivers.stdout.readline()) or line[-1], "the drivers' end", options.seconds + 60.0)
            sent, after = json.loads(line[-1]), arm.report("control_node")
            arm.live(elapsed(2.5), "the last pictures")
            vla = arm.report("vla_node")
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(30.0)
        log = np.loadtxt(Path(folder) / "queries").reshape(-1, 2)
    return row(reliable, shipped, reception, cameras, sent, vla, (before, after), log)


def row(reliable: bool, shipped: bool, reception: str, cameras: tuple[str, ...], sent: dict, vla: dict, control: tuple[dict, dict], log) -> str:
    """As text; what the drivers were late by is said below it."""
    said = lambda what: [vla[f"camera/{name}/image_raw/{what}"] for name in cameras]  # noqa: E731
    times = log[(log[:, 0] >= sent["begun"] + 1.0) & (log[:, 0] <= sent["ended"])]
    gaps = np.diff(times[:, 0]) if len(times) > 1 else np.array([np.inf])
    spread = np.percentile(times[:, 1] * 1e3, [50, 99]) if len(times) else [np.nan] * 2
    ticks, missed = (int(control[1][name]) - int(control[0][name]) for name in ("ticks", "missed_ticks"))
    cells = (
        "reliable" if reliable else "best effort", "yes" if shipped else "no", reception,
        ", ".join(f"{100 * int(count) / sent['sent']:.1f}" for count in said("received")),
        f"{max(float(gap) for gap in said('longest_gap')):.2f}", ", ".join(said("lost")),
        f"{len(times) / (sent['ended'] - sent['begun'] - 1.0):.1f}", f"{gaps.max():.2f}",
        f"{spread[0]:.1f}, {spread[1]:.1f}", str(ticks), str(missed),
    )  # fmt: skip
    late = f"\n\n(the drivers' slowest publishing took {1e3 * sent['slowest']:.0f} ms, {sent['sent']} pictures of each camera)\n"
    return "| " + " | ".join(cells) + " |" + (late if sent["slowest"] > 1 / RATE else "")


class Arm:
    """joint_states at 100 Hz, somebody who takes `command`, and what the nodes say on /diagnostics."""

    def __init__(self, joints: list[str] = JOINTS) -> None:
        self._joints = joints

    def __enter__(self) -> Arm:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from sensor_msgs.msg import JointState

        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.node = rclpy.create_node("arm", context=self._context)
        self._executor = rclpy.executors.SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._states = self.node.create_publisher(JointState, "joint_states", 10)
        self.node.create_subscription(JointState, "command", lambda _: None, 1)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._hear, 10)
        self._reports: dict[str, dict[str, str]] = {}
        self._message = JointState(name=self._joints, position=[0.1] * len(self._joints), velocity=[0.0] * len(self._joints))
        self.node.create_timer(0.01, self._say)
        return self

    def __exit__(self, *_: object) -> None:
        import rclpy

        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)

    def _say(self) -> None:
        self._message.header.stamp = self.node.get_clock().now().to_msg()
        self._states.publish(self._message)

    def _hear(self, message) -> None:
        for status in message.status:
            self._reports[status.name] = {pair.key: pair.value for pair in status.values} | {"message": status.message}

    def report(self, node: str) -> dict[str, str]:
        """The newest of a node; empty before the first."""
        return self._reports.get(f"/{node}", {})

    def live(self, until: Callable[[], object], what: str, timeout: float = 60.0) -> None:
        """Go on until a condition holds."""
        deadline = time.monotonic() + timeout
        while not until():
            if time.monotonic() > deadline:
                raise SystemExit(f"{what}: not within {timeout:g} s; vla_node says {self.report('vla_node')}")
            self._executor.spin_once(timeout_sec=0.1)


def elapsed(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def without_profile() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in FASTDDS}


def driver_setting() -> tuple[str, str]:
    from rl_token_ros.nodes import discovery

    name, _, path = discovery.driver_setting().partition("=")
    return name, path


def start(cameras: tuple[str, ...], folder: Path, reception: str) -> list[subprocess.Popen]:
    """Policy server, vla_node and control_node."""
    from rl_token_ros.launching.compositions import NodeProcess

    environment = without_profile()
    path = f"{ROOT / 'benchmark'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    command = [sys.executable, "-m", "rl_token_ros.cli", "vla_server", "cameras:Policy", "--port", "0"]
    serving = environment | {"PYTHONPATH": path, "BENCHMARK_LOG": str(folder / "queries")}
    server = subprocess.Popen(command, env=serving, stdout=subprocess.PIPE, text=True)
    url = server.stdout.readline().rpartition(" ")[2].strip()
    shared = {
        "cameras": list(cameras), "joint_names": JOINTS, "action_names": JOINTS, "action_type": "delta", "residual_scale": [0.01] * 7,
        "token_size": 0, "proprioception": ["joint_position"], "control_rate": 50.0, "chunk_dt": 0.1,
    }  # fmt: skip
    vla = {
        "backend": "openpi", "server": url, "query_rate": 10.0, "vla_proprioception": ["joint_position"],
        "observation_keys": [f"image_{name}: camera/{name}" for name in cameras] + ["state: proprio"],
    }  # fmt: skip
    control = {
        "command_interface": "joint_state", "mode": "vla", "enable_on_start": True, "position_min": [-1.0] * 7, "position_max": [1.0] * 7,
        "velocity_limit": [0.5] * 7, "acceleration_limit": [2.0] * 7, "lead_limit": [0.1] * 7, "chunk_timeout": 1.0,
    }  # fmt: skip
    found = [server]
    for name, own in (("vla_node", vla), ("control_node", control)):
        node = NodeProcess(name, log_level="error").with_parameters(shared | own, folder)
        listening = dict(environment)
        if name == "vla_node" and RECEPTIONS[reception]:
            variable, _ = driver_setting()
            listening[variable] = str(ROOT / "rl_token_ros" / "nodes" / f"{RECEPTIONS[reception]}.fastdds.xml")
        found.append(subprocess.Popen(node.command(), env=listening))
    return found


if __name__ == "__main__":
    main()
