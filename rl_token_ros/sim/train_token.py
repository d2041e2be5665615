"""Makes the token encoder of the simulated robot again: `python -m rl_token_ros.sim.train_token`, about 3 minutes.

Rolls the base policy out, trains encoder and decoder to reconstruct its embeddings (METHOD.md, stage 1), and prints how well the
lateral peg-to-hole offset can be read from the token, from the embeddings and from proprioception. The reconstruction loss does not
rank millimetres; the probe does.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import math
import multiprocessing
from pathlib import Path

import numpy as np
import torch

from rl_token_ros.sim import onnx_file
from rl_token_ros.sim.probe import ridge_rmse
from rl_token_ros.sim.progress import Progress
from rl_token_ros.sim.rollout import Recording, roll_out
from rl_token_ros.sim.token_model import TokenDecoder, TokenEncoder, warm_start
from rl_token_ros.sim.train_vla import MODELS
from rl_token_ros.weights import fingerprint

FIRST_SEED = 100_000  # of the rollouts; far from those of demonstrations and evaluations


def collect(vla: Path, episodes: int, backend: str, workers: int) -> Recording:
    """Base rollouts of the simulated robot as it is today, from `workers` processes; the same whatever their number.

    The peg slips in every direction here, so that the token keeps them all whichever the task favours.
    """
    sim = {"render_backend": backend, "peg_offset_spread": 3.1416}
    parts = [range(FIRST_SEED + i, FIRST_SEED + min(i + 10, episodes)) for i in range(0, episodes, 10)]
    whole, progress = Recording(), Progress("base rollouts", len(parts))
    with concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        for done, part in enumerate(pool.map(roll_out, [vla] * len(parts), parts, [sim] * len(parts))):
            for name, values in vars(part).items():
                getattr(whole, name).extend(values)
            progress(done + 1)
    return whole


def train(
    embeddings: torch.Tensor, size: int, steps: int, batch: int, rate: float, dropout: float, wrist_weight: float = 1.0
) -> TokenEncoder:
    """Encoder and decoder by reconstruction of whitened embeddings [N, M, D]; the decoder is thrown away."""
    tokens, channels = embeddings.shape[1:]
    encoder = TokenEncoder(tokens, channels, size)
    encoder.fit_whitening(embeddings)
    decoder = TokenDecoder(tokens, channels, size, dropout)
    print(f"warm start: {warm_start(encoder, decoder, embeddings):.4f} of the variance not reconstructed")
    weight = torch.ones(tokens, 1)
    weight[tokens // 2 :] = wrist_weight
    both = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.AdamW(both, lr=rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min((i + 1) / 50, 0.5 * (1.0 + math.cos(math.pi * min(1.0, i / steps))) + 0.005)
    )
    progress, smooth = Progress("token", steps), None
    for i in range(steps):
        white = encoder.whiten(embeddings[torch.randint(len(embeddings), (batch,))])
        error = (decoder(encoder.encode(white), white) - white).square()
        loss = (error * weight).mean() / weight.mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(both, 1.0)
        optimizer.step()
        schedule.step()
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        progress(i + 1, f"(reconstruction {smooth:.4f} of the variance)")
    encoder.eval()
    with torch.no_grad():
        encoder.settle(torch.cat([encoder.encode(encoder.whiten(part)) for part in embeddings.split(256)]))
    return encoder


def report(recording: Recording, tokens: np.ndarray, embeddings: np.ndarray, held: np.ndarray) -> dict[str, float]:
    """Held-out probe of the lateral offset from each representation, mm; printed as a table."""
    offset = np.array(recording.offset) * 1e3
    half = embeddings.shape[1] // 2
    pooled = np.concatenate([embeddings[:, :half].mean(1), embeddings[:, half:].mean(1)], 1)
    table = {
        "mean predictor": np.zeros((len(offset), 0)),
        "proprioception": np.array(recording.proprio),
        "pooled embeddings": pooled,
        "token": tokens,
    }
    found = {name: ridge_rmse(features, offset, held) for name, features in table.items()}
    print(f"\nlateral offset, RMSE on {len(set(np.array(recording.episode)[held]))} episodes held out")
    for name, rmse in found.items():
        print(f"  {name:<20}{rmse:6.2f} mm")
    if found["token"] > 1.15 * found["pooled embeddings"]:
        print("  The token has lost what the embeddings had: train longer, or keep more context from the decoder (--dropout).")
    return found


def export(encoder: TokenEncoder, vla: Path, path: Path) -> None:
    """Write the ONNX file, with the fingerprint of the VLA it was made for."""
    example = {"embeddings": torch.zeros(1, *encoder.mean.shape)}
    onnx_file.write(encoder, example, ["token"], path, vla_sha256=fingerprint(vla), token_size=len(encoder.token_mean))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vla", type=Path, default=MODELS / "sim_vla.onnx")
    parser.add_argument("--episodes", type=int, default=80, help="base rollouts; a fifth is held out for the probe")
    parser.add_argument("--size", type=int, default=128, help="Dz, width of the token")
    parser.add_argument("--steps", type=int, default=250, help="gradient steps")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=3e-4, help="learning rate")
    parser.add_argument("--dropout", type=float, default=0.9, help="share of the embeddings kept from the decoder; 1: parallel decoder")
    parser.add_argument("--wrist-weight", type=float, default=1.0, help="weight of the wrist camera's embeddings in the loss")
    parser.add_argument("--backend", default="auto", help="renderer")
    parser.add_argument("--workers", type=int, default=2, help="processes that roll out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=MODELS / "sim_token.onnx")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    recording = collect(options.vla, options.episodes, options.backend, options.workers)
    print(recording.summary())
    print(f"{len(recording.offset)} observations from {np.nansum(recording.seconds):.0f} robot-seconds of critical phase")
    embeddings = np.stack(recording.embeddings)
    held = np.array(recording.episode) >= FIRST_SEED + options.episodes * 4 // 5
    encoder = train(
        torch.from_numpy(embeddings[~held]), options.size, options.steps, options.batch, options.rate, options.dropout, options.wrist_weight
    )
    with torch.no_grad():
        tokens = torch.cat([encoder(part) for part in torch.from_numpy(embeddings).split(256)]).numpy()
    report(recording, tokens, embeddings, held)
    export(encoder, options.vla, options.output)
    print(f"wrote {options.output} ({options.output.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
