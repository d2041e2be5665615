"""Message types outside ROS: their definitions, for what is written, and their fields, for what is read."""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from rl_token_ros.bags import fast_trajectory

SEPARATOR = "=" * 80 + "\n"


class TypeUnknown(ValueError):
    """A message type whose definition is nowhere to be found; the message names it."""


class NotDecoded(ValueError):
    """A message whose bytes are not of its type; the message says which."""


@functools.lru_cache(maxsize=1)
def known() -> Typestore:
    """The types of the newest ROS 2 release; others are added by :func:`definition` and :func:`decoder`."""
    return get_typestore(Stores.LATEST)


@functools.cache
def definition(name: str) -> tuple[str, str]:
    """Text of the definition of a type such as ``sensor_msgs/msg/Image``, dependencies included, and its RIHS01 hash.

    Raises:
        TypeUnknown: neither a common type nor one of a sourced ROS workspace.
    """
    store = known()
    if name not in store.fielddefs:
        store.register(_from_workspace(name))
    text, _ = store.generate_msgdef(name, ros_version=2)
    return text, store.hash_rihs01(name)


def decoder(name: str, text: str = "", encoding: str = "ros2msg") -> Callable[[bytes], Any]:
    """A function from CDR to an object with the fields of this type.

    Args:
        name: the type.
        text: its definition as found in a bag: a type may have had other fields in another release. Empty: the usual ones.
        encoding: of ``text``, as MCAP calls it; any but ros2msg is ignored.

    The function raises :class:`NotDecoded`.

    Raises:
        TypeUnknown: there is no definition.
    """
    read = _reader(name, text, encoding)

    def decode(cdr: bytes) -> Any:
        try:
            return read(cdr)
        except SerdeError as error:
            raise NotDecoded(f"a message is no {name}: {error}") from None

    return decode


def _reader(name: str, text: str, encoding: str) -> Callable[[bytes], Any]:
    store = known()
    if text and encoding == "ros2msg" and _other(text, name):
        store = get_typestore(Stores.EMPTY)
        store.register(_parse(text, name))
        return functools.partial(store.deserialize_cdr, typename=name)
    if name not in store.fielddefs:
        definition(name)
    general = functools.partial(store.deserialize_cdr, typename=name)
    if name != fast_trajectory.TRAJECTORY:
        return general

    def read(cdr: bytes) -> Any:
        try:
            return fast_trajectory.trajectory(store.types, cdr)
        except (fast_trajectory.Unusual, struct.error, UnicodeDecodeError):
            return general(cdr)

    return read


def _other(text: str, name: str) -> bool:
    """Whether a definition differs from the known one in more than comments."""
    store = known()
    if name not in store.fielddefs:
        return True
    parsed = _parse(text, name)
    return any(kind not in store.fielddefs or fields != store.fielddefs[kind] for kind, fields in parsed.items())


def _parse(text: str, name: str) -> dict:
    """All types of a definition with its dependencies."""
    parts = text.split(SEPARATOR)
    types = dict(get_types_from_msg(parts[0], name))
    for part in parts[1:]:
        head, _, body = part.partition("\n")
        types.update(get_types_from_msg(body, _full(head.removeprefix("MSG: ").strip())))
    return types


def _full(name: str) -> str:
    """``pkg/Type`` as ``pkg/msg/Type``."""
    package, _, rest = name.partition("/")
    return name if rest.startswith("msg/") else f"{package}/msg/{rest}"


def _from_workspace(name: str) -> dict:
    """A type and what it needs, from the share folders of a sourced workspace."""
    found: dict = {}
    wanted = [name]
    while wanted:
        kind = wanted.pop()
        if kind in found or kind in known().fielddefs:
            continue
        package, _, short = kind.partition("/msg/")
        for prefix in filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)):
            path = Path(prefix) / "share" / package / "msg" / f"{short}.msg"
            if path.is_file():
                types = dict(get_types_from_msg(path.read_text(), kind))
                found.update(types)
                wanted += _dependencies(types[kind])
                break
        else:
            raise TypeUnknown(f"there is no definition of type '{kind}'; source the workspace that has it")
    return found


def _dependencies(fields: Any) -> list[str]:
    """Names of the message types in parsed fields, however deep in arrays."""
    names: list[str] = []

    def walk(node: Any) -> None:
        if isinstance(node, str) and "/msg/" in node:
            names.append(node)
        elif isinstance(node, (tuple, list)):
            for part in node:
                walk(part)

    walk(fields)
    return names
