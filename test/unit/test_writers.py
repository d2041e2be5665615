"""Who brings what: drivers that bring a part each are well, two that bring the same are not."""

from __future__ import annotations

import pytest

from rl_token_ros.robot.writers import WINDOW, Writers


def hear(writers: Writers, told: bool, what: list[str], now: float, writer: bytes, sequence: int) -> None:
    """A message, of a middleware that tells its publisher, or only its number there."""
    writers.hear(what, now, writer if told else None, sequence)


@pytest.mark.parametrize("told", [True, False])
def test_parts_are_not_doubled_whatever_their_rates(told):
    writers = Writers()
    for n in range(100):
        hear(writers, told, ["a", "b"], n * 0.01, b"arm", 1000 + n)
        hear(writers, told, ["c"], n * 0.01, b"gripper", n)
    assert not writers.doubled(1.0, 2)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("every", [1, 10, 100])
def test_what_two_bring_is_doubled_until_one_has_ceased(told, every):
    """However slow the second is, and however near their numbers are."""
    writers = Writers()
    for n in range(300):
        now = n * 0.01
        hear(writers, told, ["a", "b"], now, b"broadcaster", n)
        if n % every == 0:
            hear(writers, told, ["b", "c"], now, b"publisher", n // every)
    assert set(writers.doubled(3.0, 2)) == {"b"}
    assert set(writers.doubled(3.0, 2)["b"]) == ({b"broadcaster", b"publisher"} if told else set())
    assert not writers.doubled(3.0 + WINDOW, 1)


@pytest.mark.parametrize("told", [True, False])
def test_a_driver_that_is_restarted_doubles_nothing(told):
    writers = Writers()
    for n in range(100):
        hear(writers, told, ["a"], n * 0.01, b"before", n)
    for n in range(100):
        hear(writers, told, ["a"], 1.0 + n * 0.01, b"after", n)
    assert not writers.doubled(2.0, 1)


@pytest.mark.parametrize(
    "kinds, publishers, doubled",
    [
        ([["a", "b"]], 1, set()),
        ([["a", "b"], ["c"]], 2, set()),
        ([["a", "b"]], 2, {"a", "b"}),  # the second brings the same, or has not spoken: that cannot be told
        ([["a", "b"], ["b", "c"]], 2, {"b"}),
        ([["a", "b"], ["b", "c"]], 1, set()),  # one driver, in two messages
    ],
)
def test_where_nothing_is_told_publishers_are_counted(kinds, publishers, doubled):
    writers = Writers()
    for n in range(10):
        for what in kinds:
            writers.hear(what, n * 0.1)
    assert set(writers.doubled(1.0, publishers)) == doubled
