"""`rl_token clone DEMOS... --output my_vla.onnx`: a small vision policy from demonstrations, for who has no VLA yet.

DEMOS are folders of .npz files, one for each demonstration, with image_<camera> uint8 [T, h, w, 3], proprio [T, P] and action [T, A]; bags of
`record` with pictures, in which a human's hand acted (`operator`); and LeRobot data sets (--lerobot, in LeRobot's own environment). Writes the
file that `backend: onnx` of vla_node takes: pictures of the demonstrations' size and the state -> a chunk of actions, and embeddings for the
token, whose encoder --token writes as well. Says on demonstrations held out, one in ten, how near its actions come. Needs the extra `token`, no
ROS.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import torch

from rl_token_ros.adapters import lerobot_dataset
from rl_token_ros.adapters.lerobot_demonstrations import Demonstrations as LeRobotDemonstrations
from rl_token_ros.adapters.lerobot_demonstrations import Mapping
from rl_token_ros.adapters.lerobot_inputs import parse_factors
from rl_token_ros.bags.message_types import TypeUnknown
from rl_token_ros.bags.reader import BagError
from rl_token_ros.bags.recorded_run import NotARun, RecordedRun
from rl_token_ros.bags.topic_names import RemapError
from rl_token_ros.cloning import npz_files, recorded, token_of_policy
from rl_token_ros.cloning.demonstrations import Demonstrations, NotUsable
from rl_token_ros.cloning.network import VisionPolicy
from rl_token_ros.cloning.policy import Form, difference, export, network
from rl_token_ros.cloning.training import Judgement, Settings, clone, judge
from rl_token_ros.commands import measured_groups
from rl_token_ros.interfaces.replay_table import ReplayError
from rl_token_ros.rl_token.training import choose_device
from rl_token_ros.settings import node_settings
from rl_token_ros.settings.files import config_file
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.vla import Vla

EXIT_BAD_INPUT = 2
LEAST_SIZE = 24  # pixels
FEW = 0.3  # of the samples with a whole chunk
POOR = 0.9  # of the mean action's error, from which on nothing was learned that is worth a word


def main() -> int:
    """0 when a policy was written, 2 for demonstrations of which none can be made."""
    options = _parse()
    try:
        _clone(options)
        return 0
    except (NotUsable, BagError, NotARun, RemapError, ParameterError, ReplayError, TypeUnknown, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="rl_token clone", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demos", type=Path, nargs="*", metavar="DEMOS", help="folders of .npz files, such files, and bags")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the ONNX file to write")
    parser.add_argument("--config", metavar="FILE", help="the robot's parameter file: cameras, actions, state and chunk_dt (default: those of a bag)")
    named = parser.add_argument_group("of .npz files, without --config")
    named.add_argument("--actions", nargs="+", default=[], metavar="NAME", help="of the values of an action, as action_names of the robot's file")
    named.add_argument("--dt", type=float, default=0.0, metavar="S", help="seconds between two actions, as chunk_dt")
    named.add_argument("--action-type", choices=("delta", "absolute"), default="delta", help="as of the robot's file (delta)")
    named.add_argument("--cameras", nargs="+", default=[], metavar="NAME", help="which to use, in this order (all, by name)")
    bags = parser.add_argument_group("bags")
    bags.add_argument("--before", type=float, default=0.0, metavar="S", help="seconds of each episode before its critical phase (0)")
    bags.add_argument("--who", choices=("human", "anybody"), default="human", help="whose actions are learned (human)")
    bags.add_argument("--remap", action="append", default=[], metavar="OURS:=THEIRS", help="topic of ours := topic of the bag; may be repeated")
    lerobot = parser.add_argument_group("LeRobot data sets, with --config, in LeRobot's own environment")
    lerobot.add_argument("--lerobot", action="append", default=[], metavar="PATH_OR_ID", help="data set: folder, or name on the Hub; may be repeated")
    lerobot.add_argument("--camera", action="append", default=[], metavar="CAMERA=FEATURE", help="as base=observation.images.top; may be repeated")
    lerobot.add_argument("--state-groups", nargs="+", default=[], metavar="GROUP", help="of observation.state, in order (default: by its names)")
    lerobot.add_argument("--action-columns", default="", metavar="COLUMNS", help="of the action, as in 0:6,13 (default: by name, else all)")
    lerobot.add_argument("--scale", default="1", metavar="F[,F..]", help="the data set's units per robot's, of joints and actions, as 57.29578 (1)")
    train = parser.add_argument_group("training")
    train.add_argument("--horizon", type=int, default=50, help="H: actions of a chunk (50)")
    train.add_argument("--size", type=int, default=84, help="pixels of a picture's shorter side as the network sees it (84)")
    train.add_argument("--iterations", type=int, default=1500, help="gradient steps (1500)")
    train.add_argument("--batch", type=int, default=96)
    train.add_argument("--rate", type=float, default=1.5e-3, help="learning rate, at most")
    train.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to train (default auto: CUDA where there is one)")
    train.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of the processor (default: as many as it has)")
    train.add_argument("--seed", type=int, default=0)
    encoder = parser.add_argument_group("the token's encoder, from the demonstrations' embeddings (train_token makes one from rollouts, in bags)")
    encoder.add_argument("--token", type=Path, metavar="FILE", help="the encoder to write, too")
    encoder.add_argument("--token-size", type=int, default=48, help="Dz, width of the token (48)")
    encoder.add_argument("--token-steps", type=int, default=500, help="gradient steps (500)")
    options = parser.parse_args()
    _check(parser, options)
    return options


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    measured_groups.check(parser, "--state-groups", options.state_groups)
    if not options.demos and not options.lerobot:
        parser.error("name demonstrations: a folder of .npz files, a bag, or a data set with --lerobot")
    if options.lerobot and not options.config:
        parser.error("--lerobot: name the robot's parameter file with --config; it says which cameras, state and actions are wanted")
    if options.config and (options.actions or options.dt or options.cameras):
        parser.error("--config says cameras, actions and chunk_dt; leave --actions, --dt and --cameras out")
    for name, least in (("horizon", 1), ("size", LEAST_SIZE), ("iterations", 1), ("batch", 1), ("threads", 1), ("token_size", 1), ("token_steps", 1)):
        if getattr(options, name) < least:
            parser.error(f"--{name.replace('_', '-')} must be at least {least}")
    if options.before < 0.0 or options.dt < 0.0 or options.rate <= 0.0:
        parser.error("--before and --dt must not be negative, and --rate must be above 0")


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def _clone(options: argparse.Namespace) -> None:
    device = choose_device(options.device)
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    form, shown = _read(options)
    if (count := len(shown.steps)) < 2:
        raise NotUsable(f"{count or 'no'} demonstration(s) that can be learned from; write at least 2, one of which is held out, better 50")
    shown.close()
    _refuse_short(shown, options.horizon)
    held = shown.held
    views = ", ".join(f"{camera} {_text(given)} seen as {_text(view)}" for camera, given, view in zip(form.cameras, shown.given, shown.views))
    kept_aside = len(set(shown.episode[held].tolist()))
    print(f"{count} demonstrations, {len(shown)} samples, {form.dt * sum(shown.steps):.0f} s; {kept_aside} held out; pictures: {views}")
    model = network(form, shown, ~held, options.horizon)
    if options.token:
        token_of_policy.chosen(model, shown, options.token_size)  # what is refused is refused before training
    settings = Settings(options.iterations, options.batch, options.rate, options.seed, device)
    loss = clone(model, shown, held, settings)
    _tell(form, loss, judge(model, shown, held))
    export(model, form, shown.given, shown.views, options.output)
    apart = difference(options.output, model, shown)
    rows, columns = model.place.shape
    print(
        f"wrote {options.output} ({options.output.stat().st_size / 1e6:.1f} MB; {options.horizon} x {len(form.actions)} actions, embeddings "
        f"{rows} x {columns}; within {apart:.1g} of what was trained)"
    )
    encoder = _token(model, shown, options) if options.token else ""
    state = f", vla_proprioception: [{', '.join(form.groups)}]" if form.groups else ""
    print(
        f"for the robot's file: backend: onnx, vla_model: {options.output}, cameras: [{', '.join(form.cameras)}], action_names: "
        f"[{', '.join(form.actions)}], action_type: {form.action_type}, chunk_dt: {form.dt}{state}{encoder}"
    )


def _token(model: VisionPolicy, shown: Demonstrations, options: argparse.Namespace) -> str:
    """Train and write the encoder; what the robot's file says of it."""
    settings = token_of_policy.Settings(options.token_size, options.token_steps, seed=options.seed)
    made = token_of_policy.train(model, shown, settings, options.output, options.token)
    print(f"wrote {options.token}; held out: {100 * made:.1f} % of the embeddings' variance can be made again from the token alone")
    return f", token_encoder: {options.token}, token_size: {options.token_size}"


def _text(size: tuple[int, int]) -> str:
    """Rows and columns."""
    return f"{size[0]} x {size[1]}"


def _read(options: argparse.Namespace) -> tuple[Form, Demonstrations]:
    config: Vla | None = node_settings.load("vla_node", config_file(options.config)) if options.config else None
    bags = [path for path in options.demos if _is_bag(path)]
    files = [file for path in options.demos if path not in bags for file in npz_files.find(path)]
    runs = [RecordedRun(path, config, (), options.remap) for path in bags]
    form = _form(options, config, runs, files)
    shown = Demonstrations(options.output.parent, form.cameras, options.size)
    for run in runs:
        form.refuse_other(Form.of(run.control, run.vla.cameras, run.state), str(run.bag.path))
        recorded.read_bag(run, shown, options.before, options.who == "anybody", _note)
    if files:
        npz_files.read(files, form, shown, _note)
    for name in options.lerobot:
        assert config is not None
        _read_lerobot(options, config, form, name, shown)
    return form, shown


def _is_bag(path: Path) -> bool:
    return path.suffix in (".mcap", ".db3") or (path.is_dir() and any(any(path.glob(kind)) for kind in ("metadata.yaml", "*.mcap", "*.db3")))


def _form(options: argparse.Namespace, config: Vla | None, runs: list[RecordedRun], files: list[Path]) -> Form:
    if config is not None:
        return Form.of(config, config.cameras, config.vla_proprioception)
    if runs:
        return Form.of(runs[0].control, runs[0].vla.cameras, runs[0].state)
    if not options.actions or not options.dt:
        raise NotUsable(
            f"'{files[0]}' does not say what its actions are called and how far they are apart; name the robot's parameter file with --config, or "
            "write --actions x y z --dt 0.02, or the like"
        )
    cameras = options.cameras or sorted(npz_files.Episode(files[0]).cameras)
    return Form(tuple(cameras), tuple(options.actions), options.action_type, options.dt)


def _read_lerobot(options: argparse.Namespace, config: Vla, form: Form, name: str, shown: Demonstrations) -> None:
    if config.gripper_names:
        raise NotUsable("--lerobot: 'gripper_names' of the robot's file are no columns of its actions here; make the gripper one of 'action_names'")
    dataset = lerobot_dataset.load(name)
    if abs(dataset.rate * form.dt - 1.0) > 0.01:
        raise NotUsable(
            f"the data set '{name}' has {dataset.rate:g} frames per second, 'chunk_dt' of the robot is {form.dt:g}; write {1 / dataset.rate:.4g}"
        )
    mapping = Mapping(options.state_groups, options.camera, options.action_columns, parse_factors(options.scale, "data set"))
    found = LeRobotDemonstrations(dataset, config, [], config.vla_proprioception, config.cameras, mapping)
    for note in found.notes:
        _note(note)
    recorded.read_lerobot(found, form, shown, name, _note)


def _refuse_short(shown: Demonstrations, horizon: int) -> None:
    if (longest := int(shown.ahead.max())) < horizon:
        raise NotUsable(f"at most {longest} actions are shown one after the other, a chunk has {horizon}; write --horizon {max(longest // 2, 1)}")
    if (whole := float((shown.ahead >= horizon).mean())) < FEW:
        share = f"{100 * whole:.0f} % of the samples show a whole chunk of {horizon} actions"
        _note(f"only {share}: its end is hardly learned; write a smaller --horizon")


def _tell(form: Form, loss: float, judged: Judgement) -> None:
    print(f"loss {loss:.4f}, on demonstrations held out {judged.loss:.4f}")
    ratio = judged.error / np.maximum(judged.mean_error, 1e-12)
    print("held out: error of an action (RMS), and as a share of that of the mean action")
    for name, error, share in zip(form.actions, judged.error, ratio):
        print(f"  {name:<20}{error:10.3g}{share:8.2f}")
    if (poor := float(np.median(ratio))) > POOR:
        _note(f"the policy is hardly better than the mean action ({poor:.2f} of its error); record more demonstrations, or write more --iterations")


if __name__ == "__main__":
    sys.exit(main())
