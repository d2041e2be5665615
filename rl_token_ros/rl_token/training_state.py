"""Where the training of a token stands, as one safetensors file: tensors, and the rest as JSON. Nothing in it is run when it is read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

TOLD = "told"


def save(path: Path, networks: dict[str, nn.Module], optimizer: torch.optim.Optimizer, told: dict[str, Any]) -> None:
    """Write it whole or not at all; ``told`` can be JSON."""
    state = optimizer.state_dict()
    tensors = {f"{name}.{key}": value for name, network in networks.items() for key, value in network.state_dict().items()}
    tensors |= {f"optimizer.{i}.{key}": value for i, values in state["state"].items() for key, value in values.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    metadata = {TOLD: json.dumps({**told, "groups": state["param_groups"]})}
    safetensors.torch.save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, partial, metadata)
    with open(partial, "rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)


def load(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors by name, and what was told.

    Raises:
        OSError, ValueError: it is no such file.
    """
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads((file.metadata() or {})[TOLD])  # noqa: SIM118
    except (SafetensorError, KeyError) as error:
        raise ValueError(str(error)) from None


def restore(tensors: dict[str, torch.Tensor], told: dict[str, Any], networks: dict[str, nn.Module], optimizer: torch.optim.Optimizer) -> None:
    """Be as when it was written."""
    for name, network in networks.items():
        network.load_state_dict({key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")})
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, i, name = key.split(".")
            state.setdefault(int(i), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": told["groups"]})
