"""What `train_phase` reads from bags: the samples of `control.phase_training`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rl_token_ros.bags import message_types
from rl_token_ros.bags.bag_progress import BagProgress
from rl_token_ros.bags.reader import open_bag
from rl_token_ros.bags.topic_names import Names
from rl_token_ros.control.phase_switch import features, groups
from rl_token_ros.control.phase_training import SECOND, Samples
from rl_token_ros.control.tick_record import Event
from rl_token_ros.interfaces import measurements, replay_table
from rl_token_ros.interfaces.stamps import stamp_to_ns
from rl_token_ros.interfaces.topics import TICKS
from rl_token_ros.rl_token.dataset import NothingToLearn
from rl_token_ros.rl_token.encoder import EncoderElsewhere, NoEncoder, TokenEncoder, token_of
from rl_token_ros.robot.proprioception import RobotState
from rl_token_ros.robot.readings import StateError
from rl_token_ros.settings.control import Control

COLUMNS = np.dtype([("event", "u1"), ("stamp_sec", "<i4"), ("stamp_nanosec", "<u4"), ("enabled", "u1"), ("critical", "u1")])  # of `~/ticks`


def read(path: Path, control: Control, encoder: TokenEncoder | EncoderElsewhere | NoEncoder, remaps: list[str]) -> Samples:
    """What a bag holds.

    Args:
        remaps: ``ours:=theirs``.

    Raises:
        BagError, RemapError, TypeUnknown, ReplayError, NothingToLearn: it cannot be used.
    """
    bag = open_bag(path)
    names = Names(bag.topics, remaps)
    state = RobotState(control.joint_names, groups(control))
    wanted = ["vla/embedding" if control.token_size else "vla/reference", TICKS, *measurements.topics(groups(control))]
    topics = {name: topic for name in wanted if (topic := names.find(name)) is not None}
    absent = [names.missing(name) for name in wanted if name not in topics]
    if absent:
        raise NothingToLearn(f"{path}: {'; '.join(absent)}")
    ours = {topic.name: name for name, topic in topics.items()}
    decode = {name: message_types.decoder(topic.type, topic.definition, topic.encoding) for name, topic in topics.items()}
    found, progress = Samples(), BagProgress(bag, str(path))
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
                token = token_of(message, encoder, control.token_size) if control.token_size else np.zeros(0, np.float32)
                found.stamps.append(stamp)
                found.values.append(features(token, state, control))
        progress()
    progress.done()
    return found
