"""Does every fault to real processes and prints one table: `python benchmark/faults.py`; what the arm did, what was lost, recovery time.

The functions are those of the tests (test/damage.py), repeated: 50 times kill -9 of the learner, 1,000 malformed messages per topic.
The count of commands outside limits is that of the whole run. A row that takes longer than its time ends there and has failed.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "test" / "support")]

import numpy as np
from damage import GRAPHS, fuzz
from fault_bench import FaultBench

from rl_token_ros.system.progress import Progress

OFTEN = {"kill -9 learner_node": 50, "kill -9 control_node, a late joiner then": 10, "kill -9 vla_node": 5, "kill -9 sim_node": 3}
MESSAGES = 1000
FIRST_SECONDS, EACH_SECONDS = 60.0, 15.0  # that a row may take: once, and for each time


def main() -> int:
    """One table; 1 if a fault failed, or a command was outside its limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="faults whose name contains this")
    parser.add_argument("--kills", type=int, default=OFTEN["kill -9 learner_node"], help="of the learner")
    parser.add_argument("--times", type=int, default=0, help="repetitions of every fault at most, for a quick look; 0: as many as there should be")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random = np.random.default_rng(options.seed)
    most = options.times or max(OFTEN.values())
    often = {name: min(times, most) for name, times in {**OFTEN, "kill -9 learner_node": options.kills}.items()}
    graphs = {kind: {name: fault for name, fault in faults.items() if options.only in name} for kind, faults in GRAPHS.items()}
    if (fuzzed := "malformed messages") in graphs[FaultBench]:
        graphs[FaultBench][fuzzed] = functools.partial(fuzz, messages=MESSAGES)
    domain = 1 + os.getpid() % 100
    progress = Progress("faults", sum(often.get(name, 1) for faults in graphs.values() for name in faults))
    failed = done = 0
    print("| fault | times | the arm | lost | recovery [s] median, worst |\n| --- | --- | --- | --- | --- |", flush=True)

    def show(name: str, bench: FaultBench, fault, times: int) -> None:
        nonlocal failed, done
        outcomes = []
        deadline = time.monotonic() + FIRST_SECONDS + times * EACH_SECONDS
        for _ in range(times):
            progress(done, name)
            done += 1
            try:
                bench.moves_again()
                outcomes.append(fault(bench, random))
                assert time.monotonic() < deadline, f"more than {FIRST_SECONDS + times * EACH_SECONDS:.0f} s"
            except AssertionError as error:
                failed += 1
                print(f"| {name} | {len(outcomes) + 1} | FAILED: {error} | | |", flush=True)
                break
        if outcomes:
            took = [outcome.recovery for outcome in outcomes if outcome.recovery is not None]
            recovery = f"{np.median(took):.1f}, {max(took):.1f}" if took else "-"
            print(f"| {name} | {len(outcomes)} | {outcomes[-1].arm} | {outcomes[-1].lost} | {recovery} |", flush=True)

    broken, commands, gaps, learner, kept, lost = [], 0, 0, {}, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for kind, faults in graphs.items():
            if not faults:
                continue
            with kind(Path(folder) / kind.__name__, domain) as bench:
                for name, fault in faults.items():
                    show(name, bench, fault, often.get(name, 1))
                if "learner_node" in kind.nodes:
                    bench.arm.silent.add("joints")  # no more rows
                    bench.spin(3.0)
                    learner, kept, lost = bench.report("learner_node"), bench.journal.read(), bench.journal.all_lost()
                audit = bench.arm.audit
                try:
                    bench.audited()
                except AssertionError:
                    pass  # what it finds is counted below
                broken += audit.broken
                commands, gaps = commands + len(audit.commands), gaps + audit.gaps
    progress(done)
    print(f"\n{commands} commands, {len(broken)} outside limits or on old data; {gaps} gaps of more than a period between two")
    print(f"the learner has learned from {learner.get('steps')} rows; of {kept} seen in its journal {lost} are lost")
    for sentence in broken[:10]:
        print(sentence)
    return 1 if failed or broken or lost else 0


if __name__ == "__main__":
    sys.exit(main())
