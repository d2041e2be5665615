"""Images: every encoding and row padding is read right, by pictures worked out pixel by pixel; whatever else is sent, only ImageError escapes."""

from __future__ import annotations

import array
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CompressedImage, Image

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
        "8UC3": picture[:, :, ::-1],
        "rgba8": np.concatenate([picture, alpha], 2),
        "bgra8": np.concatenate([picture[:, :, ::-1], alpha], 2),
    }.items():
        np.testing.assert_array_equal(images.to_rgb(image(encoding, sent, padding)), picture)


def test_grey_is_all_three_colours(picture):
    grey = picture[:, :, :1]
    for encoding in ("mono8", "8UC1"):
        np.testing.assert_array_equal(images.to_rgb(image(encoding, grey, 2)), np.repeat(grey, 3, axis=2))


@pytest.mark.parametrize("encoding", ["mono16", "16UC1"])
@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_of_16_bits_the_upper_8_are_seen(random, encoding, order):
    values = random.integers(0, 1 << 16, (5, 7, 1))
    message = image(encoding, values.astype(order).view(np.uint8), padding=3)
    message.width, message.is_bigendian = 7, int(order == ">u2")
    np.testing.assert_array_equal(images.to_rgb(message), np.repeat(values // 256, 3, axis=2))


def rgb_of(y: float, u: float, v: float) -> list[int]:
    """BT.601, limited range, as ITU-R's numbers are commonly printed."""
    red = 1.164383 * (y - 16) + 1.596027 * (v - 128)
    green = 1.164383 * (y - 16) - 0.391762 * (u - 128) - 0.812968 * (v - 128)
    blue = 1.164383 * (y - 16) + 2.017232 * (u - 128)
    return [round(min(max(value, 0), 255)) for value in (red, green, blue)]


def planes(random, height: int, width: int, chroma_rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Y, U and V of a picture, and its rgb pixel by pixel. A row of colours is that of ``height / chroma_rows`` rows of pixels."""
    y = random.integers(0, 256, (height, width), np.uint8)
    u, v = random.integers(0, 256, (2, chroma_rows, width // 2), np.uint8)
    shared = height // chroma_rows
    expected = [[rgb_of(float(y[i, j]), float(u[i // shared, j // 2]), float(v[i // shared, j // 2])) for j in range(width)] for i in range(height)]
    return y, u, v, np.array(expected, np.uint8)


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 5), pairs=st.integers(1, 6), padding=st.integers(0, 5), seed=st.integers(0, 999))
def test_two_pixels_that_share_their_colour(height, pairs, padding, seed):
    y, u, v, expected = planes(np.random.default_rng(seed), height, 2 * pairs, height)
    for encoding, order in {"yuv422": "uyvy", "uyvy": "uyvy", "yuv422_yuy2": "yuyv", "yuyv": "yuyv"}.items():
        first, second = ((u, v), (y[:, 0::2], y[:, 1::2])) if order == "uyvy" else ((y[:, 0::2], y[:, 1::2]), (u, v))
        packed = np.stack([first[0], second[0], first[1], second[1]], 2).reshape(height, -1, 2)
        np.testing.assert_allclose(images.to_rgb(image(encoding, packed, padding)).astype(int), expected, atol=1, err_msg=encoding)


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 4), pairs=st.integers(1, 6), padding=st.integers(0, 5), seed=st.integers(0, 999))
def test_four_pixels_that_share_their_colour(rows, pairs, padding, seed):
    y, u, v, expected = planes(np.random.default_rng(seed), 2 * rows, 2 * pairs, rows)
    for encoding, chroma in {"nv12": (u, v), "nv21": (v, u)}.items():
        message = image(encoding, np.concatenate([y, np.stack(chroma, 2).reshape(rows, -1)])[:, :, None], padding)
        message.height = 2 * rows  # of the picture; the second plane lies below it
        np.testing.assert_allclose(images.to_rgb(message).astype(int), expected, atol=1, err_msg=encoding)


def test_more_pixels_than_are_taken_at_a_time(random):
    y, u, v, expected = planes(random, 100, 200, 100)
    packed = np.stack([y[:, 0::2], u, y[:, 1::2], v], 2).reshape(100, -1, 2)
    np.testing.assert_allclose(images.to_rgb(image("yuyv", packed)).astype(int), expected, atol=1)


@pytest.mark.parametrize("yuv, rgb", [((235, 128, 128), (255, 255, 255)), ((16, 128, 128), (0, 0, 0)), ((81, 90, 240), (255, 0, 0))])
def test_colours_of_a_test_chart(yuv, rgb):
    y, u, v = yuv
    packed = np.tile(np.array([y, u, y, v], np.uint8), (2, 3)).reshape(2, 6, 2)
    np.testing.assert_allclose(images.to_rgb(image("yuyv", packed)).astype(int), np.tile(rgb, (2, 6, 1)), atol=2)


@pytest.mark.parametrize(
    "encoding, size, says", [("yuyv", (2, 3), " 3 x 2 pixels"), ("nv12", (3, 2), "2 x 3 pixels"), ("bayer_rggb8", (1, 4), " 4 x 1 pixels")]
)
def test_sizes_that_such_a_picture_cannot_have(encoding, size, says):
    message = Image(encoding=encoding, height=size[0], width=size[1], step=64, data=bytes(1000))
    with pytest.raises(ImageError, match=f"'t'.*{says}"):
        images.to_rgb(message, "t")


def test_a_second_plane_that_is_not_there_is_missed():
    with pytest.raises(ImageError, match="says 6 rows of 4 bytes.* holds 16"):
        images.to_rgb(Image(encoding="nv12", height=4, width=4, step=4, data=bytes(16)), "t")


PLACES = {"rggb": ((0, 0), (1, 1)), "bggr": ((1, 1), (0, 0)), "grbg": ((0, 1), (1, 0)), "gbrg": ((1, 0), (0, 1))}  # of red and of blue


def bilinear(mosaic: np.ndarray, pattern: str) -> np.ndarray:
    """Pixel by pixel: the mean of the nearest neighbours of each colour, weighted by what a bilinear kernel gives them."""
    kernel = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]])
    height, width = mosaic.shape
    (red, blue), rgb = PLACES[pattern], np.zeros((height, width, 3))
    mirrored = np.pad(mosaic.astype(float), 1, "reflect")
    for i in range(height):
        for j in range(width):
            for channel in range(3):
                total = weight = 0.0
                own = 0 if (i % 2, j % 2) == red else 2 if (i % 2, j % 2) == blue else 1
                for di in (-1, 0, 1):
                    for dj in (-1, 0, 1):
                        place = ((i + di) % 2, (j + dj) % 2)
                        colour = 0 if place == red else 2 if place == blue else 1
                        if colour == channel and (channel != own or (di, dj) == (0, 0)):
                            total += kernel[di + 1, dj + 1] * mirrored[i + 1 + di, j + 1 + dj]
                            weight += kernel[di + 1, dj + 1]
                rgb[i, j, channel] = total / weight
    return rgb


@pytest.mark.parametrize("pattern", PLACES)
@settings(max_examples=10, deadline=None)
@given(height=st.integers(2, 7), width=st.integers(2, 7), padding=st.integers(0, 3), seed=st.integers(0, 999))
def test_a_mosaic_of_colours(pattern, height, width, padding, seed):
    mosaic = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    seen = images.to_rgb(image(f"bayer_{pattern}8", mosaic[:, :, None], padding))
    np.testing.assert_allclose(seen.astype(float), bilinear(mosaic, pattern), atol=0.51)


def compressed(pixels: np.ndarray, kind: str, form: str) -> CompressedImage:
    pillow = pytest.importorskip("PIL.Image")
    data = io.BytesIO()
    pillow.fromarray(pixels).save(data, kind, **({"quality": 95, "subsampling": 0} if kind == "JPEG" else {}))
    return CompressedImage(format=form, data=data.getvalue())


@pytest.mark.parametrize("form", ["rgb8; jpeg compressed bgr8", "bayer_rggb8; jpeg compressed bgr8", "bgr8; jpeg compressed bgr8", "jpeg", "jpg", ""])
def test_the_colours_of_a_jpeg_are_its_own(form):
    bands = np.repeat(np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [40, 90, 200]], np.uint8), 8, 0)[:, None].repeat(16, 1)
    np.testing.assert_allclose(images.decompress(compressed(bands, "JPEG", form)).astype(int), bands, atol=6)


@pytest.mark.parametrize("form", ["rgb8; png compressed bgr8", "png"])
def test_a_png_loses_nothing(picture, form):
    np.testing.assert_array_equal(images.decompress(compressed(picture, "PNG", form)), picture)


def test_a_grey_file_is_grey_or_a_mosaic_or_of_16_bits(random):
    grey = random.integers(0, 256, (6, 8), np.uint8)
    as_grey = np.repeat(grey[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(images.decompress(compressed(grey, "PNG", "mono8; png compressed ")), as_grey)
    seen = images.decompress(compressed(grey, "PNG", "bayer_gbrg8; png compressed "))
    np.testing.assert_allclose(seen.astype(float), bilinear(grey, "gbrg"), atol=0.51)
    deep = grey.astype(np.uint16) * 256 + random.integers(0, 256, grey.shape).astype(np.uint16)
    np.testing.assert_array_equal(images.decompress(compressed(deep, "PNG", "mono16; png compressed ")), as_grey)


def test_what_is_no_picture_is_refused_by_its_format(picture):
    message = compressed(picture, "PNG", "16UC1; compressedDepth png")
    with pytest.raises(ImageError, match="'t' has format '16UC1; compressedDepth png', which is for depth"):
        images.decompress(message, "t")
    with pytest.raises(ImageError, match="'t' with format 'h264' cannot be decoded"):
        images.decompress(CompressedImage(format="h264", data=bytes(100)), "t")


def test_a_picture_survives_the_wire(picture):
    np.testing.assert_array_equal(images.to_rgb(images.from_rgb(picture, Image())), picture)


def test_a_matrix_survives_the_wire_and_row_padding(random):
    matrix = random.normal(size=(4, 6)).astype(np.float32)
    np.testing.assert_array_equal(images.to_matrix(images.from_matrix(matrix, Image()), "t"), matrix)
    padded = image("32FC1", matrix.view(np.uint8)[:, :, None], padding=5)
    padded.width = 6
    np.testing.assert_array_equal(images.to_matrix(padded, "t"), matrix)


def test_the_message_names_the_topic_and_what_to_publish(picture):
    with pytest.raises(ImageError, match="'camera/base/image_raw' has encoding 'rgb16'; publish one of rgb8"):
        images.to_rgb(image("rgb16", picture), "camera/base/image_raw")
    with pytest.raises(ImageError, match="has encoding 'bayer_gbrg16'; set the driver to 8 bits, as bayer_gbrg8, or to rgb8"):
        images.to_rgb(image("bayer_gbrg16", picture), "t")
    with pytest.raises(ImageError, match="little-endian 32FC1"):
        images.to_matrix(image("rgb8", picture), "vla/embedding")


@pytest.mark.parametrize("read", [images.to_rgb, lambda message: images.to_matrix(message, "t")])
@pytest.mark.slow
def test_no_message_does_more_than_be_refused(random, read):
    numbers = [0, 1, 2, 3, 5, 7, 21, 28, 1 << 16, (1 << 32) - 1]
    outcomes = set()
    for _ in range(1500):
        encoding = random.choice([*images.ENCODINGS, "32FC1", "", "bayer_rggb16"])
        height, width, step = (int(random.choice(numbers)) for _ in range(3))
        data = array.array("B", random.bytes(int(random.choice([0, 1, 20, 105, 1000]))))
        message = Image(encoding=str(encoding), height=height, width=width, step=step, is_bigendian=int(random.integers(2)), data=data)
        try:
            assert read(message).shape[:2] == (height, width)
            outcomes.add("read")
        except ImageError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}
