"""check: looks at the live graph and says, topic by topic, what a robot's parameter file finds there, before anything moves.

It publishes nothing and calls nothing. What decides (:func:`judge`) knows no ROS; the rest collects.
"""

from __future__ import annotations

import argparse
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rl_token_ros.launching.compositions import parse_remaps
from rl_token_ros.robot.proprioception import RobotState, StateError
from rl_token_ros.settings import node_settings, proprioception_groups
from rl_token_ros.settings.control import Control
from rl_token_ros.settings.files import config_file, resolve_path
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.vla import Vla

OK, WARN, FAIL, INFO = "ok", "warn", "FAIL", "-"
IMAGE_KINDS = {"raw": ("sensor_msgs/msg/Image", "image_raw"), "compressed": ("sensor_msgs/msg/CompressedImage", "image_raw/compressed")}
COMMAND_KINDS = {
    "forward": "std_msgs/msg/Float64MultiArray",
    "trajectory": "trajectory_msgs/msg/JointTrajectory",
    "joint_state": "sensor_msgs/msg/JointState",
    "twist": "geometry_msgs/msg/TwistStamped",
    "pose": "geometry_msgs/msg/PoseStamped",
}
STATE_KINDS = {"joint_states": "sensor_msgs/msg/JointState", "ee_pose": "geometry_msgs/msg/PoseStamped", "wrench": "geometry_msgs/msg/WrenchStamped"}


@dataclass(frozen=True)
class Expected:
    """A topic that the robot's parameter file speaks of.

    ``direction``: "in", something must publish it for us; "out", something must take it from us. ``slowest``: Hz. ``oldest``: s.
    """

    topic: str
    kind: str
    direction: str
    needed: bool = True
    slowest: float = 0.0
    oldest: float = 1.0
    why: str = ""
    reliable: bool = False  # what we ask of a publisher


@dataclass
class Endpoint:
    """A publisher or subscription that somebody has on a topic."""

    node: str
    kind: str
    reliable: bool = True
    latched: bool = False


@dataclass
class Seen:
    """What was found: the others' endpoints, and of the messages heard the count, the time listened and the largest age."""

    publishers: list[Endpoint] = field(default_factory=list)
    subscribers: list[Endpoint] = field(default_factory=list)
    messages: int = 0
    seconds: float = 0.0
    age: float | None = None  # s; None: no stamp
    complaint: str = ""  # about what a message holds

    @property
    def rate(self) -> float:
        """Hz"""
        return self.messages / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    level: str
    topic: str
    text: str


def expectations(control: Control, vla: Vla) -> list[Expected]:
    """The topics that these parameters speak of."""
    kind, suffix = IMAGE_KINDS[vla.image_transport]
    found = [Expected(f"camera/{name}/{suffix}", kind, "in", slowest=1.0, oldest=vla.image_timeout, why="the VLA looks at it") for name in vla.cameras]
    groups = {*control.proprioception, *vla.vla_proprioception, proprioception_groups.measured_group(control.cartesian)}
    if control.workspace_min:
        groups.add("ee_position")
    topics = {proprioception_groups.GROUPS[group] for group in groups} - {None}
    for topic, kind in STATE_KINDS.items():
        if topic in topics:
            found.append(Expected(topic, kind, "in", slowest=control.control_rate, oldest=control.state_timeout, why="proprioception"))
    found.append(Expected("command", COMMAND_KINDS[control.command_interface], "out", why="what moves the arm"))
    if control.gripper_names:
        found.append(Expected("gripper/command", COMMAND_KINDS[control.gripper_interface], "out", why="what moves the gripper"))
    found += [
        Expected("vla/reference", "trajectory_msgs/msg/JointTrajectory", "in", False, oldest=control.chunk_timeout, why="from vla_node"),
        Expected("vla/embedding", "sensor_msgs/msg/Image", "in", False, oldest=control.chunk_timeout, why="from vla_node"),
        Expected("critical_phase", "std_msgs/msg/Bool", "in", False, why="begins episodes; ~/critical_phase does, too", reliable=True),
        Expected("outcome", "std_msgs/msg/Bool", "in", False, why="rewards; ~/success and ~/failure do, too", reliable=True),
        Expected("intervention", "sensor_msgs/msg/JointState", "in", False, why="a human's hand"),
    ]
    return [e for e in found if e.topic != "vla/embedding" or control.token_size]


def judge(expected: Expected, seen: Seen, same_kind: list[str] = ()) -> Finding:
    """What is to be said about a topic.

    Args:
        expected: what the parameters speak of.
        seen: what was found there; ``publishers`` and ``subscribers`` without this package's own nodes.
        same_kind: other topics of the expected type: one of them may be meant.
    """
    others = seen.publishers if expected.direction == "in" else seen.subscribers
    wrong = [end for end in others if end.kind != expected.kind]
    if wrong:
        return Finding(FAIL, expected.topic, f"{wrong[0].node} has it as {wrong[0].kind}; expected {expected.kind}")
    lossy = [end.node for end in others if expected.reliable and not end.reliable]
    if lossy:
        return Finding(FAIL, expected.topic, f"{lossy[0]} publishes it best effort; this node asks for reliable and would hear nothing")
    if expected.direction == "out":
        return _judge_command(expected, seen, same_kind)
    if not others:
        if not expected.needed:
            return Finding(INFO, expected.topic, f"nobody publishes it ({expected.why})")
        return Finding(FAIL, expected.topic, f"nobody publishes it ({expected.why}){_remap(expected, same_kind)}")
    who = ", ".join(end.node for end in others)
    if not seen.messages:
        level = FAIL if expected.needed else INFO
        return Finding(level, expected.topic, f"published by {who}, but nothing came in {seen.seconds:.0f} s")
    text = f"{seen.rate:.1f} Hz"
    if seen.age is not None:
        text += f", at most {1e3 * seen.age:.0f} ms old"
    text += f", {'reliable' if all(end.reliable for end in others) else 'best effort'}, from {who}"
    if seen.complaint:
        return Finding(FAIL, expected.topic, f"{text}: {seen.complaint}")
    if seen.age is not None and not -0.2 < seen.age <= expected.oldest:
        clocks = "; do the clocks agree?" if seen.age < 0 or seen.age > 10 else ""
        return Finding(FAIL, expected.topic, f"{text}; more than {expected.oldest:g} s is too old{clocks}")
    if len(others) > 1 and expected.topic != "joint_states":
        return Finding(WARN, expected.topic, f"{text}: {len(others)} publishers")
    if seen.rate < 0.9 * expected.slowest:
        return Finding(WARN, expected.topic, f"{text}; {expected.slowest:g} Hz would be good")
    return Finding(OK, expected.topic, text)


def _judge_command(expected: Expected, seen: Seen, same_kind: list[str]) -> Finding:
    if seen.publishers:
        names = ", ".join(end.node for end in seen.publishers)
        return Finding(FAIL, expected.topic, f"also published by {names}: stop that, or remap; two masters move no arm")
    if not seen.subscribers:
        return Finding(FAIL, expected.topic, f"nobody takes it ({expected.why}); is the controller active?{_remap(expected, same_kind)}")
    latched = [end.node for end in seen.subscribers if end.latched]
    if latched:
        return Finding(FAIL, expected.topic, f"{latched[0]} wants it transient_local; commands are volatile, so it would hear none")
    return Finding(OK, expected.topic, f"taken by {', '.join(end.node for end in seen.subscribers)} as {expected.kind.rpartition('/')[2]}")


def _remap(expected: Expected, same_kind: list[str]) -> str:
    """Advice, where other topics of that type exist."""
    if not same_kind:
        return f"; there is no {expected.kind} on this graph"
    return "; remap " + " or ".join(f"{expected.topic}:={topic}" for topic in same_kind[:4])


def files(control: Control, vla: Vla) -> list[Finding]:
    """Model files and the policy server."""
    found = []
    if control.token_size:
        path = resolve_path(control.token_encoder)
        try:
            from rl_token_ros.rl_token import encoder

            encoder.load(control)
            found.append(Finding(OK, "token_encoder", str(path)))
        except ParameterError as error:
            found.append(Finding(FAIL, "token_encoder", str(error)))
    else:
        found.append(Finding(INFO, "token_encoder", "token_size is 0: actor and critic see proprioception and reference alone"))
    if vla.backend == "onnx":
        path = resolve_path(vla.vla_model)
        there = path.is_file()
        found.append(Finding(OK if there else FAIL, "vla_model", str(path) if there else f"'{path}' does not exist"))
    else:
        found.append(health(vla.server))
    return found


def health(server: str, timeout: float = 3.0) -> Finding:
    """Whether a policy server answers on /healthz."""
    parts = urlsplit(server)
    url = f"{'https' if parts.scheme == 'wss' else 'http'}://{parts.netloc}/healthz"
    begun = time.monotonic()
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a robot's own network, as vla_node
        with opener.open(url, timeout=timeout):
            return Finding(OK, "server", f"{server} is there; {1e3 * (time.monotonic() - begun):.0f} ms")
    except urllib.error.HTTPError as error:
        return Finding(WARN, "server", f"{server} answers, but {url} with {error.code}; is it a policy server?")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Finding(FAIL, "server", f"{server} does not answer: {reason}")


def report(findings: list[Finding]) -> str:
    """The findings as lines, and a last one that sums them up."""
    width = max(len(finding.topic) for finding in findings)
    lines = [f"{finding.level:>4}  {finding.topic:{width}}  {finding.text}" for finding in findings]
    failed = sum(finding.level == FAIL for finding in findings)
    warned = sum(finding.level == WARN for finding in findings)
    verdict = f"{failed} must be put right" if failed else "the robot can be started"
    return "\n".join([*lines, "", f"{verdict}{f', {warned} to look at' if warned else ''}"])


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, without ROS's own arguments."""
    parser = argparse.ArgumentParser(prog="rl_token check", description=__doc__.partition("\n")[0])
    parser.add_argument("--config", required=True, help="the robot's parameter file: a path, or the name of one in the package's config folder")
    parser.add_argument("--namespace", default="", help="namespace of the robot's nodes")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long to listen (3)")
    parser.add_argument("--remap", action="append", default=[], metavar="FROM:=TO", help="as the nodes will be started with; may be repeated")
    return parser.parse_args(arguments)


def load(config: str) -> tuple[Control, Vla, Path]:
    """Both nodes' parameters.

    Raises:
        ParameterError, FileNotFoundError: the file cannot be used.
    """
    path = config_file(config)
    return node_settings.load("control_node", path), node_settings.load("vla_node", path), path


def main(arguments: list[str] | None = None) -> int:
    """Returns 0 if the robot can be started, 1 if something must be put right, 2 if the file or the command line is bad."""
    options = parse(arguments)
    try:
        control, vla, path = load(options.config)
        remaps = dict(parse_remaps(options.remap))
    except (ParameterError, FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    from rl_token_ros.nodes.graph_inspection import look

    print(f"{path}: it loads for control_node and vla_node; listening for {options.seconds:g} s", flush=True)
    findings = look(expectations(control, vla), control, options.namespace, remaps, options.seconds)
    findings += files(control, vla)
    print(report(findings))
    return int(any(finding.level == FAIL for finding in findings))


def describe_joints(control: Control, message: Any) -> str:
    """What is wrong with a `joint_states`, or nothing."""
    state = RobotState(control.joint_names, [*control.proprioception, "joint_position"])
    try:
        state.update_joints(1, list(message.name), message.position, message.velocity, message.effort)
    except StateError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    sys.exit(main())
