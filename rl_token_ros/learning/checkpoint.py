"""Checkpoints: a folder each, whole or not at all. No pickle: JSON, safetensors for the networks, npz for the replay."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from rl_token_ros.parameters import ParameterError
from rl_token_ros.weights import Architecture, Identity

PREFIX = "checkpoint-"
KEPT = 2
FORMAT_VERSION = 1


def save(directory: str | Path, state: dict[str, Any], networks: dict[str, np.ndarray], replay: dict[str, np.ndarray]) -> Path:
    """Write, flush to the disk, rename, and only then remove all but the newest two."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    present = _present(directory)
    number = int(present[-1].name[len(PREFIX) :]) + 1 if present else 1
    final = directory / f"{PREFIX}{number:06d}"
    draft = directory / f".draft-{number:06d}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    (draft / "state.json").write_text(json.dumps({"format_version": FORMAT_VERSION, **state}))
    safetensors.numpy.save_file(networks, draft / "networks.safetensors")
    np.savez(draft / "replay.npz", **replay)
    for path in [*draft.iterdir(), draft]:
        _flush(path)
    draft.rename(final)
    _flush(directory)
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
            if state["format_version"] != FORMAT_VERSION:
                raise ValueError(f"format version {state['format_version']}, this program reads {FORMAT_VERSION}")
            networks = safetensors.numpy.load_file(path / "networks.safetensors")
            with np.load(path / "replay.npz", allow_pickle=False) as file:
                replay = {name: file[name] for name in file.files}
            return state, networks, replay
        except (OSError, ValueError, KeyError, SafetensorError, zipfile.BadZipFile, EOFError) as error:
            reasons.append(f"{path.name}: {error}")
    if reasons:
        raise OSError(f"no checkpoint in '{directory}' can be read ({'; '.join(reasons)}); remove them or use another run_directory")
    return None


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


def _present(directory: Path) -> list[Path]:
    found = [path for path in directory.glob(f"{PREFIX}*") if path.name[len(PREFIX) :].isdigit()]
    return sorted(found, key=lambda path: int(path.name[len(PREFIX) :]))


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
