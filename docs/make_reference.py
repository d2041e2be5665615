"""Writes docs/parameters.md and docs/topics.md from the code: parameters from their declarations, topics from the nodes themselves.

    python docs/make_reference.py

A test compares both pages with what this writes, so that they cannot go stale. Meanings of topics are here, since messages have none.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from rl_token_ros.settings import node_settings, parameters
from rl_token_ros.settings.files import config_file

FOLDER = Path(__file__).resolve().parent
GENERATED = "<!-- written by docs/make_reference.py; change the code instead -->\n"

MEANING = {
    "/clock": "simulated time, where it is not the wall's",
    "/diagnostics": "state, rates, ages, percentiles and refusals with their reasons, once a second",
    "actor/weights": "one safetensors blob; sent at once and repeated slowly for late joiners",
    "camera/<name>/image_raw": "one per entry of `cameras`; rgb8, bgr8, rgba8, bgra8, mono8. With `image_transport: compressed` it is "
    "`camera/<name>/image_raw/compressed`, a CompressedImage (JPEG, PNG)",
    "command": "what moves the arm; the type follows `command_interface`: Float64MultiArray, JointTrajectory, JointState, TwistStamped, PoseStamped",
    "control_node/settings": "control_node's `~/settings`",
    "control_node/ticks": "control_node's `~/ticks`: what the screen shows",
    "critical_phase": "True begins an episode, False ends one that has no outcome yet",
    "ee_pose": "pose of the tool in `base_frame`, where `proprioception` or Cartesian actions ask for it",
    "episode_ended": "1 success, 2 failure, 3 time limit, 4 aborted; what resets a scene listens to it",
    "gripper/command": "positions of `gripper_names`; the type follows `gripper_interface`",
    "intervention": "a human's action by action name (and gripper name); acts while it is fresh",
    "joy": "the joystick: `joy_axes`, `joy_buttons`",
    "leader/joint_states": "a leader arm: `leader_names`",
    "twist": "a SpaceMouse, in `base_frame`: `twist_axes`",
    "joint_states": "by name; other joints are ignored, a missing one is an error",
    "outcome": "the task's end: True success, False failure",
    "replay": "one row per control step of the critical phase: a table of typed columns; a bag of it is the data set",
    "task": "the language instruction; `task` is its default",
    "vla/embedding": "32FC1, one row per token, under the observation's stamp; with `token_size: 0` only while somebody subscribes",
    "vla/reference": "H actions from the observation's stamp on; `joint_names` are action_names, then gripper_names",
    "wrench": "force and torque at the tool, where `proprioception` asks for them",
    "~/critical_phase": "as the topic `critical_phase`",
    "~/discard": "end the episode without a verdict",
    "~/enable": "let the arm move, or not; refused with the reasons",
    "~/failure": "end the episode as a failure",
    "~/reset_stop": "clear a latched stop; the arm is disabled then",
    "~/rollback": "return to the previous good weights",
    "~/settings": "the parameters in use as JSON, so that a bag explains itself",
    "~/stop": "hold the measured position, latched",
    "~/success": "end the episode as a success",
    "~/ticks": "one row per tick and call: what was seen by stamp, who acted, what was sent",
}


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
        rows.append(f"| `{name}` | {parameters.TYPES[kind]}{f' [{unit}]' if unit else ''} | {f'`{value}`' if value not in ('', '[]') else ''} | {bounds} | {text} |")
    return [*rows, ""]


def _number(value: float) -> str:
    return "" if math.isinf(value) else f"{value:g}"


def topics_page() -> str:
    """The text of topics.md. Starts the nodes on the simulated robot's parameters, asks them, and ends them."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    lines = [
        GENERATED,
        "# Topics and services\n",
        "All names are relative and can be remapped; `~/` belongs to one node. Quality of service: *reliable* or *best effort* as the node "
        "asks for or offers it, *latched* is transient_local. `check` compares this with a live graph. `record` takes what its parameter `topics` names.\n",
    ]
    for name, ends in _ends().items():
        lines += [f"## {name}\n", "| | name | type | quality | meaning |", "| --- | --- | --- | --- | --- |"]
        for way, topic, kind, quality in sorted(ends, key=lambda end: (ORDER.index(end[0]), end[1])):
            lines.append(f"| {way} | `{topic}` | {kind} | {quality} | {_meaning(topic)} |")
        lines.append("")
    return "\n".join(lines)


ORDER = ("takes", "sends", "serves")
RCLPY = ("/rosout", "/parameter_events")
RCLPY_SERVICES = (
    "describe_parameters", "get_parameter_types", "get_parameters", "list_parameters", "set_parameters", "set_parameters_atomically",
    "get_type_description",
)  # fmt: skip


def _ends() -> dict[str, set[tuple[str, str, str, str]]]:
    """What each node takes, sends and serves: (way, name, type, quality)."""
    import tempfile

    import rclpy
    from rclpy.parameter import Parameter

    from rl_token_ros.nodes.control_node import ControlNode
    from rl_token_ros.nodes.learner_node import LearnerNode
    from rl_token_ros.nodes.operator_node import OperatorNode
    from rl_token_ros.nodes.sim_node import SimNode
    from rl_token_ros.nodes.vla_node import VlaNode

    context = rclpy.Context()
    rclpy.init(context=context)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        extra = {
            "control_node": {"gripper_names": ["finger"], "gripper_min": [0.0], "gripper_max": [1.0], "realtime_priority": 0,
                             "proprioception": ["joint_position", "ee_position", "wrench_force"]},
            "learner_node": {"run_directory": folder},
            "vla_node": {"proprioception": ["ee_position"]},
        }  # fmt: skip
        for name, make in {"vla_node": VlaNode, "control_node": ControlNode, "learner_node": LearnerNode, "sim_node": SimNode, "operator": OperatorNode}.items():
            values = parameters.read_file(config_file("sim"), name) | extra.get(name, {})
            node = make(context=context, parameter_overrides=[Parameter(key, value=value) for key, value in values.items()])
            try:
                found[name] = set(_of(node))
            finally:
                if hasattr(node, "close"):
                    node.close()
                node.destroy_node()
    context.try_shutdown()
    return found


def _meaning(topic: str) -> str:
    if topic not in MEANING:
        raise SystemExit(f"say in MEANING of docs/make_reference.py what '{topic}' is")
    return MEANING[topic]


def _of(node: Any):
    for way, ends in (("takes", node.subscriptions), ("sends", node.publishers)):
        for end in ends:
            if end.topic_name not in RCLPY:
                name = _relative(end.topic_name, node)
                quality = "reliable" if end.qos_profile.reliability.name == "RELIABLE" else "best effort"
                latched = end.qos_profile.durability.name == "TRANSIENT_LOCAL"
                yield way, name, _kind(end.msg_type), quality + (", latched" if latched else "")
    for service in node.services:
        if service.service_name.rpartition("/")[2] not in RCLPY_SERVICES:
            yield "serves", _relative(service.service_name, node), _kind(service.srv_type), ""


def _relative(name: str, node: Any) -> str:
    private = f"{node.get_fully_qualified_name()}/"
    if name.startswith(private):
        return f"~/{name.removeprefix(private)}"
    if name in MEANING:
        return name
    parts = name.strip("/").split("/")
    return "/".join(["camera", "<name>", *parts[2:]] if parts[0] == "camera" else parts)


def _kind(kind: type) -> str:
    return f"{kind.__module__.partition('.')[0]}/{kind.__name__}"


def main() -> None:
    """Write both pages."""
    (FOLDER / "parameters.md").write_text(parameters_page())
    (FOLDER / "topics.md").write_text(topics_page())


if __name__ == "__main__":
    main()
