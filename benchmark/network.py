"""The learner on another machine: `sudo python benchmark/network.py`; delay, loss and a cut cable between it and the robot, one table.

Two network namespaces: the arm, `vla_node` and `control_node` in one, `learner_node` in the other. The cable between them is this process: it
takes the frames of one (a TAP device), keeps them for the delay, loses some, and hands on the rest, so that a kernel without netem will do.
Linux, as root, with `ip` of iproute2. UDP alone, since two namespaces share the machine's memory, which two machines do not.
"""

from __future__ import annotations

import argparse
import fcntl
import heapq
import json
import os
import random
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "test" / "support")]
ROBOT, LEARNER = "rl_token_robot", "rl_token_learner"
INSIDE = "RL_TOKEN_NETWORK_INSIDE"
ENVIRONMENT = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET", "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"}
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000  # <linux/if_tun.h>
# Delay and its spread in s, share lost, each way; s for which the cable is cut.
CABLES = {
    "as good as none": (0.0, 0.0, 0.0, 0.0),
    "Wi-Fi: 5 ms, 1 % lost": (0.005, 0.002, 0.01, 0.0),
    "far: 50 ms, 1 % lost": (0.05, 0.01, 0.01, 0.0),
    "bad: 20 ms, 10 % lost": (0.02, 0.01, 0.1, 0.0),
    "cut for 1 s": (0.0, 0.0, 0.0, 1.0),
    "cut for 10 s": (0.0, 0.0, 0.0, 10.0),
}


def main() -> int:
    """0, or 1 with a sentence on why it cannot be run here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="cables whose name contains this")
    parser.add_argument("--seconds", type=float, default=15.0, help="of practice over each cable")
    options = parser.parse_args()
    if INSIDE in os.environ:
        return inside(options)
    reason = "" if os.geteuid() == 0 else "root: sudo python benchmark/network.py"
    reason = reason or ("" if shutil.which("ip") else "`ip` of iproute2")
    reason = reason or ("" if Path("/dev/net/tun").exists() else "/dev/net/tun, which this machine has not")
    if reason:
        print(f"two machines on one need {reason}", file=sys.stderr)
        return 1
    unplug()
    try:
        ends = plug()
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"this machine makes no network namespaces: {getattr(error, 'stderr', b'') or error}", file=sys.stderr)
        unplug()
        return 1
    told, tell = os.pipe()
    command = ["ip", "netns", "exec", ROBOT, sys.executable, *sys.argv]
    child = subprocess.Popen(command, env={**os.environ, **ENVIRONMENT, INSIDE: str(tell)}, pass_fds=[tell])
    try:
        carry(ends, told, child)
        return child.wait()
    finally:
        child.terminate()
        child.wait()
        unplug()


def plug() -> list[int]:
    """Two namespaces, a TAP device in each; what reads and writes the frames of the devices."""
    ends = []
    for name, address in ((ROBOT, "10.213.0.1/24"), (LEARNER, "10.213.0.2/24")):
        run("ip", "netns", "add", name)
        end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        device = f"rlt{len(ends)}"
        fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH", device.encode(), IFF_TAP | IFF_NO_PI))
        run("ip", "link", "set", device, "netns", name)
        run("ip", "-n", name, "address", "add", address, "dev", device)
        for each in ("lo", device):
            run("ip", "-n", name, "link", "set", each, "up")
        run("ip", "-n", name, "route", "add", "224.0.0.0/4", "dev", device)  # discovery is multicast
        ends.append(end)
    return ends


def carry(ends: list[int], told: int, child: subprocess.Popen) -> None:
    """Be the cable until the child ends; it says what kind of cable, as a line of JSON."""
    delay = spread = lost = 0.0
    chance = random.Random(0)
    under_way: list[tuple[float, int, int, bytes]] = []
    count = 0
    while child.poll() is None:
        wait = max(under_way[0][0] - time.monotonic(), 0.0) if under_way else 0.5
        ready, _, _ = select.select([*ends, told], [], [], min(wait, 0.5))
        now = time.monotonic()
        for end in ready:
            data = os.read(end, 1 << 16)
            if end == told:
                delay, spread, lost = json.loads(data.splitlines()[-1])
            elif chance.random() >= lost:
                count += 1
                heapq.heappush(under_way, (now + max(chance.gauss(delay, spread), 0.0), count, ends[1 - ends.index(end)], data))
        while under_way and under_way[0][0] <= now:
            _, _, end, data = heapq.heappop(under_way)
            try:
                os.write(end, data)
            except OSError:
                pass  # full: a cable loses what does not fit


def unplug() -> None:
    """Without a trace."""
    for name in (ROBOT, LEARNER):
        subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)


def run(*command: str) -> None:
    """Or CalledProcessError."""
    subprocess.run(command, check=True, stderr=subprocess.PIPE)


def inside(options: argparse.Namespace) -> int:
    """In the robot's namespace: practise over every cable."""
    from fault_bench import FaultBench

    class OverCable(FaultBench):
        def command(self, executable: str, name: str = "") -> list[str]:
            begin = ["ip", "netns", "exec", LEARNER] if executable == "learner_node" else []
            return [*begin, *super().command(executable, name)]

    print(
        "| cable | rows arrived | lost | weights used | push to use p50 [ms] | commands per s | rows again after [s] |\n|" + " --- |" * 7, flush=True
    )
    with tempfile.TemporaryDirectory() as folder:
        with OverCable(Path(folder), 1 + os.getpid() % 100, environment=ENVIRONMENT) as bench:
            bench.wait(lambda: int(bench.report("control_node").get("weights_version", 0)) > 0, "weights", practising=True)
            for name, cable in CABLES.items():
                if options.only in name:
                    print(measure(bench, name, cable, options.seconds), flush=True)
            print(f"\n{len(bench.arm.audit.commands)} commands, {len(bench.arm.audit.broken)} outside limits")
    return 0


def measure(bench, name: str, cable: tuple[float, float, float, float], seconds: float) -> str:
    """A row of the table."""
    delay, spread, lost, cut = cable
    settle(bench)
    lay(delay, spread, lost)
    before = {name: figure(bench, name) for name in ("rows_received", "rows_lost")}
    version, commands, begun, again = used(bench), len(bench.arm.audit.commands), time.monotonic(), ""
    if cut:
        lay(0.0, 0.0, 1.0)
        bench.spin(cut)
        lay(delay, spread, lost)
        arrived = figure(bench, "rows_received")
        again = f"{bench.wait(lambda: figure(bench, 'rows_received') > arrived, 'rows over the cable', practising=True):.1f}"
    bench.spin(max(begun + seconds - time.monotonic(), 3.0))
    spent, newer, told = time.monotonic() - begun, used(bench) - version, len(bench.arm.audit.commands) - commands
    use = bench.report("control_node").get("push_to_use_ms_p50", "-")
    lay(0.0, 0.0, 0.0)
    settle(bench)
    came = figure(bench, "rows_received") - before["rows_received"]
    bench.wait(lambda: figure(bench, "rows_received") > came + before["rows_received"], "a row by which lost ones are noticed", practising=True)
    return f"| {name} | {came} | {figure(bench, 'rows_lost') - before['rows_lost']} | {newer} | {use} | {told / spent:.1f} | {again} |"


def lay(delay: float, spread: float, lost: float) -> None:
    """Another cable."""
    os.write(int(os.environ[INSIDE]), (json.dumps([delay, spread, lost]) + "\n").encode())


def settle(bench) -> None:
    """Let what is under way arrive: no more episodes until the learner's count stands still."""
    bench.arm.silent.add("episodes")
    counts: list[int] = []
    deadline = time.monotonic() + 20.0
    while time.monotonic() < deadline and not (len(counts) > 3 and len(set(counts[-3:])) == 1):
        bench.spin(1.2)
        counts.append(figure(bench, "rows_received"))
    bench.arm.silent.clear()


def figure(bench, name: str) -> int:
    """Of the learner's report."""
    return int(bench.report("learner_node").get(name, 0))


def used(bench) -> int:
    """Version of the weights that the arm is led by."""
    return int(bench.report("control_node").get("weights_version", 0))


if __name__ == "__main__":
    sys.exit(main())
