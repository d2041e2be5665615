"""What a robot's parameter file expects of the topics of a live graph, and what is to be said about what was found there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rl_token_ros.interfaces import measurements
from rl_token_ros.interfaces.topics import BY_NAME, CAMERA, GRIPPER_ACTIONS
from rl_token_ros.settings import proprioception_groups
from rl_token_ros.settings.control import Control
from rl_token_ros.settings.vla import Vla

OK, WARN, FAIL, INFO = "ok", "warn", "FAIL", "-"


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
    complaint: str = ""  # about what the messages hold, for which the arm cannot be enabled
    remark: str = ""  # likewise, with which it can

    def aged(self, age: float) -> None:
        """A message was this old, s; what is kept is farthest from now, either way."""
        self.age = age if self.age is None else max(age, self.age, key=abs)

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
    camera = BY_NAME[CAMERA[vla.image_transport]]
    found = [
        Expected(camera.name.format(camera=name), camera.type, "in", slowest=1.0, oldest=vla.image_timeout, why="the VLA looks at it")
        for name in vla.cameras
    ]
    for topic in measurements.topics(needed_groups(control, vla)):
        if topic == "ee_pose" and control.ee_pose_source != "topic":
            continue  # from control_node: see judge_pose
        found.append(_expected(topic, slowest=control.control_rate, oldest=control.state_timeout, why="proprioception"))
    found.append(_expected("command", "out", control.command_interface, why="what moves the arm"))
    if control.gripper_names and not control.grips_by_action:  # of actions: see judge_action
        found.append(_expected("gripper/command", "out", control.gripper_interface, why="what moves the gripper"))
    found.append(_expected("vla/reference", needed=False, oldest=control.chunk_timeout, why="from vla_node"))
    if control.token_size:
        found.append(_expected("vla/embedding", needed=False, oldest=control.chunk_timeout, why="from vla_node"))
    return [
        *found,
        _expected("critical_phase", needed=False, why="begins episodes; ~/critical_phase does, too"),
        _expected("outcome", needed=False, why="rewards; ~/success and ~/failure do, too"),
        _expected("intervention", needed=False, why="a human's hand"),
    ]


def needed_groups(control: Control, vla: Vla) -> list[str]:
    """Groups of proprioception that these parameters need measured."""
    groups = [*control.proprioception, *vla.measured_groups, proprioception_groups.measured_group(control.cartesian)]
    return list(dict.fromkeys([*groups, *(["ee_position"] if control.workspace_min else [])]))


def _expected(name: str, direction: str = "in", interface: str = "", **more: Any) -> Expected:
    """With type and quality of its row."""
    topic = BY_NAME[name]
    reliable = direction == "in" and topic.asked.reliability == "reliable"
    return Expected(name, topic.type_for(interface), direction, reliable=reliable, **more)


def judge(expected: Expected, seen: Seen, same_kind: Sequence[str] = ()) -> Finding:
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
    if seen.remark:
        return Finding(WARN, expected.topic, f"{text}: {seen.remark}")
    if len(others) > 1 and expected.topic != "joint_states":
        return Finding(WARN, expected.topic, f"{text}: {len(others)} publishers")
    if seen.rate < 0.9 * expected.slowest:
        return Finding(WARN, expected.topic, f"{text}; {expected.slowest:g} Hz would be good")
    return Finding(OK, expected.topic, text)


def _judge_command(expected: Expected, seen: Seen, same_kind: Sequence[str]) -> Finding:
    if seen.publishers:
        names = ", ".join(end.node for end in seen.publishers)
        return Finding(FAIL, expected.topic, f"also published by {names}: stop that, or remap; two masters move no arm")
    if not seen.subscribers:
        return Finding(FAIL, expected.topic, f"nobody takes it ({expected.why}); is the controller active?{_remap(expected, same_kind)}")
    latched = [end.node for end in seen.subscribers if end.latched]
    if latched:
        return Finding(FAIL, expected.topic, f"{latched[0]} wants it transient_local; commands are volatile, so it would hear none")
    return Finding(OK, expected.topic, f"taken by {', '.join(end.node for end in seen.subscribers)} as {expected.kind.rpartition('/')[2]}")


def judge_pose(control: Control, age: float | None, why: str, publishers: Sequence[Endpoint]) -> Finding:
    """What is to be said about the tool's pose where control_node makes it.

    Args:
        control: parameters of `control_node`.
        age: of the newest pose, s, the largest that was seen; None: there is none.
        why: a sentence about that.
        publishers: of `ee_pose`, without this package's own nodes.
    """
    of = f"of '{control.tool_frame}' in '{control.base_frame}' from {control.ee_pose_source}"
    if publishers:
        names = ", ".join(end.node for end in publishers)
        return Finding(FAIL, "ee_pose", f"published by {names}, and by control_node: write 'ee_pose_source: topic', or stop the other")
    if age is None:
        return Finding(FAIL, "ee_pose", f"{of}: {why}")
    if not -0.2 < age <= control.state_timeout:
        clocks = "; do the clocks agree?" if age < 0 or age > 10 else ""
        return Finding(FAIL, "ee_pose", f"{of}: {1e3 * age:.0f} ms old at times; more than {control.state_timeout:g} s is too old{clocks}")
    return Finding(OK, "ee_pose", f"{of}, at most {1e3 * age:.0f} ms old; control_node publishes it")


def judge_action(action: str, kind: str, servers: dict[str, Endpoint]) -> Finding:
    """What is to be said about an action that control_node sends goals of.

    Args:
        action: its full name, remapped, and ``kind``, as in control_msgs/action/GripperCommand.
        servers: who serves which actions, by full name.
    """
    server = servers.get(action)
    if server is None:
        same = [name for name, other in sorted(servers.items()) if other.kind == kind]
        hint = f"remap gripper/command:={' or gripper/command:='.join(same[:4])}" if same else f"there is no server of {kind} on this graph"
        return Finding(FAIL, action, f"nobody serves it (what moves the gripper); is the controller active?; {hint}")
    if server.kind != kind:
        interface = [name for name, other in GRIPPER_ACTIONS.items() if other == server.kind]
        hint = f"; write 'gripper_interface: {interface[0]}'" if interface else ""
        return Finding(FAIL, action, f"{server.node} has it as {server.kind}; expected {kind}{hint}")
    return Finding(OK, action, f"served by {server.node} as {kind.rpartition('/')[2]}")


def _remap(expected: Expected, same_kind: Sequence[str]) -> str:
    """Advice, where other topics of that type exist."""
    if not same_kind:
        return f"; there is no {expected.kind} on this graph"
    return "; remap " + " or ".join(f"{expected.topic}:={topic}" for topic in same_kind[:4])
