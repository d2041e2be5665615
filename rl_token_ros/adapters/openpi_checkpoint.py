"""An openpi checkpoint as the files it consists of. Read without openpi, JAX and torch.

A step's folder holds the weights, ``params/`` (JAX) or ``model.safetensors`` (PyTorch, which wins), and ``assets/<asset id>/norm_stats.json``:
statistics of the data set, by which openpi scales states and actions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rl_token_ros.adapters import files
from rl_token_ros.settings.parameters import ParameterError

PARAMS, WEIGHTS, ASSETS, STATISTICS = "params", "model.safetensors", "assets", "norm_stats.json"
SCALED = ("state", "actions")  # whose statistics openpi needs


@dataclass(frozen=True)
class Checkpoint:
    """Where the files are, and whether PyTorch runs them (JAX does otherwise)."""

    folder: Path
    pytorch: bool


def read(folder: Path) -> Checkpoint:
    """What there is.

    Raises:
        ParameterError: no weights, and what was found in their place.
    """
    if not folder.is_dir():
        raise ParameterError(f"there is no folder '{folder}'; write that of a step, as checkpoints/CONFIG/EXPERIMENT/29999")
    pytorch = (folder / WEIGHTS).is_file()
    if pytorch or _files(folder / PARAMS):
        return Checkpoint(folder, pytorch)
    steps = sorted((path for path in folder.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))
    hint = f"; write the folder of a step, {steps[-1]}" if steps else ""
    raise ParameterError(f"'{folder}' holds no weights, neither {PARAMS}/ (JAX) nor {WEIGHTS} (PyTorch){hint}")


@dataclass(frozen=True)
class Sizes:
    """How many values the data set's states and actions have, as far as the statistics say it.

    Older ones are padded to the model's own size. Of the state padding is left out then, the size of an action is 0.
    """

    state: int
    actions: int


def statistics(checkpoint: Checkpoint, asset: str | None, model_size: int) -> Sizes:
    """What the statistics say of the data set; ``model_size`` is that of the model's actions.

    Raises:
        ParameterError: there are no statistics: the arm would get numbers of another scale.
    """
    if not asset:
        raise ParameterError("the config names no data set (asset_id, repo_id), by whose statistics states and actions are scaled; set it there")
    path = checkpoint.folder / ASSETS / asset / STATISTICS
    if not path.is_file():
        there = [str(found.parent.relative_to(checkpoint.folder / ASSETS)) for found in sorted((checkpoint.folder / ASSETS).rglob(STATISTICS))]
        raise ParameterError(
            f"the checkpoint has no statistics '{path}', which the config asks for; it has those of {', '.join(there) or 'nothing'}. "
            "Copy them there (openpi's scripts/compute_norm_stats.py makes them), or set asset_id in the config"
        )
    known = files.read_map(path).get("norm_stats", {})
    lacking = [name for name in SCALED if name not in known]
    if lacking:
        raise ParameterError(f"'{path}' has no statistics of {' and '.join(lacking)}; openpi would leave them unscaled")
    state, actions = (len(known[name]["mean"]) for name in SCALED)
    return Sizes(_values(known["state"]) if state >= model_size else state, 0 if actions >= model_size else actions)


def digest(checkpoint: Checkpoint, asset: str) -> str:
    """SHA-256 over the weights' files and the statistics that scale what the policy sees and gives."""
    weights = [checkpoint.folder / WEIGHTS] if checkpoint.pytorch else _files(checkpoint.folder / PARAMS)
    return files.digest([*weights, checkpoint.folder / ASSETS / asset / STATISTICS], checkpoint.folder)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _values(of: dict[str, list[float]]) -> int:
    """Values before those that are padding: always zero."""
    pairs: Iterable[tuple[float, float]] = zip(of["mean"], of["std"])
    return max((i + 1 for i, pair in enumerate(pairs) if any(pair)), default=0)
