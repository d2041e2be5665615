"""What is known of a shard's observations, in a file beside it that is written last: a shard without it was not finished."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from rl_token_ros.rl_token.dataset import Observations
from rl_token_ros.rl_token.shards import Shard, ShardError, Shards

GROUP = "measured/"


def path_of(shard: Path) -> Path:
    """The index of a shard."""
    return shard.with_suffix(".npz")


def save(seen: Observations, shard: Shard, source: dict[str, Any]) -> None:
    """Write the index of a shard that is on the disk.

    Args:
        source: what it was copied from and how, in values that JSON has.
    """
    about = {
        "source": source, "vla_sha256": seen.vla_sha256, "token_size": seen.token_size,
        "count": shard.count, "rows": shard.rows, "columns": shard.columns,
    }  # fmt: skip
    path = path_of(shard.path)
    partial = path.with_suffix(".part")
    with open(partial, "wb") as file:
        values: dict[str, Any] = {GROUP + group: values for group, values in seen.measured.items()}
        values |= {"about": np.array(json.dumps(about)), "outcome": seen.outcome, "episode": seen.episode, "held": seen.held}
        np.savez(file, **values)
        os.fsync(file.fileno())
    os.replace(partial, path)


def load(shard: Path, source: dict[str, Any]) -> Observations | None:
    """The observations of a shard, or None where it was not finished or is of another source.

    Raises:
        ShardError: the shard is cut off, or its index cannot be read.
    """
    path = path_of(shard)
    if not path.is_file():
        return None
    try:
        with np.load(path) as file:
            values = {name: file[name] for name in file.files}
        about = json.loads(str(values["about"]))
        seen = Observations(
            measured={name[len(GROUP) :]: each for name, each in values.items() if name.startswith(GROUP)},
            outcome=values["outcome"], episode=values["episode"], held=values["held"],
            vla_sha256=about["vla_sha256"], token_size=about["token_size"],
        )  # fmt: skip
        whole = Shard(shard, about["count"], about["rows"], about["columns"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ShardError(f"'{path}' cannot be read ({error}); delete it, and its recording is copied anew") from None
    if about["source"] != source:
        return None
    whole.check()
    seen.embeddings = Shards([whole])
    return seen
