"""Pictures are made once, side by side, those of the next query before it begins; and when that is soon."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import small_robot

from rl_token_ros.interfaces.images import ImageError
from rl_token_ros.settings import parameters
from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla.backend import Observation
from rl_token_ros.vla.prepared_pictures import KEPT, PreparedPictures
from rl_token_ros.vla.query_scheduler import QueryScheduler

CAMERAS = ["base", "left", "right"]
MS = 1_000_000


class Maker:
    """Makes a picture of a number, and notes of which; waits while it is told to."""

    def __init__(self) -> None:
        self.made: list[tuple[str, int]] = []
        self.go = threading.Event()
        self.go.set()
        self.together = threading.Barrier(len(CAMERAS), timeout=30.0)

    def __call__(self, camera: str, message: list[int]) -> np.ndarray:
        self.go.wait(30.0)
        self.made.append((camera, message[0]))
        if message[0] < 0:
            raise ImageError("broken")
        return np.full((1, 1, 3), message[0], np.uint8)


@pytest.fixture
def maker():
    return Maker()


@pytest.fixture
def pictures(maker):
    made = PreparedPictures(CAMERAS, maker)
    yield made
    maker.go.set()
    made.close()


def scheduled(rate: float) -> QueryScheduler:
    return QueryScheduler(parameters.build(Vla, small_robot.shared(vla_proprioception=["ee_position"], query_rate=rate)))


def observation(*numbers: list[int]) -> Observation:
    return Observation(1, dict(zip(CAMERAS, numbers)), np.zeros(1, np.float32), "")


def test_what_was_begun_is_not_made_again_and_the_rest_is(pictures, maker):
    begun, other, third = [1], [2], [3]
    pictures.begin("base", begun)
    seen = pictures.complete(observation(begun, other, third))
    assert [int(seen.images[camera][0, 0, 0]) for camera in CAMERAS] == [1, 2, 3]
    assert sorted(maker.made) == [("base", 1), ("left", 2), ("right", 3)]


def test_another_picture_with_the_same_content_is_another(pictures, maker):
    pictures.begin("base", [1])
    pictures.complete(observation([1], [2], [3]))
    assert maker.made.count(("base", 1)) == 2


def test_all_cameras_are_made_at_once(maker):
    def wait(camera: str, message: list[int]) -> np.ndarray:
        maker.together.wait()
        return maker(camera, message)

    together = PreparedPictures(CAMERAS, wait)
    together.complete(observation([1], [2], [3]))  # one after the other they would wait for each other for ever
    together.close()


def test_a_broken_picture_is_said_where_it_is_wanted(pictures):
    broken = [-1]
    pictures.begin("base", broken)
    assert pictures.complete(observation([1], [2], [3])).images["base"][0, 0, 0] == 1
    with pytest.raises(ImageError, match="broken"):
        pictures.complete(observation(broken, [2], [3]))


def test_a_machine_that_does_not_keep_up_is_not_given_more(pictures, maker):
    maker.go.clear()
    for number in range(3 * KEPT):
        pictures.begin("base", [number])
    maker.go.set()
    pictures.complete(observation([100], [101], [102]))
    pictures.close()
    assert len([camera for camera, number in maker.made if number < 100]) == KEPT


def test_soon_is_when_the_query_under_way_should_be_answered_and_the_next_is_due():
    scheduler = scheduled(100.0)
    assert scheduler.soon(0, 0.0)  # nothing was asked yet
    for begun in range(100, 1100, 100):
        scheduler.asked(begun * MS)
        scheduler.answered((begun + 90) * MS)
    scheduler.asked(1100 * MS)
    assert not scheduler.soon(1150 * MS, 33 * MS)
    assert scheduler.soon(1160 * MS, 33 * MS) and scheduler.soon(1300 * MS, 33 * MS)
    scheduler.answered(1250 * MS)
    scheduler.asked(1260 * MS)
    assert scheduler.soon(1320 * MS, 33 * MS)  # one that took long does not mean that the next does


def test_queries_on_a_grid_are_soon_when_they_are_due():
    scheduler = scheduled(1.0)
    scheduler.asked(1000 * MS)
    scheduler.answered(1050 * MS)
    assert not scheduler.soon(1500 * MS, 33 * MS)
    assert scheduler.soon(1870 * MS, 33 * MS)  # a tenth of the period early
