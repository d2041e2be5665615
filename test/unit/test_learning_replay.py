"""Replay against a plain reference implementation, and its bounds."""

import numpy as np
import pytest
from learning_helpers import PROPRIO, dtype_of, episodes, make_rows, small_settings

from rl_token_ros.interfaces.codes import Ended, Source
from rl_token_ros.learning.batch import Batch
from rl_token_ros.learning.replay_buffer import ReplayBuffer
from rl_token_ros.settings.parameters import ParameterError

GAMMA, STRIDE = 0.9, 2


def make_replay(settings, *, stride=STRIDE, transitions=2000, max_bytes=1 << 22):
    return ReplayBuffer(
        dtype_of(settings), settings.chunk_length, settings.step_residual_scale, stride=stride, gamma=GAMMA,
        transitions=transitions, max_bytes=max_bytes,
    )  # fmt: skip


def messy_rows(settings, seed):
    """Episodes with every ending, some lost rows, some skipped steps, some that never end, and a control_node that restarts."""
    random = np.random.default_rng(seed)
    parts, seq = [], int(random.integers(0, 50))
    for episode in range(25):
        if episode == 15:
            seq = 0
        number = episode - 15 if episode >= 15 else episode
        ended = int(random.choice([Ended.NO, Ended.SUCCESS, Ended.FAILURE, Ended.TIME_LIMIT, Ended.ABORTED], p=[0.1, 0.3, 0.2, 0.2, 0.2]))
        rows = make_rows(settings, random, int(random.integers(1, 16)), ended, number, seq)
        rows["reward"] += random.normal(size=len(rows)).astype(np.float32) * 0.1
        seq += len(rows)
        if random.random() < 0.3:  # a step that could not be recorded
            rows["step"][len(rows) // 2 :] += 1
        if random.random() < 0.3 and len(rows) > 2:  # a lost message
            rows = np.delete(rows, int(random.integers(0, len(rows))))
        parts.append(rows)
    return np.concatenate(parts)


def reference_windows(rows, chunk, stride):
    """{(start row): (length, return, discount, next row or None)}, slow and obvious. Rows are numbered as they arrived."""
    names = ("seq", "episode", "step", "ended", "reward")
    rows = [dict(zip(names, values)) for values in zip(*(rows[name].tolist() for name in names))]
    runs, episode_of_run, number = [], [], -1
    for i, row in enumerate(rows):
        before = rows[i - 1] if i else None
        fresh = before is None or before["ended"] != 0
        follows = not fresh and all(row[k] == before[k] + d for k, d in (("seq", 1), ("episode", 0), ("step", 1)))
        same_episode = not fresh and row["episode"] == before["episode"] and row["seq"] > before["seq"]
        number += not same_episode
        if not follows:
            runs.append([])
            episode_of_run.append(number)
        runs[-1].append(i)
    aborted = {episode_of_run[k] for k, run in enumerate(runs) if rows[run[-1]]["ended"] == Ended.ABORTED}
    windows = {}
    for k, run in enumerate(runs):
        if episode_of_run[k] in aborted:
            continue
        ended = rows[run[-1]]["ended"]
        for offset in range(0, len(run), stride):
            rest = len(run) - offset  # rows from here on
            if rest > chunk:
                length, after = chunk, run[offset + chunk]
            elif ended in (Ended.SUCCESS, Ended.FAILURE):
                length, after = rest, None
            elif ended == Ended.TIME_LIMIT and rest > 1:
                length, after = rest - 1, run[-1]
            else:
                continue
            value = sum(GAMMA**j * rows[run[offset + j]]["reward"] for j in range(length))
            windows[run[offset]] = (length, value, 0.0 if after is None else GAMMA**length, after)
    return windows


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.slow
def test_windows_are_those_of_the_reference(seed):
    settings = small_settings()
    rows = messy_rows(settings, seed)
    expected = reference_windows(rows, settings.chunk_length, STRIDE)
    replay = make_replay(settings)
    replay.add(rows)
    batch = replay.sample(np.random.default_rng(seed), Batch.empty(1500, 3, PROPRIO, 4, 2))
    index = {reference.tobytes(): i for i, reference in enumerate(rows["reference"])}  # random content: unique
    seen = set()
    for i in range(len(batch.length)):
        start = index[batch.reference[i].tobytes()]
        length, value, discount, after = expected[start]
        assert batch.length[i] == length
        assert batch.reward[i] == pytest.approx(value, abs=1e-5)
        assert batch.discount[i] == pytest.approx(discount)
        if start in seen:
            continue
        seen.add(start)
        np.testing.assert_array_equal(batch.token[i], rows["token"][start])
        np.testing.assert_array_equal(batch.proprio[i], rows["proprio"][start])
        np.testing.assert_array_equal(batch.action[i, :length], rows["action"][start : start + length])
        residual = (rows["action"][start : start + length] - rows["reference"][start].reshape(4, 2)[:length]) / [0.5, 0.25]
        np.testing.assert_allclose(batch.residual[i, :length], np.clip(residual, -5, 5), rtol=1e-5)
        if after is not None:  # the next state has its own reference (pitfall 8)
            np.testing.assert_array_equal(batch.next_reference[i], rows["reference"][after])
            np.testing.assert_array_equal(batch.next_token[i], rows["token"][after])
            np.testing.assert_array_equal(batch.next_proprio[i], rows["proprio"][after])
    assert seen == set(expected)
    assert replay.window_count == len(expected)
    assert replay.counters.windows_built - replay.counters.windows_aborted == len(expected)
    assert replay.counters.rows == len(rows)


def test_gaps_are_counted():
    settings = small_settings()
    replay = make_replay(settings)
    rows = make_rows(settings, np.random.default_rng(0), 12, Ended.SUCCESS, 0, 0)
    replay.add(np.delete(rows, [5, 6]))
    assert (replay.counters.gaps, replay.counters.rows_lost, replay.counters.episodes) == (1, 2, 1)
    # Of rows 0..4 only the window at 0 is whole; 2 and 4 were cut off. 7..11 make one whole and two that end in success.
    assert (replay.counters.windows_dropped, replay.counters.windows_built) == (2, 4)


def test_one_token_per_observation():
    settings = small_settings()
    replay = make_replay(settings)
    rows = make_rows(settings, np.random.default_rng(0), 60, Ended.SUCCESS, 0, 0)
    replay.add(rows)
    assert (len(replay), replay.token_count) == (60, 20)
    assert replay.bytes == 60 * replay.step_bytes + 20 * replay.token_bytes


@pytest.mark.parametrize("bound", ["transitions", "bytes"])
def test_bounds_hold_and_the_newest_stay(bound):
    settings = small_settings()
    limit = 20_000
    replay = make_replay(settings, transitions=101) if bound == "transitions" else make_replay(settings, max_bytes=limit)
    rows = episodes(settings, 60, seed=3)
    rows["token"] = np.random.default_rng(0).normal(size=rows["token"].shape)  # every token new: the worst case
    held = sum(a.nbytes for a in [*replay.steps.values(), *replay.windows.values(), replay.tokens])
    for row in rows:
        replay.add(np.array([row]))
        assert len(replay) <= (101 if bound == "transitions" else limit // replay.step_bytes)
        assert replay.bytes <= limit or bound == "transitions"
    if bound == "bytes":
        assert held <= limit
    stored = replay.steps["seq"][np.arange(replay.first, replay.next) % replay.capacity]
    np.testing.assert_array_equal(stored, rows["seq"][-len(replay) :])
    expected = {start: window for start, window in reference_windows(rows, 4, STRIDE).items() if start >= len(rows) - len(replay)}
    assert replay.window_count == len(expected)
    batch = replay.sample(np.random.default_rng(1), Batch.empty(500, 3, PROPRIO, 4, 2))
    index = {reference.tobytes(): i for i, reference in enumerate(rows["reference"])}
    for i in range(500):
        start = index[batch.reference[i].tobytes()]
        assert start in expected
        np.testing.assert_array_equal(batch.token[i], rows["token"][start])


def test_bytes_too_few_are_refused():
    with pytest.raises(ParameterError, match="replay_bytes"):
        make_replay(small_settings(), max_bytes=2000)


def test_tails_are_filled_with_other_windows_not_zeros():
    """Pitfall 5: what was never executed must look like what others executed, and differ from draw to draw."""
    settings = small_settings()
    replay = make_replay(settings)
    rows = episodes(settings, 30, endings=(Ended.SUCCESS,))
    rows["action"] = 0.0
    rows["reference"] = np.where(np.arange(8) % 2, -0.125, -0.25)  # executed residuals are 0.5 everywhere
    replay.add(rows)
    batch = Batch.empty(400, 3, PROPRIO, 4, 2)
    replay.sample(np.random.default_rng(0), batch)
    assert (batch.length < 4).sum() > 50
    np.testing.assert_allclose(batch.residual, 0.5)
    rows["action"] = np.random.default_rng(1).normal(size=rows["action"].shape) * 0.1
    replay = make_replay(settings)
    replay.add(rows)
    random, tails = np.random.default_rng(0), []
    for _ in range(2):
        replay.sample(random, batch)
        whole = batch.residual[batch.length == 4]
        for i in np.flatnonzero(batch.length < 4):
            tail = batch.residual[i, batch.length[i] :]
            assert any(np.array_equal(tail, other[batch.length[i] :]) for other in whole)
            tails.append(tail.tobytes())
    assert len(set(tails)) > 100


def test_human_rows_keep_the_vla_reference_and_are_marked():
    """Pitfall 8: the reference of a residual actor stays the VLA's where a human acted."""
    settings = small_settings()
    rows = make_rows(settings, np.random.default_rng(0), 12, Ended.SUCCESS, 0, 0)
    rows["source"][4:8] = Source.HUMAN
    replay = make_replay(settings)
    replay.add(rows)
    batch = replay.sample(np.random.default_rng(0), Batch.empty(100, 3, PROPRIO, 4, 2))
    index = {reference.tobytes(): i for i, reference in enumerate(rows["reference"])}
    for i in range(100):
        start = index[batch.reference[i].tobytes()]
        expected = [k < batch.length[i] and 4 <= start + k < 8 for k in range(4)]
        assert batch.human[i].tolist() == expected
    assert replay.counters.sources == {"vla": 8, "actor": 0, "human": 4}


@pytest.mark.parametrize("seed", range(4))
def test_disk_round_trip_goes_on_the_same(seed):
    settings = small_settings()
    rows = messy_rows(settings, seed)
    cut = len(rows) // 2
    one = make_replay(settings, transitions=90)
    one.add(rows[:cut])
    two = make_replay(settings, transitions=90)
    two.restore(one.arrays(), one.numbers())
    batches = []
    for replay in (one, two):
        replay.add(rows[cut:])
        batches.append(replay.sample(np.random.default_rng(0), Batch.empty(200, 3, PROPRIO, 4, 2)))
    for name, value in vars(batches[0]).items():
        np.testing.assert_array_equal(value, getattr(batches[1], name), err_msg=name)
    assert vars(one.counters) == vars(two.counters)


def test_restored_with_smaller_bounds_keeps_the_newest():
    settings = small_settings()
    rows = episodes(settings, 30)
    one = make_replay(settings)
    one.add(rows)
    two = make_replay(settings, transitions=80)
    two.restore(one.arrays(), one.numbers())
    fresh = make_replay(settings, transitions=80)
    fresh.add(rows)
    assert (len(two), two.window_count) == (80, fresh.window_count)
    for array_of_two, array_of_fresh in zip(two.states(), fresh.states()):
        np.testing.assert_array_equal(array_of_two, array_of_fresh)
