"""Training a token within a memory: what is read, in which pieces, and that neither changes what is learned."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from rl_token_ros.rl_token import budget
from rl_token_ros.rl_token.budget import IMPORTED, LIBRARIES, TooLittleMemory, libraries, share
from rl_token_ros.rl_token.network import DecoderNetwork, EncoderNetwork
from rl_token_ros.rl_token.shards import Part, ShardError, Shards, ShardWriter
from rl_token_ros.rl_token.training import CannotResume, Settings, Trainer, fit, not_reconstructed, tokens_of
from rl_token_ros.rl_token.warm_start import fit_whitening

LARGE = (36_000, 968, 2048)


@pytest.fixture(autouse=True)
def one_thread():
    """So that sums are the same whatever else the machine does."""
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(usual)


def embeddings(count: int, rows: int = 12, columns: int = 16, hidden: int = 6) -> np.ndarray:
    """Some that vary in a few directions, float32 [count, rows, columns]."""
    random = np.random.default_rng(0)
    mixture, offset = random.normal(size=(hidden, rows, columns)), 5.0 * random.normal(size=(rows, columns))
    seen = np.einsum("nk,kmd->nmd", random.normal(size=(count, hidden)), mixture) + offset
    return (seen + 0.1 * random.normal(size=seen.shape)).astype(np.float32)


def shard(path: Path, values: np.ndarray) -> Shards:
    with ShardWriter(path) as writer:
        for each in values:
            writer.write(each)
        return Shards([writer.finish()])


class Watched(Part):
    """Remembers how much was read at once."""

    def __init__(self, source) -> None:
        super().__init__(source, np.arange(len(source)))
        self.most = 0

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        self.most = max(self.most, len(rows))
        return super().__getitem__(rows)


def test_shards_give_what_was_asked_for_in_that_order(tmp_path):
    values = embeddings(20)
    both = Shards([*shard(tmp_path / "a.f16", values[:7]).shards, *shard(tmp_path / "b.f16", values[7:]).shards])
    assert both.shape == values.shape
    numbers = np.array([19, 0, 7, 6, 7])
    np.testing.assert_array_equal(both[numbers], values[numbers].astype(np.float16))
    np.testing.assert_array_equal(Part(both, np.arange(20)[::-1])[numbers], values[::-1][numbers].astype(np.float16))


def test_a_shard_that_became_shorter_is_named(tmp_path):
    source = shard(tmp_path / "a.f16", embeddings(20))
    os.truncate(tmp_path / "a.f16", 1000)
    assert source[np.array([1])].shape == (1, 12, 16)
    with pytest.raises(ShardError, match="a.f16' ends within observation 19; delete it"):
        source[np.array([0, 19])]


def test_what_cannot_be_finished_leaves_no_file(tmp_path):
    with pytest.raises(RuntimeError), ShardWriter(tmp_path / "a.f16") as writer:
        writer.write(embeddings(1)[0])
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with pytest.raises(ShardError, match="/dev/full' cannot be written .* after 0 observations; make room"):
        ShardWriter(Path("/dev/full")).write(embeddings(1)[0])


@pytest.mark.slow
def test_pieces_change_nothing_and_no_more_than_one_is_read_at_once(tmp_path):
    values = embeddings(300).astype(np.float16)
    settings = Settings(4, steps=15, batch=32, dropout=1.0)
    encoder, _ = fit(values, settings)
    source = Watched(shard(tmp_path / "a.f16", values))
    trainer = Trainer(source, settings, memory=4e9)
    trainer.budget = budget.Budget(piece=7, columns=1 << 30, probed=100)
    trainer.start()
    trainer.train()
    assert source.most <= 7
    taken, whole = tokens_of(trainer.encoder, source, piece=7), tokens_of(encoder, values)
    np.testing.assert_allclose(np.abs(taken), np.abs(whole), atol=5e-3)  # the warm start leaves signs open


def test_means_and_scales_are_those_of_the_whole():
    values = embeddings(300) + 1000.0
    encoder = EncoderNetwork(12, 16, 4, (2, 9))
    fit_whitening(encoder, values, np.arange(300), 32)
    white = (values[:, 2:9] - encoder.mean.numpy()) / encoder.scale.numpy()
    np.testing.assert_allclose(white.mean(0), 0.0, atol=1e-3)
    np.testing.assert_allclose(white.reshape(-1, 16).std(0), 1.0, atol=1e-3)


@pytest.mark.parametrize("columns", [1 << 30, 64])
def test_the_warm_start_finds_what_varies(columns):
    """Also when it looks at a third of the values alone."""
    values = embeddings(500)
    trainer = Trainer(values[:400], Settings(6, steps=1))
    trainer.budget = budget.Budget(piece=50, columns=columns, probed=100)
    trainer.start()
    assert not_reconstructed(trainer.encoder, trainer.decoder, values[400:]) < 0.1


@pytest.mark.slow
def test_of_many_positions_some_are_reconstructed_in_a_step():
    values = embeddings(300, rows=40)
    few = fit(values[:240], Settings(6, steps=30, targets=8))
    assert not_reconstructed(*few, values[240:], targets=8) < 0.1


@pytest.mark.slow
def test_resuming_is_as_one_run(tmp_path):
    values, settings, path = embeddings(200), Settings(4, steps=12), tmp_path / "made" / "checkpoint"
    encoder, _ = fit(values, settings)
    first = Trainer(values, settings, checkpoint=path)
    first.start()
    first.train(until=5)
    second = Trainer(values, settings, checkpoint=path)
    second.resume()
    second.train()
    np.testing.assert_array_equal(tokens_of(second.encoder, values), tokens_of(encoder, values))
    with pytest.raises(CannotResume, match=r"with observations \[200, 12, 16\], not \[199, 12, 16\]"):
        Trainer(values[1:], settings, checkpoint=path).resume()
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CannotResume, match="cannot be read"):
        Trainer(values, settings, checkpoint=path).resume()


@pytest.mark.slow
def test_a_token_of_2048():
    values = np.random.default_rng(0).normal(size=(2100, 24, 96)).astype(np.float16)
    encoder, _ = fit(values, Settings(2048, steps=1, batch=4))
    assert np.linalg.matrix_rank(tokens_of(encoder, values[:500])) > 490


def test_no_weight_of_the_decoder_grows_with_token_times_embeddings():
    small, large = (
        sum(weight.numel() for weight in DecoderNetwork(rows, columns, 2048, 0.9).parameters()) for rows, columns in ((64, 64), LARGE[1:])
    )
    assert large - small < 1_000_000


def test_what_others_have_in_memory_already_counts():
    shape = (1000, *LARGE[1:])
    assert libraries(IMPORTED - 1) == LIBRARIES and libraries(IMPORTED + 10**9) == LIBRARIES + 10**9
    least = next(memory for memory in np.arange(1.0, 8.0, 0.1) * 1e9 if _fits(memory, shape, LIBRARIES))
    assert not _fits(least + 0.9e9, shape, LIBRARIES + 10**9) and _fits(least + 1e9, shape, LIBRARIES + 10**9)


def _fits(memory: float, shape: tuple[int, ...], others: int) -> bool:
    try:
        share(memory, shape, 128, 3072, 128, 3_000_000, 32, others)
    except TooLittleMemory:
        return False
    return True


def test_memory_does_not_depend_on_the_count_and_what_is_too_little_is_said():
    def shares(memory: float, count: int = LARGE[0], size: int = 2048) -> budget.Budget:
        return share(memory, (count, *LARGE[1:]), size, 3072, 128, 33_000_000, 32)

    assert shares(4e9) == shares(4e9, count=600)
    assert shares(8e9).piece == 32 and shares(2.6e9).piece < 32
    with pytest.raises(TooLittleMemory, match=r"--memory: 1.00 GB are too little for embeddings of 968 x 2048; write ([\d.]+)") as refused:
        shares(1e9)
    shares(float(str(refused.value).split()[-1]) * 1e9)
