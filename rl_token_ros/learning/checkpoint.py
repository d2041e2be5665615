"""Checkpoints: a folder each, whole or not at all. No pickle: JSON, safetensors for the networks, npz for rows that no journal holds."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from rl_token_ros.policy.actor_weights import Architecture, Identity
from rl_token_ros.settings.parameters import ParameterError

PREFIX = "checkpoint-"
KEPT = 2
FORMAT_VERSION = 3  # 2: always with all rows; 1: under other names
RUN = "run"
LOCK = ".learner.lock"


def save(directory: str | Path, state: dict[str, Any], networks: dict[str, np.ndarray], replay: dict[str, np.ndarray]) -> Path:
    """Write, flush to the disk, rename, and only then remove all but the newest two.

    Raises:
        OSError: the disk is full or gone; what was there stays.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    present = _present(directory)
    number = int(present[-1].name[len(PREFIX) :]) + 1 if present else 1
    final = directory / f"{PREFIX}{number:06d}"
    draft = directory / f".draft-{number:06d}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        (draft / "state.json").write_text(json.dumps({"format_version": FORMAT_VERSION, **state}))
        safetensors.numpy.save_file(networks, draft / "networks.safetensors")
        arrays: dict[str, Any] = dict(replay)  # Any: among the keywords of savez there is a switch in some versions of numpy
        np.savez(draft / "replay.npz", **arrays)
        for path in [*draft.iterdir(), draft]:
            flush(path)
        draft.rename(final)
    except (OSError, SafetensorError) as error:  # a full disk: what is half written only makes it worse
        shutil.rmtree(draft, ignore_errors=True)
        raise OSError(str(error)) from error
    flush(directory)
    for old in present[: len(present) + 1 - KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def load(directory: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, np.ndarray]] | None:
    """The newest checkpoint that can be read, as (state, networks, replay); None if there is none at all.

    Raises:
        OSError: there are some, and none can be read.
    """
    present = _present(Path(directory))
    reasons = []
    for path in reversed(present):
        try:
            state = json.loads((path / "state.json").read_text())
            if state["format_version"] not in (1, 2, FORMAT_VERSION):
                raise ValueError(f"format version {state['format_version']}, this program reads 1 to {FORMAT_VERSION}")
            networks = safetensors.numpy.load_file(path / "networks.safetensors")
            if state["format_version"] == 1:
                networks = _of_version_1(state["learner"], networks)
            with np.load(path / "replay.npz", allow_pickle=False) as file:
                replay = {name: file[name] for name in file.files}
            return state, networks, replay
        except (OSError, ValueError, KeyError, SafetensorError, zipfile.BadZipFile, EOFError) as error:
            reasons.append(f"{path.name}: {error}")
    if reasons:
        raise OSError(f"no checkpoint in '{directory}' can be read ({'; '.join(reasons)}); remove them or use another run_directory")
    return None


def newest_stamp(directory: str | Path) -> int:
    """Stamp in the journal of the newest rows that the newest checkpoint knows, ns; 0 without one that can be read."""
    for path in reversed(_present(Path(directory))):
        try:
            return int(json.loads((path / "state.json").read_text())["learner"].get("journal_ns", 0))
        except (OSError, ValueError, KeyError):
            continue
    return 0


def refuse_mismatch(directory: str | Path, identity: Identity, architecture: Architecture) -> None:
    """Raise if the newest checkpoint in a folder was made for another robot, VLA, encoder or network size.

    Raises:
        ParameterError: it was.
    """
    present = _present(Path(directory))
    if not present:
        return
    try:
        state = json.loads((present[-1] / "state.json").read_text())
    except (OSError, ValueError):
        return  # `load` says so, or finds an older one
    for part, mine in (("identity", asdict(identity)), ("architecture", asdict(architecture))):
        for name, value in mine.items():
            if state[part].get(name) != value:
                raise ParameterError(
                    f"parameter 'run_directory': '{directory}' holds a run with {name} {state[part].get(name)}, "
                    f"this node has {value}; write another run_directory"
                )


def hold(directory: str | Path, seconds: float, waiting: Callable[[], None] | None) -> int:
    """Wait until no other process learns in this directory, and keep others out until this one ends; the lock's file descriptor.

    The process of a node that was killed is still writing its last checkpoint.

    Args:
        directory: the run directory.
        seconds: to wait at most.
        waiting: called once if there is somebody to wait for.

    Raises:
        ParameterError: somebody still learns there.
    """
    descriptor = os.open(Path(directory) / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except OSError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise ParameterError(
                    f"parameter 'run_directory': another process has been learning in '{directory}' for {seconds:.0f} s; "
                    "end it or write another run_directory"
                ) from None
        if waiting is not None:
            waiting()
            waiting = None
        time.sleep(0.05)


def run_name(directory: str | Path) -> str:
    """The name of the run in a directory, made when it begins: weights count their versions within it."""
    path = Path(directory) / RUN
    try:
        if name := path.read_text().strip():
            return name
    except FileNotFoundError:
        pass
    draft = path.with_name(f".{RUN}")
    draft.write_text(name := secrets.token_hex(8))
    draft.rename(path)
    return name


def _of_version_1(numbers: dict[str, Any], networks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The networks under today's names; ``numbers``, of the learner, are renamed in place. Version 1 had other names and the same content."""
    numbers["steps_after_warmup"] = numbers.pop("steps_practised")
    names = {"actor_average": "actor_target", "critic_average": "critic_target"}
    return {names.get(name, name): tensor for name, tensor in networks.items()}


def _present(directory: Path) -> list[Path]:
    found = [path for path in directory.glob(f"{PREFIX}*") if path.name[len(PREFIX) :].isdigit()]
    return sorted(found, key=lambda path: int(path.name[len(PREFIX) :]))


def flush(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
