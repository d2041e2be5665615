"""`rl_token train_token BAG...`: trains the token's encoder and decoder from `vla/embedding` in bags, and writes the ONNX encoder.

Says what the token is worth on observations held out, the last fifth of each bag: how much of the embeddings' variance can be made from it
again, and how well measurements of that moment, and the outcome of the episode, can be read from it. Needs torch, no ROS.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from rl_token_ros.bags import token_observations
from rl_token_ros.bags.message_types import TypeUnknown
from rl_token_ros.bags.reader import BagError
from rl_token_ros.bags.topic_names import RemapError
from rl_token_ros.interfaces.replay_table import ReplayError
from rl_token_ros.policy.actor_weights import fingerprint
from rl_token_ros.rl_token import probe
from rl_token_ros.rl_token.dataset import NothingToLearn, Observations
from rl_token_ros.rl_token.encoder import TokenEncoder
from rl_token_ros.rl_token.training import export, fit, not_reconstructed, tokens_of
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.proprioception_groups import GROUPS

EXIT_BAD_INPUT = 2
MEGABYTE, GIGABYTE = 1_000_000, 1_000_000_000


def main() -> int:
    """0 when an encoder was written, 2 for bags of which none can be made."""
    options = _parse()
    try:
        _train(token_observations.read(options.bags, options.probe or [], options.memory * GIGABYTE, options.remap, _note), options)
        return 0
    except (BagError, RemapError, NothingToLearn, ParameterError, ReplayError, TypeUnknown) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="rl_token train_token", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bags", type=Path, nargs="+", help="rosbag2 folders or files with 'vla/embedding'; the base alone should act in most")
    parser.add_argument("--output", type=Path, default=Path("runs/token/token.onnx"), help="the encoder (default runs/token/token.onnx)")
    parser.add_argument("--vla", type=Path, help="the VLA's file, where its fingerprint is not in the bags")
    parser.add_argument("--size", type=int, default=0, help="width of the token, Dz (default: token_size of the bags, or 128)")
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
    parser.add_argument(
        "--probe", nargs="+", metavar="GROUP", help=f"measurements to read from the token (default: those of 'proprioception'): {', '.join(GROUPS)}"
    )
    parser.add_argument("--memory", type=float, default=4.0, help="GB for embeddings; beyond it every second one is left out (default 4)")
    parser.add_argument("--remap", action="append", default=[], metavar="OURS:=THEIRS", help="topic of ours := topic of the bag; may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    unknown = [group for group in options.probe or [] if GROUPS.get(group) is None]
    if unknown:
        parser.error(f"--probe {unknown[0]}: write some of {', '.join(group for group, topic in GROUPS.items() if topic)}")
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
        raise NothingToLearn(f"--vla: '{file}' is not the VLA of the bags (SHA-256 {found[:12]}..., not {seen.vla_sha256[:12]}...)")
    return found


def _train(seen: Observations, options: argparse.Namespace) -> None:
    size, vla = seen.width(options.size), _vla(seen, options.vla)
    if not vla:
        _note("the VLA's fingerprint is not known, so control_node cannot check that the encoder fits; name its file with --vla")
    embeddings, held = torch.from_numpy(np.stack(seen.embeddings)), torch.tensor(seen.held)
    count, rows, columns = embeddings.shape
    print(f"{count} observations of {rows} x {columns}, {int(held.sum())} of them held out; token of {size}")
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    try:
        encoder, decoder = fit(embeddings[~held], size, options.steps, options.batch, options.rate, options.dropout, options.rows)
    except ValueError as error:
        raise NothingToLearn(f"--size: {error}") from None
    lost = not_reconstructed(encoder, decoder, embeddings[held])
    print(f"held out: {100 * (1 - lost):.1f} % of the embeddings' variance can be made again from the token alone")
    tokens = tokens_of(encoder, embeddings)
    print("\n".join(probe.report(seen, tokens)))
    export(encoder, vla, options.output)
    written = TokenEncoder(options.output, size)
    apart = max(float(np.abs(written.run(seen.embeddings[i]) - tokens[i]).max()) for i in range(0, count, max(count // 20, 1)))
    size_text = f"{options.output.stat().st_size / MEGABYTE:.1f} MB, SHA-256 {written.sha256[:12]}..."
    print(f"wrote {options.output} ({size_text}, within {apart:.1g} of what was trained)")
    print(f"for the robot's file: token_encoder: {options.output}, token_size: {size}")


if __name__ == "__main__":
    sys.exit(main())
