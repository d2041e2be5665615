"""The `onnx` backend: a VLA in a local ONNX file, run on one CPU thread.

Inputs ``image_<camera>`` uint8 [1, h, w, 3] and ``proprio`` float32 [1, P]; outputs ``actions`` [1, H, A] and ``embeddings``
[1, M, D]. Metadata says what it was trained for: ``action_names``, ``proprioception`` (JSON lists), ``action_type``, ``dt`` (s).
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from rl_token_ros.policy.actor_weights import fingerprint
from rl_token_ros.settings.files import resolve_path
from rl_token_ros.settings.horizon import refusal
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.vla import Vla
from rl_token_ros.system.onnx_session import session
from rl_token_ros.vla.backend import Answer, BackendError, Observation


class OnnxBackend:
    """Loads the file and refuses one that does not fit the parameters.

    Raises:
        ParameterError: the file is missing, or its cameras, actions, proprioception or dt are not those of the parameters.
    """

    warning = ""

    def __init__(self, settings: Vla, proprio_size: int) -> None:
        path = resolve_path(settings.vla_model)
        if not path.is_file():
            raise ParameterError(f"parameter 'vla_model' names '{path}', which does not exist; write the path of an ONNX file")
        self.path = path
        try:
            self._session = session(path)
        except Exception as error:  # onnxruntime raises classes of its own for every kind of broken file
            raise ParameterError(f"parameter 'vla_model': '{path}' cannot be loaded: {error}") from None
        self._cameras = settings.cameras
        self._inputs = {value.name: value.shape for value in self._session.get_inputs()}
        self._types = {value.name: value.type for value in self._session.get_inputs()}
        self._refuse_misfit(settings, proprio_size)

    def _refuse_misfit(self, settings: Vla, proprio_size: int) -> None:
        expected = {f"image_{camera}" for camera in settings.cameras} | {"proprio"}
        if expected != set(self._inputs):
            takes = [name.removeprefix("image_") for name in self._inputs if name.startswith("image_")]
            raise ParameterError(
                f"parameter 'cameras' is {settings.cameras}, but '{self.path}' takes the cameras {takes} "
                f"(inputs {', '.join(self._inputs)}); write its cameras and remap their topics"
            )
        if self._inputs["proprio"][-1] != proprio_size:
            raise ParameterError(
                f"parameter 'vla_proprioception' {settings.vla_proprioception} has {proprio_size} values, but '{self.path}' takes "
                f"{self._inputs['proprio'][-1]}; write the groups it was trained with"
            )
        for name, kind in self._types.items():
            wanted = "tensor(float)" if name == "proprio" else "tensor(uint8)"
            if kind != wanted:
                raise ParameterError(f"'{self.path}' has an input {name} of type {kind}; expected {wanted}: export it again")
        outputs = {value.name: value.shape for value in self._session.get_outputs()}
        if len(outputs.get("actions", ())) != 3 or len(outputs.get("embeddings", ())) != 3:
            raise ParameterError(f"'{self.path}' has outputs {', '.join(outputs)}; expected actions [1, H, A] and embeddings [1, M, D]")
        if outputs["actions"][-1] != len(settings.chunk_names):
            raise ParameterError(
                f"parameters 'action_names' and 'gripper_names' have {len(settings.chunk_names)} names, but '{self.path}' gives "
                f"{outputs['actions'][-1]} actions"
            )
        metadata = self._session.get_modelmeta().custom_metadata_map
        for key, mine in (
            ("action_names", settings.chunk_names),
            ("action_type", settings.action_type),
            ("vla_proprioception", settings.vla_proprioception),
            ("chunk_dt", settings.chunk_dt),
        ):
            theirs = metadata.get(key.removeprefix("vla_").removeprefix("chunk_"))
            if theirs is not None and not _says(theirs, mine):
                raise ParameterError(f"parameter '{key}' is {mine}, but '{self.path}' was trained with {theirs}; write that")
        horizon = outputs["actions"][1]
        if isinstance(horizon, int) and (why := refusal(settings, horizon)):
            raise ParameterError(f"'{self.path}': {why}")

    def query(self, observation: Observation) -> Answer:
        """Runs the model; a picture of another size than it takes is an error, not a silent resize."""
        feed = {"proprio": observation.proprio[None]}
        for camera in self._cameras:
            picture, wanted = observation.images[camera], self._inputs[f"image_{camera}"][1:]
            if any(isinstance(w, int) and w != have for w, have in zip(wanted, picture.shape)):
                raise BackendError(f"'camera/{camera}/image_raw' is {picture.shape[:2]}, the VLA takes {wanted[:2]} (height, width)")
            feed[f"image_{camera}"] = picture[None]
        actions, embeddings = self._session.run(["actions", "embeddings"], feed)
        if not (np.isfinite(actions).all() and np.isfinite(embeddings).all()):
            raise BackendError("the VLA's answer is not finite")
        return Answer(actions[0], embeddings[0])

    def embed(self, observation: Observation) -> np.ndarray:
        """The embeddings of :meth:`query`."""
        embeddings = self.query(observation).embeddings
        assert embeddings is not None
        return embeddings

    def describe(self) -> dict[str, Any]:
        """Its fingerprint, and the names of its inputs."""
        return {"vla_sha256": fingerprint(self.path), "inputs": list(self._inputs)}

    def reset(self) -> None:
        """A model without memory: nothing to forget."""

    def report(self) -> dict[str, Any]:
        """Nothing beyond what vla_node measures itself."""
        return {}

    def close(self) -> None:
        """Nothing to end: a query takes as long as the model."""


def _says(text: str, value: object) -> bool:
    """Whether a metadata entry is a value: a string as it is, else its JSON."""
    if isinstance(value, str):
        return text == value
    try:
        return bool(json.loads(text) == value)
    except ValueError:
        return False
