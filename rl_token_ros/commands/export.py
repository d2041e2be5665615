"""`rl_token export --lerobot BAG... OUT`: the episodes of recorded runs as a LeRobot data set, made and read again with LeRobot itself.

A frame is an observation as vla_node makes it (pictures of one moment, the state at that moment) and what was commanded from then to the next
frame, in the robot's names and units, by whoever acted. Each critical phase is an episode and ends as it did. Runs where LeRobot is
installed; needs the extra `bags`, no ROS.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from rl_token_ros.adapters import lerobot_dataset, lerobot_writer
from rl_token_ros.adapters.lerobot_writer import DatasetWriter
from rl_token_ros.bags.dataset_sink import DatasetSink
from rl_token_ros.bags.message_types import TypeUnknown
from rl_token_ros.bags.reader import BagError
from rl_token_ros.bags.recorded_run import NotARun, RecordedRun
from rl_token_ros.bags.topic_names import RemapError
from rl_token_ros.commands import measured_groups
from rl_token_ros.interfaces.codes import Ended
from rl_token_ros.interfaces.replay_table import ReplayError
from rl_token_ros.settings import node_settings
from rl_token_ros.settings.files import config_file
from rl_token_ros.settings.parameters import ParameterError

EXIT_BAD_INPUT = 2
OUTCOMES = {Ended(code).label.replace(" ", "_"): int(code) for code in (Ended.SUCCESS, Ended.FAILURE, Ended.TIME_LIMIT, Ended.ABORTED)}
SAME = ("action_names", "gripper_names", "action_type", "joint_names", "chunk_dt")  # of all bags of a data set


def main() -> int:
    """0 when a data set was written, 2 for bags of which none can be made."""
    options = _parse()
    try:
        _export(options)
        return 0
    except (BagError, NotARun, RemapError, ParameterError, ReplayError, TypeUnknown, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="rl_token export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lerobot", action="store_true", required=True, help="what to make: a LeRobot data set")
    parser.add_argument("bags", type=Path, nargs="+", metavar="BAG", help="rosbag2 folders of record, with the cameras")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the data set, which does not exist yet")
    parser.add_argument("--config", help="the robot's parameter file: its vla_node says what the state is, the task, and how pictures are matched")
    parser.add_argument("--fps", type=int, default=0, help="frames per second (default: the rate of the fastest camera, so that each picture is one)")
    parser.add_argument(
        "--state-groups", nargs="+", default=[], metavar="GROUP", help="of observation.state (default: vla_proprioception of --config)"
    )
    parser.add_argument("--task", default="", help="what was to be done, for bags without 'task'")
    parser.add_argument("--before", type=float, default=0.0, help="seconds of each episode before its critical phase (0)")
    parser.add_argument(
        "--outcomes",
        default="success,failure,time_limit",
        metavar="NAME[,NAME..]",
        help=f"episodes to take, of {', '.join(OUTCOMES)} (all but the last)",
    )
    parser.add_argument("--images", action="store_true", help="keep pictures as PNG: nothing is lost, at many times the size of a video")
    parser.add_argument("--remap", action="append", default=[], metavar="OURS:=THEIRS", help="topic of ours := topic of the bag; may be repeated")
    options = parser.parse_args()
    measured_groups.check(parser, "--state-groups", options.state_groups)
    if strange := [name for name in options.outcomes.split(",") if name not in OUTCOMES]:
        parser.error(f"--outcomes {strange[0]}: write some of {', '.join(OUTCOMES)}")
    if options.before < 0.0 or options.fps < 0:
        parser.error("--before and --fps must not be negative")
    return options


def _export(options: argparse.Namespace) -> None:
    if options.out.exists():
        raise ParameterError(f"'{options.out}' is there already; name a folder that is not")
    lerobot_writer.library()  # before anything is read
    config = node_settings.load("vla_node", config_file(options.config)) if options.config else None
    runs = [RecordedRun(path, config, options.state_groups, options.remap) for path in options.bags]
    _refuse_unlike(runs)
    rate = options.fps or max(round(runs[0].camera_rate), 1)
    sink = DatasetSink(runs[0], not options.images, options.task, lambda features: DatasetWriter(options.out, rate, features))
    keep = {OUTCOMES[name] for name in options.outcomes.split(",")}
    for run in runs:
        sink.begin()
        counts, left_out = run.cut(sink, rate, keep, options.before)
        _tell(run, sink, rate, counts, left_out)
    if not sink.close():
        raise NotARun("no episode is whole: nothing was written; the reasons are above")
    seen = lerobot_dataset.load(str(options.out))
    frames, episodes = sum(sink.frames), len(sink.frames)
    if (len(seen), len(set(seen.episode.tolist()))) != (frames, episodes):
        raise ParameterError(f"LeRobot reads {len(seen)} frames of '{options.out}', {frames} were written")
    print(f"wrote {options.out}: {episodes} episodes, {frames} frames at {rate} per second ({'--fps' if options.fps else 'the rate of the cameras'})")
    print(f"  pictures: {', '.join(f'{key} {h} x {w}' for key, (h, w) in seen.cameras.items())}")
    print(f"  observation.state: {', '.join(seen.state_names)}\n  action: {', '.join(seen.action_names)}, {_action_text(runs[0])}")
    print("  read again with LeRobot")


def _action_text(run: RecordedRun) -> str:
    return "added to the command per frame" if run.control.action_type == "delta" else "the position commanded"


def _refuse_unlike(runs: list[RecordedRun]) -> None:
    first = runs[0]
    for run in runs[1:]:
        for name in SAME:
            if (theirs := getattr(run.control, name)) != (mine := getattr(first.control, name)):
                raise NotARun(f"'{run.bag.path}' was recorded with {name} {theirs}, '{first.bag.path}' with {mine}; write data sets of their own")
        if (run.sizes, run.vla.vla_proprioception) != (first.sizes, first.vla.vla_proprioception):
            raise NotARun(
                f"'{run.bag.path}' has pictures {run.sizes} and measurements {run.vla.vla_proprioception}, '{first.bag.path}' {first.sizes} and "
                f"{first.vla.vla_proprioception}; write data sets of their own"
            )


def _tell(run: RecordedRun, sink: DatasetSink, rate: int, counts: Counter[str], left_out: Counter[str]) -> None:
    endings = ", ".join(f"{Ended(code).label} {count}" for code, count in sorted(sink.endings.items()))
    print(f"{run.bag.path}: {sum(sink.endings.values())} of {len(run.run.episodes)} episodes ({endings or 'none'}), {counts['frames']} frames")
    notes = [f"{count} episodes left out: {why}" for why, count in left_out.most_common()]
    if counts["repeated"]:
        notes.append(f"{counts['repeated']} frames have the picture of the frame before: the cameras ({run.camera_rate:.1f} Hz) gave none for them")
    if counts["unused"]:
        notes.append(f"{counts['unused']} observations are in no frame: at {rate} frames per second there is none for them")
    passed = {name: text for name, text in run.report.items() if name.startswith("passed_over") and text != "0"}
    notes += [f"{text} sets of pictures {name.replace('_', ' ')}, as vla_node would" for name, text in passed.items()]
    notes += [f"{count} messages cannot be used: {why}" for why, count in run.refused.most_common(3)]
    if run.absent:
        notes.append(f"the bag has no {', '.join(run.absent)}, which control_node needs: a seed of the replay cannot be made of this data set")
    if sink.without_task:
        notes.append("the task is not known; write --task TEXT, or --config FILE whose vla_node has it")
    for text in [*notes, *run.bag.problems]:
        print(f"note: {text}")


if __name__ == "__main__":
    sys.exit(main())
