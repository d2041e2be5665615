"""A LeRobot checkpoint (0.4 to 0.6) for `vla_server`: whole action chunks in the robot's units, and the embeddings of the same pass.

Runs in LeRobot's environment, where this package is installed without ROS. Embeddings are the final hidden states of the prefix (pictures,
task, and what else the VLA itself sees) for pi0, pi05 and smolvla, the encoder's output for act.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rl_token_ros.adapters import lerobot_checkpoint
from rl_token_ros.adapters.lerobot_checkpoint import BEFORE, STATE, WEIGHTS, Checkpoint, Recorded
from rl_token_ros.adapters.lerobot_inputs import Inputs, parse_scale
from rl_token_ros.settings.parameters import ParameterError


class LeRobotPolicy:
    """What `vla_server` serves. See :func:`load`."""

    def __init__(self, checkpoint: Checkpoint, inputs: Inputs, known: Recorded, scale: np.ndarray, device: str = "") -> None:
        self._inputs, self._scale = inputs, scale
        try:
            self._policy, self._before, self._after = _load(checkpoint, device)
        except ParameterError:
            raise
        except ImportError as error:  # LeRobot, torch, or what a family needs, such as transformers
            raise ParameterError(f"--lerobot runs in LeRobot's own environment, with what {checkpoint.family} needs; here: {error}") from error
        except Exception as error:  # of many kinds, LeRobot's, its configuration's and torch's
            reason = error.__cause__ or error  # its parser of configurations hides the reason behind "cannot instantiate"
            raise ParameterError(f"LeRobot cannot load '{checkpoint.folder}': {type(reason).__name__}: {reason}") from error
        self._device = next(self._policy.parameters()).device
        self._embeddings = _Encoder(self._policy) if checkpoint.family == "act" else _Prefix(self._policy)
        self._shapes: tuple[Any, ...] = ()
        answer = self.infer(inputs.blank())  # so that what does not fit ends the start, not the first query
        (horizon, _), shape = answer["actions"].shape, answer["embeddings"].shape
        self._shapes = (answer["actions"].shape, shape)
        self.metadata: dict[str, Any] = {
            "policy": f"LeRobot {checkpoint.family}",
            "runs_on": str(self._device),
            "vla_sha256": lerobot_checkpoint.digest(checkpoint.folder),
            "horizon": horizon,
            "chunk_dt": 1.0 / known.rate,
            "action_size": checkpoint.actions,
            "action_names": list(known.action_names),
            "embeddings": list(shape),
            "cameras": list(inputs.cameras.values()),
            "scale": [float(factor) for factor in scale],  # the policy's units per robot's
        }

    def infer(self, obs: dict[str, Any]) -> dict[str, np.ndarray]:
        """``actions`` float32 [H, A], ``embeddings`` float32 [M, D], of which rows that hold padding are zero, and ``embeddings_mask`` bool [M].

        Raises:
            ValueError: the observation does not fit, see :meth:`Inputs.read`, or the policy answers otherwise than at its start.
        """
        import torch

        pictures, state, task = self._inputs.read(obs)
        batch: dict[str, Any] = {"task": task}
        for feature, picture in pictures.items():
            pixels = torch.from_numpy(np.array(picture)).to(self._device)  # a copy: what came over the wire is read-only
            batch[feature] = pixels.permute(2, 0, 1)[None].float() / 255.0
        if state is not None:
            batch[STATE] = torch.from_numpy(state * self._scale)[None].to(self._device)
        self._embeddings.forget()
        actions = self._after(self._policy.predict_action_chunk(self._before(batch)))[0].float().cpu().numpy()
        hidden, mask = self._embeddings.take()
        embeddings = hidden[0].float().masked_fill(~mask[0, :, None], 0.0).cpu().numpy()
        if actions.ndim != 2 or actions.shape[1] != self._inputs.checkpoint.actions:
            raise ValueError(f"the policy gives a chunk of shape {list(actions.shape)}; [H, {self._inputs.checkpoint.actions}] was expected")
        if self._shapes and self._shapes != (actions.shape, embeddings.shape):
            raise ValueError(f"the policy gives {actions.shape} and embeddings {embeddings.shape} now; at its start {self._shapes}")
        return {"actions": actions / self._scale, "embeddings": embeddings, "embeddings_mask": mask[0].cpu().numpy()}

    def reset(self) -> None:
        """An episode has ended."""
        self._policy.reset()


def load(what: str, cameras: Sequence[str] = (), rate: float = 0.0, dataset: Path | None = None, scale: str = "1", device: str = "") -> LeRobotPolicy:
    """The policy of a checkpoint, after printing what it takes.

    Args:
        what: folder of the checkpoint, or its name on the Hugging Face Hub.
        cameras: overrides, see :class:`Inputs`.
        rate: steps of the chunk per second; 0: the data set's.
        dataset: folder of the data set, where the checkpoint does not lead to it.
        scale: from the robot's units to the data set's, see :func:`parse_scale`.
        device: as torch names it; empty: the checkpoint's, or what there is.

    Raises:
        ParameterError: it cannot be served, and why.
    """
    checkpoint = lerobot_checkpoint.read(_folder(what))
    inputs, factors = Inputs(checkpoint, cameras), parse_scale(scale, checkpoint.state, checkpoint.actions)
    known = lerobot_checkpoint.recorded(checkpoint.folder, dataset)
    if not (rate or known.rate) > 0.0:
        raise ParameterError("nothing here says how many steps of the chunk make a second; write --fps, or --dataset FOLDER")
    if known.action_names and len(known.action_names) != checkpoint.actions:
        raise ParameterError(f"the data set has {len(known.action_names)} values in an action, the checkpoint {checkpoint.actions}; see --dataset")
    print(inputs.table(), flush=True)
    return LeRobotPolicy(checkpoint, inputs, Recorded(rate or known.rate, known.action_names), factors, device)


def _folder(what: str) -> Path:
    """The checkpoint's folder, downloaded where it is a name on the Hub."""
    folder = Path(what).expanduser()
    if folder.is_dir():
        return folder
    if what.startswith(("/", ".", "~")) or what.count("/") != 1:
        raise ParameterError(f"there is no folder '{what}', and a name on the Hugging Face Hub is OWNER/NAME")
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(what, allow_patterns=["*.json", "*.safetensors"]))
    except ImportError as error:
        raise ParameterError(f"there is no folder '{what}', and no Hugging Face Hub to ask: {error}") from error
    except Exception as error:  # its own and those of its transports
        raise ParameterError(f"there is no folder '{what}', and the Hugging Face Hub does not give it: {error}") from error


def _load(checkpoint: Checkpoint, device: str) -> tuple[Any, Any, Any]:
    """The policy and its processors, as LeRobot loads them, on the same device."""
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.policies.factory import get_policy_class, make_pre_post_processors

    config = PreTrainedConfig.from_pretrained(checkpoint.folder)  # takes another device where its own is not there
    if device:
        config.device = device
    if hasattr(config, "pretrained_backbone_weights"):
        config.pretrained_backbone_weights = None  # act's, which the checkpoint's own replace: not downloaded for that
    policy = get_policy_class(config.type).from_pretrained(checkpoint.folder, config=config)
    policy.to(config.device).eval()
    _refuse_unloaded(policy, checkpoint.folder / WEIGHTS)
    before, after = make_pre_post_processors(
        config, str(checkpoint.folder), preprocessor_overrides=_on(checkpoint.folder / BEFORE, str(config.device)), postprocessor_overrides={}
    )
    for step in before.steps:
        if hasattr(step, "input_tokenizer"):
            step.padding = "max_length"  # smolvla pads to the longest of a batch: M would follow the words of the task
    return policy, before, after


def _on(processor: Path, device: str) -> dict[str, dict[str, str]]:
    """Override for the step that moves a batch; LeRobot refuses one for a step that is not there."""
    return {"device_processor": {"device": device}} if '"device_processor"' in processor.read_text() else {}


def _refuse_unloaded(policy: Any, file: Path) -> None:
    """pi0 and pi05 print when they cannot take weights, and go on with random ones. Vectors are compared: small, and in every layer."""
    import torch
    from safetensors import safe_open

    own = policy.state_dict()
    missing = {name for name, value in own.items() if value.ndim == 1 and "time_mlp" not in name}  # which LeRobot renames
    with safe_open(file, "pt") as weights:
        for key in weights.keys():  # noqa: SIM118 - it is no map
            name = key if key in own else f"model.{key}"
            if name not in own or len(weights.get_slice(key).get_shape()) != 1:
                continue
            missing.discard(name)
            if not torch.equal(weights.get_tensor(key).to(own[name].dtype), own[name].cpu()):
                raise ParameterError(f"LeRobot did not take the weights of '{file}' (first of all '{key}'); is it of this version of LeRobot?")
    if missing:
        raise ParameterError(f"'{file}' lacks {len(missing)} weights of this policy, {min(missing)} among them; is it of this version of LeRobot?")


class _Encoder:
    """ACT: the output of its transformer's encoder, [latent, state, pictures]."""

    def __init__(self, policy: Any) -> None:
        self._output: Any = None
        policy.model.encoder.register_forward_hook(self._keep)

    def _keep(self, module: Any, inputs: Any, output: Any) -> None:
        self._output = output

    def forget(self) -> None:
        """Before a pass, so that nothing old is taken for its output."""
        self._output = None

    def take(self) -> tuple[Any, Any]:
        """Hidden states [1, M, D] and which rows are no padding, bool [1, M]."""
        import torch

        if self._output is None:
            raise ValueError("the policy answered without its encoder; is it another version of LeRobot?")
        hidden = self._output.transpose(0, 1)  # the encoder's are [M, 1, D]
        return hidden, torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)


class _Prefix:
    """pi0, pi05, smolvla: the prefix's final hidden states, which sample_actions computes for its cache and drops.

    These models call ``forward`` by its name, which hooks of torch do not see: the methods are wrapped. Both also in a compiled
    ``sample_actions``, which is compiled at the first call.
    """

    def __init__(self, policy: Any) -> None:
        self._hidden: Any = None
        self._mask: Any = None
        model = policy.model
        both = model.paligemma_with_expert if hasattr(model, "paligemma_with_expert") else model.vlm_with_expert
        embed, forward = model.embed_prefix, both.forward

        def embed_prefix(*arguments: Any, **named: Any) -> Any:
            embedded = embed(*arguments, **named)  # embeddings, padding mask, attention mask
            self._mask = embedded[1]
            return embedded

        def forward_both(*arguments: Any, **named: Any) -> Any:
            outputs, cache = forward(*arguments, **named)  # [prefix, suffix]; one of them None
            if outputs[0] is not None:
                self._hidden = outputs[0]
            return outputs, cache

        model.embed_prefix, both.forward = embed_prefix, forward_both

    def forget(self) -> None:
        """Before a pass, so that nothing old is taken for its output."""
        self._hidden = self._mask = None

    def take(self) -> tuple[Any, Any]:
        """Hidden states [1, M, D] and which rows are no padding, bool [1, M]."""
        if self._hidden is None or self._mask is None:
            raise ValueError("the policy answered without the pass over its prefix; is it another version of LeRobot?")
        return self._hidden, self._mask.bool()
