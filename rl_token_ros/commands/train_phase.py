"""`rl_token train_phase BAG...`: learns from an operator's switches when the critical phase begins.

Reads bags with `vla/embedding`, `control_node/ticks` and the measurements (what `record` writes), says on episodes held out when it would have
switched against when the operator did, and writes the file that control_node's `phase_model` names. Needs no ROS and no torch.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rl_token_ros.bags import message_types
from rl_token_ros.bags.reader import BagError, open_bag
from rl_token_ros.bags.run_settings import control_of, read_settings
from rl_token_ros.bags.topic_names import Names, RemapError
from rl_token_ros.control import phase_switch
from rl_token_ros.control.phase_switch import PhaseModel, PhaseSwitch, fit, groups
from rl_token_ros.control.tick_record import Event
from rl_token_ros.interfaces import images, measurements, replay_table
from rl_token_ros.interfaces.stamps import stamp_to_ns
from rl_token_ros.interfaces.topics import SETTINGS, TICKS
from rl_token_ros.rl_token import encoder
from rl_token_ros.robot.proprioception import RobotState, StateError
from rl_token_ros.settings.control import Control
from rl_token_ros.settings.files import config_file
from rl_token_ros.settings.node_settings import load
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.system.progress import Progress

SECOND = 1_000_000_000
COLUMNS = np.dtype([("event", "u1"), ("stamp_sec", "<i4"), ("stamp_nanosec", "<u4"), ("enabled", "u1"), ("critical", "u1")])
AFTER_SECONDS = 3.0  # after a phase, for which its scene may still stand: neither this nor that
FOLDS = 5
ENTERS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)  # thresholds that are tried
LATE_SECONDS = 2.0  # what a phase that is missed counts as


class NothingToLearn(ValueError):
    """Bags without what is needed; the message says what."""


@dataclass
class Samples:
    """What was seen in one bag, token by token.

    Attributes:
        stamps: ns, of the tokens, ascending.
        values: features [F] of each.
        ticks: (ns, whether the phase ran, whether the arm was enabled) of each control step.
    """

    stamps: list[int] = field(default_factory=list)
    values: list[np.ndarray] = field(default_factory=list)
    ticks: list[tuple[int, bool, bool]] = field(default_factory=list)


@dataclass(frozen=True)
class Approach:
    """The way into one critical phase: features [N, F] and stamps [N] from the phase before to the end of this one, labels bool [N] and the time
    of the operator's switch in ns."""

    stamps: np.ndarray
    values: np.ndarray
    labels: np.ndarray
    switched_ns: int


def read(path: Path, control: Control, tokens: encoder.TokenEncoder | encoder.NoEncoder, remaps: list[str]) -> Samples:
    """What a bag holds.

    Raises:
        BagError, RemapError, NothingToLearn: it cannot be used.
    """
    bag = open_bag(path)
    names = Names(bag.topics, remaps)
    state = RobotState(control.joint_names, groups(control))
    wanted = ["vla/embedding" if control.token_size else "vla/reference", TICKS, *measurements.topics(groups(control))]
    topics = {ours: names.find(ours) for ours in wanted}
    absent = [names.missing(ours) for ours, topic in topics.items() if topic is None]
    if absent:
        raise NothingToLearn(f"{path}: {'; '.join(absent)}")
    ours = {topic.name: name for name, topic in topics.items()}
    decode = {name: message_types.decoder(topic.type, topic.definition, topic.encoding) for name, topic in topics.items()}
    found, progress = Samples(), Progress(f"{path} [MB]", max(bag.size // 1_000_000, 1))
    for record in bag.read(set(ours)):
        name = ours[record.topic]
        try:
            message = decode[name](record.data)
        except message_types.NotDecoded:
            continue  # damaged
        if name == TICKS:
            for row in replay_table.decode_table(message, COLUMNS, TICKS):
                if row["event"] == Event.TICK:
                    now = int(row["stamp_sec"]) * SECOND + int(row["stamp_nanosec"])
                    found.ticks.append((now, bool(row["critical"]), bool(row["enabled"])))
        elif name in measurements.TYPES:
            try:
                measurements.take(state, name, message, record.stamp_ns)
            except (StateError, measurements.StampError):
                continue  # as live
        elif not state.missing(groups(control)):
            stamp = stamp_to_ns(message.header.stamp)
            if not found.stamps or stamp > found.stamps[-1]:
                token = tokens.run(images.to_matrix(message, name)) if control.token_size else np.zeros(0, np.float32)
                found.stamps.append(stamp)
                found.values.append(phase_switch.features(token, state, control))
        progress(min(bag.position // 1_000_000, bag.size // 1_000_000 - 1))
    progress(max(bag.size // 1_000_000, 1))
    return found


def approaches(samples: Samples) -> list[Approach]:
    """Cut into approaches, one for each switch: the arm enabled, and AFTER_SECONDS after the phase before left out."""
    if not samples.ticks or not samples.stamps:
        return []
    ticks = sorted(samples.ticks)
    times, critical = np.array([tick[0] for tick in ticks]), np.array([tick[1] for tick in ticks])
    enabled = np.array([tick[2] for tick in ticks])
    stamps, values = np.array(samples.stamps), np.array(samples.values)
    at = np.searchsorted(times, stamps, "right") - 1
    usable = (at >= 0) & enabled[np.maximum(at, 0)]
    labels = critical[np.maximum(at, 0)]
    begins = times[1:][critical[1:] & ~critical[:-1]]
    ends = times[1:][~critical[1:] & critical[:-1]]
    found = []
    for begin in begins:
        before, after = ends[ends <= begin], ends[ends > begin]
        first = before[-1] + AFTER_SECONDS * SECOND if len(before) else times[0]
        last = after[0] if len(after) else times[-1]
        chosen = usable & (stamps >= first) & (stamps < last)
        if labels[chosen].any() and not labels[chosen].all():
            found.append(Approach(stamps[chosen], values[chosen], labels[chosen], int(begin)))
    return found


def switch_time(model: PhaseModel, approach: Approach) -> int | None:
    """When the switch would have begun the phase, ns; None: never."""
    switch = PhaseSwitch(model.enter)
    for stamp, probability in zip(approach.stamps.tolist(), model.probability(approach.values).tolist()):
        if switch.see(probability, critical=False):
            return stamp
    return None


def late_seconds(model: PhaseModel, found: list[Approach]) -> np.ndarray:
    """How much later than the operator it would have switched, s, for each approach; NaN: not at all."""
    times = [switch_time(model, approach) for approach in found]
    return np.array([np.nan if time is None else (time - approach.switched_ns) / SECOND for time, approach in zip(times, found)])


def learn(found: list[Approach], enter: float, sha256: str, names: list[str]) -> PhaseModel:
    """A model of these approaches."""
    values, labels = np.concatenate([a.values for a in found]), np.concatenate([a.labels for a in found])
    return PhaseModel(*fit(values, labels), enter, sha256, names)


def held_out(found: list[Approach], sha256: str, names: list[str]) -> tuple[float, np.ndarray, float]:
    """Each approach judged by a model that did not see it.

    Returns:
        the best threshold, how late it switches with that one [approaches], and the share of tokens that are told apart, both classes alike.
    """
    folds = [found[i::FOLDS] for i in range(min(FOLDS, len(found)))]
    late: dict[float, list[np.ndarray]] = {enter: [] for enter in ENTERS}
    right: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for number, fold in enumerate(folds):
        rest = [approach for other, part in enumerate(folds) if other != number for approach in part]
        model = learn(rest, 0.5, sha256, names)
        for enter in ENTERS:
            late[enter].append(late_seconds(PhaseModel(model.weights, model.bias, enter, sha256, names), fold))
        for approach in fold:
            said = model.probability(approach.values) > 0.5
            for label in (True, False):
                right[label].append(said[approach.labels == label] == label)
    costs = {enter: np.nan_to_num(np.minimum(np.abs(np.concatenate(parts)), LATE_SECONDS), nan=LATE_SECONDS).mean() for enter, parts in late.items()}
    best = min(costs, key=costs.get)
    accuracy = float(np.mean([np.concatenate(parts).mean() for parts in right.values()]))
    return best, np.concatenate(late[best]), accuracy


def report(late: np.ndarray, accuracy: float, enter: float) -> str:
    """What was found on episodes held out, as lines."""
    heard = late[~np.isnan(late)]
    lines = [f"held out, {len(late)} approaches: {100 * accuracy:.1f} % of tokens told apart (both classes alike)"]
    if len(heard):
        q25, q50, q75 = np.percentile(heard, [25, 50, 75])
        lines.append(f"it switches {q50:+.2f} s after the operator (median; quartiles {q25:+.2f}, {q75:+.2f}; extremes {heard.min():+.2f}, {heard.max():+.2f})")
    lines.append(f"missed: {int(np.isnan(late).sum())}; more than 1 s early: {int((heard < -1.0).sum())}, late: {int((heard > 1.0).sum())}")
    lines.append(f"threshold: begins above {enter:g}, ready again below {0.5 * enter:g}, {phase_switch.CONFIRM} tokens in a row")
    return "\n".join(lines)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="rl_token train_phase", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bags", nargs="+", type=Path, metavar="BAG", help="a rosbag2 folder, or one .mcap or .db3 file")
    parser.add_argument("--config", help="the robot's parameter file; without it, what the first bag says the robot's parameters were")
    parser.add_argument("--output", type=Path, default=Path("phase.safetensors"), help="the file to write (phase.safetensors)")
    parser.add_argument("--remap", action="append", default=[], metavar="OURS:=THEIRS", help="topic of ours := topic of the bag; may be repeated")
    return parser.parse_args(arguments)


def _control(options: argparse.Namespace) -> Control:
    if options.config:
        return load("control_node", config_file(options.config))
    bag = open_bag(options.bags[0])
    topic = Names(bag.topics, options.remap).find(SETTINGS)
    if topic is None:
        raise NothingToLearn(f"{options.bags[0]} has no '{SETTINGS}'; name the robot's parameter file with --config")
    for record in bag.read({topic.name}):
        try:
            told = read_settings(message_types.decoder(topic.type, topic.definition, topic.encoding)(record.data))
        except ValueError:
            continue  # damaged; the next one may be whole
        return control_of(told)
    raise NothingToLearn(f"{options.bags[0]} has no readable message on '{SETTINGS}'; name the robot's parameter file with --config")


def main(arguments: list[str] | None = None) -> int:
    """Returns 0, or 2 for bad input."""
    options = parse(arguments)
    try:
        control = _control(options)
        tokens = encoder.load(control)
        found = [approach for path in options.bags for approach in approaches(read(path, control, tokens, options.remap))]
        if len(found) < 2:
            raise NothingToLearn(f"{len(found)} approach(es) to a critical phase in these bags; record at least 2, better 20, with the operator's switch")
    except (BagError, RemapError, NothingToLearn, ParameterError, FileNotFoundError, replay_table.ReplayError, message_types.TypeUnknown) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    names = groups(control)
    enter, late, accuracy = held_out(found, tokens.sha256, names)
    print(report(late, accuracy, enter))
    phase_switch.save(learn(found, enter, tokens.sha256, names), options.output)
    print(f"wrote {options.output}; name it in control_node's parameter 'phase_model'")
    return 0


if __name__ == "__main__":
    sys.exit(main())
