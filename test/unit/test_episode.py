"""Episodes: every ending reaches the last row, sequence numbers have no gaps, steps show where nothing was recorded."""

from __future__ import annotations

import numpy as np
import pytest

from rl_token_ros.control.episode import Episode
from rl_token_ros.interfaces import replay_table
from rl_token_ros.interfaces.codes import Ended

DTYPE = replay_table.row_dtype(2, 2, 2, 1)
SECOND = 1_000_000_000


@pytest.fixture
def episode() -> Episode:
    return Episode(DTYPE, 10 * SECOND)


def record(episode: Episode, now: int = 0) -> None:
    episode.record(now, weights_version=3, source=1, clipped=0, token=np.ones(2), proprio=np.ones(2), reference=np.ones((2, 1)), action=np.ones(1))


def table(rows: list[np.ndarray], *names: str) -> list[tuple]:
    return [tuple(row[name][0].item() for name in names) for row in rows]


@pytest.mark.parametrize("code", [Ended.SUCCESS, Ended.FAILURE, Ended.TIME_LIMIT, Ended.ABORTED])
def test_the_ending_is_in_the_last_row_and_only_success_is_rewarded(episode, code):
    episode.begin(0)
    for _ in range(3):
        record(episode)
    episode.end(code)
    rows, endings = episode.take()
    assert table(rows, "ended", "reward") == [(0, 0.0), (0, 0.0), (code, float(code == Ended.SUCCESS))]
    assert endings == [code]


def test_the_ending_reaches_the_last_row_although_later_steps_could_not_be_recorded(episode):
    episode.begin(0)
    record(episode)
    record(episode)
    episode.skip()
    episode.skip()
    episode.end(Ended.ABORTED)
    assert table(episode.take()[0], "step", "ended") == [(0, 0), (1, Ended.ABORTED)]


def test_sequence_numbers_have_no_gaps_where_steps_have_one(episode):
    for _ in range(2):
        episode.begin(0)
        record(episode)
        episode.skip()
        record(episode)
        episode.end(Ended.FAILURE)
    assert table(episode.take()[0], "seq", "episode", "step") == [(0, 1, 0), (1, 1, 2), (2, 2, 0), (3, 2, 2)]


def test_a_row_is_handed_out_once_and_not_before_its_successor(episode):
    episode.begin(0)
    record(episode)
    assert episode.take() == ([], [])
    record(episode)
    assert len(episode.take()[0]) == 1
    assert episode.take() == ([], [])


def test_an_episode_without_rows_still_tells_its_ending(episode):
    episode.begin(0)
    episode.end(Ended.FAILURE)
    assert episode.take() == ([], [Ended.FAILURE])


def test_an_ending_without_an_episode_is_none(episode):
    episode.end(Ended.SUCCESS)
    episode.begin(0)
    episode.end(Ended.FAILURE)
    episode.end(Ended.SUCCESS)
    assert episode.take()[1] == [Ended.FAILURE]


def test_a_second_beginning_changes_nothing(episode):
    episode.begin(0)
    record(episode)
    episode.begin(5 * SECOND)
    assert episode.number == 1
    assert episode.over_time(10 * SECOND)


def test_the_time_limit_is_reached_exactly(episode):
    assert not episode.over_time(100 * SECOND)
    episode.begin(SECOND)
    assert not episode.over_time(11 * SECOND - 1)
    assert episode.over_time(11 * SECOND)


def test_stamps_are_kept_to_the_nanosecond(episode):
    episode.begin(0)
    record(episode, 1_700_000_000_123_456_789)
    episode.end(Ended.SUCCESS)
    assert table(episode.take()[0], "stamp_sec", "stamp_nanosec") == [(1_700_000_000, 123_456_789)]


@pytest.mark.parametrize("code", [Ended.SUCCESS, Ended.FAILURE, Ended.TIME_LIMIT])
@pytest.mark.parametrize("unrecorded, credited", [(0, True), (2, True), (3, False), (200, False)])
def test_an_outcome_is_credited_to_the_last_row_only_if_it_is_near(episode, code, unrecorded, credited):
    """A chunk is two steps here. Beyond it others brought the outcome about: what is recorded was cut off."""
    episode.begin(0)
    record(episode)
    for _ in range(unrecorded):
        episode.skip()
    episode.end(code)
    rows, endings = episode.take()
    expected = code if credited else Ended.TIME_LIMIT
    assert table(rows, "ended", "reward") == [(expected, float(expected == Ended.SUCCESS))]
    assert endings == [code]


def test_steps_recorded_after_a_gap_are_credited_again(episode):
    episode.begin(0)
    record(episode)
    for _ in range(10):
        episode.skip()
    record(episode)
    episode.end(Ended.SUCCESS)
    assert table(episode.take()[0], "step", "ended", "reward") == [(0, 0, 0.0), (11, Ended.SUCCESS, 1.0)]


def test_a_discarded_episode_is_discarded_however_long_the_gap(episode):
    episode.begin(0)
    record(episode)
    for _ in range(10):
        episode.skip()
    episode.end(Ended.ABORTED)
    assert table(episode.take()[0], "ended") == [(Ended.ABORTED,)]
