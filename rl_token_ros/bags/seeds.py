"""Rows of `replay` out of old bags, for a learner that is to begin with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rl_token_ros.bags import message_types
from rl_token_ros.bags.reader import BagError, open_bag
from rl_token_ros.bags.run_settings import read_settings
from rl_token_ros.bags.topic_names import Names
from rl_token_ros.interfaces import replay_table
from rl_token_ros.interfaces.topics import SETTINGS
from rl_token_ros.policy.actor_weights import Identity
from rl_token_ros.settings.learner import Learner
from rl_token_ros.settings.parameters import ParameterError

SAME = ("action_names", "action_type", "proprioception", "control_rate", "chunk_length", "token_size", "residual_scale")


class Seed:
    """The rows of one bag, checked as live ones are.

    Args:
        path: the bag.
        settings: parameters of `learner_node`.
        dtype: columns of the rows.
        identity: what the learner's weights are made for; a bag that holds its parameters must have been recorded with the same.

    Attributes:
        steps: rows given so far.
        problems: sentences on what could not be read.

    Raises:
        ParameterError: no bag, no `replay` in it, or one of another robot, VLA or encoder.
    """

    def __init__(self, path: str, settings: Learner, dtype: np.dtype, identity: Identity) -> None:
        self.path, self.steps = path, 0
        self.problems: list[str] = []
        self._dtype = dtype
        try:
            self._bag = open_bag(Path(path).expanduser())
        except BagError as error:
            raise self._refusal(error) from None
        names = Names(self._bag.topics)
        topic = names.find("replay")
        if topic is None:
            raise self._refusal(names.missing("replay"))
        self._topic = topic
        if (told := names.find(SETTINGS)) is not None:
            decode = message_types.decoder(told.type, told.definition, told.encoding)
            for record in self._bag.read({told.name}):
                try:
                    said = read_settings(decode(record.data))
                except ValueError:
                    continue  # damaged; the next one may be whole
                self._refuse_other(said, settings, identity)
                break

    def _refusal(self, why: object) -> ParameterError:
        return ParameterError(f"parameter 'seed_bags': '{self.path}': {why}")

    def _refuse_other(self, told: dict, settings: Learner, identity: Identity) -> None:
        for name in SAME:
            theirs, mine = told["parameters"].get(name), getattr(settings, name)
            if theirs is not None and theirs != mine:
                raise self._refusal(f"it was recorded with {name} {theirs}, this learner has {mine}; leave the bag out")
        for name in ("encoder_sha256", "vla_sha256"):
            theirs, mine = told.get(name, ""), getattr(identity, name)
            if theirs and mine and theirs != mine:
                what = name.split("_")[0]
                raise self._refusal(
                    f"it was recorded with another {what} (SHA-256 {theirs[:12]}..., this learner's is {mine[:12]}...); leave the bag out"
                )

    def __iter__(self) -> Iterator[tuple[np.ndarray, bytes]]:
        """Rows [n] with the message, CDR, that held them.

        Raises:
            ParameterError: the rows have other columns.
        """
        decode = message_types.decoder(self._topic.type, self._topic.definition, self._topic.encoding)
        damaged = 0
        for record in self._bag.read({self._topic.name}):
            try:
                rows = replay_table.decode(decode(record.data), self._dtype)
            except message_types.NotDecoded:
                damaged += 1
                continue
            except replay_table.ReplayError as error:
                raise self._refusal(error) from None
            self.steps += len(rows)
            yield rows, record.data
        self.problems = self._bag.problems + [f"{damaged} messages of 'replay' cannot be decoded and are left out"] * bool(damaged)
