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
    assert not writers.doubled(1.0)


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
    assert set(writers.doubled(3.0)) == {"b"}
    assert set(writers.doubled(3.0)["b"]) == ({b"broadcaster", b"publisher"} if told else set())
    assert not writers.doubled(3.0 + WINDOW)


@pytest.mark.parametrize("told", [True, False])
def test_a_driver_that_is_restarted_doubles_nothing(told):
    writers = Writers()
    for n in range(100):
        hear(writers, told, ["a"], n * 0.01, b"before", n)
    for n in range(100):
        hear(writers, told, ["a"], 1.0 + n * 0.01, b"after", n)
    assert not writers.doubled(2.0)


def test_where_nothing_is_told_nothing_is_claimed():
    writers = Writers()
    for n in range(10):
        writers.hear(["a"], n * 0.1)
    assert not writers.doubled(1.0)
