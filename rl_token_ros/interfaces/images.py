"""sensor_msgs/Image and CompressedImage to and from numpy, without cv_bridge. Honours `step` and what drivers publish.

Colours of YUV: BT.601, limited range (:mod:`rl_token_ros.interfaces.colour`). 16 bits are cut to the upper 8, the same for every picture: a
camera of 10 or 12 bits whose driver does not scale them is dark, and 16UC1 of a depth camera has steps of 256 mm.
"""

from __future__ import annotations

import array
import functools
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rl_token_ros.interfaces import colour


class ImageError(ValueError):
    """An image that cannot be used; the message says why."""


def _interleaved(rows: np.ndarray, channels: int, order: tuple[int, int, int]) -> np.ndarray:
    pixels = rows.reshape(len(rows), -1, channels)
    if order == tuple(range(channels)):
        return np.ascontiguousarray(pixels)
    return np.stack([pixels[:, :, at] for at in order], axis=2)


def _grey(rows: np.ndarray) -> np.ndarray:
    return np.stack([rows] * 3, axis=2)


def _yuv420(rows: np.ndarray, order: str) -> np.ndarray:
    height = len(rows) * 2 // 3
    return colour.from_nv12(rows[:height], rows[height:], order)


@dataclass(frozen=True)
class Layout:
    """How the bytes of a picture lie.

    Attributes:
        pixel_bytes: of a pixel, in the first plane.
        rgb: makes uint8 [height, width, 3] of uint8 [rows, width * pixel_bytes]; of 16 bits it is given the upper 8.
        wide: a value has 16 bits.
        half_planes: rows of all planes for two rows of pixels.
        columns, rows: pixels come in multiples of these.
        least: of rows and of columns.
    """

    pixel_bytes: int
    rgb: Callable[[np.ndarray], np.ndarray]
    wide: bool = False
    half_planes: int = 2
    columns: int = 1
    rows: int = 1
    least: int = 1


RGB, BGR = (0, 1, 2), (2, 1, 0)
_INTERLEAVED = {"rgb8": (3, RGB), "bgr8": (3, BGR), "rgba8": (4, RGB), "bgra8": (4, BGR), "8UC3": (3, BGR)}
_UYVY, _YUYV = (Layout(2, functools.partial(colour.from_yuyv, order=order), columns=2) for order in ("uyvy", "yuyv"))
_NV = {"nv12": "uv", "nv21": "vu"}
PATTERNS = ("rggb", "bggr", "gbrg", "grbg")
ENCODINGS = {
    **{name: Layout(count, functools.partial(_interleaved, channels=count, order=order)) for name, (count, order) in _INTERLEAVED.items()},
    "mono8": Layout(1, _grey),
    "8UC1": Layout(1, _grey),
    "mono16": Layout(2, _grey, wide=True),
    "16UC1": Layout(2, _grey, wide=True),
    "yuv422": _UYVY,  # its name in ROS for long
    "uyvy": _UYVY,
    "yuv422_yuy2": _YUYV,
    "yuyv": _YUYV,
    **{name: Layout(1, functools.partial(_yuv420, order=order), half_planes=3, columns=2, rows=2) for name, order in _NV.items()},
    **{f"bayer_{pattern}8": Layout(1, functools.partial(colour.from_bayer, pattern=pattern), least=2) for pattern in PATTERNS},
}


def check(message: Any, topic: str = "image_raw") -> None:
    """Whether :func:`to_rgb` takes an Image, at no cost: no pixel is looked at.

    Raises:
        ImageError: another encoding, fewer bytes than it says, or a size that its encoding does not allow.
    """
    encoding = str(message.encoding)
    if encoding not in ENCODINGS:
        wanted = f"publish one of {', '.join(ENCODINGS)}"
        if encoding.startswith("bayer_"):
            wanted = f"set the driver to 8 bits, as {encoding[: len('bayer_rggb')]}8, or to rgb8"
        raise ImageError(f"'{topic}' has encoding '{encoding}'; {wanted}")
    layout, size = ENCODINGS[encoding], len(message.data)
    height, width, step = int(message.height), int(message.width), int(message.step)
    rows = height * layout.half_planes // 2
    if height <= 0 or width <= 0 or step < width * layout.pixel_bytes or size < rows * step:
        raise ImageError(f"'{topic}' says {rows} rows of {step} bytes, {width} pixels of {layout.pixel_bytes} each, and holds {size} bytes")
    if width % layout.columns or height % layout.rows or min(width, height) < layout.least:
        raise ImageError(f"'{topic}' has encoding '{encoding}', where neighbours share their colours, and {width} x {height} pixels")


def picture(message: Any, topic: str) -> np.ndarray:
    """The picture in an Image, or in a CompressedImage where the topic ends in ``/compressed``, uint8 [height, width, 3], rgb.

    Raises:
        ImageError: as of :func:`to_rgb` and :func:`decompress`.
    """
    return (decompress if topic.endswith("/compressed") else to_rgb)(message, topic)


def to_rgb(message: Any, topic: str = "image_raw") -> np.ndarray:
    """The picture in an Image, uint8 [height, width, 3], rgb.

    Raises:
        ImageError: as of :func:`check`.
    """
    check(message, topic)
    layout, step = ENCODINGS[message.encoding], int(message.step)
    rows = int(message.height) * layout.half_planes // 2
    data = np.frombuffer(message.data, np.uint8)[: rows * step].reshape(rows, step)[:, : int(message.width) * layout.pixel_bytes]
    if layout.wide:
        data = data[:, 0 if message.is_bigendian else 1 :: 2]
    return layout.rgb(data)


def decompress(message: Any, topic: str = "image_raw/compressed") -> np.ndarray:
    """The picture in a CompressedImage (JPEG or PNG), uint8 [height, width, 3], rgb. Needs Pillow.

    ``format`` is a name, or what compressed_image_transport writes: "rgb8; jpeg compressed bgr8", the camera's encoding first. The
    colours are those of the file; of "bayer_rggb8; png compressed ", where the file is grey, they are made of the mosaic.

    Raises:
        ImageError: it cannot be decoded, or is for depth.
    """
    from PIL import Image

    if "compressedDepth" in message.format:
        raise ImageError(f"'{topic}' has format '{message.format}', which is for depth; publish a picture by the transport 'compressed'")
    try:
        with Image.open(io.BytesIO(message.data), formats=("JPEG", "PNG")) as picture:
            if picture.mode.startswith("I"):  # 16 bits, grey
                grey = (np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8)
            elif picture.mode == "L":
                grey = np.asarray(picture)
            else:
                return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"'{topic}' with format '{message.format}' cannot be decoded: {error}") from None
    pattern = message.format.removeprefix("bayer_")[:4]
    if pattern in PATTERNS and min(grey.shape) > 1:
        return colour.from_bayer(grey, pattern)
    return _grey(grey)


def resize_with_padding(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture uint8 [h, w, 3] fitted into ``height`` x ``width``: bilinear, its aspect kept, black at the edges.

    What openpi's client does, so that a policy sees what it was trained on. A size of 0 leaves the picture as it is. Needs Pillow
    where the size changes.
    """
    h, w = picture.shape[:2]
    if not (height and width) or (h, w) == (height, width):
        return picture
    from PIL import Image

    ratio = max(h / height, w / width)
    rows, columns = max(1, int(h / ratio)), max(1, int(w / ratio))
    small = Image.fromarray(picture).resize((columns, rows), Image.Resampling.BILINEAR)
    padded = np.zeros((height, width, 3), np.uint8)
    top, left = (height - rows) // 2, (width - columns) // 2
    padded[top : top + rows, left : left + columns] = np.asarray(small)
    return padded


def from_rgb(pixels: np.ndarray, message: Any) -> Any:
    """Fill an Image with a picture uint8 [height, width, 3], rgb."""
    message.height, message.width = pixels.shape[:2]
    message.encoding, message.step, message.is_bigendian = "rgb8", pixels.shape[1] * 3, 0
    message.data = array.array("B", pixels.tobytes())  # an ndarray is a thousand times slower to assign in rclpy
    return message


def to_matrix(message: Any, topic: str) -> np.ndarray:
    """A 32FC1 Image as float32 [height, width]: the rows of `vla/embedding` are the VLA's tokens.

    Raises:
        ImageError: another encoding, byte order or size.
    """
    if message.encoding != "32FC1" or message.is_bigendian:
        raise ImageError(f"'{topic}' has encoding '{message.encoding}'; publish little-endian 32FC1, one row per token")
    height, width, step = int(message.height), int(message.width), int(message.step)
    data = np.frombuffer(message.data, np.uint8)
    if height <= 0 or width <= 0 or step < width * 4 or data.size < height * step:
        raise ImageError(f"'{topic}' says {height} rows of {step} bytes for {width} values and holds {data.size} bytes")
    rows = np.ascontiguousarray(data[: height * step].reshape(height, step)[:, : width * 4])
    return rows.view("<f4")


def from_matrix(matrix: np.ndarray, message: Any) -> Any:
    """Fill an Image with a float32 matrix [rows, columns] as 32FC1."""
    message.height, message.width = matrix.shape
    message.encoding, message.step, message.is_bigendian = "32FC1", matrix.shape[1] * 4, 0
    message.data = array.array("B")
    message.data.frombytes(np.ascontiguousarray(matrix, "<f4").data.cast("B"))  # megabytes, copied once
    return message
