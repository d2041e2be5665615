"""Forward kinematics of one chain of a robot description (URDF): where a frame is, seen from another, by the positions of the joints between."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]  # x, y, z, w

MOVING = ("revolute", "continuous", "prismatic")
NO_TURN: Quaternion = (0.0, 0.0, 0.0, 1.0)


class DescriptionError(ValueError):
    """A robot description that cannot be used; the message names the joint or the frame."""


@dataclass(frozen=True)
class _Joint:
    """A joint of the description.

    Attributes:
        at, turn: pose of its frame in the parent's, where it stands at zero.
        axis: unit vector about which it turns, or along which it slides, in its own frame.
        measured: the joint whose position counts: ``factor`` * position + ``offset``, as of a joint that mimics another.
    """

    name: str
    kind: str
    parent: str
    at: Vector
    turn: Quaternion
    axis: Vector
    measured: str
    factor: float
    offset: float


class Chain:
    """The joints between two frames.

    Args:
        description: text of the URDF.
        base: frame in which the pose is given.
        tip: frame whose pose it is.

    Attributes:
        joint_names: those that must be measured.

    Raises:
        DescriptionError: no URDF, a frame that it does not have, or a joint between the two that cannot be followed.
    """

    def __init__(self, description: str, base: str, tip: str) -> None:
        joints = _joints(description)
        from_base, from_tip = _to_root(joints, base), _to_root(joints, tip)
        if (from_base[-1].parent if from_base else base) != (from_tip[-1].parent if from_tip else tip):
            raise DescriptionError(f"'{base}' and '{tip}' do not hang together in the robot description")
        while from_base and from_tip and from_base[-1] is from_tip[-1]:  # what carries both
            from_base.pop()
            from_tip.pop()
        for joint in (*from_base, *from_tip):
            if joint.kind not in (*MOVING, "fixed"):
                raise DescriptionError(
                    f"joint '{joint.name}' between '{base}' and '{tip}' is {joint.kind}: only fixed, {', '.join(MOVING)} ones are followed"
                )
        self.joint_names = list(dict.fromkeys(joint.measured for joint in (*reversed(from_base), *reversed(from_tip)) if joint.kind in MOVING))
        if not self.joint_names:
            raise DescriptionError(f"no joint moves '{tip}' against '{base}'")
        self._down, self._back = self._steps(from_tip), self._steps(from_base)

    def _steps(self, joints: list[_Joint]) -> list[tuple[_Joint, int]]:
        """From the root outwards, each with the index of the position that it takes, -1: none."""
        return [(joint, self.joint_names.index(joint.measured) if joint.kind in MOVING else -1) for joint in reversed(joints)]

    def pose(self, positions: Sequence[float]) -> tuple[Vector, Quaternion]:
        """Position (m) and orientation x, y, z, w of the tip in the base, by positions (rad or m) in the order of :attr:`joint_names`."""
        at, turn = _follow(self._down, positions)
        if not self._back:
            return at, turn
        base_at, base_turn = _follow(self._back, positions)
        inverse = (-base_turn[0], -base_turn[1], -base_turn[2], base_turn[3])
        return _rotated(inverse, (at[0] - base_at[0], at[1] - base_at[1], at[2] - base_at[2])), _product(inverse, turn)


def _follow(steps: list[tuple[_Joint, int]], positions: Sequence[float]) -> tuple[Vector, Quaternion]:
    # By hand, not by numpy: for seven joints that is a fraction of the time, and it is a part of every control step.
    at, turn = (0.0, 0.0, 0.0), NO_TURN
    for joint, index in steps:
        at = _sum(at, _rotated(turn, joint.at))
        turn = _product(turn, joint.turn)
        if index < 0:
            continue
        value = joint.factor * positions[index] + joint.offset
        x, y, z = joint.axis
        if joint.kind == "prismatic":
            at = _sum(at, _rotated(turn, (value * x, value * y, value * z)))
        else:
            s = math.sin(0.5 * value)
            turn = _product(turn, (s * x, s * y, s * z, math.cos(0.5 * value)))
    x, y, z, w = turn
    length = math.sqrt(x * x + y * y + z * z + w * w)
    return at, (x / length, y / length, z / length, w / length)


# --- the description -----------------------------------------------------------------------------------------------------


def _joints(description: str) -> dict[str, _Joint | None]:
    """What carries each frame; None: nothing does, it is the root."""
    try:
        robot = ElementTree.fromstring(description)
    except (ElementTree.ParseError, ValueError) as error:
        raise DescriptionError(f"the robot description is no XML: {error}") from None
    if robot.tag != "robot":
        raise DescriptionError(f"the robot description is a <{robot.tag}>, no URDF")
    found: dict[str, _Joint | None] = {link.get("name", ""): None for link in robot.iterfind("link")}
    elements = {element.get("name", ""): element for element in robot.iterfind("joint")}  # others of that tag stand deeper, in <transmission>
    for name, element in elements.items():
        parent, child = (_attribute(element.find(tag), "link") for tag in ("parent", "child"))
        for frame in (parent, child):
            if frame not in found:
                raise DescriptionError(f"joint '{name}' of the robot description names the frame '{frame}', which is no link of it")
        if (other := found[child]) is not None:
            raise DescriptionError(f"the frame '{child}' of the robot description hangs on two joints, '{other.name}' and '{name}'")
        origin = element.find("origin")
        axis = _vector(name, element.find("axis"), "xyz", (1.0, 0.0, 0.0))
        length = math.hypot(*axis)
        if not length > 0.0:
            raise DescriptionError(f"joint '{name}' of the robot description has an axis without a direction")
        found[child] = _Joint(
            name, element.get("type", ""), parent, _vector(name, origin, "xyz"), _of_angles(_vector(name, origin, "rpy")),
            (axis[0] / length, axis[1] / length, axis[2] / length), *_mimicked(name, elements),
        )  # fmt: skip
    return found


def _to_root(joints: dict[str, _Joint | None], frame: str) -> list[_Joint]:
    """The joints from a frame to the root."""
    if frame not in joints:
        raise DescriptionError(f"the robot description has no frame '{frame}'; it has {', '.join(joints)}")
    path: list[_Joint] = []
    while (joint := joints[frame]) is not None:
        if len(path) > len(joints):
            raise DescriptionError(f"the joints of the robot description that carry '{frame}' go round in a circle")
        path.append(joint)
        frame = joint.parent
    return path


def _mimicked(name: str, elements: dict[str, ElementTree.Element]) -> tuple[str, float, float]:
    """The joint that is measured for this one, factor and offset."""
    factor, offset, seen = 1.0, 0.0, [name]
    while (mimic := elements[name].find("mimic")) is not None:
        (own_factor,), (own_offset,) = (_numbers(name, mimic, key, (default,)) for key, default in (("multiplier", 1.0), ("offset", 0.0)))
        factor, offset = factor * own_factor, offset + factor * own_offset
        name = _attribute(mimic, "joint")
        if name not in elements or name in seen:
            raise DescriptionError(
                f"joint '{seen[-1]}' of the robot description mimics '{name}', {'itself' if name in seen else 'which it does not have'}"
            )
        seen.append(name)
    return name, factor, offset


def _attribute(element: ElementTree.Element | None, name: str) -> str:
    return "" if element is None else element.get(name, "")


def _vector(joint: str, element: ElementTree.Element | None, name: str, default: Vector = (0.0, 0.0, 0.0)) -> Vector:
    x, y, z = _numbers(joint, element, name, default)
    return x, y, z


def _numbers(joint: str, element: ElementTree.Element | None, name: str, default: tuple[float, ...]) -> tuple[float, ...]:
    text = None if element is None else element.get(name)
    if text is None:
        return default
    try:
        values = tuple(float(word) for word in text.split())
    except ValueError:
        values = ()
    if len(values) != len(default) or not all(map(math.isfinite, values)):
        hint = "; it is xacro: give what `xacro FILE` makes of it" if "$" in text else ""
        raise DescriptionError(f"joint '{joint}' of the robot description has {name}=\"{text}\", not {len(default)} number(s){hint}")
    return values


# --- turns -----------------------------------------------------------------------------------------------------------------


def _of_angles(angles: Vector) -> Quaternion:
    """Roll, pitch, yaw as URDF means them: about the fixed axes x, y, z in this order."""
    roll, pitch, yaw = ((math.sin(0.5 * angle), math.cos(0.5 * angle)) for angle in angles)
    return _product(_product((0.0, 0.0, *yaw), (0.0, pitch[0], 0.0, pitch[1])), (roll[0], 0.0, 0.0, roll[1]))


def _sum(a: Vector, b: Vector) -> Vector:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def _product(a: Quaternion, b: Quaternion) -> Quaternion:
    """The turn ``b``, then ``a``."""
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )


def _rotated(turn: Quaternion, vector: Vector) -> Vector:
    """A vector, turned by a unit quaternion."""
    x, y, z, w = turn
    vx, vy, vz = vector
    tx, ty, tz = 2.0 * (y * vz - z * vy), 2.0 * (z * vx - x * vz), 2.0 * (x * vy - y * vx)
    return vx + w * tx + y * tz - z * ty, vy + w * ty + z * tx - x * tz, vz + w * tz + x * ty - y * tx
