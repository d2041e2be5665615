"""The frozen RL-token encoder: VLA embeddings [M, D] -> token [Dz], in onnxruntime on one thread, off the tick."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rl_token_ros.policy.actor_weights import fingerprint
from rl_token_ros.settings.files import resolve_path
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.robot import Robot
from rl_token_ros.system.onnx_session import session


class NoEncoder:
    """Stands in where there is no token (`token_size: 0`): actor and critic see proprioception and reference alone."""

    sha256 = ""

    def __init__(self, vla_sha256: str) -> None:
        self.vla_sha256 = vla_sha256

    def run(self, embeddings: np.ndarray) -> np.ndarray:
        """The empty token."""
        return np.zeros(0, np.float32)


def load(settings: Robot) -> TokenEncoder | NoEncoder:
    """The encoder that a robot's parameters name.

    Raises:
        ParameterError: see :class:`TokenEncoder`; or made for another VLA than `vla_sha256`.
    """
    vla_model = resolve_path(settings.vla_model) if settings.vla_model else None
    if not settings.token_size:
        return NoEncoder(settings.vla_sha256 or (fingerprint(vla_model) if vla_model and vla_model.is_file() else ""))
    encoder = TokenEncoder(resolve_path(settings.token_encoder), settings.token_size, vla_model)
    if settings.vla_sha256 not in ("", encoder.vla_sha256):
        raise ParameterError(
            f"parameter 'vla_sha256' is {settings.vla_sha256[:12]}..., but '{settings.token_encoder}' was made for a VLA with "
            f"{encoder.vla_sha256[:12] or 'none'}...; train an encoder for this VLA with train_token"
        )
    return encoder


class TokenEncoder:
    """An ONNX file with input ``embeddings`` [1, M, D], output ``token`` [1, Dz] and the fingerprint of its VLA as metadata.

    Args:
        path: the file, parameter `token_encoder`.
        token_size: Dz expected, parameter `token_size`.
        vla_model: the VLA's file where it is at hand; its fingerprint is then compared.

    Raises:
        ParameterError: no such file, another shape, or made for another VLA.
    """

    def __init__(self, path: Path, token_size: int, vla_model: Path | None = None) -> None:
        if not path.is_file():
            raise ParameterError(f"parameter 'token_encoder' names '{path}', which does not exist; train one with train_token")
        try:
            self._session = session(path)
        except Exception as error:  # onnxruntime raises classes of its own for every kind of broken file
            raise ParameterError(f"parameter 'token_encoder': '{path}' cannot be loaded: {error}") from None
        inputs = {value.name: value.shape for value in self._session.get_inputs()}
        outputs = {value.name: value.shape for value in self._session.get_outputs()}
        fixed = all(isinstance(n, int) for n in inputs.get("embeddings", ())[1:])
        floats = all(value.type == "tensor(float)" for value in self._session.get_inputs())
        if set(inputs) != {"embeddings"} or len(inputs["embeddings"]) != 3 or not fixed or not floats or len(outputs.get("token", ())) != 2:
            raise ParameterError(
                f"parameter 'token_encoder': '{path}' has inputs {inputs} and outputs {outputs}; "
                "expected float32 embeddings [1, M, D] of fixed size and token [1, Dz]"
            )
        if outputs["token"][1] != token_size:
            raise ParameterError(f"parameter 'token_size' is {token_size}; write {outputs['token'][1]}, the width of the encoder '{path}'")
        self.shape = tuple(inputs["embeddings"][1:])
        self.sha256 = fingerprint(path)
        self.vla_sha256 = self._session.get_modelmeta().custom_metadata_map.get("vla_sha256", "")
        if vla_model is not None and not vla_model.is_file():
            raise ParameterError(
                f"parameter 'vla_model' names '{vla_model}', which does not exist; write the VLA's file, or nothing if it is elsewhere"
            )
        if vla_model is not None and self.vla_sha256 != (found := fingerprint(vla_model)):
            raise ParameterError(
                f"parameter 'token_encoder': '{path}' was made for a VLA with SHA-256 {self.vla_sha256[:12] or 'unknown'}..., "
                f"but '{vla_model}' has {found[:12]}...; train an encoder for this VLA with train_token"
            )

    def run(self, embeddings: np.ndarray) -> np.ndarray:
        """Token float32 [Dz] of embeddings float32 [M, D].

        Raises:
            ValueError: another shape, or not finite.
        """
        if embeddings.shape != self.shape:
            raise ValueError(f"'vla/embedding' is {embeddings.shape}; the token encoder was made for {self.shape}")
        (token,) = self._session.run(["token"], {"embeddings": embeddings[None]})
        if not np.isfinite(token).all():
            raise ValueError("the token of this 'vla/embedding' is not finite")
        return token[0]
