"""Pictures of cameras' own formats as rgb: YUV and Bayer mosaics. Each is given as uint8 without row padding, and comes as uint8 [h, w, 3].

YUV is BT.601 in limited range (luma 16 to 235, chroma 16 to 240), as V4L2 has it for cameras that do not say another, and as OpenCV and
RViz take it. Each colour sample serves the pixels that share it, without interpolation.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

# rgb of (Y - 16, U - 128, V - 128): what follows from red 0.299, green 0.587, blue 0.114 and the ranges.
_LUMA = 255 / 219
_RV, _BU = 255 / 224 * 2 * (1 - 0.299), 255 / 224 * 2 * (1 - 0.114)
_GU, _GV = -_BU * 0.114 / 0.587, -_RV * 0.299 / 0.587
_Y, _U, _V = np.array([[_LUMA] * 3, [0, _GU, _BU], [_RV, _GV, 0]], np.float32)
# Two pixels at a time, of Y U Y V: a product with a matrix of 4 x 6, which is faster than any other way in numpy.
_ZERO = np.zeros(3, np.float32)
_PAIR = np.block([[_Y, _ZERO], [_U, _U], [_ZERO, _Y], [_V, _V]])
_OFFSET = 0.5 - np.tile(16 * _Y + 128 * (_U + _V), 2)  # 0.5: cut off, it is rounded
# Pairs at a time: they stay in the cache, and BLAS does not wake threads for so few, which others on this machine need.
_BLOCK = 8192


def from_yuyv(picture: Bytes, order: str = "yuyv") -> Bytes:
    """4:2:2 of one plane [h, 2 w], its bytes in this order: ``yuyv`` or ``uyvy``."""
    height, width = picture.shape[0], picture.shape[1] // 2
    matrix = _PAIR if order == "yuyv" else _PAIR[[1, 0, 3, 2]]
    return _from_pairs(picture.reshape(-1, 4), matrix).reshape(height, width, 3)


def from_nv12(luma: Bytes, chroma: Bytes, order: str = "uv") -> Bytes:
    """4:2:0 of two planes: [h, w], and [h / 2, w], its bytes in this order: ``uv`` (NV12) or ``vu`` (NV21)."""
    height, width = luma.shape
    pairs = np.empty((height, width // 2, 4), np.uint8)
    pairs[:, :, 0], pairs[:, :, 2] = luma[:, 0::2], luma[:, 1::2]
    u, v = (0, 1) if order == "uv" else (1, 0)
    pairs[:, :, 1], pairs[:, :, 3] = chroma[:, u::2].repeat(2, 0), chroma[:, v::2].repeat(2, 0)
    return _from_pairs(pairs.reshape(-1, 4), _PAIR).reshape(height, width, 3)


def _from_pairs(pairs: Bytes, matrix: npt.NDArray[np.float32]) -> Bytes:
    rgb = np.empty((len(pairs), 6), np.uint8)
    for begin in range(0, len(pairs), _BLOCK):
        block = pairs[begin : begin + _BLOCK].astype(np.float32) @ matrix
        block += _OFFSET
        rgb[begin : begin + _BLOCK] = block.clip(0, 255, out=block)
    return rgb


def from_bayer(mosaic: Bytes, pattern: str) -> Bytes:
    """A mosaic [h, w]; what a pixel has not is the mean of its nearest neighbours that have it (bilinear). At the edges they are mirrored.

    Args:
        mosaic: height and width 2 or more.
        pattern: colours of the first two pixels of the first row and of the second, as in ``rggb``.
    """
    height, width = mosaic.shape
    padded = np.pad(mosaic, 1, "reflect").astype(np.uint16)
    rgb = np.empty((height, width, 3), np.uint8)
    for place, colour in enumerate(pattern):
        row, column = divmod(place, 2)

        def at(down: int, right: int, row: int = row, column: int = column) -> npt.NDArray[np.uint16]:
            """The neighbours of all pixels of this place."""
            return padded[row + 1 + down : height + 1 + down : 2, column + 1 + right : width + 1 + right : 2]

        sides, ends = at(0, -1) + at(0, 1), at(-1, 0) + at(1, 0)
        here = rgb[row::2, column::2]
        here[:, :, "rgb".index(colour)] = mosaic[row::2, column::2]
        if colour == "g":
            beside = pattern[place ^ 1]  # the colour of the other pixels in this row
            here[:, :, "rgb".index(beside)] = (sides + 1) >> 1
            here[:, :, 2 - "rgb".index(beside)] = (ends + 1) >> 1
        else:
            here[:, :, 1] = (sides + ends + 2) >> 2
            here[:, :, 2 - "rgb".index(colour)] = (at(-1, -1) + at(-1, 1) + at(1, -1) + at(1, 1) + 2) >> 2
    return rgb
