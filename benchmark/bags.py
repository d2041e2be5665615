"""A live run of the real nodes in real time, recorded and replayed: are the commands the same, how fast, in how much memory?

    python benchmark/bags.py [--minutes 10] [--gigabytes 10] [--folder runs/bags_benchmark]

Simulator, VLA, control, learner and record as processes of their own; then `rl_token replay_bag`, in a process of its own, of the bag
and of one that pictures were added to until it had that size, or as large as the disk allows. 10 minutes at 50 Hz are 30,000 control
steps. Last, what a row of `~/ticks` costs a control step. Wants a machine on which nothing else runs.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
SPARE_GIGABYTES = 5.0  # of the disk, for everybody else
STARTING = 5.0  # s until all nodes run
ROWS = 5000  # of the last measurement


def main() -> None:
    options = _parse()
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ.setdefault("ROS_DOMAIN_ID", str(102 + os.getpid() % 100))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    bag = options.folder / "bag"
    if not options.bag:
        shutil.rmtree(options.folder, ignore_errors=True)
        _record(options, bag)
    table = [("bag", "size [MB]", "control steps", "commands identical", "not checked", "x real time", "x per CPU second", "memory [MB]")]
    table.append(_replay(options.bag or bag))
    if options.gigabytes:
        big = options.folder / "big"
        shutil.rmtree(big, ignore_errors=True)
        options.folder.mkdir(parents=True, exist_ok=True)
        room = shutil.disk_usage(options.folder).free / 1e9 - SPARE_GIGABYTES
        if room < options.gigabytes:
            print(f"the large bag has {max(room, 0.0):.1f} GB instead of {options.gigabytes:g}: the disk has no more", file=sys.stderr)
        _inflate(options.bag or bag, big, min(options.gigabytes, max(room, 0.0)))
        table.append(_replay(big))
        shutil.rmtree(big)
    print("| " + " | ".join(table[0]) + " |\n|" + " --- |" * len(table[0]))
    for row in table[1:]:
        print("| " + " | ".join(row) + " |")
    print(f"\na row of `~/ticks`: {_tick_cost()}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="of the run (default 10)")
    parser.add_argument("--gigabytes", type=float, default=10.0, help="of the large bag; 0: none (default 10)")
    parser.add_argument("--folder", type=Path, default=Path("runs/bags_benchmark"), help="for bags and logs")
    parser.add_argument("--bag", type=Path, help="a bag that exists, instead of a new run")
    return parser.parse_args()


def _record(options: argparse.Namespace, bag: Path) -> None:
    from rl_token_ros.launching.compositions import NodeProcess, compose
    from rl_token_ros.launching.runner import Runner

    folder = options.folder / "parameters"
    changes = {
        "learner_node": {"run_directory": str(options.folder / "learner"), "warmup_episodes": 3},
        "control_node": {"state_timeout": 2.0, "chunk_timeout": 2.0},  # whatever else runs here, the run is to go on
    }
    nodes = [process.with_parameters(changes.get(process.executable, {}), folder) for process in compose("sim", "sim")]
    record = NodeProcess("record").with_parameters({"bag": str(bag)}, folder)
    commands = {process.executable: process.command() for process in (record, *nodes)}
    with Runner(commands, options.folder / "logs", patience=90.0) as runner:
        end = time.monotonic() + STARTING + 60.0 * options.minutes
        while (left := end - time.monotonic()) > 0:
            if dead := runner.ended():
                raise SystemExit(dead[0].report())
            print(f"\r\x1b[Krecording, {left:.0f} s left", end="", file=sys.stderr)
            time.sleep(1.0)
    print(file=sys.stderr)


def _replay(bag: Path) -> tuple[str, ...]:
    """A row of the table."""
    child = subprocess.Popen([sys.executable, "-m", "rl_token_ros.cli", "replay_bag", str(bag)], stdout=subprocess.PIPE, text=True)
    text = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)  # the memory of this child alone
    print(text, file=sys.stderr)
    if os.waitstatus_to_exitcode(status) == 2:
        raise SystemExit("replay_bag failed, see above")

    def find(pattern: str) -> str:
        found = re.search(pattern, text)
        return found[1] if found else "-"

    return (
        bag.name, find(r": ([\d.]+) MB in"), find(r"(\d+) control steps"), find(r"(\d+ of \d+) commands identical"),
        find(r"(\d+) steps could not") if "could not" in text else "0",
        find(r": ([\d.]+) times real time"), find(r"real time, ([\d.]+) per"),
        f"{usage.ru_maxrss / 1e3:.0f}",
    )  # fmt: skip


def _inflate(bag: Path, folder: Path, gigabytes: float) -> None:
    """A copy with pictures of 1 MB between the messages."""
    from rl_token_ros.bags.reader import Bag
    from rl_token_ros.bags.writer import BagWriter

    original = Bag(bag)
    kinds = {topic.name: topic.type for topic in original.topics.values()}
    count = sum(1 for _ in original.read())
    picture = b"\0\1\0\0" + np.random.default_rng(0).bytes(1_000_000)
    due = added = 0.0
    with BagWriter(folder) as writer:
        for i, record in enumerate(original.read()):
            writer.write(record.topic, kinds[record.topic], record.stamp_ns, record.data)
            due += gigabytes * 1e9 / count
            while added < due:
                writer.write("/camera/large/image_raw", "sensor_msgs/msg/Image", record.stamp_ns, picture)
                added += len(picture)
            if i % 1000 == 0:
                print(f"\r\x1b[Kwriting the large bag, {i} of {count}", end="", file=sys.stderr)
    print(file=sys.stderr)


def _tick_cost() -> str:
    """Time to make and to publish a row, and its size."""
    import rclpy
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import PointCloud2, PointField

    from rl_token_ros.control import tick_record
    from rl_token_ros.interfaces import replay_table

    layout = tick_record.Layout(3, 10)
    now = time.time_ns()
    inputs, three = [now] * 6, [0.1, 0.2, 0.3]
    state = layout.unpack(np.ones(1, layout.dtype).tobytes()).state
    rclpy.init()
    node = rclpy.create_node("tick_cost")
    publisher = node.create_publisher(PointCloud2, "ticks", QoSProfile(depth=1000))
    message = None
    made, published = [], []
    for i in range(ROWS):
        begun = time.perf_counter()
        raw = layout.pack(i, 0, now + i, inputs, 1, 0, 1, 0, three, three, state)
        between = time.perf_counter()
        rows = np.frombuffer(raw, layout.dtype)
        message = replay_table.encode(rows, PointCloud2(), PointField) if message is None else replay_table.refill(rows, message)
        publisher.publish(message)
        made.append(between - begun)
        published.append(time.perf_counter() - between)
    node.destroy_node()
    rclpy.shutdown()
    us = [float(np.median(values)) * 1e6 for values in (made, published)]
    return f"{us[0]:.0f} us to make, {us[1]:.0f} us to publish (medians), {layout.dtype.itemsize} bytes"


if __name__ == "__main__":
    main()
