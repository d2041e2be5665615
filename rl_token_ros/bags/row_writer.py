"""Rows of `replay` and `~/settings` as the CDR that control_node sends, and a bag of them, without ROS."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rl_token_ros.bags import message_types
from rl_token_ros.bags.writer import BagWriter, qos
from rl_token_ros.interfaces import replay_table
from rl_token_ros.interfaces.topics import SETTINGS, TABLE_ROWS, TEXT

ROWS = 50  # in a message


class RowWriter:
    """A bag that `seed_bags` of learner_node takes. Use as a context manager.

    Args:
        folder: of the bag.
        settings: what `~/settings` says.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path, settings: str) -> None:
        self._bag, self._settings, self._begun = BagWriter(folder), settings, False
        self._bag.add_topic(f"/{SETTINGS}", TEXT, qos(latched=True, depth=1))
        self._bag.add_topic("/replay", TABLE_ROWS, qos(depth=1000))

    def write(self, rows: np.ndarray) -> None:
        """Rows [n], stamped with their own times."""
        for part in (rows[at : at + ROWS] for at in range(0, len(rows), ROWS)):
            stamp = int(part["stamp_sec"][-1]) * 1_000_000_000 + int(part["stamp_nanosec"][-1])
            if not self._begun:
                self._bag.write(f"/{SETTINGS}", TEXT, stamp, text_cdr(self._settings))
                self._begun = True
            self._bag.write("/replay", TABLE_ROWS, stamp, replay_cdr(part))

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._bag.close()


def replay_cdr(rows: np.ndarray) -> bytes:
    """A `replay` message that holds these rows [n]."""
    types = message_types.known().types
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](0, 0), "")
    empty = types[TABLE_ROWS](header, 0, 0, [], False, 0, 0, np.zeros(0, np.uint8), True)
    message = replay_table.encode(rows, empty, types["sensor_msgs/msg/PointField"])
    message.data = np.frombuffer(message.data, np.uint8)
    return bytes(message_types.known().serialize_cdr(message, TABLE_ROWS))


def text_cdr(text: str) -> bytes:
    """A std_msgs/String."""
    return bytes(message_types.known().serialize_cdr(message_types.known().types[TEXT](text), TEXT))
