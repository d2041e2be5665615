"""Makes the token encoder of a simulated robot again: `python -m rl_token_ros.sim.train_token [--task plug]`, about 3 minutes.

Rolls the base policy out, trains encoder and decoder to reconstruct its embeddings (docs/method.md, stage 1), and prints how well the
offset of peg or plug to the hole can be read from the token, from the embeddings and from proprioception. The reconstruction loss does not
rank millimetres; the probe does.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import multiprocessing
from pathlib import Path

import numpy as np
import torch

from rl_token_ros.rl_token.probe import LOST, ridge_rmse
from rl_token_ros.rl_token.training import Settings, export, fit, tokens_of
from rl_token_ros.sim.rollout import Recording, roll_out
from rl_token_ros.sim.train_vla import CONFIGS, MODELS, PATCHES
from rl_token_ros.system.progress import Progress

NEAR = 5.0  # mm, as `reached the hole` in a recording's summary
FIRST_SEED = 100_000  # of the rollouts; far from those of demonstrations and evaluations


def collect(vla: Path, episodes: int, backend: str, workers: int, config: str = "sim") -> Recording:
    """Base rollouts of the simulated robot as it is today, from `workers` processes; the same whatever their number.

    The peg slips by any length here up to the longest, and a plug turns as freely, so that the token knows the short ways too.
    """
    sim = {"render_backend": backend, "peg_offset_min": 0.0, "peg_turn_min": 0.0}
    run = functools.partial(roll_out, sim=sim, config=config)
    parts = [range(FIRST_SEED + i, FIRST_SEED + min(i + 10, episodes)) for i in range(0, episodes, 10)]
    whole, progress = Recording(), Progress("base rollouts", len(parts))
    with concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        for done, part in enumerate(pool.map(run, [vla] * len(parts), parts)):
            for name, values in vars(part).items():
                getattr(whole, name).extend(values)
            progress(done + 1)
    return whole


def report(recording: Recording, tokens: np.ndarray, embeddings: np.ndarray, held: np.ndarray) -> dict[str, float]:
    """Held-out probe of the lateral offset from each representation, mm, at the hole; of a plug also of its turn. Printed as a table."""
    whole = np.array(recording.offset)
    offset, turn = whole[:, :2] * 1e3, np.degrees(whole[:, 2:])
    # An episode in which the base went astray is centimetres off; the token is for the last millimetres.
    near = np.linalg.norm(offset, axis=1) < NEAR
    half = embeddings.shape[1] // 2
    pooled = np.concatenate([embeddings[:, :half].mean(1), embeddings[:, half:].mean(1)], 1)
    table = {
        "mean predictor": np.zeros((len(offset), 0)),
        "proprioception": np.array(recording.proprio),
        "pooled embeddings": pooled,
        "token": tokens,
    }
    found = {name: ridge_rmse(features[near], offset[near], held[near]) for name, features in table.items()}
    print(f"\nlateral offset within {NEAR:g} mm, RMSE on {len(set(np.array(recording.episode)[held & near]))} episodes held out")
    turned = {name: ridge_rmse(features[near], turn[near], held[near]) for name, features in table.items() if turn.shape[1]}
    for name, rmse in found.items():
        print(f"  {name:<20}{rmse:6.2f} mm" + (f"{turned[name]:8.2f} degrees of yaw" if turned else ""))
    if any(probe and probe["token"] > LOST * probe["pooled embeddings"] for probe in (found, turned)):
        print("  The token has lost what the embeddings had: train longer, or keep more context from the decoder (--dropout).")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", choices=tuple(CONFIGS), default="peg")
    parser.add_argument("--vla", type=Path, help="default: that of the task's parameter file")
    parser.add_argument("--episodes", type=int, default=80, help="base rollouts; a fifth is held out for the probe")
    parser.add_argument("--size", type=int, default=48, help="Dz, width of the token")
    parser.add_argument("--steps", type=int, default=250, help="gradient steps")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=3e-4, help="learning rate")
    parser.add_argument("--dropout", type=float, default=0.9, help="share of the embeddings kept from the decoder; 1: parallel decoder")
    parser.add_argument("--cameras", choices=("wrist", "both"), default="wrist", help="whose embeddings the token is made from")
    parser.add_argument("--backend", default="auto", help="renderer")
    parser.add_argument("--workers", type=int, default=2, help="processes that roll out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="default: that of the task's parameter file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = CONFIGS[options.task]
    vla, output = options.vla or MODELS / f"{config}_vla.onnx", options.output or MODELS / f"{config}_token.onnx"
    recording = collect(vla, options.episodes, options.backend, options.workers, config)
    print(recording.summary())
    print(f"{len(recording.offset)} observations from {np.nansum(recording.seconds):.0f} robot-seconds of critical phase")
    embeddings = np.stack(recording.embeddings)
    held = np.array(recording.episode) >= FIRST_SEED + options.episodes * 4 // 5
    rows = (PATCHES**2, 2 * PATCHES**2) if options.cameras == "wrist" else None
    settings = Settings(options.size, options.steps, options.batch, options.rate, options.dropout, rows, seed=options.seed)
    encoder, _ = fit(embeddings[~held], settings)
    tokens = tokens_of(encoder, embeddings)
    report(recording, tokens, embeddings, held)
    export(encoder, vla, output)
    print(f"wrote {output} ({output.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
