"""What `train_token` reads from LeRobot data sets: a VLA is asked for the embeddings of their frames, once, into shards on the disk."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from rl_token_ros.adapters.lerobot_checkpoint import STATE
from rl_token_ros.adapters.lerobot_dataset import Dataset
from rl_token_ros.adapters.lerobot_questions import Questions
from rl_token_ros.rl_token import asked_shard
from rl_token_ros.rl_token.asked_shard import AskedShard
from rl_token_ros.rl_token.dataset import Observations, held_out
from rl_token_ros.rl_token.shards import BYTES, ShardError
from rl_token_ros.system.ahead import ahead
from rl_token_ros.system.progress import Progress
from rl_token_ros.vla.backend import Observation
from rl_token_ros.vla.patient import PatientVla

GIGABYTE = 1e9


def read(
    dataset: Dataset, questions: Questions, rate: float, demonstrations: bool, cache: Path, vla: PatientVla, note: Callable[[str], None]
) -> Observations:  # fmt: skip
    """The observations of a data set, of which the state can be probed, and the outcome where not all is success.

    Args:
        rate: observations per second; every n-th frame is taken.
        demonstrations: whether an episode of which the data set says nothing ended in success.
        cache: folder of the shards.
        note: told what is assumed, and what is used again.

    Raises:
        ParameterError: LeRobot cannot read a frame.
        NothingToLearn: the embeddings' shape has changed.
        BackendError: the VLA does not answer, or refuses.
        ShardError: of another VLA, or a disk that is full.
    """
    every = max(round(dataset.rate / rate), 1)
    begins = np.flatnonzero(np.r_[True, np.diff(dataset.episode) != 0])
    number = np.cumsum(np.isin(np.arange(len(dataset)), begins)) - 1  # of the episode, from 0
    frames = np.flatnonzero((np.arange(len(dataset)) - begins[number]) % every == 0)
    source = {"lerobot": dataset.name, "digest": _digest(dataset), "every": every, "shown": questions.shown}
    path = asked_shard.path_in(cache, Path(dataset.name).name, {name: each for name, each in source.items() if name != "lerobot"})
    about = {**source, "demonstrations": demonstrations}
    if (seen := asked_shard.finished(path, about, vla.vla_sha256, note)) is not None:
        return seen
    if dataset.success is None and demonstrations:
        note(f"'{dataset.name}' does not say how its {len(begins)} episodes ended: success is assumed, as of demonstrations (--outcome unknown: not)")
    with AskedShard(path, vla.vla_sha256, note) as shard:
        kept = frames[np.array(list(_keep(dataset, questions, frames, shard, vla)), int)]
        seen = Observations(episode=number[kept], outcome=_outcome(dataset, number, demonstrations)[kept], held=held_out(number[kept]))
        if dataset.state_names:
            seen.measured[STATE] = np.stack([questions.proprio(index) for index in kept]).astype(float) if len(kept) else np.zeros((0, 1))
        shard.finish(seen, about)
    if shard.left_out:
        note(f"'{dataset.name}': {shard.left_out} observations are left out: embeddings that float16 does not hold")
    return seen


def _keep(dataset: Dataset, questions: Questions, frames: np.ndarray, shard: AskedShard, vla: PatientVla) -> Iterator[int]:
    """Places among the frames of those whose embeddings the shard has, at the end of all."""
    known = min(shard.known, len(frames))
    for place in range(known):
        if shard.recall(int(frames[place])):
            yield place
    progress = Progress(f"ask the VLA about {Path(dataset.name).name}", len(frames), known)

    def rest() -> Iterator[tuple[int, Observation]]:
        for place in range(known, len(frames)):
            yield place, questions.observation(int(frames[place]))

    for place, observation in ahead(rest()):
        matrix = vla.embed(observation)
        if place == known:
            _refuse_full_disk(shard.path.parent, matrix.size * BYTES * (len(frames) - known))
        if shard.write(int(frames[place]), matrix):
            yield place
        progress(place + 1)


def _refuse_full_disk(folder: Path, wanted: int) -> None:
    """Before hours of asking, not after."""
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise ShardError(
            f"the embeddings take {wanted / GIGABYTE:.1f} GB in '{folder}', where {free / GIGABYTE:.1f} are free; make room, name another --cache, "
            "or ask about fewer (--query-rate)"
        )


def _outcome(dataset: Dataset, number: np.ndarray, demonstrations: bool) -> np.ndarray:
    """Of each frame, that of its episode: 1.0 success, 0.0 not, NaN where nobody knows."""
    if dataset.success is None:
        return np.full(len(dataset), 1.0 if demonstrations else np.nan)
    ended_well = np.zeros(number[-1] + 1)
    np.maximum.at(ended_well, number, dataset.success.astype(float))
    return np.asarray(ended_well[number])


def _digest(dataset: Dataset) -> str:
    """Of all but the pictures: where that is the same, they are."""
    total = hashlib.sha256()
    for array in (dataset.episode, dataset.seconds, dataset.state, dataset.action):
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()
