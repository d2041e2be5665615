"""What a cloned policy takes and gives, by name; the network for it, normalised by demonstrations; its file for the `onnx` backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rl_token_ros.cloning.demonstrations import Demonstrations, NotUsable
from rl_token_ros.cloning.network import VisionPolicy
from rl_token_ros.cloning.resizing import FromCameras, Size
from rl_token_ros.rl_token import onnx_file
from rl_token_ros.settings.proprioception_groups import least_deviations
from rl_token_ros.settings.robot import Robot
from rl_token_ros.system.onnx_session import session

LEAST_ACTION = 1e-6  # scale of an action that never changes
LEAST_STATE = 1e-4  # of a value of the state of which no group says it


@dataclass(frozen=True)
class Form:
    """What the policy takes and gives.

    Attributes:
        cameras: in the order of the network's inputs.
        actions: names of the A values of an action, the grippers' last.
        action_type: delta or absolute.
        dt: s, between two actions.
        groups: of the state, as in `vla_proprioception`; empty: not known.
        state_floor: least standard deviation of each of the P values of the state; empty: P is not known.
    """

    cameras: tuple[str, ...]
    actions: tuple[str, ...]
    action_type: str
    dt: float
    groups: tuple[str, ...] = ()
    state_floor: tuple[float, ...] = ()

    @classmethod
    def of(cls, robot: Robot, cameras: Sequence[str], groups: Sequence[str]) -> Form:
        """That of a robot's VLA with these cameras, whose state has these groups."""
        floor = least_deviations(list(groups), len(robot.joint_names), robot.action_size)
        return cls(tuple(cameras), tuple(robot.chunk_names), robot.action_type, robot.chunk_dt, tuple(groups), tuple(floor))

    def refuse_other(self, other: Form, source: str) -> None:
        """
        Raises:
            NotUsable: demonstrations of another form.
        """
        for each in fields(self):
            mine, theirs = getattr(self, each.name), getattr(other, each.name)
            if mine != theirs:
                raise NotUsable(f"'{source}' is of {each.name} {theirs}, not of {mine}; clone demonstrations of one robot")

    def refuse_shape(self, proprio: int, actions: int, source: str) -> None:
        """
        Raises:
            NotUsable: state or action have not as many values as there are names.
        """
        if actions != len(self.actions):
            raise NotUsable(f"'{source}' has actions of {actions} values; write {len(self.actions)}, one for each of {', '.join(self.actions)}")
        if self.state_floor and proprio != len(self.state_floor):
            raise NotUsable(f"'{source}' has a state of {proprio} values; write {len(self.state_floor)}: {', '.join(self.groups)}")


def network(form: Form, shown: Demonstrations, train: np.ndarray, horizon: int) -> VisionPolicy:
    """A policy before training, normalised by some of the samples.

    Deltas are scaled by their root mean square, so that nothing commanded stays nothing; positions by mean and standard deviation.
    """
    state = shown.proprio[train]
    actions = shown.chunks(train, 1)[0][:, 0]
    delta = form.action_type == "delta"
    mean = np.zeros(actions.shape[1]) if delta else actions.mean(0)
    scale = np.maximum(np.sqrt(np.square(actions - mean).mean(0)), LEAST_ACTION)
    deviation = np.maximum(state.std(0), form.state_floor or LEAST_STATE)
    middle, spread, unit, offset = (torch.from_numpy(np.asarray(each, np.float32)) for each in (state.mean(0), deviation, scale, mean))
    return VisionPolicy(horizon, shown.views, middle, spread, unit, None if delta else offset)


def export(model: VisionPolicy, form: Form, given: Sequence[Size], views: Sequence[Size], path: Path) -> None:
    """Write the ONNX file with the metadata that the nodes check.

    Args:
        given: rows and columns of each camera's pictures as they come.
        views: those that the network takes.
    """
    model = model.cpu().eval()
    images = {f"image_{camera}": torch.zeros(1, *size, 3, dtype=torch.uint8) for camera, size in zip(form.cameras, given)}
    told: dict[str, Any] = {
        "cameras": form.cameras,
        "action_names": form.actions,
        "action_type": form.action_type,
        "dt": form.dt,
        "horizon": model.horizon,
    }
    if form.groups:
        told["proprioception"] = form.groups
    inputs = {**images, "proprio": torch.zeros(1, len(model.proprio_mean))}
    onnx_file.write(FromCameras(model, given, views), inputs, ["actions", "embeddings"], path, **told)


@torch.no_grad()
def difference(path: Path, model: VisionPolicy, shown: Demonstrations) -> float:
    """How far the file's actions are from the network's for the last pictures, in units of the action's scale."""
    last = np.array([len(shown) - 1])
    state = shown.proprio[last]
    feed = {f"image_{camera}": shown.example[camera][None] for camera in shown.cameras}
    (theirs,) = session(path).run(["actions"], {**feed, "proprio": state})
    ours, _ = model(*map(torch.from_numpy, shown.pictures(last)), torch.from_numpy(state))
    return float(np.abs((theirs - ours.numpy()) / model.action_scale.numpy()).max())
