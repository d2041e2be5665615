"""Rows of `replay` and `~/settings` as the CDR that control_node sends, without ROS."""

from __future__ import annotations

import numpy as np

from rl_token_ros.bags import message_types
from rl_token_ros.interfaces import replay_table
from rl_token_ros.interfaces.topics import TABLE_ROWS, TEXT


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
