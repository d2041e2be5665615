"""Several robots feed one learner: whatever the order in which their rows arrive, it learns what it would of one after the other."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from learning_helpers import PROPRIO, SHA, dtype_of, episodes, make_rows, small_settings

from rl_token_ros.learning.learner import Learner
from rl_token_ros.learning.replay_buffer import ReplayBuffer
from rl_token_ros.learning.robots import Episodes
from rl_token_ros.settings.parameters import ParameterError

ROBOTS = ["left", "right"]


def mixed(rows: dict[str, np.ndarray], random: np.random.Generator):
    """Rows of robots in an order of arrival: each robot's own order kept."""
    left = {robot: list(range(len(own))) for robot, own in rows.items()}
    while left:
        robot = str(random.choice(list(left)))
        i = left[robot].pop(0)
        yield robot, rows[robot][i : i + 1]
        if not left[robot]:
            del left[robot]


def learner(**changes) -> Learner:
    return Learner(small_settings(robots=ROBOTS, **changes), PROPRIO, **SHA)


def rows_of_two(settings) -> dict[str, np.ndarray]:
    """The same numbers of sequence, episode and step on both robots, with other contents."""
    return {"left": episodes(settings, 6, seed=1), "right": episodes(settings, 6, seed=2)}


def test_steps_of_two_robots_are_never_in_one_window(random):
    made = learner()
    rows = rows_of_two(made.settings)
    for robot, row in mixed(rows, random):
        made.add(row, robot)
    replay = made.replay
    assert replay.counters.rows == sum(map(len, rows.values())) and replay.counters.gaps == replay.counters.rows_lost == 0
    of_left = {row["proprio"].tobytes() for row in rows["left"]}
    for number in range(replay.first_window, replay.next_window):
        at = (replay.windows["start"][number] + np.arange(replay.windows["length"][number])) % replay.capacity
        assert len({replay.steps["proprio"][i].tobytes() in of_left for i in at}) == 1
        assert len(set(replay.steps["episode"][at])) == 1 and (np.diff(replay.steps["step"][at]) == 1).all()
    alone = [ReplayBuffer(dtype_of(made.settings), 4, [0.5, 0.25], stride=2, gamma=0.995, transitions=2000, max_bytes=1 << 20) for _ in ROBOTS]
    for one, own in zip(alone, rows.values()):
        one.add(own)
    assert replay.window_count == sum(one.window_count for one in alone)


def test_the_end_that_one_robot_lost_does_not_take_the_other_with_it(random):
    made = learner()
    cut = make_rows(made.settings, random, 8, 1, episode=0, seq=0)[:5]
    aborted = make_rows(made.settings, random, 8, 4, episode=0, seq=5)  # numbers that would follow the other's
    whole = make_rows(made.settings, random, 8, 1, episode=1, seq=8)
    made.add(cut, "left")
    made.add(make_rows(made.settings, random, 6, 1, episode=2, seq=20), "left")  # so that what is held of the first comes out
    kept = made.replay.window_count
    made.add(aborted, "right")
    assert made.replay.window_count == kept, "the other robot's windows went with an aborted episode"
    made.add(whole, "right")
    assert made.replay.window_count > kept
    assert made.replay.counters.rows_lost == 15 and made.replay.counters.gaps == 1


def test_an_episode_without_an_end_is_not_continued_by_another_robot():
    settings = small_settings()
    replay = ReplayBuffer(dtype_of(settings), 4, [0.5, 0.25], stride=2, gamma=0.995, transitions=2000, max_bytes=1 << 20)
    rows = make_rows(settings, np.random.default_rng(0), 12, 1, episode=3, seq=0)
    replay.add(rows[:6], "left")
    built = replay.window_count
    replay.add(rows[6:9], "right")  # would go on exactly there
    assert replay.window_count == built and replay.counters.gaps == 1


def test_robot_time_is_that_of_all_robots(random):
    made = learner()
    rows = rows_of_two(made.settings)
    for robot, row in mixed(rows, random):
        made.add(row, robot)
    alone = [Learner(small_settings(), PROPRIO, **SHA) for _ in ROBOTS]
    for one, own in zip(alone, rows.values()):
        one.add(own)
    assert made.robot_seconds == pytest.approx(sum(one.robot_seconds for one in alone))


def test_what_is_held_of_a_running_episode_is_in_the_checkpoint(tmp_path, random):
    made = learner()
    rows = rows_of_two(made.settings)
    order = list(mixed(rows, random))
    for robot, row in order[:40]:
        made.add(row, robot)
    held = made._episodes.arrays()
    assert held
    made.save(tmp_path)
    again = learner()
    assert again.restore(tmp_path)
    for each in (made, again):
        for robot, row in order[40:]:
            each.add(row, robot)
    assert again.replay.counters == made.replay.counters and again.robot_seconds == made.robot_seconds
    for name, values in made.replay.arrays().items():
        np.testing.assert_array_equal(again.replay.arrays()[name], values)


def test_an_episode_comes_out_at_its_end_or_when_the_next_begins(random):
    settings = small_settings()
    whole = Episodes(hold=True)
    rows = make_rows(settings, random, 9, 1, episode=0, seq=0)
    assert whole.add("left", rows[:8]) == []
    assert whole.add("right", rows[:3]) == []
    np.testing.assert_array_equal(whole.add("left", rows[8:])[0], rows)
    (found,) = whole.add("right", make_rows(settings, random, 2, 0, episode=1, seq=50))
    np.testing.assert_array_equal(found, rows[:3])


@pytest.mark.parametrize(
    "robots, says",
    [(["left", "left"], "names a robot twice"), (["/left"], "which is no namespace"), (["le ft"], "which is no namespace"), ([""], "no namespace")],
)
def test_names_that_are_no_namespaces_are_refused(robots, says):
    with pytest.raises(ParameterError, match=says):
        small_settings(robots=robots)
