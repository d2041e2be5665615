"""`rl_token import --lerobot DATASET --config robot.yaml OUT_BAG`: demonstrations of a LeRobot data set as a bag for `seed_bags` of learner_node.

Each episode is lived again by control_node's own pipeline with the demonstrator as the human: token and reference are the VLA's answers to its
pictures, asked in process or at the server of the robot's file. The data set's rate is brought to `control_rate` by time. Runs where LeRobot is
installed; needs the extras `bags` and `vla`, no ROS.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
from collections import Counter
from pathlib import Path

from rl_token_ros.adapters import lerobot_dataset
from rl_token_ros.adapters.lerobot_demonstrations import Demonstrations, Mapping, Unusable
from rl_token_ros.adapters.lerobot_inputs import parse_factors
from rl_token_ros.bags.row_writer import RowWriter
from rl_token_ros.bags.seeds import Seed
from rl_token_ros.commands import measured_groups
from rl_token_ros.control.condition import unrecorded
from rl_token_ros.interfaces.codes import Ended
from rl_token_ros.learning.identity import find_identity
from rl_token_ros.resimulation.demonstrations import Demonstrator, Figures, NotLived
from rl_token_ros.rl_token import encoder
from rl_token_ros.settings import node_settings
from rl_token_ros.settings.control import Control
from rl_token_ros.settings.files import config_file
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.proprioception_groups import source
from rl_token_ros.system.progress import Progress
from rl_token_ros.vla.backend import BackendError
from rl_token_ros.vla.make_backend import make_backend

EXIT_BAD_INPUT = 2
ENDINGS = {"success": Ended.SUCCESS, "failure": Ended.FAILURE}
PATIENCE = 3  # demonstrations in a row about which the VLA does not answer


def main() -> int:
    """0 when a bag was written, 2 for a data set of which none can be made."""
    options = _parse()
    try:
        _import(options)
        return 0
    except (ParameterError, BackendError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="rl_token import", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lerobot", metavar="DATASET", required=True, help="folder of the data set, or its name on the Hugging Face Hub")
    parser.add_argument("--config", required=True, help="the robot's parameter file")
    parser.add_argument("out", type=Path, metavar="OUT_BAG", help="the bag, which does not exist yet")
    parser.add_argument("--state-groups", nargs="+", default=[], metavar="GROUP", help="of observation.state, in order (default: by its names)")
    parser.add_argument("--camera", action="append", default=[], metavar="CAMERA=FEATURE", help="as base=observation.images.top; may be repeated")
    parser.add_argument("--action-columns", default="", metavar="COLUMNS", help="of the action, as in 0:6,13 (default: by name, else all)")
    parser.add_argument("--scale", default="1", metavar="F[,F..]", help="the data set's units per robot's, of joints and actions, as 57.29578 (1)")
    parser.add_argument("--ended", choices=ENDINGS, default="success", help="how episodes ended where the data set does not say (success)")
    parser.add_argument("--task", default="", help="language instruction in place of the data set's")
    parser.add_argument("--vla-latency", type=float, default=0.05, help="how late the VLA's answers come on the robot, s (0.05)")
    options = parser.parse_args()
    measured_groups.check(parser, "--state-groups", options.state_groups)
    if options.vla_latency < 0.0:
        parser.error("--vla-latency must not be negative")
    return options


def _import(options: argparse.Namespace) -> None:
    if options.out.exists():
        raise ParameterError(f"'{options.out}' is there already; name a bag that is not")
    path = config_file(options.config)
    control, vla, learner = (node_settings.load(node, path) for node in ("control_node", "vla_node", "learner_node"))
    if control.rotation_at is not None:
        raise ParameterError("parameter 'action_names' has rx, ry, rz; whose increments do not add up; positions and yaw can be imported")
    made_for = encoder.load(control)
    vla = dataclasses.replace(vla, vla_sha256=vla.vla_sha256 or made_for.vla_sha256)  # so that a server says at once that it serves another
    identity = find_identity(learner)
    dataset = lerobot_dataset.load(options.lerobot)
    mapping = Mapping(
        options.state_groups, options.camera, options.action_columns, parse_factors(options.scale, "data set"), int(ENDINGS[options.ended])
    )
    needed = [group for group in control.needed_groups if source(group)] + ["ee_orientation"] * control.turns
    found = Demonstrations(dataset, control, needed, vla.vla_proprioception, vla.cameras, mapping)
    for note in found.notes:
        print(f"note: {note}")
    if not found.says_ending:
        print(f"note: the data set does not say how its episodes ended; all are taken for {options.ended}: --ended says otherwise")
    backend = make_backend(vla)
    try:
        demonstrator = Demonstrator(control, vla, backend, options.vla_latency)
        with RowWriter(options.out, demonstrator.pipeline.settings_text()) as bag:
            endings, left_out = write(bag, found, demonstrator, options.task)
    finally:
        backend.close()
    for why, count in left_out.most_common():
        print(f"note: {count} episodes left out: {why}")
    if not endings:
        shutil.rmtree(options.out)
        raise ParameterError(f"no row could be made of '{options.lerobot}'; " + ("the reasons are above" if left_out else "it has no episodes"))
    _tell(options, demonstrator.figures, control, endings, dataset.rate)
    if lost := unrecorded(demonstrator.pipeline.controller.episode.skipped, demonstrator.figures.steps, least=1):
        print(f"note: {lost}")
    seed = Seed(str(options.out), learner, demonstrator.pipeline.controller.row_dtype, identity)
    print(f"  read again as seed_bags: {sum(len(rows) for rows, _ in seed)} steps")


def write(bag: RowWriter, found: Demonstrations, demonstrator: Demonstrator, task: str) -> tuple[Counter[str], Counter[str]]:
    """Live all episodes into a bag; how many ended how, and those left out by reason."""
    endings, left_out = Counter[str](), Counter[str]()
    episodes = found.episodes()
    progress = Progress("demonstrations", len(episodes))
    silent = 0
    for done, frames in enumerate(episodes):
        try:
            shown = found.demonstration(frames, task)
            rows = demonstrator.live(shown)
            silent = 0
            if len(rows):
                bag.write(rows)
                endings[Ended(shown.ended).label] += 1
            else:
                left_out["none of its steps could be recorded"] += 1
        except (Unusable, NotLived) as error:
            left_out[str(error)] += 1
        except BackendError as error:
            left_out[str(error)] += 1
            silent += 1
            if silent == PATIENCE and done + 1 < len(episodes):
                left_out[f"it came after {PATIENCE} in a row about which the VLA did not answer"] += len(episodes) - done - 1
                break
        progress(done + 1)
    return endings, left_out


def _tell(options: argparse.Namespace, figures: Figures, control: Control, endings: Counter[str], rate: float) -> None:
    told = ", ".join(f"{label} {count}" for label, count in endings.most_common())
    print(f"wrote {options.out}: {sum(endings.values())} episodes ({told}), {figures.steps} steps")
    print(f"  {rate:g} frames per second became {control.control_rate:g} steps; the VLA was asked {figures.queries} times")
    share = 100.0 * figures.beyond_any / figures.steps
    each = ", ".join(
        f"{name} {100.0 * count / figures.steps:.0f} % (at most {far:.1f} times)"
        for name, count, far in zip(control.action_names, figures.beyond.tolist(), figures.farthest.tolist())
    )
    print(f"  {share:.0f} % of the actions are further from the VLA's than 'residual_scale' lets a residual go: {each}")
    most = ", ".join(f"{name} {most:.2g} {control.unit(name)}" for name, most in zip(control.action_names, figures.changed.tolist()))
    print(f"  the robot's limits changed {figures.clipped} of the actions; the safety filter made {most} of difference at most")


if __name__ == "__main__":
    sys.exit(main())
