"""Rows of `replay` and small settings for the tests of the learner."""

from __future__ import annotations

import numpy as np
import torch

from rl_token_ros.bags import row_writer
from rl_token_ros.interfaces import replay_table
from rl_token_ros.interfaces.codes import Ended
from rl_token_ros.settings import parameters
from rl_token_ros.settings.learner import Learner

torch.set_num_threads(1)  # two are slower at these sizes, and much slower beside another process
PROPRIO = 2
SHA = {"encoder_sha256": "e" * 64, "vla_sha256": "f" * 64}


def small_settings(**overrides) -> Learner:
    """A learner of a robot with two joints, chunks of four steps and tokens of three values."""
    values = dict(
        joint_names=["a", "b"], action_names=["a", "b"], proprioception=["joint_position"], residual_scale=[0.5, 0.25],
        chunk_length=4, token_size=3, hidden_size=32, batch_size=32, base_episodes=3, warmup_episodes=3, pretrain_updates=10, push_updates=20,
        replay_transitions=2000, device="cpu", **SHA,
    )  # fmt: skip
    return parameters.build(Learner, {**values, **overrides})


def dtype_of(settings: Learner) -> np.dtype:
    return replay_table.row_dtype(settings.token_size, PROPRIO, settings.chunk_length, settings.action_size)


def make_rows(settings: Learner, random: np.random.Generator, length: int, ended: int, episode: int, seq: int) -> np.ndarray:
    """One episode of random content; tokens last for three steps. Steps are 20 ms, episodes begin every 10 s."""
    rows = np.zeros(length, dtype_of(settings))
    rows["seq"], rows["episode"], rows["step"] = seq + np.arange(length), episode, np.arange(length)
    rows["stamp_sec"] = 10 * episode + np.arange(length) // 50
    rows["stamp_nanosec"] = np.arange(length) % 50 * 20_000_000
    rows["token"] = np.repeat(random.normal(size=(length, 3)), 3, axis=0)[:length]
    for name in ("proprio", "reference", "action"):
        rows[name] = random.normal(size=rows[name].shape)
    rows["ended"][-1] = ended
    rows["reward"][-1] = ended == Ended.SUCCESS
    return rows


def episodes(settings: Learner, count: int, seed: int = 0, endings: tuple[int, ...] = (1, 2, 3), first: int = 0) -> np.ndarray:
    """Rows of some episodes of 6 to 14 steps, one after the other."""
    random = np.random.default_rng(seed)
    parts, seq = [], 1000 * first
    for episode in range(first, first + count):
        parts.append(make_rows(settings, random, int(random.integers(6, 15)), endings[episode % len(endings)], episode, seq))
        seq += len(parts[-1])
    return np.concatenate(parts)


cdr_of = row_writer.replay_cdr  # the `replay` message that carries rows, as it travels
