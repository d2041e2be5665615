"""sensor_msgs/Image and CompressedImage to and from numpy, without cv_bridge. Honours `step` and what drivers publish.

Colours of YUV: BT.601, limited range (:mod:`rl_token_ros.interfaces.colour`). 16 bits are cut to the upper 8, the same for every picture: a
camera of 10 or 12 bits whose driver does not scale them is dark, and 16UC1 of a depth camera has steps of 256 mm.
"""

from __future__ import annotations

import array
import io
from typing import Any

import numpy as np

from rl_token_ros.interfaces import colour

RGB, BGR = (0, 1, 2), (2, 1, 0)
# bytes of a pixel, and which of them are red, green and blue
CHANNELS = {"rgb8": (3, RGB), "bgr8": (3, BGR), "8UC3": (3, BGR), "rgba8": (4, RGB), "bgra8": (4, BGR)}
MONO_8, MONO_16 = ("mono8", "8UC1"), ("mono16", "16UC1")
# two bytes a pixel, in this order; `yuv422` is what ROS has long called UYVY
YUV = {"yuv422": "uyvy", "uyvy": "uyvy", "yuv422_yuy2": "yuyv", "yuyv": "yuyv"}
NV = {"nv12": "uv", "nv21": "vu"}  # order of the second plane
BAYER = {f"bayer_{pattern}8": pattern for pattern in ("rggb", "bggr", "gbrg", "grbg")}
ENCODINGS = (*CHANNELS, *MONO_8, *MONO_16, *YUV, *NV, *BAYER)


class ImageError(ValueError):
    """An image that cannot be used; the message says why."""


def to_rgb(message: Any, topic: str = "image_raw") -> np.ndarray:
    """The picture in an Image, uint8 [height, width, 3], rgb.

    Raises:
        ImageError: another encoding, or fewer bytes than it says.
    """
    encoding = message.encoding
    if encoding in CHANNELS:
        channels, order = CHANNELS[encoding]
        rows = _rows(message, topic, channels)
        pixels = rows.reshape(len(rows), -1, channels)
        return np.ascontiguousarray(pixels) if encoding == "rgb8" else np.stack([pixels[:, :, at] for at in order], axis=2)
    if encoding in MONO_8:
        return _grey(_rows(message, topic, 1))
    if encoding in YUV:
        return colour.from_yuyv(_rows(message, topic, 2, even=True), YUV[encoding])
    if encoding in NV:
        rows = _rows(message, topic, 1, even=True, planes=1.5)
        height = int(message.height)
        return colour.from_nv12(rows[:height], rows[height:], NV[encoding])
    if encoding in MONO_16:
        return _grey(_rows(message, topic, 2)[:, 0 if message.is_bigendian else 1 :: 2])
    if encoding in BAYER:
        return colour.from_bayer(_mosaic(_rows(message, topic, 1), topic), BAYER[encoding])
    wanted = f"publish one of {', '.join(ENCODINGS)}"
    if str(encoding).startswith("bayer_"):
        wanted = f"set the driver to 8 bits, as {encoding[: len('bayer_rggb')]}8, or to rgb8"
    raise ImageError(f"'{topic}' has encoding '{encoding}'; {wanted}")


def _rows(message: Any, topic: str, pixel_bytes: int, even: bool = False, planes: float = 1.0) -> np.ndarray:
    """The bytes of the rows, without padding: uint8 [height * planes, width * pixel_bytes].

    Raises:
        ImageError: there are fewer, or ``even`` numbers of rows and columns are needed.
    """
    height, width, step = int(message.height), int(message.width), int(message.step)
    data = np.frombuffer(message.data, np.uint8)
    if even and (width % 2 or (planes != 1.0 and height % 2)):
        raise ImageError(f"'{topic}' has encoding '{message.encoding}' and {width} x {height} pixels; pairs of pixels share their colour")
    count = round(height * planes)
    if height <= 0 or width <= 0 or step < width * pixel_bytes or data.size < count * step:
        raise ImageError(f"'{topic}' says {count} rows of {step} bytes, {width} pixels of {pixel_bytes} each, and holds {data.size} bytes")
    return data[: count * step].reshape(count, step)[:, : width * pixel_bytes]


def _grey(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels[:, :, None], 3, axis=2)


def _mosaic(pixels: np.ndarray, topic: str) -> np.ndarray:
    if min(pixels.shape) < 2:
        raise ImageError(f"'{topic}' is {pixels.shape[1]} x {pixels.shape[0]}: no mosaic of colours")
    return pixels


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
    pattern = message.format.removeprefix("bayer_")[:4] if message.format.startswith("bayer_") else ""
    if pattern in BAYER.values():
        return colour.from_bayer(_mosaic(grey, topic), pattern)
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
