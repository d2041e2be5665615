"""What training a token takes at the size of a real VLA: memory, whatever there is to train on, and time per step.

    python benchmark/token_training.py [--observations 36000] [--memory 1 2 8] [--size 128] [--steps 8]

Embeddings of 968 x 2048 in a shard on the disk, from which batches of 32 are drawn as `train_token` does, with its own trainer; each `--memory` in a
process of its own. The shard holds 200 observations of random numbers and stands for as many recordings as it takes: the disk need not hold
143 GB, and of what is read again the system may keep a copy, which is not the process's memory. "Peak" is the most that the process ever had
(VmHWM); the checkpoint is written as in a training. The first steps are left out of the time per step.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROWS, WIDTH, EACH, FIRST = 968, 2048, 200, 2
GIGABYTE = 1e9


def main() -> None:
    options = _parse()
    if options.child:
        print(json.dumps(_train(Path(options.child), options.observations, options.memory[0], options.size, options.steps)))
        return
    print(f"{options.observations} observations of {ROWS} x {WIDTH}, token of {options.size}, batches of 32, {options.threads} threads\n")
    print("| memory allowed [GB] | peak [GB] | time per step [s] | processor time per step [s] |\n|" + " --- |" * 4, flush=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        shard = Path(folder) / "shard.f16"
        random = np.random.default_rng(0)
        with open(shard, "wb") as file:
            for _ in range(EACH):
                file.write(random.standard_normal((ROWS, WIDTH), np.float32).astype(np.float16).tobytes())
        for allowed in options.memory:
            command = [sys.executable, __file__, "--child", str(shard), "--memory", str(allowed), "--size", str(options.size)]
            command += ["--observations", str(options.observations), "--steps", str(options.steps)]
            environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
            found = json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])
            print(f"| {allowed:g} | {found['peak'] / GIGABYTE:.2f} | {found['wall']:.2f} | {found['cpu']:.2f} |", flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--observations", type=int, default=36_000)
    parser.add_argument("--memory", type=float, nargs="+", default=[1.0, 2.0, 8.0], metavar="GB")
    parser.add_argument("--size", type=int, default=128, help="width of the token")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--folder", help="where the shard of 0.8 GB is written (default: that of temporary files)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def _train(shard: Path, observations: int, allowed: float, size: int, steps: int) -> dict[str, float]:
    import torch

    from rl_token_ros.rl_token.budget import libraries
    from rl_token_ros.rl_token.shards import Part, Shard, Shards
    from rl_token_ros.rl_token.training import Settings, Trainer
    from rl_token_ros.system import memory

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    whole = Shards([Shard(shard, EACH, ROWS, WIDTH)] * -(-observations // EACH))
    part = Part(whole, np.arange(observations))
    settings = Settings(size, FIRST + steps + 1, 32, 3e-4, 0.9, None, seed=0)
    others = libraries(memory.resident())
    trainer = Trainer(part, settings, allowed * GIGABYTE, "cpu", shard.with_suffix(".checkpoint"), others)
    trainer.start()
    trainer.train(until=FIRST)
    begun, used = time.monotonic(), time.process_time()
    trainer.train(until=FIRST + steps)
    taken, cpu = (time.monotonic() - begun) / steps, (time.process_time() - used) / steps
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024  # type: ignore[index]
    return {"peak": peak, "wall": taken, "cpu": cpu}


if __name__ == "__main__":
    main()
