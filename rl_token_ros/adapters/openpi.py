"""An openpi checkpoint (pi0, pi05; JAX or PyTorch) for `vla_server`: whole action chunks in the robot's units, and the embeddings of the same pass.

Runs in openpi's environment, where this package is installed without ROS. Everything between a request and the chunk is openpi's own: transforms,
statistics, tokenizer, compiled model. Embeddings are the final hidden states of the prefix, see `openpi_prefix`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MethodType
from typing import Any, TypeVar

import numpy as np

from rl_token_ros.adapters import lerobot_checkpoint, openpi_checkpoint
from rl_token_ros.adapters.lerobot_checkpoint import Recorded
from rl_token_ros.adapters.lerobot_inputs import parse_scale
from rl_token_ros.adapters.openpi_inputs import Inputs
from rl_token_ros.adapters.openpi_prefix import Prefix, listen, with_prefix
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.system.imported import imported

FAMILIES = ("pi0", "pi05")  # whose embeddings are known
ENVIRONMENT = "--openpi runs in openpi's own environment: clone openpi, 'uv sync' in it, and there \"uv pip install 'rl_token_ros[vla]'\"; here: "
WORDS = 60  # of an error message, which may list every weight
T = TypeVar("T")


class OpenPiPolicy:
    """What `vla_server` serves. See :func:`load`.

    Args:
        make: gives openpi's `Policy`.
        inputs: what it takes.
        scale: factors from the robot's units to the policy's, of the state and of an action.

    Attributes:
        shapes: [H, A] of its actions and [M, D] of its embeddings, which never change.
    """

    def __init__(self, make: Callable[[], Any], inputs: Inputs, scale: np.ndarray) -> None:
        self._inputs, self._scale = inputs, scale
        self._prefix = Prefix()
        self.shapes: tuple[Any, ...] = ()
        # The server has a thread for each client, but CUDA graphs of torch.compile run in the thread alone that made them (pytorch issue 123177).
        self._thread = ThreadPoolExecutor(1, "openpi")
        self._policy = self._thread.submit(make).result()
        self.metadata: dict[str, Any] = dict(self._policy.metadata)
        self._listen()
        answer = self.infer(inputs.blank())  # so that it is compiled, and what does not fit ends the start, not the first query
        self.shapes = (answer["actions"].shape, answer["embeddings"].shape)

    def infer(self, obs: dict[str, Any]) -> dict[str, np.ndarray]:
        """``actions`` float32 [H, A], ``embeddings`` float32 [M, D], of which rows that hold padding are zero, and ``embeddings_mask`` bool [M].

        Raises:
            ValueError: the observation does not fit, see :meth:`Inputs.read`, or the policy answers otherwise than at its start.
        """
        seen = self._inputs.read(obs, self._scale)
        actions, embeddings, mask = self._thread.submit(self._pass, seen).result()
        if actions.ndim != 2 or len(self._scale) not in (1, actions.shape[1]):
            raise ValueError(f"the policy gives a chunk of shape {list(actions.shape)}; --scale has {len(self._scale)} numbers for each step")
        if self.shapes and self.shapes != (actions.shape, embeddings.shape):
            raise ValueError(f"the policy gives {actions.shape} and embeddings {embeddings.shape} now; at its start {self.shapes}")
        return {"actions": actions / self._scale, "embeddings": embeddings, "embeddings_mask": mask}

    def reset(self) -> None:
        """An episode has ended."""
        self._policy.reset()

    def _pass(self, seen: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self._prefix.forget()
        actions = np.asarray(self._policy.infer(seen)["actions"], np.float32)
        return actions, *self._prefix.take()

    def _listen(self) -> None:
        """Before the first pass, in which both frameworks compile."""
        policy, model = self._policy, self._policy._model
        if policy._is_pytorch_model:
            listen(model, self._prefix)
            self.metadata["runs_on"] = f"PyTorch, {policy._pytorch_device}"
            return
        import jax
        from openpi.shared import nnx_utils

        compiled = nnx_utils.module_jit(MethodType(with_prefix(type(model).sample_actions), model))

        def sample_actions(*arguments: Any, **named: Any) -> Any:
            actions, hidden, mask = compiled(*arguments, **named)
            self._prefix.keep(hidden, mask)
            return actions

        policy._sample_actions = sample_actions  # in place of openpi's compiled method, which compiles when it is called
        self.metadata["runs_on"] = f"JAX, {jax.default_backend()}"


def load(
    name: str,
    where: str,
    cameras: Sequence[str] = (),
    entries: Sequence[str] = (),
    rate: float = 0.0,
    dataset: Path | None = None,
    scale: str = "1",
    device: str = "",
) -> OpenPiPolicy:
    """The policy of a checkpoint, after printing what it takes.

    Args:
        name: of one of openpi's configs, or ``MODULE:NAME`` of a `TrainConfig` of your own.
        where: folder of a step's checkpoint, or its address, as openpi downloads it.
        cameras, entries: what the robot calls its cameras, and what a policy takes that is not known, see :class:`Inputs`.
        rate: steps of the chunk per second; 0: the data set's.
        dataset: folder of the LeRobot data set it learned from, where the config does not lead to it.
        scale: from the robot's units to the data set's, see :func:`parse_scale`.
        device: of PyTorch, as torch names it; empty: CUDA where there is one.

    Raises:
        ParameterError: it cannot be served, and why.
    """
    local = None if "://" in where else openpi_checkpoint.read(Path(where).expanduser())
    try:
        from openpi.policies import policy_config
        from openpi.shared import download
        from openpi.training import config as configs
    except ImportError as error:
        raise ParameterError(ENVIRONMENT + str(error)) from error
    config = imported(name, "MODULE:NAME of a TrainConfig") if ":" in name else _said("openpi knows it not", lambda: configs.get_config(name))
    family = config.model.model_type.value
    if family not in FAMILIES:
        raise ParameterError(
            f"the config '{name}' is of type '{family}', whose embeddings are not known here; known are {', '.join(FAMILIES)}. "
            "Serve it as MODULE:NAME, an object with infer(obs): docs/your_vla.md"
        )
    checkpoint = local or openpi_checkpoint.read(Path(_said(f"openpi does not get '{where}'", lambda: download.maybe_download(where))))
    if device and not checkpoint.pytorch:
        raise ParameterError(
            f"--device '{device}' is for PyTorch; these are weights for JAX, for which the environment variable JAX_PLATFORMS chooses"
        )
    data = _said(f"openpi cannot prepare the config '{name}'", lambda: config.data.create(config.assets_dirs, config.model))
    sizes = openpi_checkpoint.statistics(checkpoint, data.asset_id, config.model.action_dim)
    transforms = [*data.data_transforms.inputs, *data.model_transforms.inputs]
    default_task = any(getattr(transform, "prompt", None) for transform in transforms)
    inputs = Inputs([type(transform).__name__ for transform in data.data_transforms.inputs], sizes.state, cameras, entries, default_task)
    factors = parse_scale(scale, inputs.state, sizes.actions or inputs.state)
    known = _recorded(data, dataset)
    if not (rate or known.rate) > 0.0:
        raise ParameterError("nothing here says how many steps of the chunk make a second; write --fps, or --dataset FOLDER")
    print(inputs.table(), flush=True)

    def make() -> Any:
        return policy_config.create_trained_policy(config, checkpoint.folder, pytorch_device=device or None)

    policy = _said(f"openpi cannot serve '{checkpoint.folder}' with the config '{name}'", lambda: OpenPiPolicy(make, inputs, factors))
    (actions, size), shape = policy.shapes
    for source, count in (("the checkpoint's statistics know", sizes.actions), ("the data set has", known.actions)):
        if count and count != size:
            raise ParameterError(f"{source} {count} values in an action, the policy gives {size}; its config's output transform decides that")
    policy.metadata |= {
        "policy": f"openpi {family}",
        "config": name,
        "vla_sha256": openpi_checkpoint.digest(checkpoint, data.asset_id),
        "horizon": actions,
        "chunk_dt": 1.0 / (rate or known.rate),
        "action_size": size,
        "action_names": list(known.action_names) if len(known.action_names) == size else [],
        "embeddings": list(shape),
        "cameras": list(inputs.cameras.values()),
    }
    return policy


def _recorded(data: Any, dataset: Path | None) -> Recorded:
    """What the data set says that the policy learned from, if it is on this machine."""
    action = data.action_sequence_keys[0]
    folder = dataset or (lerobot_checkpoint.datasets() / data.repo_id if data.repo_id else None)
    if folder and (dataset or (folder / lerobot_checkpoint.INFO).is_file()):
        return lerobot_checkpoint.described(folder, action)
    return Recorded()


def _said(what: str, do: Callable[[], T]) -> T:
    """What ``do`` gives; its errors are of many kinds: openpi's, those of JAX, torch, their checkpoints and downloads."""
    try:
        return do()
    except ParameterError:
        raise
    except Exception as error:
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise ParameterError(f"{what}: {kind}{' '.join(str(error).split(maxsplit=WORDS)[:WORDS])}") from error
