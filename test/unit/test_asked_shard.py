"""Embeddings that a VLA was asked for are on the disk, whatever ends the asking, and the asking goes on behind the last one that is whole."""

from __future__ import annotations

import numpy as np
import pytest

from rl_token_ros.rl_token import asked_shard
from rl_token_ros.rl_token.asked_shard import AskedShard
from rl_token_ros.rl_token.dataset import NothingToLearn, Observations, held_out
from rl_token_ros.rl_token.shards import ShardError

VLA = "a" * 64
SOURCE = {"of": "a test"}
ROWS, WIDTH = 3, 5


def matrix(key: int, rows: int = ROWS) -> np.ndarray:
    return np.full((rows, WIDTH), key, np.float32)


def ask(shard: AskedShard, keys: range, asked: list[int] | None = None) -> list[int]:
    """As a source does; the keys of what is in the shard. ``asked`` is told which were asked about."""
    kept = []
    for key in keys:
        has = shard.recall(key)
        if has is None:
            if asked is not None:
                asked.append(key)
            has = shard.write(key, None if key % 10 == 9 else matrix(key) * (np.nan if key % 10 == 8 else 1.0))
        if has:
            kept.append(key)
    return kept


def finish(shard: AskedShard, kept: list[int]) -> Observations:
    number = np.zeros(len(kept), int)
    seen = Observations(episode=number, outcome=np.ones(len(kept)), held=held_out(number))
    shard.finish(seen, SOURCE)
    return seen


@pytest.fixture
def path(tmp_path):
    return asked_shard.path_in(tmp_path / "cache", "run", SOURCE)


@pytest.fixture
def said():
    return []


def test_what_was_asked_for_is_found_again(path, said):
    with AskedShard(path, VLA, said.append) as shard:
        seen = finish(shard, ask(shard, range(40)))
        assert shard.left_out == 8  # of forty, a fifth is without a picture or not finite
    assert seen.vla_sha256 == VLA and said == []
    again = asked_shard.finished(path, SOURCE, VLA, said.append)
    assert again is not None and len(again.held) == 32
    np.testing.assert_array_equal(again.embeddings[np.arange(32)][:, 0, 0], [key for key in range(40) if key % 10 < 8])
    assert asked_shard.finished(path, {**SOURCE, "more": 1}, VLA, said.append) is None
    assert asked_shard.path_in(path.parent, "run", {"of": "another"}) != path
    assert asked_shard.finished(path, SOURCE, None, said.append) is not None  # nobody answers, and nobody needs to
    with pytest.raises(ShardError, match="is of a VLA with SHA-256 'aaaaaaaaaaaa', the one that answers has 'bbbbbbbbbbbb'"):
        asked_shard.finished(path, SOURCE, "b" * 64, said.append)


@pytest.mark.parametrize("cut", ["between", "line", "matrix", "head", "both"])
def test_it_goes_on_where_it_was_cut_off(path, said, cut):
    with AskedShard(path, VLA, said.append) as shard:
        ask(shard, range(20))
    journal, size = path.with_suffix(".asked"), ROWS * WIDTH * 2
    if cut in ("line", "both"):
        journal.write_bytes(journal.read_bytes()[:-1])  # of observation 19, which is in no shard
    if cut in ("matrix", "both"):
        path.write_bytes(path.read_bytes()[: 10 * size + 3])  # 16 were there
    if cut == "head":
        journal.write_bytes(journal.read_bytes()[:10])
    asked: list[int] = []
    with AskedShard(path, VLA, said.append) as shard:
        finish(shard, ask(shard, range(30), asked))
    first = {"between": 20, "line": 19, "matrix": 12, "head": 0, "both": 12}[cut]  # 8, 9 and 18 are in the journal alone
    assert asked == list(range(first, 30))
    again = asked_shard.finished(path, SOURCE, VLA, said.append)
    assert again is not None
    np.testing.assert_array_equal(again.embeddings[np.arange(24)][:, 0, 0], [key for key in range(30) if key % 10 < 8])
    if first:
        assert f"{first} observations were asked about before" in " ".join(said)
    assert ("6 observations of it are asked about again" in " ".join(said)) == (cut in ("matrix", "both"))


def test_a_finished_shard_that_is_cut_off_is_made_whole(path, said):
    with AskedShard(path, VLA, said.append) as shard:
        finish(shard, ask(shard, range(20)))
    path.write_bytes(path.read_bytes()[:-1])
    assert asked_shard.finished(path, SOURCE, VLA, said.append) is None
    assert said == [f"'{path}' is cut off: 479 of 480 bytes; what is missing is asked for again"]
    asked: list[int] = []
    with AskedShard(path, VLA, said.append) as shard:
        finish(shard, ask(shard, range(20), asked))
    assert asked == [17, 18, 19] and asked_shard.finished(path, SOURCE, VLA, said.append) is not None


def test_another_vla_another_shape_and_other_observations_are_refused(path, said):
    with AskedShard(path, VLA, said.append) as shard:
        ask(shard, range(5))
        with pytest.raises(NothingToLearn, match=r"gives embeddings \(4, 5\) now, before it \(3, 5\); one encoder is for one shape"):
            shard.write(5, matrix(5, rows=4))
        with pytest.raises(ShardError, match="another process is asking for"):
            AskedShard(path, VLA, said.append)
    with AskedShard(path, VLA, said.append) as shard:  # nothing of the refused one is left
        assert ask(shard, range(5)) == [0, 1, 2, 3, 4]
        with pytest.raises(NothingToLearn, match="gives embeddings"):
            shard.write(5, matrix(5, rows=4))
    with pytest.raises(ShardError, match="is of a VLA with SHA-256 'aaaaaaaaaaaa', the one that answers has 'bbbbbbbbbbbb'"):
        AskedShard(path, "b" * 64, said.append)
    with AskedShard(path, VLA, said.append) as shard:
        with pytest.raises(ShardError, match="is of other observations .number 0 is 0, not 7.; delete it with its journal"):
            shard.recall(7)
    path.with_suffix(".asked").write_text("nothing\n")
    with pytest.raises(ShardError, match=r"asked' cannot be read; delete it"):
        AskedShard(path, VLA, said.append)


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ShardError, match="cannot be written .*; name another --cache"):
        AskedShard(tmp_path / "file" / "run.f16", VLA, print)
