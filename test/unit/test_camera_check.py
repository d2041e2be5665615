"""What `check` says about a camera's pictures."""

from __future__ import annotations

import pytest

from rl_token_ros.interfaces import camera_check
from rl_token_ros.interfaces.camera_stream import CameraStream
from rl_token_ros.interfaces.graph_check import FAIL, OK, WARN, Finding

SETTING = "PROFILES=large.xml"
LARGE, SMALL = 921_600, 150_528


def stream(size: int, lost: int | None = 0, gap: float = 0.04) -> CameraStream:
    """100 pictures."""
    made = CameraStream()
    made.received, made.size, made.lost, made.longest_gap, made.kind = 100, size, lost, gap, "rgb8 640 x 480"
    return made


def said(pictures: CameraStream, level: str = OK, shared_memory: bool = True, text: str = "30.0 Hz", setting: str = SETTING) -> Finding:
    return camera_check.judge(Finding(level, "camera/base/image_raw", text), pictures, 0.5, shared_memory, setting)


@pytest.mark.parametrize("pictures", [stream(LARGE), stream(LARGE, lost=1), stream(SMALL, lost=None)])
def test_what_comes_is_said(pictures):
    finding = said(pictures)
    assert finding.level == OK and "rgb8 640 x 480" in finding.text and f"{pictures.size / 1e6:.2f} MB" in finding.text
    assert "gap 0.04 s" in finding.text and ("losses unknown" if pictures.lost is None else f"{pictures.lost} lost") in finding.text


@pytest.mark.parametrize("pictures", [stream(LARGE, lost=20), stream(LARGE, lost=None, gap=0.6)])
def test_large_pictures_through_a_small_shared_memory(pictures):
    finding = said(pictures)
    assert finding.level == WARN and f"start the driver with {SETTING}" in finding.text and "rmem_max" in finding.text
    assert "start the driver" not in said(pictures, setting="").text  # another middleware


@pytest.mark.parametrize("pictures, shared", [(stream(SMALL, lost=20), True), (stream(LARGE, lost=20), False), (stream(SMALL, gap=0.6), True)])
def test_pictures_that_are_lost_elsewhere(pictures, shared):
    finding = said(pictures, shared_memory=shared)
    assert finding.level == WARN and "too slow" in finding.text and SETTING not in finding.text


def test_what_is_worse_stays_so():
    assert said(stream(LARGE, lost=20), FAIL).level == FAIL
    assert said(stream(SMALL, lost=20), WARN).level == WARN


def test_where_nothing_comes_the_pictures_may_be_too_large():
    nothing = "published by /camera, but nothing came in 3 s"
    assert SETTING in said(CameraStream(), FAIL, text=nothing).text
    assert said(CameraStream(), FAIL, text=nothing, shared_memory=False).text == nothing
    assert said(CameraStream(), FAIL, text="nobody publishes it").text == "nobody publishes it"
