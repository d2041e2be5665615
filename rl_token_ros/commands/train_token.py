"""`rl_token train_token BAG...`: trains the token's encoder and decoder from `vla/embedding` in bags, and writes the ONNX encoder.

Says what the token is worth on observations held out, the last fifth of each bag: how much of the embeddings' variance can be made from it
again, and how well measurements of that moment, and the outcome of the episode, can be read from it. Needs torch, no ROS.
"""

from __future__ import annotations

import argparse
import bisect
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rl_token_ros.bags import message_types
from rl_token_ros.bags.reader import Bag, BagError, Record, open_bag
from rl_token_ros.bags.run_settings import control_of, read_settings
from rl_token_ros.bags.table_rows import TableReader
from rl_token_ros.bags.topic_names import Names, RemapError
from rl_token_ros.evaluation.run_data import dtype_of
from rl_token_ros.interfaces import images, measurements, replay_table
from rl_token_ros.interfaces.codes import Ended
from rl_token_ros.interfaces.stamps import stamp_to_ns
from rl_token_ros.interfaces.topics import SETTINGS
from rl_token_ros.policy.actor_weights import fingerprint
from rl_token_ros.rl_token.encoder import TokenEncoder
from rl_token_ros.rl_token.probe import ridge_rmse
from rl_token_ros.rl_token.training import export, fit, not_reconstructed
from rl_token_ros.robot.proprioception import RobotState, StateError
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.proprioception_groups import GROUPS
from rl_token_ros.system.progress import Progress

EXIT_BAD_INPUT = 2
MEGABYTE, GIGABYTE = 1_000_000, 1_000_000_000
LEAST = 50  # observations below which nothing is trained
NEAR_NS = 50_000_000  # between an observation and the measurement it is probed with
LOST = 1.15  # times the error of the pooled embeddings, beyond which the token has lost what they had


class NothingToLearn(ValueError):
    """Bags without what is needed; the message says what."""


@dataclass
class Seen:
    """What the bags hold, one entry per observation.

    Attributes:
        embeddings: float32 [M, D] each.
        measured: group of proprioception -> values [K] each, NaN where none was near.
        outcome: 1.0 success, 0.0 not, NaN outside an episode with an outcome.
        held: whether the observation is held out.
    """

    embeddings: list[np.ndarray] = field(default_factory=list)
    measured: dict[str, list[np.ndarray]] = field(default_factory=dict)
    outcome: list[float] = field(default_factory=list)
    held: list[bool] = field(default_factory=list)
    vla_sha256: str = ""
    token_size: int = 0


def main() -> int:
    """0 when an encoder was written, 2 for bags of which none can be made."""
    options = _parse()
    try:
        seen = read(options.bags, options)
        _train(seen, options)
        return 0
    except (BagError, RemapError, NothingToLearn, ParameterError, replay_table.ReplayError, message_types.TypeUnknown) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="rl_token train_token", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bags", type=Path, nargs="+", help="rosbag2 folders or files with 'vla/embedding'; the base alone should act in most")
    parser.add_argument("--output", type=Path, default=Path("runs/token/token.onnx"), help="the encoder (default runs/token/token.onnx)")
    parser.add_argument("--vla", type=Path, help="the VLA's file, where its fingerprint is not in the bags")
    parser.add_argument("--size", type=int, default=0, help="width of the token, Dz (default: token_size of the bags, or 128)")
    parser.add_argument("--rows", type=int, nargs=2, metavar=("FIRST", "END"), help="rows of the embeddings to look at, END excluded: a camera's patches (default: all)")
    parser.add_argument("--steps", type=int, default=2000, help="gradient steps (default 2000)")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=3e-4, help="learning rate")
    parser.add_argument("--dropout", type=float, default=0.9, help="share of the embeddings kept from the decoder (default 0.9)")
    parser.add_argument("--probe", nargs="+", metavar="GROUP", help=f"measurements to read from the token (default: those of 'proprioception'): {', '.join(GROUPS)}")
    parser.add_argument("--memory", type=float, default=4.0, help="GB for embeddings; beyond it every second one is left out (default 4)")
    parser.add_argument("--remap", action="append", default=[], metavar="OURS:=THEIRS", help="topic of ours := topic of the bag; may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    unknown = [group for group in options.probe or [] if GROUPS.get(group) is None]
    if unknown:
        parser.error(f"--probe {unknown[0]}: write some of {', '.join(group for group, topic in GROUPS.items() if topic)}")
    return options


# --- reading ----------------------------------------------------------------------------------------------------------------------------


def read(paths: list[Path], options: argparse.Namespace) -> Seen:
    """The observations of all bags, in order; as many as fit into ``options.memory``.

    Raises:
        NothingToLearn: too few, of several VLAs, or of several shapes.
    """
    whole = Seen()
    for path in paths:
        part = _Reader(open_bag(path), options).read()
        for name in ("vla_sha256", "token_size"):
            mine, theirs = getattr(whole, name), getattr(part, name)
            if mine and theirs and mine != theirs:
                raise NothingToLearn(f"'{path}' was recorded with another {name} ({str(theirs)[:12]}, not {str(mine)[:12]}); one encoder is for one VLA")
            setattr(whole, name, mine or theirs)
        if whole.embeddings and part.embeddings and whole.embeddings[0].shape != part.embeddings[0].shape:
            raise NothingToLearn(f"'{path}' has embeddings {part.embeddings[0].shape}, the bags before it {whole.embeddings[0].shape}")
        before, count = len(whole.embeddings), len(part.embeddings)
        for group in {*whole.measured, *part.measured}:
            nothing = np.full_like((part.measured.get(group) or whole.measured[group])[0], np.nan)
            whole.measured[group] = whole.measured.get(group, [nothing] * before) + part.measured.get(group, [nothing] * count)
        whole.embeddings += part.embeddings
        whole.outcome += part.outcome
        whole.held += part.held
    if len(whole.embeddings) < LEAST:
        raise NothingToLearn(f"the bags hold {len(whole.embeddings)} observations on 'vla/embedding'; at least {LEAST} are needed, and thousands are good")
    return whole


class _Reader:
    """One bag."""

    def __init__(self, bag: Bag, options: argparse.Namespace) -> None:
        self._bag, self._options = bag, options
        names = Names(bag.topics, options.remap)
        self._topics = {ours: names.find(ours) for ours in ("vla/embedding", "replay", SETTINGS, *measurements.TYPES)}
        if self._topics["vla/embedding"] is None:
            raise NothingToLearn(f"'{bag.path}': {names.missing('vla/embedding')}")
        self._topics = {ours: topic for ours, topic in self._topics.items() if topic is not None}
        self._decode = {ours: message_types.decoder(topic.type, topic.definition, topic.encoding) for ours, topic in self._topics.items()}
        self._groups = options.probe or []
        self._state: RobotState | None = None
        self._history: dict[str, tuple[list[int], list[np.ndarray]]] = {}  # group -> stamps, values
        self._stamps: list[int] = []
        self._stride = self._count = 0
        self._tables, self._dtype = TableReader(), None
        self._episode: list[int] = []  # stamps of the steps of the running one
        self._episodes: list[tuple[int, int, float]] = []  # begin, end, outcome
        self._seen = Seen()

    def read(self) -> Seen:
        """All that is in it."""
        seen, damaged, ours_of = self._seen, Counter(), {topic.name: ours for ours, topic in self._topics.items()}
        progress = Progress(f"read {self._bag.path.name} [MB]", max(self._bag.size // MEGABYTE, 1))
        for record in self._bag.read(set(ours_of)):
            try:
                self._take(ours_of[record.topic], record)
            except (message_types.NotDecoded, replay_table.ReplayError) as error:
                damaged[str(error)] += 1
            progress(min(self._bag.position // MEGABYTE, max(self._bag.size // MEGABYTE - 1, 0)))
        progress(max(self._bag.size // MEGABYTE, 1))
        for text in [*self._bag.problems, *(f"{count} times: {text}" for text, count in damaged.most_common(3))]:
            print(f"note: {text}", file=sys.stderr)
        count = len(seen.embeddings)
        seen.held = [i >= count * 4 // 5 for i in range(count)]
        seen.outcome = [self._outcome(stamp) for stamp in self._stamps]
        for group, (stamps, values) in self._history.items():
            seen.measured[group] = [_nearest(stamp, stamps, values) for stamp in self._stamps]
        return seen

    def _take(self, ours: str, record: Record) -> None:
        if ours == "replay":
            self._take_rows(record.data)
        elif ours == "vla/embedding":
            self._take_embedding(record.data)
        elif ours == SETTINGS:
            self._take_settings(self._decode[ours](record.data))
        elif self._state is not None:
            self._take_measurement(ours, record)

    def _take_settings(self, message: Any) -> None:
        told = read_settings(message)
        control = control_of(told)
        self._seen.vla_sha256, self._seen.token_size = told.get("vla_sha256", ""), control.token_size
        if self._state is None:
            self._groups = self._groups or [group for group in control.proprioception if GROUPS[group]]
            self._state = RobotState(control.joint_names, self._groups)

    def _take_measurement(self, topic: str, record: Any) -> None:
        wanted = [group for group in self._groups if GROUPS[group] == topic]
        if not wanted:
            return
        try:
            measurements.take(self._state, topic, self._decode[topic](record.data), record.stamp_ns)
        except (StateError, ValueError):
            return
        for group in wanted:
            stamps, values = self._history.setdefault(group, ([], []))
            if not stamps or self._state.stamps[topic] > stamps[-1]:
                stamps.append(self._state.stamps[topic])
                values.append(self._state.values[group])

    def _take_embedding(self, data: bytes) -> None:
        """Every second one is dropped, and again, until what is kept fits."""
        self._count += 1
        if self._stride and self._count % self._stride:
            return
        message = self._decode["vla/embedding"](data)
        try:
            matrix = images.to_matrix(message, "vla/embedding")
        except ValueError as error:
            raise NothingToLearn(f"'{self._bag.path}': {error}") from None
        self._seen.embeddings.append(np.array(matrix, np.float32))
        self._stamps.append(stamp_to_ns(message.header.stamp))
        share = self._options.memory * GIGABYTE / len(self._options.bags)
        if len(self._seen.embeddings) * matrix.nbytes > share:
            self._stride = 2 * max(self._stride, 1)
            del self._seen.embeddings[::2], self._stamps[::2]

    def _take_rows(self, data: bytes) -> None:
        if self._dtype is None:
            self._dtype = dtype_of(self._decode["replay"](data))
        for raw in self._tables.rows(data, self._decode["replay"], self._dtype, "replay"):
            row = np.frombuffer(raw, self._dtype)[0]
            self._episode.append(int(row["stamp_sec"]) * 10**9 + int(row["stamp_nanosec"]))
            if (ended := int(row["ended"])) != Ended.NO:
                if ended in (Ended.SUCCESS, Ended.FAILURE, Ended.TIME_LIMIT):
                    self._episodes.append((self._episode[0], self._episode[-1], float(ended == Ended.SUCCESS)))
                self._episode = []

    def _outcome(self, stamp: int) -> float:
        return next((outcome for begin, end, outcome in self._episodes if begin <= stamp <= end), float("nan"))


def _nearest(stamp: int, stamps: list[int], values: list[np.ndarray]) -> np.ndarray:
    """The value nearest in time; NaN where none is near."""
    at = bisect.bisect_left(stamps, stamp)
    near = min((i for i in (at - 1, at) if 0 <= i < len(stamps)), key=lambda i: abs(stamps[i] - stamp))
    return values[near] if abs(stamps[near] - stamp) <= NEAR_NS else np.full_like(values[near], np.nan)


# --- training ---------------------------------------------------------------------------------------------------------------------------


def _train(seen: Seen, options: argparse.Namespace) -> None:
    vla = seen.vla_sha256
    if options.vla is not None:
        if not options.vla.is_file():
            raise NothingToLearn(f"--vla: there is no file '{options.vla}'")
        vla = fingerprint(options.vla)
        if seen.vla_sha256 and vla != seen.vla_sha256:
            raise NothingToLearn(f"--vla: '{options.vla}' is not the VLA of the bags (SHA-256 {vla[:12]}..., not {seen.vla_sha256[:12]}...)")
    if not vla:
        print("note: the VLA's fingerprint is not known, so control_node cannot check that the encoder fits; name its file with --vla", file=sys.stderr)
    size = options.size or seen.token_size or 128
    embeddings, held = np.stack(seen.embeddings), np.array(seen.held)
    most = min(int((~held).sum()) - 1, embeddings[0].size)
    if size > most:
        raise NothingToLearn(f"a token of {size} is wider than what {int((~held).sum())} observations of {embeddings[0].size} values can fill; write --size {most} or less, or record more")
    print(f"{len(embeddings)} observations of {embeddings.shape[1]} x {embeddings.shape[2]}, {int(held.sum())} of them held out; token of {size}")
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    everything = torch.from_numpy(embeddings)
    try:
        encoder, decoder = fit(everything[~torch.from_numpy(held)], size, options.steps, options.batch, options.rate, options.dropout, options.rows)
    except ValueError as error:
        raise NothingToLearn(f"--size: {error}") from None
    lost = not_reconstructed(encoder, decoder, everything[torch.from_numpy(held)])
    print(f"held out: {100 * (1 - lost):.1f} % of the embeddings' variance can be made again from the token alone")
    with torch.no_grad():
        tokens = torch.cat([encoder(part) for part in everything.split(256)]).numpy()
    for line in probe(seen, tokens, embeddings, held):
        print(line)
    export(encoder, vla, options.output)
    written = TokenEncoder(options.output, size)
    error = max(float(np.abs(written.run(embeddings[i]) - tokens[i]).max()) for i in range(0, len(embeddings), max(len(embeddings) // 20, 1)))
    print(f"wrote {options.output} ({options.output.stat().st_size / MEGABYTE:.1f} MB, SHA-256 {written.sha256[:12]}..., within {error:.1g} of what was trained)")
    print(f"for the robot's file: token_encoder: {options.output}, token_size: {size}")


def probe(seen: Seen, tokens: np.ndarray, embeddings: np.ndarray, held: np.ndarray) -> list[str]:
    """Lines: error of the best ridge regression to each measurement, and to the outcome, on what is held out.

    Beside the token: the mean (knows nothing) and the embeddings averaged over their rows.
    """
    labels = {group: np.array(values) for group, values in seen.measured.items()}
    if any(not np.isnan(outcome) for outcome in seen.outcome):
        labels["outcome (0 or 1)"] = np.array(seen.outcome)[:, None]
    features = {"mean": np.zeros((len(tokens), 0)), "pooled": embeddings.mean(1), "token": tokens}
    lines, lost = [], []
    for name, truth in labels.items():
        known = ~np.isnan(truth).any(1)
        mine = held[known]
        if mine.sum() < 5 or (~mine).sum() < LEAST or (truth[known][~mine].std(0) < 1e-9).all():
            lines.append(f"  {name:<18} too little of it, or always the same")
            continue
        rmse = {kind: ridge_rmse(values[known], truth[known], mine) for kind, values in features.items()}
        lines.append(f"  {name:<18}" + "".join(f"{rmse[kind]:10.4g}" for kind in features))
        if rmse["token"] > LOST * rmse["pooled"]:
            lost.append(name)
    if not lines:
        return ["no measurement and no outcome is in the bags to probe the token with"]
    head = f"root mean square error held out, lower is better:\n  {'':<18}" + "".join(f"{kind:>10}" for kind in features)
    tail = [f"The token has lost what the embeddings knew of {', '.join(lost)}: train longer (--steps), or make it wider (--size)."] if lost else []
    return [head, *lines, *tail]


if __name__ == "__main__":
    sys.exit(main())
