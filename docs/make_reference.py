"""Writes docs/parameters.md, docs/topics.md and config/sros2 from the code: parameters from their declarations, topics from their table.

    python docs/make_reference.py

Tests compare the files with what this writes, and the table with what the nodes have, so that they cannot go stale.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from rl_token_ros.interfaces import topics
from rl_token_ros.interfaces.topics import Qos, Topic
from rl_token_ros.settings import node_settings, parameters

FOLDER = Path(__file__).resolve().parent
POLICIES = FOLDER.parent / "config" / "sros2"
GENERATED = "<!-- written by docs/make_reference.py; change the code instead -->\n"

# Nodes in the order of the page, and what stands at the head of each one's policy.
NODES = {
    "vla_node": "It speaks for the VLA, and may not command. Write your cameras in place of base and wrist.",
    "control_node": "It alone may command.",
    "learner_node": "It is on the network: it may neither command nor speak for the VLA.",
    "sim_node": "It stands for the arm and its cameras. Write your cameras in place of base and wrist.",
    "gym_node": "It stands for the robot and its cameras. Write your cameras in place of base and wrist.",
    "operator": "Also what a person calls from a shell.",
    "record": "It hears everything, and says nothing but how it goes.",
}
CAMERAS = ("base", "wrist")  # in the policies
OF_RCLPY = ("/rosout", "/parameter_events")  # every node publishes these
PARAMETER_SERVICES = (
    "describe_parameters", "get_parameter_types", "get_parameters", "list_parameters", "set_parameters", "set_parameters_atomically",
    "get_type_description",
)  # fmt: skip
SHELL_SERVICES = ("set_parameters", "get_parameters", "list_parameters", "describe_parameters", "get_parameter_types")  # `ros2 param` asks for these


def parameters_page() -> str:
    """The text of parameters.md."""
    lines = [
        GENERATED,
        "# Parameters\n",
        "Of every node, as `ros2 param describe` shows them. A parameter file is a ROS parameter file; what all nodes of a robot share stands "
        "under `/**`. A bad or misspelt value is refused with a sentence that says what to write. *live*: may be changed while the node "
        "runs; all others are read at its start.\n",
    ]
    shared = parameters.fields(node_settings.Robot)
    lines += ["## Shared by the nodes of a robot\n", *_table(shared)]
    for node, group in node_settings.NODES.items():
        own = parameters.fields(group)
        if issubclass(group, node_settings.Robot):
            own = {name: field for name, field in own.items() if name not in shared}
        lines += [f"## {node}\n", *_table(own)]
    return "\n".join(lines)


def _table(fields: dict[str, tuple[Any, Any, dict]]) -> list[str]:
    rows = ["| parameter | type | default | range | meaning |", "| --- | --- | --- | --- | --- |"]
    for name, (kind, default, metadata) in fields.items():
        low, high, unit = metadata["low"], metadata["high"], metadata["unit"]
        bounds = ", ".join(f"`{choice}`" if choice else "empty" for choice in metadata["choices"])
        if math.isfinite(low) or math.isfinite(high):
            bounds = f"{_number(low)} to {_number(high)}"
        value = str(default).lower() if isinstance(default, bool) else _number(default) if isinstance(default, float) else str(default)
        text = metadata["description"].replace("|", "\\|") + (" *live*" if metadata["live"] else "")
        rows.append(
            f"| `{name}` | {parameters.TYPES[kind]}{f' [{unit}]' if unit else ''} | {f'`{value}`' if value not in ('', '[]') else ''} | "
            f"{bounds} | {text} |"
        )
    return [*rows, ""]


def _number(value: float) -> str:
    return "" if math.isinf(value) else f"{value:g}"


def topics_page() -> str:
    """The text of topics.md."""
    lines = [
        GENERATED,
        "# Topics, actions and services\n",
        "All names are relative and can be remapped; `~/` belongs to one node. Quality of service: *reliable* or *best effort* as the node "
        "asks for or offers it, *latched* is transient_local. `check` compares this with a live graph.\n",
        "**moves**: hardware that listens moves. **played**: `replay_bag --play` publishes it unasked, as what moves no hardware by itself; "
        "anything else in a bag only when asked to. **recorded**: `record` takes it unasked.\n",
        "| topic | moves | played | recorded |",
        "| --- | --- | --- | --- |",
        *(f"| `{_shown(topic.name)}` | {_yes(topic.actuates)} | {_yes(topic.played)} | {_yes(topic.recorded)} |" for topic in topics.TABLE),
        *(f"| `{action.name}`, the action | yes |  |  |" for action in topics.ACTIONS),
        "",
    ]
    for node in NODES:
        lines += [f"## {node}\n", "| | name | type | quality | meaning |", "| --- | --- | --- | --- | --- |"]
        for topic in sorted(topics.TABLE, key=lambda topic: topic.name):
            if node in topic.subscribers:
                lines.append(_line("takes", topic.name, topic, topic.asked))
        if node == "record":
            lines.append("| takes | everything that its parameter `topics` names |  | as it is offered |  |")
        for topic in sorted(topics.TABLE, key=lambda topic: topic.own_name):
            if node in topic.publishers:
                lines.append(_line("sends", topic.own_name, topic, topic.offered))
        for action in topics.ACTIONS:
            if node in action.clients:
                kinds = ", ".join(_kind(kind) for kind in action.types.values())
                lines.append(f"| sends goals | `{action.name}` | {kinds} |  | {action.meaning} |")
        if node == "control_node":
            for service in sorted(topics.SERVICES, key=lambda service: service.name):
                lines.append(f"| serves | `~/{service.name}` | {_kind(service.type)} |  | {service.meaning} |")
        lines.append("")
    return "\n".join(lines)


def _line(way: str, name: str, topic: Topic, qos: Qos) -> str:
    quality = qos.reliability.replace("_", " ") + (", latched" if qos.durability == "transient_local" else "")
    kind = _kind(topic.type) if topic.type else "by parameter"
    return f"| {way} | `{_shown(name)}` | {kind} | {quality} | {topic.meaning} |"


def _shown(name: str) -> str:
    return name.replace("{camera}", "<name>")


def _yes(value: bool) -> str:
    return "yes" if value else ""


def _kind(kind: str) -> str:
    package, _, name = kind.split("/")
    return f"{package}/{name}"


def policy(node: str) -> str:
    """The text of a node's policy for SROS 2."""
    roles = {node, topics.SHELL} if node == "operator" else {node}
    sent = [name for topic in topics.TABLE if roles & {*topic.publishers} for name in _granted(topic.own_name if node == topic.owner else topic.name)]
    heard = [name for topic in topics.TABLE if roles & {*topic.subscribers} for name in _granted(topic.name)]
    heard = ["*"] if node == "record" else [*heard, *(["/clock"] if "/clock" not in sent else []), "/parameter_events"]
    called = [action.name for action in topics.ACTIONS if node in action.clients]
    asked = [f"/control_node/{name}" for name in (*(service.name for service in topics.SERVICES), *SHELL_SERVICES)] if node == "operator" else []
    served = [f"~/{name}" for name in (*(service.name for service in topics.SERVICES if node == "control_node"), *PARAMETER_SERVICES)]
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        "<!-- written by docs/make_reference.py; change the table of topics instead -->",
        f"<!-- SROS 2: what {node} may say and hear, and nothing else. {NODES[node]} docs/security.md has the commands. -->",
        '<policy version="0.2.0">',
        "  <enclaves>",
        f'    <enclave path="/rl_token/{node}">',
        "      <profiles>",
        f'        <profile ns="/" node="{node}">',
        *_rules("topic", "publish", [*sent, *OF_RCLPY]),
        *_rules("topic", "subscribe", heard),
        *_rules("service", "request", asked),
        *_rules("service", "reply", served),
        *_rules("action", "call", called),
        "        </profile>",
        "      </profiles>",
        "    </enclave>",
        "  </enclaves>",
        "</policy>",
    ]
    return "\n".join(lines) + "\n"


def _granted(name: str) -> list[str]:
    return [name.format(camera=camera) for camera in CAMERAS] if "{camera}" in name else [name]


def _rules(kind: str, way: str, names: list[str]) -> list[str]:
    if not names:
        return []
    rules = [f"            <{kind}>{name}</{kind}>" for name in names]
    return [f'          <{kind}s {way}="ALLOW">', *rules, f"          </{kind}s>"]


def main() -> None:
    """Write the pages and the policies."""
    (FOLDER / "parameters.md").write_text(parameters_page())
    (FOLDER / "topics.md").write_text(topics_page())
    for node in NODES:
        (POLICIES / f"{node}.xml").write_text(policy(node))


if __name__ == "__main__":
    main()
