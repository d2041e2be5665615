"""What a checkpoint weighs, how long learning stands still for it, and how long a learner takes to be back from it.

    python benchmark/checkpoint.py [--minutes 60] [--token 2048] [--hidden 256] [--layers 2] [--rounds 5]

Rows of so many minutes at 50 Hz go through a journal on disk into two learners: one whose checkpoints leave rows to the journal, and one
whose journal is incomplete, so that they hold all rows, as every checkpoint did before. Saved in turns; medians.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from rl_token_ros.bags.row_writer import replay_cdr
from rl_token_ros.learning import journal
from rl_token_ros.learning.journal import Journal
from rl_token_ros.learning.learner import Learner
from rl_token_ros.settings import parameters
from rl_token_ros.settings.learner import Learner as Settings

PROPRIO, RATE, EPISODE = 28, 50, 200  # values; Hz; steps


def make_learner(options: argparse.Namespace) -> Learner:
    """Chunks of 10 x 14, as of two arms."""
    names = [f"joint_{i}" for i in range(14)]
    settings = parameters.build(
        Settings,
        dict(
            joint_names=names, action_names=names, residual_scale=[1.0] * 14, chunk_length=10, token_size=options.token, device="cpu",
            proprioception=["joint_position", "joint_velocity"],
            hidden_size=options.hidden, actor_layers=options.layers, critic_layers=options.layers, updates_per_step=0.0, pretrain_updates=0,
            replay_bytes=1 << 33,
        ),
    )  # fmt: skip
    return Learner(settings, PROPRIO, "", "")


def fill(folder: Path, learners: list[Learner], steps: int) -> None:
    """Write the journal and let the learners have what it holds. A token lasts for five steps, as of a VLA that answers at 10 Hz."""
    written, random = Journal(folder, 1 << 36), np.random.default_rng(0)
    for first in range(0, steps, EPISODE):
        rows = np.zeros(EPISODE, learners[0].row_dtype)
        rows["seq"] = first + np.arange(EPISODE)
        rows["episode"], rows["step"] = first // EPISODE, np.arange(EPISODE)
        rows["token"] = np.repeat(random.standard_normal((EPISODE // 5, rows["token"].shape[1]), np.float32), 5, axis=0)
        rows["reference"] = random.standard_normal(rows["reference"].shape, np.float32)
        rows["ended"][-1], rows["reward"][-1] = 1, 1.0
        for i in range(EPISODE):
            stamp = written.append(replay_cdr(rows[i : i + 1]))
            for learner in learners:
                learner.add(rows[i : i + 1], stamp_ns=stamp)
        written.flush()
        learners[0].journal.safe(written.durable_ns)
    written.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="of rows")
    parser.add_argument("--token", type=int, default=2048)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as name:  # a disk, where /tmp may be memory
        folder = Path(name)
        lean, whole = learners = [make_learner(options), make_learner(options)]
        whole.journal.safe(0, whole=False)
        fill(folder / "replay", learners, int(60 * options.minutes * RATE) // EPISODE * EPISODE)
        cases = {"rows in the journal": lean, "rows in the checkpoint": whole}
        seconds: dict[str, list[float]] = {case: [] for case in cases}
        back: dict[str, list[float]] = {case: [] for case in cases}
        for _ in range(options.rounds):
            for case, learner in cases.items():
                begun = time.perf_counter()
                learner.save(str(folder / case))
                seconds[case].append(time.perf_counter() - begun)
        read = functools.partial(journal.read, folder / "replay", lean.row_dtype)
        for case in cases:
            again = make_learner(options)
            begun = time.perf_counter()
            assert again.restore(str(folder / case), read) and again.steps_missing == 0
            back[case].append(time.perf_counter() - begun)
        print(f"{len(lean.replay)} steps, tokens of {options.token}, networks of {options.layers} x {options.hidden}; medians of {options.rounds}\n")
        print("| | size [MB] | save [s] | read again [s] |\n|---|---|---|---|")
        for case in cases:
            newest = sorted((folder / case).glob("checkpoint-*"))[-1]
            size = sum(path.stat().st_size for path in newest.iterdir()) / 1e6
            print(f"| {case} | {size:.1f} | {statistics.median(seconds[case]):.2f} | {statistics.median(back[case]):.1f} |")


if __name__ == "__main__":
    main()
