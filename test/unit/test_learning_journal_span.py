"""Checkpoints without the rows that the journal holds: the learner goes on bit for bit, whatever the disk had of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from learning_helpers import PROPRIO, SHA, episodes, small_settings

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
