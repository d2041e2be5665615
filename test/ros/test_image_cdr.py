"""Images out of their bytes: as rclpy reads them, and refused where they are cut short."""

from __future__ import annotations

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image

from rl_token_ros.interfaces import image_cdr, images


def message(frame: str = "", encoding: str = "32FC1") -> Image:
    made = images.from_matrix(np.arange(15, dtype=np.float32).reshape(3, 5), Image())
    made.header.stamp.sec, made.header.stamp.nanosec = -7, 123_456_789
    made.header.frame_id, made.encoding = frame, encoding
    return made


@pytest.mark.parametrize("frame", ["", "a", "ab", "abc", "abcd", "Gäste"])
@pytest.mark.parametrize("encoding", ["", "x", "rgb8", "32FC1", "mono16"])
def test_every_field_is_read_as_rclpy_writes_it(frame, encoding):
    sent = message(frame, encoding)
    read = image_cdr.read(bytes(serialize_message(sent)), "t")
    assert (read.header.stamp.sec, read.header.stamp.nanosec, read.header.frame_id) == (-7, 123_456_789, frame)
    for name in ("height", "width", "encoding", "is_bigendian", "step"):
        assert getattr(read, name) == getattr(sent, name), name
    assert bytes(read.data) == bytes(sent.data)


def test_the_matrix_is_the_one_that_was_sent():
    read = image_cdr.read(bytes(serialize_message(message("camera"))), "t")
    np.testing.assert_array_equal(images.to_matrix(read, "t"), np.arange(15, dtype=np.float32).reshape(3, 5))


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (700, 64)])
@pytest.mark.parametrize("stamp", [(0, 0), (1_700_000_000, 123_456_789), (-7, 999_999_999)])
def test_a_matrix_is_written_as_rclpy_reads_it(shape, stamp):
    matrix = np.random.default_rng(0).normal(size=shape)
    sent = images.from_matrix(matrix, Image())
    sent.header.stamp.sec, sent.header.stamp.nanosec = stamp
    for given in (matrix, np.asfortranarray(matrix), matrix.astype(np.float32)):
        raw = image_cdr.from_matrix(given, stamp[0] * 1_000_000_000 + stamp[1])
        assert deserialize_message(raw, Image) == sent and len(raw) == len(serialize_message(sent))


def test_bytes_that_end_early_are_refused_wherever_they_end():
    raw = bytes(serialize_message(message("camera")))
    for end in range(len(raw)):
        with pytest.raises(images.ImageError, match="'t'"):
            image_cdr.read(raw[:end], "t")


def test_other_serialisations_are_refused():
    raw = bytes(serialize_message(message()))
    with pytest.raises(images.ImageError, match="another way than CDR"):
        image_cdr.read(b"\x00\x07" + raw[2:], "t")
