"""Which reliability is asked for, and what is known of a camera's pictures."""

from __future__ import annotations

import pytest

from rl_token_ros.interfaces.camera_stream import BEST_EFFORT, PUBLISHERS, RELIABLE, CameraStream, best_reliability


@pytest.mark.parametrize("now", [RELIABLE, BEST_EFFORT])
@pytest.mark.parametrize(
    "offered, wanted",
    [([True], RELIABLE), ([True, True], RELIABLE), ([False], BEST_EFFORT), ([True, False], BEST_EFFORT), ([False, True], BEST_EFFORT)],
)
def test_the_best_that_hears_every_publisher(offered, wanted, now):
    assert best_reliability(offered, now) == wanted


@pytest.mark.parametrize("now", [RELIABLE, BEST_EFFORT])
def test_without_publisher_it_stays(now):
    assert best_reliability([], now) == now


def fed(*pictures: tuple[float, int | None, bytes]) -> CameraStream:
    stream = CameraStream()
    for now, sequence, publisher in pictures:
        stream.take(now, 100, sequence, publisher)
    return stream


def test_numbers_that_are_missing_are_lost():
    stream = fed((0.0, 7, b"a"), (0.1, 8, b"a"), (0.4, 11, b"a"), (0.5, 12, b"a"))
    assert (stream.received, stream.lost, stream.size) == (4, 2, 100)
    assert stream.longest_gap == pytest.approx(0.3)


def test_each_publisher_has_numbers_of_its_own():
    assert fed((0.0, 7, b"a"), (0.1, 1, b"b"), (0.2, 9, b"a"), (0.3, 2, b"b")).lost == 1


def test_a_publisher_that_begins_anew_has_lost_nothing():
    assert fed((0.0, 700, b""), (0.1, 1, b""), (0.2, 3, b"")).lost == 1


def test_where_messages_have_no_number_nothing_is_claimed():
    stream = fed((0.0, None, b""), (9.0, None, b""))
    assert stream.lost is None and stream.report("c", 9.0)["c/lost"] == "unknown"


def test_another_subscription_counts_from_its_first_picture():
    stream = fed((0.0, 1, b"a"))
    stream.begin()
    stream.take(0.5, 100, 15, b"a")
    stream.take(0.6, 100, 17, b"a")
    assert (stream.received, stream.lost) == (3, 1)


def test_drivers_that_were_restarted_are_forgotten():
    stream = CameraStream()
    for driver in range(10 * PUBLISHERS):
        stream.take(float(driver), 100, 5, str(driver).encode())
    assert len(stream._sequences) == PUBLISHERS and stream.lost == 0


def test_the_rate_is_that_since_it_was_asked_for_last():
    stream = CameraStream()
    assert stream.rate(4.0) == 0.0
    for i in range(31):
        stream.take(5.0 + i / 30, 100)
    assert stream.rate(6.0) == pytest.approx(31.0)
    assert stream.rate(8.0) == 0.0 and stream.age(8.0) == pytest.approx(2.0)


def test_another_kind_of_picture_is_said_once():
    stream = CameraStream()
    kinds = ["rgb8 4 x 4", "rgb8 4 x 4", "rgb8 8 x 8", "rgb8 4 x 4", "rgb8 8 x 8"]  # the last two: two publishers
    assert [stream.changed(kind) for kind in kinds] == ["", "", "rgb8 4 x 4", "", ""] and stream.kind == kinds[-1]
