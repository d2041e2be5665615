"""Which topic of a bag is which of ours: as `--remap ours:=theirs` says, by the role that `record` wrote, or by name, in any namespace."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from rl_token_ros.bags.reader import Topic
from rl_token_ros.interfaces import topics as table


class RemapError(ValueError):
    """A remap that cannot be followed; the message says what to write."""


class Names:
    """Our names -> those of a bag.

    Args:
        topics: what the bag has.
        remaps: ``ours:=theirs``, as on a ROS command line.

    Raises:
        RemapError: not of that form, or the bag has no such topic.
    """

    def __init__(self, topics: dict[str, Topic], remaps: Sequence[str] = ()) -> None:
        self._topics = topics
        self._remaps: dict[str, str] = {}
        for remap in remaps:
            ours, sign, theirs = remap.partition(":=")
            if not sign or not ours or not theirs:
                raise RemapError(f"--remap {remap}: write it as in ROS, ours:=theirs, for example joint_states:=/arm/joint_states")
            theirs = "/" + theirs.lstrip("/")
            if theirs not in topics:
                near = difflib.get_close_matches(theirs, topics, n=1)
                raise RemapError(
                    f"--remap {remap}: the bag has no '{theirs}'" + (f"; did you mean '{near[0]}'?" if near else f"; it has {_some(topics)}")
                )
            self._remaps[ours.lstrip("/")] = theirs

    def find(self, ours: str, type_name: str = "") -> Topic | None:
        """The bag's topic for one of ours; None if it has none of this type, or several in namespaces or with this role."""
        wanted = type_name or table.TYPES.get(ours, "")
        if ours in self._remaps:
            topic = self._topics[self._remaps[ours]]
            if wanted and topic.type != wanted:
                raise RemapError(f"'{topic.name}' is a {topic.type}; '{ours}' is a {wanted}")
            return topic
        found = [topic for topic in self._named(ours) if _fits(topic, wanted)]
        if len(found) > 1 and not found[0].role:
            found = [topic for topic in found if topic.name == "/" + ours]
        return found[0] if len(found) == 1 else None

    def ours(self, topic: Topic) -> str:
        """Which of ours a topic of the bag is; empty: none that is known. What was recorded as a command stays one under any remap."""
        recorded_as = table.row(topic.role)
        if recorded_as is not None and recorded_as.actuates:
            return topic.role
        for ours, theirs in self._remaps.items():
            if theirs == topic.name:
                return ours
        return topic.role or table.our_name(topic.name, topic.type)

    def missing(self, ours: str, type_name: str = "") -> str:
        """A sentence on a topic that was not found, with the remap to write if another of its type is there."""
        wanted = type_name or table.TYPES.get(ours, "")
        taken = set(self._remaps.values())
        same = [topic for topic in self._topics.values() if topic.type == wanted and topic.name not in taken and not self._is_ours(topic)]
        same.sort(key=lambda topic: -difflib.SequenceMatcher(None, topic.name, ours).ratio())
        named = self._named(ours)
        text = f"the bag has no '{ours}' ({wanted})" if wanted else f"the bag has no '{ours}'"
        if len(named) == 1 and wanted:
            text = f"'{named[0].name}' is a {named[0].type}; '{ours}' must be a {wanted}"
        elif len(named) > 1:
            text = f"the bag has '{ours}' more than once"
            same = named
        if same:
            others = f" (or {', '.join(topic.name for topic in same[1:4])})" if len(same) > 1 else ""
            return f"{text}; if '{same[0].name}'{others} is it, write --remap {ours}:={same[0].name}"
        return text

    def _is_ours(self, topic: Topic) -> bool:
        """Whether a topic has its meaning already: it is not offered for another."""
        return bool(topic.role) or topic.name == f"/{table.our_name(topic.name, topic.type)}"

    def _named(self, ours: str) -> list[Topic]:
        """Those recorded as this one; else those of its name in any namespace that were not recorded as another."""
        recorded_as = [topic for topic in self._topics.values() if topic.role == ours]
        return recorded_as or [topic for topic in self._topics.values() if not topic.role and topic.name.endswith("/" + ours)]


def _fits(topic: Topic, wanted: str) -> bool:
    return not wanted or not topic.type or topic.type == wanted


def _some(topics: dict[str, Topic]) -> str:
    names = sorted(topics)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "") if names else "no topics at all"
