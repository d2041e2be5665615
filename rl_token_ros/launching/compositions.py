"""Which nodes make up a simulation, a robot and a learner, and how each is started. `ros_launch.py` and `runner.py` both read this."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rl_token_ros.settings.files import PACKAGE, config_file

# Nodes in the order in which they are started: control_node comes last, and thus ends first when they are stopped in reverse,
# so that its last command finds the arm and its last replay rows find the learner.
COMPOSITIONS = {
    "sim": ("sim_node", "learner_node", "vla_node", "control_node"),
    "gym": ("gym_node", "learner_node", "vla_node", "control_node"),
    "robot": ("vla_node", "control_node"),
    "learner": ("learner_node",),
}


@dataclass(frozen=True)
class NodeProcess:
    """One node in a process of its own.

    ``use_sim_time`` None and ``log_level`` "" leave the parameter file's or ROS's own choice.
    """

    executable: str
    parameter_files: tuple[Path, ...] = ()
    namespace: str = ""
    use_sim_time: bool | None = None
    log_level: str = ""
    remappings: tuple[tuple[str, str], ...] = ()

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters given beside the files."""
        return {} if self.use_sim_time is None else {"use_sim_time": self.use_sim_time}

    def with_parameters(self, values: dict[str, Any], folder: Path) -> NodeProcess:
        """The same node with parameters that win over its files': one more file, written into ``folder``.

        A file, because ROS lets a file's section for one node win over `-p name:=value` on the command line.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.executable}.yaml"
        path.write_text(json.dumps({f"/**/{self.executable}": {"ros__parameters": values}}, indent=2))  # JSON is YAML
        return replace(self, parameter_files=(*self.parameter_files, path))

    @property
    def ros_namespace(self) -> str:
        """The namespace as ROS wants it: absolute, or empty."""
        return f"/{self.namespace.strip('/')}" if self.namespace.strip("/") else ""

    def command(self) -> list[str]:
        """The command line that starts the node in this Python."""
        arguments = []
        for path in self.parameter_files:
            arguments += ["--params-file", str(path)]
        for name, value in self.parameters.items():
            arguments += ["-p", f"{name}:={json.dumps(value)}"]  # JSON is YAML, which ROS reads here
        if self.ros_namespace:
            arguments += ["-r", f"__ns:={self.ros_namespace}"]
        for old, new in self.remappings:
            arguments += ["-r", f"{old}:={new}"]
        if self.log_level:
            arguments += ["--log-level", self.log_level]
        return [sys.executable, "-m", f"{PACKAGE}.cli", self.executable, *(["--ros-args", *arguments] if arguments else [])]


def compose(composition: str, config: str | Path, **common: Any) -> list[NodeProcess]:
    """The nodes of a composition, all with the same parameter file.

    Args:
        composition: a key of COMPOSITIONS.
        config: name or path of a parameter file, see :func:`config_file`.
        common: further fields of :class:`NodeProcess`, the same for every node.

    Raises:
        FileNotFoundError: there is no such parameter file.
    """
    path = config_file(config)
    return [NodeProcess(executable, (path,), **common) for executable in COMPOSITIONS[composition]]


def recorded(processes: list[NodeProcess], bag: str, folder: Path) -> list[NodeProcess]:
    """The same nodes and `record`, which writes what they say into a bag: first to start, last to end.

    Its other parameters may be in the robot's file, too; the file with the bag's name is written into ``folder``.
    """
    return [replace(processes[0], executable="record").with_parameters({"bag": bag}, folder), *processes]


def parse_remaps(texts: list[str]) -> tuple[tuple[str, str], ...]:
    """Remappings from ``FROM:=TO`` texts, as `NodeProcess` takes them.

    Raises:
        ValueError: a text that is none.
    """
    pairs = []
    for text in texts:
        old, arrow, new = text.partition(":=")
        if not (arrow and old and new):
            raise ValueError(f"remapping '{text}' is none; write FROM:=TO, as in command:=/my_controller/commands")
        pairs.append((old, new))
    return tuple(pairs)
