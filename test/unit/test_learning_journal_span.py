"""Checkpoints without the rows that the journal holds: the learner goes on bit for bit, whatever the disk had of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from learning_helpers import PROPRIO, SHA, episodes, make_rows, small_settings

from rl_token_ros.learning.learner import Learner

ENDINGS = {"all kinds": (1, 2, 3, 4), "aborted often": (4, 1, 4), "an end is lost": (1, 0, 2)}
BUFFERS = {"all fits": {}, "steps go": {"replay_transitions": 60}, "tokens go": {"replay_bytes": 15_000}}
LAG = 40  # messages that the disk does not have yet


class Disk:
    """A journal of messages in memory, of which the newest `lag` may be lost."""

    def __init__(self, messages=(), now=1000) -> None:
        self.messages, self.now = list(messages), now

    def write(self, robot: str, rows: np.ndarray) -> int:
        self.now += 7
        self.messages.append((self.now, robot, rows))
        return self.now

    def durable(self, lag: int) -> int:
        return self.messages[-lag - 1][0] if len(self.messages) > lag else 0

    def read(self, after_ns: int, upto_ns: int):
        yield from ((stamp, robot, rows.copy()) for stamp, robot, rows in self.messages if after_ns < stamp <= upto_ns)


def messages_of(settings, count, first=0, endings=(1, 2, 3), sizes=(1,)):
    """Robot and rows of messages: one robot's as they come, of several mixed step by step."""
    random = np.random.default_rng(first)
    waiting = {robot: episodes(settings, count, seed=first + i, first=first, endings=endings) for i, robot in enumerate(settings.robots or [""])}
    while waiting:
        robot = random.choice(sorted(waiting))
        size = int(random.choice(sizes))
        yield robot, waiting[robot][:size]
        waiting[robot] = waiting[robot][size:]
        if not len(waiting[robot]):
            del waiting[robot]


def feed(learner, disk, messages, lag=LAG):
    for robot, rows in messages:
        stamp = disk.write(robot, rows)
        learner.journal.safe(disk.durable(lag))
        learner.add(rows, robot, stamp)
        learner.update(1)


def small(**given):
    return dataclasses.replace(small_settings(hidden_size=8, batch_size=8), **given)  # where a parameter's bounds do not hold


def make(settings):
    return Learner(settings, PROPRIO, **SHA)


def same(one, two):
    """Networks, random state and what is drawn from the buffer."""
    assert (one.replay.window_count, len(one.replay), one.replay.token_count) == (two.replay.window_count, len(two.replay), two.replay.token_count)
    assert (one.replay.counters, one.owed, one.robot_seconds) == (two.replay.counters, two.owed, two.robot_seconds)
    state = two.algorithm.state()
    for name, value in one.algorithm.state().items():
        np.testing.assert_array_equal(value, state[name], err_msg=name)


@pytest.mark.parametrize("robots", [[], ["left", "right"]], ids=["one robot", "two"])
@pytest.mark.parametrize("buffer", BUFFERS.values(), ids=BUFFERS)
@pytest.mark.parametrize("endings", ENDINGS.values(), ids=ENDINGS)
def test_goes_on_bit_for_bit(tmp_path, robots, buffer, endings):
    settings = small(robots=robots, **buffer)
    for count, sizes in ((5, (1,)), (30, (1, 3, 9))):
        one, disk = make(settings), Disk()
        feed(one, disk, messages_of(settings, count, endings=endings, sizes=sizes))
        one.save(tmp_path / str(count))
        two = make(small(seed=5, robots=robots, **buffer))
        assert two.restore(tmp_path / str(count), disk.read) and two.steps_missing == 0
        same(one, two)
        more = list(messages_of(settings, 6, first=count, endings=endings))
        for learner in (one, two):
            feed(learner, disk, more)
            learner.update(60)
        same(one, two)
        assert one.updates > 60 or one.phase == "warmup"
    assert one.phase == "training" and (one.replay.first > 20 or not buffer)


def test_a_checkpoint_is_as_small_after_many_rows_as_after_few(tmp_path):
    settings, sizes = small_settings(hidden_size=8, batch_size=8), []
    disk, learner = Disk(), make(settings)
    for part in range(2):
        feed(learner, disk, messages_of(settings, 80, first=80 * part, sizes=(5,)))
        learner.save(tmp_path / str(part))
        sizes.append(sum(path.stat().st_size for path in (tmp_path / str(part)).rglob("*") if path.is_file()))
    assert len(learner.replay) > 1500
    assert sizes[1] - sizes[0] < 2000  # numbers have more digits


@pytest.mark.parametrize("robots", [[], ["left", "right"]], ids=["one robot", "two"])
def test_what_the_journal_lost_with_its_node_is_in_every_checkpoint_since(tmp_path, robots):
    """`kill -9` of the node takes what its journal had not written yet; the process has learned from it and keeps it."""
    settings = small(robots=robots)
    one, disk = make(settings), Disk()
    feed(one, disk, messages_of(settings, 20))
    one.save(tmp_path / "0")
    del disk.messages[-LAG:]
    for number in range(3):  # and again, each time from the checkpoint before
        two = make(settings)
        assert two.restore(tmp_path / str(number), disk.read) and two.steps_missing == 0
        two.journal.safe(disk.durable(0))
        same(one, two)
        if number == 1:
            more = list(messages_of(settings, 5, first=20))
            feed(one, Disk(disk.messages, disk.now), more)
            feed(two, disk, more)
            same(one, two)
        two.save(tmp_path / str(number + 1))


def test_steps_that_the_journal_no_longer_has_are_counted_and_learning_goes_on(tmp_path):
    settings = small()
    one, disk = make(settings), Disk()
    feed(one, disk, messages_of(settings, 30))
    one.save(tmp_path)
    gone = 100
    del disk.messages[:gone]
    two = make(settings)
    assert two.restore(tmp_path, disk.read)
    assert two.steps_missing == gone - one.replay.counters.rows + len(one.replay) and two.replay.counters == one.replay.counters
    feed(two, disk, messages_of(settings, 2, first=30))
    assert two.updates > one.updates
    disk.messages.clear()
    three = make(settings)
    assert three.restore(tmp_path, disk.read) and three.steps_missing == len(one.replay) - LAG and three.updates == one.updates
    feed(three, disk, messages_of(settings, 12, first=30))
    assert three.updates > one.updates


def test_rows_that_could_not_be_written_make_checkpoints_whole(tmp_path):
    settings = small()
    one, disk = make(settings), Disk()
    messages = list(messages_of(settings, 12))
    feed(one, disk, messages[:50])
    one.journal.safe(0, whole=False)  # a full disk
    feed(one, disk, messages[50:])
    one.save(tmp_path)
    two = make(settings)
    assert two.restore(tmp_path, lambda after, upto: pytest.fail("the journal is asked"))
    same(one, two)
    assert not two.journal.whole  # nor is it ever again, in this run


def test_without_a_journal_there_are_networks_and_figures(tmp_path):
    settings = small()
    one, disk = make(settings), Disk()
    feed(one, disk, messages_of(settings, 12))
    one.save(tmp_path)
    two = make(settings)
    assert two.restore(tmp_path)
    assert two.updates == one.updates and two.replay.counters == one.replay.counters and not len(two.replay)


# --- whatever comes


def one_day(settings, random, count):
    """Robot and rows of messages: episodes of all endings, lost ends, gaps, messages of several rows, control_node started again."""
    robots = settings.robots or [""]
    states = {robot: {"episode": 0, "seq": 0, "rows": []} for robot in robots}
    while count:
        robot = robots[random.integers(len(robots))]
        state = states[robot]
        if random.random() < 0.003:
            state |= {"episode": 0, "seq": 0, "rows": []}
        if random.random() < 0.004 or not len(state["rows"]):
            state["episode"] += 1
            length = int(random.integers(1, 20)) if random.random() < 0.95 else int(random.integers(60, 90))
            state["rows"] = make_rows(settings, random, length, int(random.choice([0, 1, 2, 3, 4, 4])), state["episode"], state["seq"])
            state["seq"] += length
        size = int(random.integers(1, 4))
        rows, state["rows"] = state["rows"][:size], state["rows"][size:]
        if random.random() > 0.02:  # else a gap
            count -= 1
            yield robot, rows


def contents(learner):
    """The buffer by what is in it, wherever it lies, and what is held."""
    replay, held = learner.replay, learner._episodes.arrays()
    at = np.arange(replay.first, replay.next) % replay.capacity
    found = {name: values[at] for name, values in replay.steps.items() if name != "token_id"}
    found["tokens"] = replay.tokens[replay.steps["token_id"][at] % replay.token_capacity]
    at = np.arange(replay.first_window, replay.next_window) % replay.capacity
    found |= {f"window.{name}": values[at] - (replay.first if name == "start" else 0) for name, values in replay.windows.items()}
    return found | {f"held.{robot}": rows for robot, rows in held.items()}


@pytest.mark.parametrize("seed", range(8))
def test_however_often_it_is_killed_its_buffer_is_that_of_a_learner_that_never_was(tmp_path, seed):
    random = np.random.default_rng(seed)
    buffers = [{}, {"replay_transitions": 60}, {"replay_bytes": 15_000}, {"replay_transitions": 45, "replay_bytes": 15_000}]
    settings = small(robots=[[], ["left", "right", "third"]][seed % 2], learn=False, **buffers[seed // 2])
    living, killed, disk, durable = make(settings), make(settings), Disk(), 0
    for robot, rows in one_day(settings, random, 600):
        stamp = disk.write(robot, rows)
        for learner in (living, killed):
            learner.add(rows, robot, stamp)
        if random.random() < 0.05:
            durable = stamp
            killed.journal.safe(durable)
        if random.random() < 0.03:
            killed.save(tmp_path)
            if random.random() < 0.5:  # and its node with it
                lost = [message for message in disk.messages if message[0] > durable]
                disk.messages = [message for message in disk.messages if message[0] <= durable] + lost[: random.integers(len(lost) + 1)]
            killed = make(settings)
            assert killed.restore(tmp_path, disk.read) and killed.steps_missing == 0
            durable = disk.messages[-1][0] if disk.messages else 0
            killed.journal.safe(durable)
            first, second = contents(living), contents(killed)
            assert first.keys() == second.keys() and living.replay.counters == killed.replay.counters
            for name, values in first.items():
                np.testing.assert_array_equal(values, second[name], err_msg=name)


def test_one_robot_that_fell_silent_does_not_make_the_whole_journal_needed():
    settings = small(robots=["left", "right"], replay_transitions=100)
    learner, disk = make(settings), Disk()
    silent = make_rows(settings, np.random.default_rng(0), 5, 0, 1, 0)
    feed(learner, disk, [("left", silent)])
    feed(learner, disk, messages_of(small(robots=["right"]), 60), lag=0)
    begin = learner.journal.numbers()["begin_ns"]
    assert len(list(disk.read(begin - 1, disk.now))) < 130  # a buffer and an episode


def test_two_episodes_of_one_number_in_one_message():
    """control_node was started again between them."""
    settings = small(robots=["left", "right"])
    random, learner = np.random.default_rng(0), make(settings)
    rows = [make_rows(settings, random, 5, 1, 1, 0) for _ in range(2)]
    learner.add(np.concatenate(rows), "left", 5)
    learner.add(make_rows(settings, random, 5, 1, 1, 0), "left", 6)
    assert learner.journal.numbers()["begin_ns"] == 5 and learner.replay.counters.episodes == 3


def test_a_smaller_buffer_misses_nothing(tmp_path):
    one, disk = make(small()), Disk()
    feed(one, disk, messages_of(small(), 30))
    one.save(tmp_path)
    two = make(small(replay_transitions=100))
    assert two.restore(tmp_path, disk.read) and two.steps_missing == 0 and len(two.replay) == 100


def test_a_run_that_is_continued_with_fewer_robots_keeps_its_windows(tmp_path):
    settings = small(robots=["left", "right"])
    one, disk = make(settings), Disk()
    feed(one, disk, list(messages_of(settings, 30))[:-20])
    one.save(tmp_path)
    held = sum(len(rows) for rows in one._episodes.arrays().values())
    two = make(small(robots=["left"]))
    assert two.restore(tmp_path, disk.read) and two.steps_missing == 0
    assert two.replay.window_count >= one.replay.window_count and len(two.replay) == len(one.replay) + held


def test_what_the_journal_deleted_and_the_buffer_has_makes_the_checkpoint_whole(tmp_path):
    settings = small()
    one, disk = make(settings), Disk()
    feed(one, disk, messages_of(settings, 30))
    one.journal.safe(disk.durable(0), oldest_ns=disk.messages[100][0])
    one.save(tmp_path)
    two = make(settings)
    assert two.restore(tmp_path, lambda after, upto: pytest.fail("the journal is asked"))
    same(one, two)


def test_figures_of_the_actor_wait_for_its_first_update():
    learner = make(small(pretrain_updates=0, updates_per_step=0.0))
    learner.add(episodes(learner.settings, 12))
    learner.owed = 2.0
    learner.update(1)
    assert np.isnan(learner.stats()["residual_mean"]) and np.isnan(learner.stats()["residual_saturated"])
    learner.update(1)
    assert learner.stats()["residual_mean"] == learner.stats()["residual_saturated"] == 0.0  # a new one does nothing
