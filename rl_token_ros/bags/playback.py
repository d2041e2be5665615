"""What `replay_bag --play` publishes: topics that are known as inputs of our nodes, and no other unless asked, for an arm could listen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rl_token_ros.bags.reader import Topic
from rl_token_ros.bags.topic_names import Names
from rl_token_ros.interfaces.topics import COMMAND_TYPES, row


class PlaybackError(ValueError):
    """What cannot be played; the message says what to write."""


class Selection(NamedTuple):
    """What is published, and a sentence for each topic that is left out or may move an arm."""

    topics: list[Topic]
    left_out: list[str]
    warnings: list[str]


def select(topics: dict[str, Topic], names: Names, commands: bool = False, also: Sequence[str] = ()) -> Selection:
    """Which topics of a bag are published.

    Args:
        topics: what the bag has.
        names: says which of ours they are.
        commands: publish commands, too, and what may be one under another name.
        also: names of further topics.

    Raises:
        PlaybackError: the bag has no topic of a name in ``also``.
    """
    also = ["/" + name.lstrip("/") for name in also]
    for name in also:
        if name not in topics:
            raise PlaybackError(f"--also {name}: the bag has no such topic; it has {', '.join(sorted(topics))}")
    found = Selection([], [], [])
    for topic in topics.values():
        ours = names.ours(topic)
        known = row(ours)
        if known is not None and topic.type not in known.all_types:
            known = None
        if known is not None and known.played:
            found.topics.append(topic)
            continue
        if known is not None and known.actuates:
            may_command, why = True, f"it is '{ours}', and an arm that listens would move"
        elif known is not None:
            may_command, why = False, f"it may be '{ours}', and what listens may move"
        elif topic.type in COMMAND_TYPES.values():
            may_command, why = True, f"nothing says what it is, and a {topic.type} may be a command"
        else:
            may_command, why = False, f"nothing says what it is, a {topic.type}"
        if topic.name in also or (commands and may_command):
            found.topics.append(topic)
            found.warnings.append(f"'{topic.name}' is published: an arm that listens to it will move")
        else:
            how = "--commands publishes it" if may_command else f"--also {topic.name} publishes it"
            if known is None:
                how += f"; if it is a topic of ours under another name, write --remap OURS:={topic.name}"
            found.left_out.append(f"'{topic.name}' is left out: {why}; {how}")
    return found
