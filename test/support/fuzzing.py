"""Damaged messages: what a network may bring that no node of ours would send."""

from __future__ import annotations

import array
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scripted_arm
import small_robot
from sensor_msgs.msg import Image, PointCloud2, PointField
from trajectory_msgs.msg import JointTrajectory

from rl_token_ros.interfaces import images, replay_table

NUMBERS = [0.0, -1.0, 1e300, -1e300, 5e-324, np.nan, np.inf, -np.inf]
INTEGERS = [0, 1, 2, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1]


def damaged_weights(random: np.random.Generator, good: bytes, count: int) -> Iterator[bytes]:
    """Copies of a blob with flipped bytes, cuts, noise, and damage in the JSON header, where the parsers are."""
    header = 8 + struct.unpack_from("<Q", good)[0]
    digits = [at for at in range(8, header) if chr(good[at]).isdigit()]
    for i in range(count):
        bad = bytearray(good)
        kind = i % 5
        if kind == 0:
            for at in random.integers(0, len(bad), random.integers(1, 20)):
                bad[at] = random.integers(256)
        elif kind == 1:
            bad = bad[: random.integers(0, len(bad))]
        elif kind == 2:
            bad = bytearray(random.bytes(int(random.integers(0, 300))))
        elif kind == 3:
            at, length = random.integers(8, header, 2) // [1, 20]
            bad[at : at + length] = random.choice(list(b'[]{}":,-e019tfn\\ '), length).astype(np.uint8).tobytes()
        else:
            bad[int(random.choice(digits))] = ord(random.choice(list("0123456789-eE.")))
            if random.random() < 0.3:
                at = random.integers(8, header)
                bad[at : at + 1] = bad[at : at + 2]  # one more byte, the same twice
        yield bytes(bad)


def damaged_messages(random: np.random.Generator, topic: str, count: int, now_ns: Callable[[], int]) -> Iterator[Any]:
    """Messages of a topic that are wrong in one to three fields; every tenth is bytes that are no message at all."""
    for i in range(count):
        if i % 10 == 9:
            yield b"\x00\x01\x00\x00" + random.bytes(int(random.integers(0, 200)))
            continue
        message, damages = MAKE[topic](now_ns())
        for damage in random.choice(len(damages), random.integers(1, 4)):
            damages[damage](message, random)
        yield message


def _stamp(message: Any, random: np.random.Generator) -> None:
    message.header.stamp.sec = int(random.choice([-(2**31), -1, 0, 1, 2**31 - 1]))
    message.header.stamp.nanosec = int(random.choice(INTEGERS))


def _reference(now_ns: int) -> tuple[JointTrajectory, list]:
    def number(message, random):
        point = message.points[int(random.integers(len(message.points)))] if message.points else None
        if point is not None and len(point.positions):
            point.positions[int(random.integers(len(point.positions)))] = float(random.choice(NUMBERS))

    def ragged(message, random):
        if message.points:
            message.points[int(random.integers(len(message.points)))].positions = array.array("d", random.normal(size=int(random.integers(0, 6))))

    def times(message, random):
        if message.points:
            message.points[-1].time_from_start.sec = int(random.choice([-(2**31), 2**31 - 1]))

    def names(message, random):
        message.joint_names = [["a"], [], ["j1", "j1", "j1"], ["j3", "j2", "j1"], ["j1", "j2"]][int(random.integers(5))]

    def fewer(message, random):
        message.points = message.points[: int(random.integers(0, 3))]

    return scripted_arm.trajectory(now_ns, np.zeros((small_robot.HORIZON, 3))), [number, ragged, times, names, fewer, _stamp]


def _image(now_ns: int) -> tuple[Image, list]:
    def size(message, random):
        setattr(message, str(random.choice(["height", "width", "step"])), int(random.choice(INTEGERS)))

    def encoding(message, random):
        message.encoding = str(random.choice(["", "rgb8", "32FC2", "64FC1", "\u00e4" * 100]))

    def data(message, random):
        message.data = array.array("B", random.bytes(int(random.integers(0, 100))))

    def number(message, random):
        with np.errstate(over="ignore"):
            message.data = array.array("B", np.full((small_robot.ROWS, small_robot.WIDTH), random.choice(NUMBERS), np.float32).tobytes())

    def order(message, random):
        message.is_bigendian = int(random.integers(0, 256))

    message = images.from_matrix(np.ones((small_robot.ROWS, small_robot.WIDTH), np.float32), Image())
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(now_ns, scripted_arm.SECOND)
    return message, [size, encoding, data, number, order, _stamp]


def _table(now_ns: int) -> tuple[PointCloud2, list]:
    def size(message, random):
        setattr(message, str(random.choice(["height", "width", "point_step", "row_step"])), int(random.choice(INTEGERS)))

    def column(message, random):
        # Copies: encode shares the columns between messages.
        fields = [PointField(name=f.name, offset=f.offset, datatype=f.datatype, count=f.count) for f in message.fields]
        if fields:
            chosen = fields[int(random.integers(len(fields)))]
            what = str(random.choice(["offset", "count", "datatype", "name"]))
            setattr(chosen, what, str(random.choice(["", "seq", "x"])) if what == "name" else int(random.choice([0, 1, 9, 255])))
        message.fields = fields[int(random.integers(0, 2)) :]

    def data(message, random):
        message.data = array.array("B", random.bytes(int(random.integers(0, 400))))

    def order(message, random):
        message.is_bigendian = True

    rows = np.zeros(1, scripted_arm.DTYPE)
    rows["reward"] = np.nan  # undamaged it is no row of an arm either
    return replay_table.encode(rows, PointCloud2(), PointField), [size, column, data, order, _stamp]


MAKE = {"vla/reference": _reference, "vla/embedding": _image, "replay": _table}
