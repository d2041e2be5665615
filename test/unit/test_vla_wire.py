"""The encoding is openpi's, byte for byte, and nothing that comes over the network breaks it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl_token_ros.vla import codec

# Recorded with the published package openpi-client 0.1.2: openpi_client.msgpack_numpy.Packer().pack(value).
RECORDED = [
    (
        {"a": np.arange(3, dtype=np.float32)},
        b"\x81\xa1a\x84\xc4\x0b__ndarray__\xc3\xc4\x04data\xc4\x0c\x00\x00\x00\x00\x00\x00\x80?\x00\x00\x00@\xc4\x05dtype\xa3<f4\xc4\x05shape\x91\x03",
    ),
    ({"s": np.float32(1.5)}, b"\x81\xa1s\x83\xc4\r__npgeneric__\xc3\xc4\x04data\xcb?\xf8\x00\x00\x00\x00\x00\x00\xc4\x05dtype\xa3<f4"),
    ({"i": np.int64(3)}, b"\x81\xa1i\x83\xc4\r__npgeneric__\xc3\xc4\x04data\x03\xc4\x05dtype\xa3<i8"),
    ({"f": 1.0, "n": None, "l": [1, 2]}, b"\x83\xa1f\xcb?\xf0\x00\x00\x00\x00\x00\x00\xa1n\xc0\xa1l\x92\x01\x02"),
    ({"x": np.zeros((0, 2), bool)}, b"\x81\xa1x\x84\xc4\x0b__ndarray__\xc3\xc4\x04data\xc4\x00\xc4\x05dtype\xa3|b1\xc4\x05shape\x92\x00\x02"),
]


def same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (np.ndarray, np.generic)):
        return np.asarray(a).dtype == np.asarray(b).dtype and np.array_equal(a, b)
    return a == b


@pytest.mark.parametrize("value, data", RECORDED)
def test_bytes_are_those_of_openpi_client(value, data):
    assert codec.pack(value) == data
    assert same(codec.unpack(data), value)


def test_openpi_client_reads_ours_and_we_read_its():
    theirs = pytest.importorskip("openpi_client.msgpack_numpy")
    picture = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    value = {"images": {"cam_high": picture.transpose(2, 0, 1)}, "state": np.ones(14), "prompt": "fold"}
    assert codec.pack(value) == theirs.packb(value)
    assert same(theirs.unpackb(codec.pack(value)), value)


def test_arrays_in_any_memory_order_and_of_any_size_survive():
    for array in (np.arange(6).reshape(2, 3).T, np.zeros((0, 4), np.float32), np.array(3.0), np.arange(10)[::2], np.array([True, False])):
        found = codec.unpack(codec.pack({"a": array}))["a"]
        assert found.shape == array.shape and same(found, array)


@pytest.mark.parametrize("rows", [0, 3, 500, 700])
def test_pieces_are_the_same_bytes(rows):
    embeddings = np.random.default_rng(0).normal(size=(2048, rows)).astype(np.float32).T  # not contiguous
    answer = {"actions": np.zeros((50, 3)), "embeddings": embeddings, "server_timing": {"infer_ms": 1.5}}
    pieces = codec.pieces(answer)
    assert b"".join(pieces) == codec.pack(answer)
    assert max(map(len, pieces)) <= codec.PIECE and (len(pieces) > 10) == (embeddings.nbytes > 10 * codec.PIECE)
    embeddings[:] = 0.0  # what was packed stays
    assert rows == 0 or codec.unpack(b"".join(pieces))["embeddings"].any()


def test_pieces_too_refuse_what_the_protocol_cannot_carry():
    with pytest.raises(codec.WireError, match="cannot be sent"):
        codec.pieces({"embeddings": np.zeros((300, 300, 3), complex)})


@pytest.mark.parametrize("value", [object(), {"a": np.array([object()])}, {"a": np.zeros(2, complex)}, {"a": {1, 2}}, np.datetime64("2020-01-01")])
def test_what_the_protocol_cannot_carry_is_refused(value):
    with pytest.raises(codec.WireError, match="cannot be sent"):
        codec.pack(value)


@pytest.mark.parametrize(
    "changes",
    [{b"dtype": "|O"}, {b"dtype": "<V2"}, {b"dtype": "nonsense"}, {b"shape": [5]}, {b"shape": [-1]}, {b"shape": 3}, {b"data": b"1"}, {b"data": 7}],
)
def test_an_array_that_contradicts_itself_is_refused(changes):
    array = {b"__ndarray__": True, b"data": b"\0" * 12, b"dtype": "<f4", b"shape": [3]}
    with pytest.raises(codec.WireError):
        codec.unpack(codec.pack(array | changes))


@settings(deadline=None)  # a busy machine is no failure
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    try:
        codec.unpack(data)
    except codec.WireError:
        pass
