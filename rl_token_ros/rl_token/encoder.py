"""The frozen RL-token encoder: VLA embeddings [M, D] -> token [Dz], in onnxruntime, on the robot off the tick or at the VLA's server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rl_token_ros.interfaces import images, token_frame
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


class EncoderElsewhere:
    """The encoder at the VLA's server, of which this machine knows the fingerprints alone: it takes tokens, and refuses embeddings."""

    def __init__(self, sha256: str, vla_sha256: str) -> None:
        self.sha256, self.vla_sha256 = sha256, vla_sha256

    def run(self, embeddings: np.ndarray) -> np.ndarray:
        """No token.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            f"embeddings {embeddings.shape} came, and this machine has the token encoder's SHA-256 alone; name its file in "
            "'token_encoder', or let the server send the token: vla_server --token-encoder, and no 'embeddings' for vla_node"
        )


def load(settings: Robot) -> TokenEncoder | EncoderElsewhere | NoEncoder:
    """The encoder that a robot's parameters name: a file, or where that is not at hand the fingerprints of encoder and VLA.

    Raises:
        ParameterError: see :class:`TokenEncoder`; or another encoder than `encoder_sha256`, or made for another VLA than `vla_sha256`.
    """
    vla_model = resolve_path(settings.vla_model) if settings.vla_model else None
    if not settings.token_size:
        return NoEncoder(settings.vla_sha256 or (fingerprint(vla_model) if vla_model and vla_model.is_file() else ""))
    if settings.encoder_elsewhere:
        return EncoderElsewhere(settings.encoder_sha256, settings.vla_sha256)
    encoder = TokenEncoder(resolve_path(settings.token_encoder), settings.token_size, vla_model)
    if settings.encoder_sha256 not in ("", encoder.sha256):
        raise ParameterError(
            f"parameter 'encoder_sha256' is {settings.encoder_sha256[:12]}..., but '{settings.token_encoder}' has {encoder.sha256[:12]}...; "
            "leave 'encoder_sha256' empty or name the right token_encoder"
        )
    if settings.vla_sha256 not in ("", encoder.vla_sha256):
        raise ParameterError(
            f"parameter 'vla_sha256' is {settings.vla_sha256[:12]}..., but '{settings.token_encoder}' was made for a VLA with "
            f"{encoder.vla_sha256[:12] or 'none'}...; train an encoder for this VLA with train_token"
        )
    return encoder


def token_of(message: Any, encoder: Any, token_size: int) -> np.ndarray:
    """The token float32 [Dz] of a `vla/embedding`: as it came, where it says that this encoder made it, else made here of the embeddings.

    Args:
        message: an Image.
        encoder: as :class:`TokenEncoder`.
        token_size: Dz.

    Raises:
        ValueError: a token of another encoder, of another size or not finite; or embeddings that the encoder refuses.
    """
    matrix = images.to_matrix(message, "vla/embedding")
    made_by = token_frame.encoder_of(message.header.frame_id)
    if made_by is None or not token_size:
        try:
            return encoder.run(matrix)
        except ValueError as error:
            raise ValueError(f"'vla/embedding': {error}") from error
    if made_by != encoder.sha256:
        raise ValueError(
            f"'vla/embedding' holds a token of the encoder with SHA-256 {made_by[:12] or 'unknown'}..., this robot's is {encoder.sha256[:12]}...; "
            "give vla_server --token-encoder the file of 'token_encoder'"
        )
    if matrix.shape != (1, token_size):
        raise ValueError(f"'vla/embedding' says that it holds a token and is {matrix.shape}; with 'token_size: {token_size}' it is (1, {token_size})")
    if not np.isfinite(matrix).all():
        raise ValueError("the token in this 'vla/embedding' is not finite")
    return matrix[0].copy()  # the message's own memory is gone before the token is


class TokenEncoder:
    """An ONNX file with input ``embeddings`` [1, M, D], output ``token`` [1, Dz] and the fingerprint of its VLA as metadata.

    Args:
        path: the file, parameter `token_encoder`.
        token_size: Dz expected, parameter `token_size`; 0: whatever the file has.
        vla_model: the VLA's file where it is at hand; its fingerprint is then compared.
        make_session: makes the onnxruntime session of the file.
        named_by: who names the file, for errors.

    Raises:
        ParameterError: no such file, another shape, or made for another VLA.
    """

    def __init__(
        self,
        path: Path,
        token_size: int = 0,
        vla_model: Path | None = None,
        make_session: Callable[[Path], Any] = session,
        named_by: str = "parameter 'token_encoder'",
    ) -> None:
        if not path.is_file():
            raise ParameterError(f"{named_by} names '{path}', which does not exist; train one with train_token")
        try:
            self._session = make_session(path)
        except Exception as error:  # onnxruntime raises classes of its own for every kind of broken file
            raise ParameterError(f"{named_by}: '{path}' cannot be loaded: {error}") from None
        inputs = {value.name: value.shape for value in self._session.get_inputs()}
        outputs = {value.name: value.shape for value in self._session.get_outputs()}
        fixed = all(isinstance(n, int) for n in inputs.get("embeddings", ())[1:])
        floats = all(value.type == "tensor(float)" for value in self._session.get_inputs())
        if set(inputs) != {"embeddings"} or len(inputs["embeddings"]) != 3 or not fixed or not floats or len(outputs.get("token", ())) != 2:
            raise ParameterError(
                f"{named_by}: '{path}' has inputs {inputs} and outputs {outputs}; "
                "expected float32 embeddings [1, M, D] of fixed size and token [1, Dz]"
            )
        if token_size and outputs["token"][1] != token_size:
            raise ParameterError(f"parameter 'token_size' is {token_size}; write {outputs['token'][1]}, the width of the encoder '{path}'")
        self.shape, self.token_size = tuple(inputs["embeddings"][1:]), outputs["token"][1]
        self.sha256 = fingerprint(path)
        self.vla_sha256 = self._session.get_modelmeta().custom_metadata_map.get("vla_sha256", "")
        if vla_model is not None and not vla_model.is_file():
            raise ParameterError(
                f"parameter 'vla_model' names '{vla_model}', which does not exist; write the VLA's file, or nothing if it is elsewhere"
            )
        if vla_model is not None and self.vla_sha256 != (found := fingerprint(vla_model)):
            raise ParameterError(
                f"{named_by}: '{path}' was made for a VLA with SHA-256 {self.vla_sha256[:12] or 'unknown'}..., "
                f"but '{vla_model}' has {found[:12]}...; train an encoder for this VLA with train_token"
            )

    def run(self, embeddings: np.ndarray) -> np.ndarray:
        """Token float32 [Dz] of embeddings float32 [M, D].

        Raises:
            ValueError: another shape, or not finite.
        """
        if embeddings.shape != self.shape:
            raise ValueError(f"the VLA's embeddings are {embeddings.shape}; the token encoder was made for {self.shape}")
        (token,) = self._session.run(["token"], {"embeddings": embeddings[None]})
        if not np.isfinite(token).all():
            raise ValueError("the token of these embeddings is not finite")
        return token[0]
