"""What `check` says about a camera's pictures."""

from __future__ import annotations

import pytest

from rl_token_ros.interfaces import camera_check
from rl_token_ros.interfaces.camera_stream import CameraStream
from rl_token_ros.interfaces.graph_check import FAIL, OK, WARN, Finding

SETTING, REMEDY = "PROFILES=large.xml", "run `sysctl`"
LARGE, SMALL = 921_600, 150_528


def stream(size: int, lost: int | None = 0, gap: float = 0.04) -> CameraStream:
    """100 pictures."""
    made = CameraStream()
    made.received, made.size, made.lost, made.longest_gap, made.kind = 100, size, lost, gap, "rgb8 640 x 480"
    return made


def said(pictures: CameraStream, level: str = OK, remedy: str = REMEDY, text: str = "30.0 Hz") -> Finding:
    return camera_check.judge(Finding(level, "camera/base/image_raw", text), pictures, 0.5, SETTING, remedy)


@pytest.mark.parametrize("pictures", [stream(LARGE), stream(LARGE, lost=1), stream(SMALL, lost=None)])
def test_what_comes_is_said(pictures):
    finding = said(pictures)
    assert finding.level == OK and "rgb8 640 x 480" in finding.text and f"{pictures.size / 1e6:.2f} MB" in finding.text
    assert "gap 0.04 s" in finding.text and ("losses unknown" if pictures.lost is None else f"{pictures.lost} lost") in finding.text


@pytest.mark.parametrize("pictures", [stream(LARGE, lost=20), stream(LARGE, lost=None, gap=0.6)])
def test_large_pictures_through_a_small_shared_memory(pictures):
    finding = said(pictures)
    assert finding.level == WARN and f"start the driver with {SETTING}" in finding.text and REMEDY in finding.text


@pytest.mark.parametrize("pictures, remedy", [(stream(SMALL, lost=20), REMEDY), (stream(LARGE, lost=20), ""), (stream(SMALL, gap=0.6), REMEDY)])
def test_pictures_that_are_lost_elsewhere(pictures, remedy):
    finding = said(pictures, remedy=remedy)
    assert finding.level == WARN and "too slow" in finding.text and SETTING not in finding.text


def test_what_is_worse_stays_so():
    assert said(stream(LARGE, lost=20), FAIL).level == FAIL
    assert said(stream(SMALL, lost=20), WARN).level == WARN


def test_where_nothing_comes_the_pictures_may_be_too_large():
    nothing = "published by /camera, but nothing came in 3 s"
    assert SETTING in said(CameraStream(), FAIL, text=nothing).text
    assert said(CameraStream(), FAIL, text=nothing, remedy="").text == nothing
    assert said(CameraStream(), FAIL, text="nobody publishes it").text == "nobody publishes it"
