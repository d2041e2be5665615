"""`rl_token train_token BAG...`: trains the token's encoder and decoder on a VLA's embeddings, and writes the ONNX encoder.

Embeddings are those of `vla/embedding` in bags; or the VLA is asked for them about the pictures of bags (--config FILE) and of LeRobot data sets
(--lerobot PATH_OR_ID --server ADDRESS). They are put once, as float16, into files from which batches are read: any amount of data is trained on
within --memory, and asking that was cut off goes on where it ended. Says what the token is worth on observations held out, a fifth of every
episode, and of what is in no episode the last fifth: how much of the embeddings' variance can be made from it again, and how well measurements
of that moment, and the outcome of the episode, can be read from it. Needs torch, no ROS.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from pathlib import Path

import numpy as np
import torch

from rl_token_ros.bags.message_types import TypeUnknown
from rl_token_ros.bags.reader import BagError
from rl_token_ros.bags.topic_names import RemapError
from rl_token_ros.commands import token_data
from rl_token_ros.interfaces.replay_table import ReplayError
from rl_token_ros.policy.actor_weights import fingerprint
from rl_token_ros.rl_token import probe
from rl_token_ros.rl_token.budget import GIGABYTE, TooLittleMemory, libraries
from rl_token_ros.rl_token.dataset import NothingToLearn, Observations
from rl_token_ros.rl_token.encoder import TokenEncoder
from rl_token_ros.rl_token.shards import Part, ShardError
from rl_token_ros.rl_token.training import CannotResume, Settings, Trainer, choose_device, export, not_reconstructed, spread, tokens_of
from rl_token_ros.rl_token.warm_start import TooWide
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.system import memory
from rl_token_ros.vla.backend import BackendError

EXIT_BAD_INPUT = 2
MEGABYTE = 1_000_000


def main() -> int:
    """0 when an encoder was written, 2 for bags of which none can be made."""
    options = _parse()
    cache = options.cache or options.output.parent / "embeddings"
    try:
        _train(token_data.read(options, cache, _note), options)
        return 0
    except (
        BagError,
        RemapError,
        NothingToLearn,
        ParameterError,
        ReplayError,
        TypeUnknown,
        ShardError,
        TooLittleMemory,
        CannotResume,
        BackendError,
        OSError,
    ) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="rl_token train_token", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    token_data.add_options(parser)
    parser.add_argument("--output", type=Path, default=Path("runs/token/token.onnx"), help="the encoder (default runs/token/token.onnx)")
    parser.add_argument("--vla", type=Path, help="the VLA's file, where its fingerprint is not in the bags")
    parser.add_argument("--size", type=int, default=0, help="width of the token, Dz (default: token_size of the robot, or 128)")
    parser.add_argument(
        "--rows",
        type=int,
        nargs=2,
        metavar=("FIRST", "END"),
        help="rows of the embeddings to look at, END excluded: a camera's patches (default: all)",
    )
    parser.add_argument("--steps", type=int, default=2000, help="gradient steps (default 2000)")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=3e-4, help="learning rate")
    parser.add_argument("--dropout", type=float, default=0.9, help="share of the embeddings kept from the decoder (default 0.9)")
    parser.add_argument("--cache", type=Path, help="folder for the copies of the embeddings (default: embeddings beside the output)")
    parser.add_argument("--memory", type=float, default=4.0, help="GB that the process may take, however much there is to train on (default 4)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to train (default auto: CUDA where there is one)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of the processor (default: as many as it has)")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint of a training that was cut off")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    token_data.check(parser, options)
    return options


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def _vla(seen: Observations, file: Path | None) -> str:
    """The fingerprint of the VLA, empty where nobody knows it."""
    if file is None:
        return seen.vla_sha256
    if not file.is_file():
        raise NothingToLearn(f"--vla: there is no file '{file}'")
    found = fingerprint(file)
    if seen.vla_sha256 not in ("", found):
        raise NothingToLearn(f"--vla: '{file}' is not the VLA of the data (SHA-256 {found[:12]}..., not {seen.vla_sha256[:12]}...)")
    return found


def _train(seen: Observations, options: argparse.Namespace) -> None:
    size, vla = seen.width(options.size), _vla(seen, options.vla)
    if not vla:
        _note("the VLA's fingerprint is not known, so control_node cannot check that the encoder fits; name its file with --vla")
    count, rows, columns = seen.embeddings.shape
    print(f"{count} observations of {rows} x {columns}, {int(seen.held.sum())} of them held out; token of {size}")
    torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    checkpoint = options.output.with_suffix(".checkpoint")
    looked_at = tuple(options.rows) if options.rows else None
    settings = Settings(size, options.steps, options.batch, options.rate, options.dropout, looked_at, seed=options.seed)
    gc.collect()  # what was read from
    others = libraries(memory.resident())
    trainer = Trainer(Part(seen.embeddings, np.flatnonzero(~seen.held)), settings, options.memory * GIGABYTE, device, checkpoint, others)
    if options.resume:
        trainer.resume()
    else:
        try:
            trainer.start()
        except TooWide as error:
            raise NothingToLearn(f"--size: {error}") from None
    trainer.train()
    encoder, decoder, piece = trainer.encoder, trainer.decoder, trainer.budget.piece
    probed = spread(count, trainer.budget.probed)
    del trainer  # its optimizer is twice the networks
    lost = not_reconstructed(encoder, decoder, Part(seen.embeddings, np.flatnonzero(seen.held)), piece)
    print(f"held out: {100 * (1 - lost):.1f} % of the embeddings' variance can be made again from the token alone")
    tokens = tokens_of(encoder, seen.embeddings, probed, piece)
    print("\n".join(probe.report(seen, probed, tokens, piece)))
    export(encoder, vla, options.output)
    written = TokenEncoder(options.output, size)
    tried = range(0, len(probed), max(len(probed) // 20, 1))
    apart = max(float(np.abs(written.run(seen.embeddings[probed[i : i + 1]][0].astype(np.float32)) - tokens[i]).max()) for i in tried)
    checkpoint.unlink(missing_ok=True)
    size_text = f"{options.output.stat().st_size / MEGABYTE:.1f} MB, SHA-256 {written.sha256[:12]}..."
    print(f"wrote {options.output} ({size_text}, within {apart:.1g} of what was trained)")
    print(f"for the robot's file: token_encoder: {options.output}, token_size: {size}")


if __name__ == "__main__":
    sys.exit(main())
