"""The encoding of openpi's policy server: msgpack, in which a numpy array is a map with *bin* keys.

``{b"__ndarray__": true, b"data": bytes, b"dtype": "<f4", b"shape": [..]}`` for an array and ``{b"__npgeneric__": true, b"data": value,
b"dtype": ..}`` for a numpy scalar. Only numbers and truth values travel: nothing of Python's own objects, hence no pickle.
Needs `msgpack`, which only this backend and its server use.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import msgpack
import numpy as np

KINDS = "biuf"  # truth values, integers, floats
PIECE = 1 << 18  # bytes; a piece stays in the cache while it is copied from layer to layer
BIN_32 = 0xC6  # msgpack's first byte of up to 2^32 bytes, whose number follows


class WireError(ValueError):
    """Bytes that are none of this protocol's, or a value that it cannot carry."""


def pack(value: Any) -> bytes:
    """The bytes of maps, lists, texts, numbers and numpy arrays.

    Raises:
        WireError: an object of another kind.
    """
    try:
        return msgpack.packb(value, default=_to_map)
    except (TypeError, ValueError, OverflowError) as error:
        raise WireError(f"cannot be sent: {error}") from None


def pieces(answer: dict[str, Any]) -> list[bytes | memoryview]:
    """What :func:`pack` makes of a map, in pieces of up to PIECE bytes: the fragments of a websocket message.

    Both ends copy what they send and receive several times. In pieces, embeddings of 700 x 2048 arrive 3 ms earlier than in one
    (8.8 ms after the inference in one, 5.9 in pieces; loopback): the receiver works while the sender sends.

    Raises:
        WireError: an object of a kind that the protocol cannot carry.
    """
    packer = msgpack.Packer(default=_to_map, autoreset=False)
    found: list[bytes | memoryview] = []
    try:
        packer.pack_map_header(len(answer))
        for key, value in answer.items():
            packer.pack(key)
            if isinstance(value, np.ndarray) and value.nbytes > PIECE:
                found += _in_pieces(packer, _to_map(value))
            else:
                packer.pack(value)
    except (TypeError, ValueError, OverflowError, struct.error) as error:
        raise WireError(f"cannot be sent: {error}") from None
    return [*found, packer.bytes()]


def _in_pieces(packer: msgpack.Packer, array: dict[bytes, Any]) -> list[bytes | memoryview]:
    """What was packed so far and an array's bytes; what follows them stays in the packer."""
    found: list[bytes | memoryview] = []
    packer.pack_map_header(len(array))
    for name, part in array.items():
        packer.pack(name)
        if name != b"data":
            packer.pack(part)
            continue
        data = part.cast("B").tobytes()  # a copy: the policy may write into its arrays again
        found.append(packer.bytes() + struct.pack(">BI", BIN_32, len(data)))
        packer.reset()
        found += [memoryview(data)[at : at + PIECE] for at in range(0, len(data), PIECE)]
    return found


def unpack(data: bytes) -> Any:
    """What :func:`pack`, or openpi's client or server, made these bytes from. Arrays are read-only views of ``data``.

    Raises:
        WireError: not msgpack, or an array whose type, shape and bytes contradict each other.
    """
    try:
        return msgpack.unpackb(data, object_hook=_from_map, strict_map_key=False)
    except WireError:
        raise
    except Exception as error:  # msgpack raises classes of its own, and UnicodeDecodeError
        raise WireError(f"is no msgpack: {error}") from None


def _to_map(value: Any) -> dict[bytes, Any]:
    if not isinstance(value, (np.ndarray, np.generic)):
        raise TypeError(f"a {type(value).__name__} has no place in the protocol")
    if value.dtype.kind not in KINDS:
        raise TypeError(f"arrays of type {value.dtype} have no place in the protocol")
    if isinstance(value, np.generic):
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    # .data: msgpack copies from the array's own memory, without a detour over bytes
    memory = np.ascontiguousarray(value).data if value.size else b""
    return {b"__ndarray__": True, b"data": memory, b"dtype": value.dtype.str, b"shape": value.shape}


def _from_map(found: dict[Any, Any]) -> Any:
    is_array = b"__ndarray__" in found
    if not is_array and b"__npgeneric__" not in found:
        return found
    try:
        dtype = np.dtype(found[b"dtype"])
        if dtype.kind not in KINDS:
            raise WireError(f"holds an array of type {dtype}")
        if not is_array:
            return dtype.type(found[b"data"])
        shape, data = tuple(found[b"shape"]), found[b"data"]
        if not all(isinstance(n, int) and n >= 0 for n in shape) or math.prod(shape) * dtype.itemsize != len(data):
            raise WireError(f"holds an array of shape {shape} and type {dtype} with {len(data)} bytes")
        return np.frombuffer(data, dtype).reshape(shape)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise error if isinstance(error, WireError) else WireError(f"holds an array that cannot be read: {error}") from None
