"""`rl_token replay_bag BAG`: runs a recorded run through the pipeline again, without ROS.

Checks that every command comes out as it was sent, bit for bit, and says what other weights or parameters would have commanded.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rl_token_ros.bags import message_types, picture_topics
from rl_token_ros.bags.bag_progress import MEGABYTE, BagProgress
from rl_token_ros.bags.command_reader import CommandReader
from rl_token_ros.bags.in_order import in_order
from rl_token_ros.bags.playback import PlaybackError, select
from rl_token_ros.bags.reader import Bag, BagError, Topic, open_bag
from rl_token_ros.bags.run_settings import NoSettings, control_of, first_settings
from rl_token_ros.bags.topic_names import Names, RemapError
from rl_token_ros.control import tick_record
from rl_token_ros.control.resumable import ResumablePipeline
from rl_token_ros.control.tick_record import Layout, layout_of
from rl_token_ros.interfaces import measurements, replay_table, token_frame
from rl_token_ros.interfaces.topics import COMMAND_TYPES, SETTINGS, TICKS
from rl_token_ros.policy.actor_weights import WeightsError
from rl_token_ros.resimulation.compare import Transitions, Wire
from rl_token_ros.resimulation.figures import Figures
from rl_token_ros.resimulation.resimulator import Other, Resimulator, Step
from rl_token_ros.resimulation.vla_on_pictures import VlaOnPictures
from rl_token_ros.resimulation.without_ticks import ResimulatorWithoutTicks
from rl_token_ros.settings import node_settings
from rl_token_ros.settings.control import Control
from rl_token_ros.settings.files import config_file
from rl_token_ros.settings.parameters import ParameterError

EXIT_DIFFERENT, EXIT_BAD_INPUT = 1, 2
CANDIDATE = dict(exploration_sigma=0.0, exploration_gain=0.0, auto_revert=False)  # what the weights themselves would do


class CannotReplay(Exception):
    """The bag lacks what a replay needs; the message says what, and what to write."""


def main() -> int:
    """0 when every command is the same, 1 when one differs by more than the tolerance, 2 for bad input."""
    options, bag = _parse(), None
    try:
        bag = open_bag(options.bag)
        names = Names(bag.topics, options.remap)
        if options.play:
            from rl_token_ros.nodes.play import play  # needs ROS

            return play(bag, select(bag.topics, names, options.commands, options.also), options.rate)
        return _replay(bag, names, options)
    except (BagError, PlaybackError, RemapError, ParameterError, WeightsError, CannotReplay, FileNotFoundError, message_types.TypeUnknown) as error:
        print(f"error: {error}", file=sys.stderr)
        for text in bag.problems if bag is not None else ():
            print(f"note: {text}", file=sys.stderr)
        return EXIT_BAD_INPUT


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="rl_token replay_bag", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bag", type=Path, help="a rosbag2 folder, or one .mcap or .db3 file")
    parser.add_argument(
        "--tolerance", type=float, default=0.0, help="largest difference of a command that counts as none, m or rad (default 0: identical)"
    )
    parser.add_argument("--weights", type=Path, help="a .safetensors file: what would these weights have commanded?")
    parser.add_argument(
        "--config", help="parameter file: what would control_node have commanded with these? Without '~/settings' in the bag: those of the run"
    )
    parser.add_argument("--encoder", type=Path, help="the token encoder's file where it is not at the path of then")
    parser.add_argument("--phase-model", type=Path, help="the file of train_phase where it is not at the path of then")
    parser.add_argument("--remap", action="append", default=[], metavar="OURS:=THEIRS", help="topic of ours := topic of the bag; may be repeated")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="write a picture per joint into this folder")
    parser.add_argument("--all", action="store_true", help="name every step that differs")
    parser.add_argument(
        "--vla-latency", type=float, default=0.05, help="of the answers where a VLA is asked about the bag's pictures, s (default 0.05)"
    )
    parser.add_argument("--play", action="store_true", help="publish the bag as live topics with /clock instead (needs ROS)")
    parser.add_argument("--rate", type=float, default=1.0, help="speed of --play (default 1)")
    parser.add_argument("--commands", action="store_true", help="--play publishes commands, too, and what may be one: an arm that listens moves")
    parser.add_argument("--also", action="append", default=[], metavar="TOPIC", help="--play publishes this topic of the bag, too; may be repeated")
    options = parser.parse_args()
    if options.tolerance < 0.0 or options.rate <= 0.0:
        parser.error("--tolerance must not be negative, and --rate must be above 0")
    return options


def _replay(bag: Bag, names: Names, options: argparse.Namespace) -> int:
    notes: list[str] = []
    told = _settings_of_the_run(bag, names, options, notes)
    options.encoder_sha256 = told.get("encoder_sha256", "") if _holds_tokens(bag, names) else ""
    control = _control(told, options)
    others = _others(told, options)
    refused: Counter[str] = Counter()
    run = _Run(bag, names, options, told, control, others, refused, notes)
    begun = time.monotonic(), time.process_time()
    figures = run.go()
    wall, cpu = time.monotonic() - begun[0], time.process_time() - begun[1]

    print(f"{bag.path}: {bag.size / MEGABYTE:.1f} MB in {len(bag.files)} file(s), {len(bag.topics)} topics")
    for line in [*figures.text(), *run.text()]:
        print(line)
    print(f"replayed in {wall:.1f} s: {figures.seconds / max(wall, 1e-9):.1f} times real time, {figures.seconds / max(cpu, 1e-9):.1f} per CPU second")
    for text in [*notes, *bag.problems]:
        print(f"note: {text}")
    for text, count in refused.most_common(5):
        print(f"note: refused {count} times: {text}")
    if options.plot:
        from rl_token_ros.resimulation.plot import draw

        for path in draw(figures, options.plot):
            print(f"wrote {path}")
    if not figures.steps["tick"]:
        raise CannotReplay("nothing was commanded: the bag holds no control step that could be made")
    if run.traced and figures.commands and not figures.checked:
        raise CannotReplay(f"none of the {figures.commands} commands could be compared; what the bag lacks is said above")
    if run.traced:
        return 0 if figures.ok else EXIT_DIFFERENT
    return EXIT_DIFFERENT if options.tolerance and (figures.largest > options.tolerance).any() else 0


# --- parameters -------------------------------------------------------------------------------------------------------------------------


def _settings_of_the_run(bag: Bag, names: Names, options: argparse.Namespace, notes: list[str]) -> dict:
    """What `~/settings` said first, or the parameter file."""
    try:
        return first_settings(bag, names)
    except NoSettings as error:
        if not options.config:
            raise CannotReplay(str(error)) from None
    notes.append("the parameters are those of --config: the bag does not say which ones the run had")
    return {"number": 0, "parameters": asdict(_from_file(options.config)), "vla_sha256": "", "of_file": True}


def _from_file(config: str) -> Control:
    return node_settings.load("control_node", config_file(config))


def _changes(options: argparse.Namespace) -> dict[str, Any]:
    given = {"token_encoder": options.encoder, "phase_model": options.phase_model, "encoder_sha256": options.encoder_sha256}
    return {name: str(value) for name, value in given.items() if value}


def _holds_tokens(bag: Bag, names: Names) -> bool:
    """Whether the VLA's server made the tokens of this bag: the encoder's file is not needed then."""
    topic = names.find("vla/embedding")
    if topic is None:
        return False
    decode = message_types.decoder(topic.type, topic.definition, topic.encoding)
    for record in bag.read({topic.name}):
        try:
            return token_frame.encoder_of(decode(record.data).header.frame_id) is not None
        except message_types.NotDecoded:
            continue  # damaged; the next one may be whole
    return False


def _control(told: dict, options: argparse.Namespace) -> Control:
    return control_of(told, **_changes(options))


def _others(told: dict, options: argparse.Namespace) -> dict[str, Other]:
    """The candidate and the base beside it, where a candidate is given."""
    of_file = options.config and not told.get("of_file")
    if not options.weights and not of_file:
        return {}
    changes = _changes(options)
    blob = None
    if options.weights:
        try:
            blob = options.weights.read_bytes()
        except OSError as error:
            raise CannotReplay(f"--weights: '{options.weights}' cannot be read: {error.strerror}") from None
    if of_file:
        candidate = _from_file(options.config)
        run = control_of(told)
        for name in ("action_names", "action_type", "control_rate", "chunk_length", "token_size"):
            if getattr(candidate, name) != getattr(run, name):
                raise CannotReplay(
                    f"--config: parameter '{name}' is {getattr(candidate, name)}, in the run it was {getattr(run, name)}; "
                    "a candidate must command the same actions"
                )
        file = {"parameters": asdict(candidate), "vla_sha256": told.get("vla_sha256", "")}
        mode = {"mode": "actor"} if blob else {}
        made = Other(lambda _: control_of(file, **mode, **CANDIDATE, **changes), blob)
    else:
        made = Other(lambda now: control_of(now, mode="actor", **CANDIDATE, **changes), blob)
    return {"candidate": made, "base": Other(lambda now: control_of(now, mode="vla", **changes))}


def _unreadable(bag: Bag, ticks: Topic) -> str:
    """Why `~/ticks` cannot be used; empty when it can."""
    decode, why = message_types.decoder(ticks.type, ticks.definition, ticks.encoding), f"'{ticks.name}' has no messages"
    for record in bag.read({ticks.name}):
        try:
            message = decode(record.data)
            replay_table.decode_table(message, layout_of(message).dtype, TICKS)
        except message_types.NotDecoded:
            why = f"no message of '{ticks.name}' can be decoded"
            continue
        except replay_table.ReplayError as error:
            return f"'{ticks.name}' is of another version of this package ({error})"
        return ""
    return why


# --- the run ----------------------------------------------------------------------------------------------------------------------------


class _Run:
    """One pass over the bag."""

    def __init__(
        self, bag: Bag, names: Names, options: argparse.Namespace, told: dict, control: Control, others: dict[str, Other],
        refused: Counter[str], notes: list[str],
    ) -> None:  # fmt: skip
        self._bag, self._names, self._options, self._told, self._control = bag, names, options, told, control
        self._others, self._refused, self._notes = others, refused, notes
        ticks = names.find(TICKS)
        self._untraced_because = f"the bag has no '{TICKS}'" if ticks is None else _unreadable(bag, ticks)
        self.traced = not self._untraced_because
        pipeline = self._make(told)
        self._needed = measurements.topics(pipeline.controller.needed)
        inputs = [topic for topic in tick_record.NAMED if topic not in measurements.TYPES or topic in self._needed] + ["actor/weights"]
        wanted = (*inputs, TICKS, SETTINGS) if self.traced else (*inputs, "critical_phase", "outcome", "task")
        self._topics: dict[str, Topic] = {ours: topic for ours in wanted if (topic := names.find(ours)) is not None}
        command = names.find("command", COMMAND_TYPES[control.command_interface])
        replay = names.find("replay")
        self._wire: Wire | None = None
        self._apart: dict[str, Any] = {}  # topics that only comparisons take
        if command is not None:
            if self.traced:
                self._wire = Wire(CommandReader(control, message_types.decoder(command.type, command.definition, command.encoding)))
                self._apart[command.name] = self._wire
            else:
                self._topics["command"] = command
        dtype = pipeline.controller.row_dtype
        decode = message_types.decoder(replay.type, replay.definition, replay.encoding) if replay is not None else None
        self._transitions = Transitions(dtype, decode)
        if replay is not None:
            self._apart[replay.name] = self._transitions
        self._resimulator = self._traced() if self.traced else self._untraced(pipeline)

    def _make(self, told: dict, layout: Layout | None = None) -> ResumablePipeline:
        pipeline = ResumablePipeline(control_of(told, **_changes(self._options)), self._refuse, layout)
        then, now = told.get("encoder_sha256", ""), pipeline.encoder.sha256
        if then and then != now:
            path = self._options.encoder or pipeline.controller.settings.token_encoder
            raise CannotReplay(
                f"the token encoder '{path}' is not the one of the run (SHA-256 {then[:12]}..., not {now[:12]}...); name its file with --encoder"
            )
        return pipeline

    def _refuse(self, error: Exception) -> None:
        self._refused[str(error)] += 1

    def _traced(self) -> Resimulator:
        fallback = self._told if self._told.get("of_file") else None
        return Resimulator(self._topics, self._make, self._others, self._refuse, fallback)

    def _untraced(self, pipeline: ResumablePipeline) -> ResimulatorWithoutTicks:
        absent = [self._names.missing(topic) for topic in self._needed if topic not in self._topics]
        look = None
        if "vla/reference" not in self._topics:
            look = self._look(absent)
        if absent:
            raise CannotReplay("\n  ".join(dict.fromkeys(absent)))
        if "vla/embedding" not in self._topics and look is None:
            self._notes.append(self._names.missing("vla/embedding") + ": without tokens the base acts alone")
        self._notes.append(f"{self._untraced_because}: which inputs each control step used is not known, and commands may differ for that")
        others = {name: other.make(self._told, None) for name, other in self._others.items()}
        own = {name for name, other in self._others.items() if other.weights is not None}
        return ResimulatorWithoutTicks(self._topics, pipeline, others, own, self._refuse, look)

    def _look(self, absent: list[str]) -> VlaOnPictures | None:
        """A VLA for the pictures in the bag, or the reasons why there is none."""
        if not self._options.config:
            absent.append(self._names.missing("vla/reference") + "; to ask a VLA about the bag's pictures name the parameter file with --config")
            return None
        vla = node_settings.load("vla_node", config_file(self._options.config))
        found, missing = picture_topics.find(self._names, vla)
        self._topics |= found
        absent += missing
        if absent:
            absent.insert(0, self._names.missing("vla/reference") + "; or, to ask a VLA about the bag's pictures:")
            return None
        from rl_token_ros.vla.make_backend import make_backend

        return VlaOnPictures(vla, make_backend(vla), self._options.vla_latency, self._refuse)

    def go(self) -> Figures:
        """Read the bag once."""
        figures = Figures(self._control, self._options.tolerance, list(self._others), self._options.all)
        for step in self._steps(BagProgress(self._bag, "replay")):
            figures.add(step)
            if self._wire is not None:
                self._wire.add(step.row)
            if self._resimulator.rows:
                self._transitions.add(self._resimulator.rows)
                self._resimulator.rows = []
        figures.endings = self._transitions.endings
        return figures

    def _steps(self, progress: BagProgress) -> Iterator[Step]:
        wanted = {topic.name for topic in self._topics.values()} | set(self._apart)
        records = self._bag.read(wanted)
        for record in records if self.traced else in_order(records):
            if (apart := self._apart.get(record.topic)) is not None:
                apart.take(record)
            else:
                yield from self._resimulator.take(record)
            progress()
        if isinstance(self._resimulator, Resimulator):
            yield from self._resimulator.finish()
        progress.done()

    def text(self) -> list[str]:
        """Lines of the report beyond the figures."""
        lines = self._transitions.text()
        if self._wire is not None:
            lines += self._wire.text()
        if isinstance(self._resimulator, Resimulator):
            for topic, count in self._resimulator.missing.most_common():
                if topic not in self._topics and self._names.find(topic) is None:
                    self._notes.append(f"{self._names.missing(topic)} ({count} steps used it)")
                else:
                    self._notes.append(f"{count} steps used messages on '{topic}' that are not in the bag: recorded later than control_node, or lost")
        return lines


if __name__ == "__main__":
    sys.exit(main())
