"""Where `train_token` takes embeddings from: bags that hold them, and a VLA that is asked about the pictures of bags and of LeRobot data sets."""

from __future__ import annotations

import argparse
import contextlib
import functools
from collections.abc import Callable
from pathlib import Path

from rl_token_ros.adapters import lerobot_dataset, lerobot_questions, lerobot_token
from rl_token_ros.adapters.lerobot_inputs import parse_factors
from rl_token_ros.bags import asked_observations, token_observations
from rl_token_ros.bags.reader import Bag, open_bag
from rl_token_ros.bags.topic_names import Names
from rl_token_ros.commands import measured_groups
from rl_token_ros.rl_token.dataset import Observations
from rl_token_ros.settings import node_settings
from rl_token_ros.settings.files import config_file
from rl_token_ros.settings.proprioception_groups import vocabulary
from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla.make_backend import make_backend
from rl_token_ros.vla.patient import PatientVla, for_asking

QUERY_RATE = 10.0  # Hz, where no parameter file says it


def add_options(parser: argparse.ArgumentParser) -> None:
    """What is read, and whom to ask about pictures."""
    parser.add_argument("bags", type=Path, nargs="*", help="rosbag2 folders or files; the base alone should act in most")
    parser.add_argument(
        "--probe",
        nargs="+",
        metavar="GROUP",
        help=f"measurements to read from the token (default: those of 'proprioception'): {vocabulary(measured=True)}",
    )
    parser.add_argument("--remap", action="append", default=[], metavar="OURS:=THEIRS", help="topic of ours := topic of the bag; may be repeated")
    ask = parser.add_argument_group("a VLA that is asked about pictures: of bags (with --config), and of LeRobot data sets")
    ask.add_argument("--config", metavar="FILE", help="the robot's parameter file: cameras, state and names as vla_node sends them, and its VLA")
    ask.add_argument("--server", default="", metavar="ADDRESS", help="ask this policy server, ws://HOST:PORT, not the VLA of --config")
    ask.add_argument("--query-rate", type=float, default=0.0, metavar="HZ", help=f"observations per second (of --config, or {QUERY_RATE:g})")
    ask.add_argument("--patience", type=float, default=600.0, metavar="S", help="for which a server that went away is waited for (600)")
    lerobot = parser.add_argument_group("LeRobot data sets, in LeRobot's own environment")
    lerobot.add_argument("--lerobot", action="append", default=[], metavar="PATH_OR_ID", help="data set: folder, or name on the Hub; may be repeated")
    lerobot.add_argument("--camera", action="append", default=[], metavar="CAMERA=FEATURE", help="as base=observation.images.top; none=..: not sent")
    lerobot.add_argument("--state", default="", metavar="COLUMNS", help="of observation.state, as in 0:6,13 (all)")
    lerobot.add_argument("--scale", default="", metavar="F[,F..]", help="the data set's units per robot's, of the state (the server's, or 1)")
    lerobot.add_argument("--task", default="", help="instruction in place of the data set's")
    lerobot.add_argument(
        "--outcome", choices=("success", "unknown"), default="success", help="of episodes of which the data set says nothing (success)"
    )


def check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Refuse what no data can be read with."""
    measured_groups.check(parser, "--probe", options.probe or [])
    if not options.bags and not options.lerobot:
        parser.error("name bags, or a data set with --lerobot")
    if options.lerobot and not (options.server or options.config):
        parser.error("--lerobot: name the VLA that is asked about its pictures: --server ws://HOST:PORT, as of vla_server, or --config FILE")
    if options.bags and options.server and not options.config:
        parser.error(
            "--server: to ask about a bag's pictures name the robot's parameter file, too (--config FILE): it says which cameras and which state"
        )


def read(options: argparse.Namespace, cache: Path, note: Callable[[str], None]) -> Observations:
    """All of it, one source after the other.

    Raises:
        ValueError, BackendError, OSError: of many kinds; the message says what to do.
    """
    with contextlib.ExitStack() as until_read:
        sources = _Sources(options, cache, note, until_read)
        whole = Observations()
        for path in options.bags:
            whole.append(sources.bag(open_bag(path)), str(path))
        for name in options.lerobot:
            whole.append(sources.dataset(name), name)
        if lost := sum(vla.lost for vla in sources.vlas):
            note(f"the VLA was lost {lost} times, and came back")
    return whole


class _Sources:
    """Reads them; asks a VLA where they have no embeddings, and connects to it when the first is needed."""

    def __init__(self, options: argparse.Namespace, cache: Path, note: Callable[[str], None], until_read: contextlib.ExitStack) -> None:
        self._options, self._cache, self._note, self._until_read = options, cache, note, until_read
        self.vlas: list[PatientVla] = []  # that were asked
        self._settings: Vla | None = None
        if options.config:
            changes = {"query_rate": options.query_rate} if options.query_rate else {}
            self._settings = for_asking(node_settings.load("vla_node", config_file(options.config), **changes), options.server)

    @functools.cached_property
    def _vla(self) -> PatientVla:
        """Of the parameter file."""
        assert self._settings is not None
        return self._connect(self._settings)

    def _connect(self, settings: Vla) -> PatientVla:
        backend = make_backend(settings)
        self._until_read.callback(backend.close)
        vla = PatientVla(backend, self._options.patience, self._note)
        self.vlas.append(vla)
        if not vla.vla_sha256:
            self._note("the VLA does not say its fingerprint (vla_sha256): that it stays the same one is not checked")
        return vla

    def bag(self, bag: Bag) -> Observations:
        """Of pictures where a VLA was named and there are some, else of the embeddings in the bag."""
        groups, remaps = self._options.probe or [], self._options.remap
        if self._settings is not None:
            pictures = asked_observations.has_pictures(bag, self._settings, remaps)
            if pictures or Names(bag.topics, remaps).find("vla/embedding") is None:
                return asked_observations.asked(bag, groups, self._cache, remaps, self._settings, lambda: self._vla, self._note)
            self._note(f"'{bag.path}' has no pictures to ask the VLA about; its own embeddings are taken")
        return token_observations.copied(bag, groups, self._cache, remaps, self._note)

    def dataset(self, name: str) -> Observations:
        """Of a LeRobot data set. Without a parameter file the server's metadata say what it takes."""
        options, dataset = self._options, lerobot_dataset.load(name)
        if self._settings is not None:
            settings, vla = self._settings, self._vla
        else:
            with contextlib.closing(make_backend(lerobot_questions.settings_for(dataset, options.server))) as greeter:
                cameras = lerobot_questions.cameras_of(greeter.describe(), dataset, options.camera)
            settings = for_asking(lerobot_questions.settings_for(dataset, options.server, cameras, options.state))
            vla = self._connect(settings)
        scale = parse_factors(options.scale) if options.scale else vla.about.get("scale") or [1.0]
        questions = lerobot_questions.Questions(dataset, settings, options.camera, options.state, scale, options.task)
        print(questions.table(), flush=True)
        rate = options.query_rate or (settings.query_rate if options.config else QUERY_RATE)
        return lerobot_token.read(dataset, questions, rate, options.outcome == "success", self._cache, vla, self._note)
