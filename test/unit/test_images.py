"""Images: every encoding and row padding is read right; whatever else is sent, only ImageError escapes."""

from __future__ import annotations

import array

import numpy as np
import pytest
from sensor_msgs.msg import Image

from rl_token_ros.interfaces import images
from rl_token_ros.interfaces.images import ImageError


@pytest.fixture
def picture(random) -> np.ndarray:
    return random.integers(0, 256, (5, 7, 3), np.uint8)


def image(encoding: str, pixels: np.ndarray, padding: int = 0) -> Image:
    height, width, channels = pixels.shape
    rows = np.pad(pixels.reshape(height, width * channels), ((0, 0), (0, padding)), constant_values=99)
    data = array.array("B", rows.tobytes())
    return Image(encoding=encoding, height=height, width=width, step=width * channels + padding, data=data)


@pytest.mark.parametrize("padding", [0, 3])
def test_every_colour_encoding_gives_the_same_picture(picture, padding):
    alpha = np.full((5, 7, 1), 7, np.uint8)
    for encoding, sent in {
        "rgb8": picture,
        "bgr8": picture[:, :, ::-1],
        "rgba8": np.concatenate([picture, alpha], 2),
        "bgra8": np.concatenate([picture[:, :, ::-1], alpha], 2),
    }.items():
        np.testing.assert_array_equal(images.to_rgb(image(encoding, sent, padding)), picture)


def test_grey_is_all_three_colours(picture):
    grey = picture[:, :, :1]
    np.testing.assert_array_equal(images.to_rgb(image("mono8", grey, 2)), np.repeat(grey, 3, axis=2))


def test_a_picture_survives_the_wire(picture):
    np.testing.assert_array_equal(images.to_rgb(images.from_rgb(picture, Image())), picture)


def test_a_matrix_survives_the_wire_and_row_padding(random):
    matrix = random.normal(size=(4, 6)).astype(np.float32)
    np.testing.assert_array_equal(images.to_matrix(images.from_matrix(matrix, Image()), "t"), matrix)
    padded = image("32FC1", matrix.view(np.uint8)[:, :, None], padding=5)
    padded.width = 6
    np.testing.assert_array_equal(images.to_matrix(padded, "t"), matrix)


def test_the_message_names_the_topic_and_what_to_publish(picture):
    with pytest.raises(ImageError, match="'camera/base/image_raw' has encoding 'yuv422'; publish one of rgb8"):
        images.to_rgb(image("yuv422", picture), "camera/base/image_raw")
    with pytest.raises(ImageError, match="little-endian 32FC1"):
        images.to_matrix(image("rgb8", picture), "vla/embedding")


@pytest.mark.parametrize("read", [images.to_rgb, lambda message: images.to_matrix(message, "t")])
@pytest.mark.slow
def test_no_message_does_more_than_be_refused(random, read):
    numbers = [0, 1, 2, 3, 5, 7, 21, 28, 1 << 16, (1 << 32) - 1]
    outcomes = set()
    for _ in range(1500):
        encoding = random.choice([*images.ENCODINGS, "32FC1", "", "8UC3"])
        height, width, step = (int(random.choice(numbers)) for _ in range(3))
        data = array.array("B", random.bytes(int(random.choice([0, 1, 20, 105, 1000]))))
        message = Image(encoding=str(encoding), height=height, width=width, step=step, is_bigendian=int(random.integers(2)), data=data)
        try:
            assert read(message).shape[:2] == (height, width)
            outcomes.add("read")
        except ImageError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}
