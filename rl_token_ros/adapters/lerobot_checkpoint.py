"""A LeRobot checkpoint as the files it consists of, and what its policy takes and gives. Read without LeRobot and torch.

The folder holds ``config.json``, ``model.safetensors``, and a pre- and a post-processor (``policy_preprocessor.json``, ..) with the statistics of
the data set in files of their own. Its actions and states have the data set's units.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from rl_token_ros.adapters import files
from rl_token_ros.settings.parameters import ParameterError

CONFIG, WEIGHTS = "config.json", "model.safetensors"
TRAINED, INFO = "train_config.json", Path("meta/info.json")  # of the checkpoint, of a data set
BEFORE, AFTER = "policy_preprocessor.json", "policy_postprocessor.json"
STATE, ACTION = "observation.state", "action"
FAMILIES = ("act", "pi0", "pi05", "smolvla")  # whose embeddings are known
# What each way of normalising needs of the data set.
STATISTICS = {"MEAN_STD": ("mean", "std"), "MIN_MAX": ("min", "max"), "QUANTILES": ("q01", "q99"), "QUANTILE10": ("q10", "q90")}


@dataclass(frozen=True)
class Checkpoint:
    """What the configuration says.

    Attributes:
        folder: where the files are.
        family: type of the policy, one of FAMILIES.
        cameras: rows and columns of each picture, by the feature's name.
        resizes: the policy resizes pictures itself; else they must have that size.
        optional: cameras that may be missing; the policy puts an empty picture there.
        state: values of observation.state; 0: it takes none.
        actions: values of an action.
    """

    folder: Path
    family: str
    cameras: dict[str, tuple[int, int]]
    resizes: bool
    optional: tuple[str, ...]
    state: int
    actions: int


@dataclass(frozen=True)
class Recorded:
    """What the data set says: steps per second, an action's names and how many values it has (0, empty: unknown)."""

    rate: float = 0.0
    action_names: tuple[str, ...] = ()
    actions: int = 0


def read(folder: Path) -> Checkpoint:
    """What the files say, complete.

    Raises:
        ParameterError: not a checkpoint, of a type that is not known, or one whose processors or statistics are missing.
    """
    if not (folder / CONFIG).is_file() and (folder / "pretrained_model" / CONFIG).is_file():
        folder = folder / "pretrained_model"  # a folder of lerobot-train's checkpoints/
    config = files.read_map(folder / CONFIG)
    family = config.get("type")
    if family not in FAMILIES:
        raise ParameterError(
            f"the checkpoint '{folder}' is of type '{family}', whose embeddings are not known here; known are {', '.join(FAMILIES)}. "
            "Serve it as MODULE:NAME, an object with infer(obs): docs/your_vla.md"
        )
    if config.get("use_peft"):
        raise ParameterError(f"the checkpoint '{folder}' holds an adapter (PEFT) alone; merge it into its base policy and save that")
    if not (folder / WEIGHTS).is_file():
        raise ParameterError(f"the checkpoint '{folder}' has no {WEIGHTS}")
    inputs, outputs = config.get("input_features") or {}, config.get("output_features") or {}
    strange = [name for name, feature in inputs.items() if feature["type"] != "VISUAL" and name != STATE]
    if strange:
        raise ParameterError(f"the checkpoint takes '{strange[0]}'; only pictures, {STATE} and the task can be given to it")
    if ACTION not in outputs:
        raise ParameterError(f"the checkpoint gives {', '.join(outputs) or 'nothing'}; a feature '{ACTION}' is needed")
    _refuse_missing_statistics(folder, config)
    cameras = {name: _size(name, feature["shape"]) for name, feature in inputs.items() if feature["type"] == "VISUAL"}
    resizes = family in ("pi0", "pi05") or (family == "smolvla" and config.get("resize_imgs_with_padding") is not None)
    optional = tuple(cameras) if family in ("pi0", "pi05", "smolvla") else ()
    state = int(inputs[STATE]["shape"][0]) if STATE in inputs else 0
    return Checkpoint(folder, family, cameras, resizes, optional, state, int(outputs[ACTION]["shape"][0]))


def recorded(folder: Path, dataset: Path | None = None) -> Recorded:
    """What is known of the data that the policy learned from.

    Args:
        folder: the checkpoint's; its ``train_config.json`` says which data set that was, which may be on this machine.
        dataset: folder of a LeRobot data set, with ``meta/info.json``.

    Raises:
        ParameterError: ``dataset`` is none.
    """
    for candidate in [dataset] if dataset else _datasets(folder):
        if dataset or (candidate / INFO).is_file():
            return described(candidate)
    return Recorded()


def described(dataset: Path, action: str = ACTION) -> Recorded:
    """What a LeRobot data set says of itself.

    Args:
        dataset: its folder, with ``meta/info.json``.
        action: its feature that is the action.

    Raises:
        ParameterError: it is none.
    """
    info = files.read_map(dataset / INFO)
    feature = info.get("features", {}).get(action, {})
    names = feature.get("names")
    if isinstance(names, dict):  # older data sets: {"motors": [..]}
        names = next(iter(names.values()), None)
    size = (feature.get("shape") or [0])[-1]
    return Recorded(float(info.get("fps", 0.0)), tuple(map(str, names or ())), int(size))


def datasets() -> Path:
    """The folder in which LeRobot keeps data sets."""
    return Path(os.environ.get("HF_LEROBOT_HOME") or Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface") / "lerobot")


def digest(folder: Path) -> str:
    """SHA-256 over the weights' files: the policy's and its processors', which scale what it sees."""
    return files.digest(folder.glob("*.safetensors"), folder)


def _datasets(folder: Path) -> Iterable[Path]:
    trained = files.read_map(folder / TRAINED).get("dataset") or {} if (folder / TRAINED).is_file() else {}
    if trained.get("root"):
        yield Path(trained["root"])
    if trained.get("repo_id"):
        yield datasets() / trained["repo_id"]


def _size(name: str, shape: list[int]) -> tuple[int, int]:
    """Rows and columns of channels-first pictures."""
    if len(shape) != 3 or shape[0] != 3:
        raise ParameterError(f"the checkpoint takes '{name}' of shape {shape}; colour pictures [3, h, w] can be given to it")
    return int(shape[1]), int(shape[2])


def _refuse_missing_statistics(folder: Path, config: dict[str, Any]) -> None:
    """LeRobot passes a feature without statistics through as it is, and says nothing: the arm would get numbers of another scale."""
    for file, step_name in ((BEFORE, "normalizer_processor"), (AFTER, "unnormalizer_processor")):
        if not (folder / file).is_file():
            raise ParameterError(
                f"the checkpoint '{folder}' has no {file}; LeRobot before 0.4 made it, whose "
                f"lerobot.processor.migrate_policy_normalization (of 0.4) --pretrained-path {folder} adds it"
            )
        features = config["output_features"] if file == AFTER else config.get("input_features") or {}
        modes = config.get("normalization_mapping") or {}
        wanted = {name: STATISTICS.get(modes.get(feature["type"], "IDENTITY"), ()) for name, feature in features.items()}
        wanted = {name: kinds for name, kinds in wanted.items() if kinds and "empty_camera" not in name}
        there = set()
        for step in files.read_map(folder / file).get("steps", []):
            if step.get("registry_name") == step_name and step.get("state_file"):
                there |= _tensors(folder / step["state_file"])
        lacking = [f"{name}.{kind}" for name, kinds in wanted.items() for kind in kinds if f"{name}.{kind}" not in there]
        if lacking:
            raise ParameterError(
                f"{file} of the checkpoint '{folder}' has no statistics {', '.join(lacking)}; make the processors with the data set's, "
                "make_pre_post_processors(config, dataset_stats=dataset.meta.stats), and save them into this folder"
            )


def _tensors(path: Path) -> set[str]:
    try:
        with safe_open(path, "numpy") as file:
            return set(file.keys())
    except (OSError, SafetensorError) as error:
        raise ParameterError(f"'{path}' cannot be read: {error}") from None
