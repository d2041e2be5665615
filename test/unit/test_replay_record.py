"""Rows of `replay` survive the wire to the bit; whatever else is sent, only ReplayError escapes."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest

from rl_token_ros.interfaces import replay_table
from rl_token_ros.interfaces.codes import Ended
from rl_token_ros.interfaces.replay_table import ReplayError

DTYPE = replay_table.row_dtype(4, 3, 2, 3)


def point_field(**values) -> SimpleNamespace:
    return SimpleNamespace(**values)


def message_of(rows: np.ndarray) -> SimpleNamespace:
    message = replay_table.encode(rows, SimpleNamespace(header=SimpleNamespace(stamp=SimpleNamespace())), point_field, "base_link")
    message.fields = copy.deepcopy(message.fields)  # to be damaged here; messages share theirs
    return message


@pytest.fixture
def rows(random) -> np.ndarray:
    made = np.zeros(3, DTYPE)
    for name in ("token", "proprio", "reference", "action"):
        made[name] = random.normal(size=made[name].shape)
    made["seq"], made["stamp_sec"], made["ended"] = [7, 8, 2**32 - 1], [-1, 0, 2**31 - 1], [0, 0, Ended.SUCCESS]
    return made


def test_rows_survive_the_wire_to_the_bit(rows):
    np.testing.assert_array_equal(replay_table.decode(message_of(rows), DTYPE), rows)


def test_a_real_message_carries_them(rows):
    from sensor_msgs.msg import PointCloud2, PointField

    message = replay_table.encode(rows[:2], PointCloud2(), PointField)
    np.testing.assert_array_equal(replay_table.decode(message, DTYPE), rows[:2])


def test_columns_are_found_by_name_whatever_their_order(rows):
    names = list(DTYPE.names)[::-1]
    shuffled = np.zeros(3, [("extra", "<f8"), *((name, DTYPE[name]) for name in names)])
    for name in names:
        shuffled[name] = rows[name]
    np.testing.assert_array_equal(replay_table.decode(message_of(shuffled), DTYPE), rows)


def damaged(rows, **changes):
    message = message_of(rows)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize(
    "change, says",
    [
        ({"is_bigendian": True}, "big-endian"),
        ({"data": b""}, "holds 0 bytes"),
        ({"width": 4}, "4 rows"),
        ({"width": 0}, "0 rows"),
        ({"point_step": 0}, "0 bytes"),
        ({"height": 3, "width": 1, "row_step": 999}, "gaps between"),
        ({"fields": []}, "no column 'seq'"),
    ],
)
def test_a_damaged_table_is_refused(rows, change, says):
    with pytest.raises(ReplayError, match=says):
        replay_table.decode(damaged(rows, **change), DTYPE)


@pytest.mark.parametrize("change", [{"datatype": 8}, {"datatype": 99}, {"count": 5}, {"offset": 10_000}])
def test_a_damaged_column_is_refused(rows, change):
    message = message_of(rows)
    column = next(field for field in message.fields if field.name == "token")
    vars(column).update(change)
    with pytest.raises(ReplayError, match="column 'token'"):
        replay_table.decode(message, DTYPE)


def test_rows_of_another_robot_are_refused(rows):
    with pytest.raises(ReplayError, match="same parameter file"):
        replay_table.decode(message_of(rows), replay_table.row_dtype(5, 3, 2, 3))


@pytest.mark.parametrize("name, value", [("token", np.nan), ("action", np.inf), ("reward", np.nan), ("ended", 5), ("source", 3)])
def test_values_that_cannot_be_are_refused(rows, name, value):
    rows[name] = value
    with pytest.raises(ReplayError):
        replay_table.decode(message_of(rows), DTYPE)


def test_a_claim_of_many_rows_takes_no_memory():
    """Millions of one-byte rows of a message would be terabytes of replay."""
    wide = replay_table.row_dtype(8192, 100, 100, 14)
    message = message_of(np.zeros(1, wide))
    message.data, message.point_step, message.width = bytes(50_000_000), 1, 50_000_000
    with pytest.raises(ReplayError, match="ends at byte"):
        replay_table.decode(message, wide)


def test_no_damaged_message_does_more_than_be_refused(rows, random):
    refused = 0
    numbers = [0, 1, 2, 3, 4, 7, 100, 1 << 16, (1 << 32) - 1]
    for _i in range(1000):
        message = message_of(rows)
        for _ in range(random.integers(1, 3)):
            where = random.integers(4)
            if where == 0:
                message.data = bytes(message.data[: random.integers(0, len(message.data))])
            elif where == 1:
                setattr(message, random.choice(["width", "height", "point_step", "row_step"]), int(random.choice(numbers)))
            elif where == 2 and message.fields:
                field = message.fields[random.integers(len(message.fields))]
                setattr(field, random.choice(["offset", "datatype", "count"]), int(random.choice(numbers)))
            elif message.fields:
                del message.fields[random.integers(len(message.fields))]
        try:
            decoded = replay_table.decode(message, DTYPE)
        except ReplayError:
            refused += 1
            continue
        assert decoded.dtype == DTYPE
    assert refused > 500


class Field:
    """Stands for sensor_msgs/PointField where there is no ROS."""

    def __init__(self, name, offset, datatype, count):
        self.name, self.offset, self.datatype, self.count = name, offset, datatype, count


class Table:
    """Stands for sensor_msgs/PointCloud2."""

    def __init__(self):
        self.header = type("Header", (), {"stamp": type("Stamp", (), {})(), "frame_id": ""})()


def test_columns_are_made_once_for_each_kind_of_row_and_never_mixed_up():
    kinds = [replay_table.row_dtype(4, 2, 3, 2), replay_table.row_dtype(5, 2, 3, 2), replay_table.row_dtype(4, 2, 3, 2)]
    messages = [replay_table.encode(np.zeros(2, kind), Table(), Field) for kind in kinds]
    assert messages[0].fields is messages[2].fields  # equal rows, made anew: no reason to make the columns again
    assert messages[1].fields is not messages[0].fields
    for kind, message in zip(kinds, messages):
        assert {field.name: (field.offset, field.count) for field in message.fields} == {
            name: (kind.fields[name][1], int(np.prod(kind[name].shape))) for name in kind.names
        }
        np.testing.assert_array_equal(replay_table.decode(message, kind), np.zeros(2, kind))


def test_refilling_a_message_changes_its_rows_and_stamp_only():
    kind = replay_table.row_dtype(4, 2, 3, 2)
    message = replay_table.encode(np.zeros(2, kind), Table(), Field)
    fields = message.fields
    rows = np.zeros(3, kind)
    rows["seq"], rows["stamp_sec"], rows["token"] = [7, 8, 9], 5, 1.5
    replay_table.refill(rows, message)
    assert message.fields is fields and message.width == 3 and message.header.stamp.sec == 5
    np.testing.assert_array_equal(replay_table.decode(message, kind), rows)
