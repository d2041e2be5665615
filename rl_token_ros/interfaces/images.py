"""sensor_msgs/Image to and from numpy, without cv_bridge. Honours `step` and the usual 8-bit encodings."""

from __future__ import annotations

import array
import io
from typing import Any

import numpy as np

# channels, and their order as rgb
ENCODINGS = {"rgb8": (3, (0, 1, 2)), "bgr8": (3, (2, 1, 0)), "rgba8": (4, (0, 1, 2)), "bgra8": (4, (2, 1, 0)), "mono8": (1, (0, 0, 0))}


class ImageError(ValueError):
    """An image that cannot be used; the message says why."""


def check(message: Any, topic: str = "image_raw") -> None:
    """Whether :func:`to_rgb` takes an Image, at no cost: no pixel is looked at.

    Raises:
        ImageError: another encoding, or fewer bytes than height * step.
    """
    if message.encoding not in ENCODINGS:
        raise ImageError(f"'{topic}' has encoding '{message.encoding}'; publish one of {', '.join(ENCODINGS)}")
    channels, size = ENCODINGS[message.encoding][0], len(message.data)
    height, width, step = int(message.height), int(message.width), int(message.step)
    if height <= 0 or width <= 0 or step < width * channels or size < height * step:
        raise ImageError(f"'{topic}' says {height} rows of {step} bytes, {width} pixels of {channels} each, and holds {size} bytes")


def to_rgb(message: Any, topic: str = "image_raw") -> np.ndarray:
    """The picture in an Image, uint8 [height, width, 3], rgb.

    Raises:
        ImageError: as of :func:`check`.
    """
    check(message, topic)
    channels, order = ENCODINGS[message.encoding]
    height, width, step = int(message.height), int(message.width), int(message.step)
    data = np.frombuffer(message.data, np.uint8)
    pixels = data[: height * step].reshape(height, step)[:, : width * channels].reshape(height, width, channels)
    return np.ascontiguousarray(pixels if order == (0, 1, 2) == tuple(range(channels)) else pixels[:, :, order])


def decompress(message: Any, topic: str = "image_raw/compressed") -> np.ndarray:
    """The picture in a CompressedImage (JPEG or PNG), uint8 [height, width, 3], rgb. Needs Pillow.

    Raises:
        ImageError: it cannot be decoded.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(message.data), formats=("JPEG", "PNG")) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"'{topic}' with format '{message.format}' cannot be decoded: {error}") from None


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
