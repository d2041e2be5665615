"""`rl_token train_phase BAG...`: learns from an operator's switches when the critical phase begins.

Reads bags with `vla/embedding`, `control_node/ticks` and the measurements (what `record` writes), says on episodes held out when it would have
switched against when the operator did, and writes the file that control_node's `phase_model` names. Needs no ROS and no torch.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rl_token_ros.bags import phase_samples
from rl_token_ros.bags.message_types import TypeUnknown
from rl_token_ros.bags.reader import BagError, open_bag
from rl_token_ros.bags.run_settings import NoSettings, control_of, first_settings
from rl_token_ros.bags.topic_names import Names, RemapError
from rl_token_ros.control import phase_switch
from rl_token_ros.control.phase_training import approaches, held_out, learn, report
from rl_token_ros.interfaces.replay_table import ReplayError
from rl_token_ros.rl_token import encoder
from rl_token_ros.rl_token.dataset import NothingToLearn
from rl_token_ros.settings.control import Control
from rl_token_ros.settings.files import config_file
from rl_token_ros.settings.node_settings import load
from rl_token_ros.settings.parameters import ParameterError


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
    return control_of(first_settings(bag, Names(bag.topics, options.remap)))


def main(arguments: list[str] | None = None) -> int:
    """Returns 0, or 2 for bad input."""
    options = parse(arguments)
    try:
        control = _control(options)
        tokens = encoder.load(control)
        found = [approach for path in options.bags for approach in approaches(phase_samples.read(path, control, tokens, options.remap))]
        if len(found) < 2:
            raise NothingToLearn(
                f"{len(found)} approach(es) to a critical phase in these bags; record at least 2, better 20, with the operator's switch"
            )
    except (BagError, RemapError, NoSettings, NothingToLearn, ParameterError, FileNotFoundError, ReplayError, TypeUnknown) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    names = phase_switch.groups(control)
    enter, late, accuracy = held_out(found, tokens.sha256, names)
    print(report(late, accuracy, enter))
    phase_switch.save(learn(found, enter, tokens.sha256, names), options.output)
    print(f"wrote {options.output}; name it in control_node's parameter 'phase_model'")
    return 0


if __name__ == "__main__":
    sys.exit(main())
