"""A server for VLAs over openpi's websocket protocol, embeddings or the RL token included: an ONNX file, or a Python object with `infer(obs)`.

A request may have ``embeddings``, float32 or float16: they are sent in that type, and in place of the token where the server makes one.
What the command `vla_server` runs on the machine with the GPU; needs no ROS.
"""

from __future__ import annotations

import contextlib
import hmac
import http
import logging
import socket
import ssl
import threading
import time
import traceback
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import websockets.exceptions
from websockets.frames import CloseCode
from websockets.sync.server import Server, ServerConnection, serve

from rl_token_ros.policy.actor_weights import fingerprint
from rl_token_ros.settings.files import resolve_path
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.system.imported import imported
from rl_token_ros.vla import codec

LARGEST_REQUEST = 1 << 28  # bytes
READ_BYTES = 1 << 20  # taken from a socket at once
log = logging.getLogger("vla_server")


class Policy(Protocol):
    """What can be served. Each client has a thread; only one of them is in the policy at a time.

    It may also have ``metadata``, a map that every client is told, and ``reset()``, called when an episode has ended.
    """

    def infer(self, obs: dict[str, Any]) -> dict[str, Any]:
        """``{"actions": [H, A], "embeddings": [M, D]}`` for the map that the client sent."""


class Encoder(Protocol):
    """Makes the token, as `rl_token.encoder.TokenEncoder`. ``sha256`` is its fingerprint, ``vla_sha256`` that of the VLA it was made for."""

    sha256: str
    vla_sha256: str

    def run(self, embeddings: np.ndarray) -> np.ndarray:
        """Token float32 [Dz] of embeddings float32 [M, D]; ValueError: of another shape, or not finite."""


class OnnxPolicy:
    """An ONNX VLA as `vla_node` runs it locally: takes ``image_<camera>`` and ``proprio``, gives ``actions`` and ``embeddings``.

    Runs on CUDA where this machine's onnxruntime can.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime  # here: a Python object is served without

        if not path.is_file():
            raise ParameterError(f"there is no model '{path}'")
        wanted = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in onnxruntime.get_available_providers()]
        self._session = onnxruntime.InferenceSession(str(path), providers=wanted)
        used = self._session.get_providers()[0].removesuffix("ExecutionProvider")  # not the first wanted, where a library of CUDA is missing
        self._inputs = {value.name: value for value in self._session.get_inputs()}
        self._outputs = [value.name for value in self._session.get_outputs()]
        model = self._session.get_modelmeta().custom_metadata_map
        self.metadata = {"vla_sha256": fingerprint(path), "runs_on": used, "inputs": list(self._inputs), **{k: str(v) for k, v in model.items()}}

    def infer(self, obs: dict[str, Any]) -> dict[str, Any]:
        """Runs the model.

        Raises:
            ValueError: an input is missing.
        """
        missing = [name for name in self._inputs if name not in obs]
        if missing:
            raise ValueError(f"the observation has no {', '.join(missing)}; it has {', '.join(obs)}: use observation_preset plain")
        feed = {}
        for name, value in self._inputs.items():
            feed[name] = np.ascontiguousarray(obs[name], np.float32 if value.type == "tensor(float)" else np.uint8)[None]
        return {name: value[0] for name, value in zip(self._outputs, self._session.run(self._outputs, feed))}


class PolicyServer:
    """Answers clients, each in a thread of its own, where pings and /healthz are answered meanwhile; one inference at a time.

    Threads rather than an event loop: that one sends embeddings of megabytes in many pieces, each copied (benchmark/vla.py).

    Args:
        policy: what is served.
        api_key: what clients must send as ``Authorization: Api-Key ..``; empty: nothing.
        half: send embeddings as float16, which halves the transfer.
        encoder: makes the token of the embeddings; it is sent in their place, and every client is told whose it is.

    Raises:
        ParameterError: the encoder was made for another VLA than the policy says it is.
    """

    def __init__(self, policy: Policy, *, api_key: str = "", half: bool = False, encoder: Encoder | None = None) -> None:
        self.policy = policy
        self.metadata = dict(getattr(policy, "metadata", None) or {})
        self._encoder = encoder
        if encoder is not None:
            self.metadata |= {"encoder_sha256": encoder.sha256, "encoder_vla_sha256": encoder.vla_sha256}
            served = self.metadata.get("vla_sha256") or encoder.vla_sha256
            if encoder.vla_sha256 not in ("", served):
                raise ParameterError(
                    f"--token-encoder: it was made for a VLA with SHA-256 {encoder.vla_sha256[:12]}..., the one served has {str(served)[:12]}...; "
                    "train an encoder for this VLA with train_token"
                )
        self._authorization = f"Api-Key {api_key}" if api_key else ""
        self._half = half
        self._turn = threading.Lock()

    def listen(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> Server:
        """A server whose socket listens; its ``serve_forever()`` serves, until its ``shutdown()`` is called.

        Raises:
            OSError: the port is in use, or the address is none of this machine.
        """
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        return serve(self._serve, sock=listening, ssl=tls, compression=None, max_size=LARGEST_REQUEST, process_request=self._admit, ping_timeout=None)

    def _admit(self, connection: ServerConnection, request: Any) -> Any:
        if request.path == "/healthz":
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        sent = request.headers.get("Authorization", "")
        if self._authorization and not hmac.compare_digest(sent.encode(), self._authorization.encode()):
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, "an API key is needed\n")
        return None

    def _serve(self, connection: ServerConnection) -> None:
        who = connection.remote_address
        connection.recv_bufsize = READ_BYTES
        log.info("%s connected", who)
        try:
            connection.send(codec.pack(self.metadata))
            for message in connection:
                connection.send(self._reply(message))
        except websockets.exceptions.ConnectionClosed:
            pass
        except Exception as error:  # as openpi does: the client is told everything, then the connection ends
            log.error("%s: %s", who, error)
            with contextlib.suppress(websockets.exceptions.ConnectionClosed):
                connection.send(traceback.format_exc())
                connection.close(CloseCode.INTERNAL_ERROR, "the traceback is in the frame before")
        log.info("%s left", who)

    def _reply(self, message: str | bytes) -> list[bytes | memoryview] | str:
        request = {} if isinstance(message, str) else codec.unpack(message)
        if not isinstance(request, dict):
            raise codec.WireError(f"is a {type(request).__name__}; send a map")
        endpoint = request.pop("endpoint", "infer")
        with self._turn:
            if endpoint == "reset":
                if hasattr(self.policy, "reset"):
                    self.policy.reset()
                return "reset successful"
            if endpoint != "infer":
                raise ValueError(f"there is no endpoint '{endpoint}'; send infer or reset")
            asked = request.pop("embeddings") if isinstance(request.get("embeddings"), str) else ""
            if asked not in ("", "float32", "float16"):
                raise ValueError(f"the request asks for embeddings as {asked!r}; write float32 or float16")
            begun = time.perf_counter()
            answer = dict(self.policy.infer(request))
            if self._encoder is not None and not asked:
                answer["token"] = self._token(answer.pop("embeddings", None))
            elif "embeddings" in answer and (kind := asked or ("float16" if self._half else "")):
                answer["embeddings"] = np.asarray(answer["embeddings"], kind)
            answer.setdefault("server_timing", {"infer_ms": 1e3 * (time.perf_counter() - begun)})
            return codec.pieces(answer)  # still in its turn: the next inference may write into the same arrays

    def _token(self, embeddings: Any) -> np.ndarray:
        """float32 [Dz] of embeddings [M, D], with or without a leading batch of one."""
        assert self._encoder is not None
        if embeddings is None:
            raise ValueError("the policy gives no 'embeddings', of which the token is made; serve it without --token-encoder")
        matrix = np.asarray(embeddings, np.float32)
        return self._encoder.run(matrix[0] if matrix.ndim == 3 and len(matrix) == 1 else matrix)


def load(what: str) -> Policy:
    """The policy named on the command line: an ONNX file, or ``module:name`` of an object, or of a function that makes one.

    Raises:
        ParameterError: neither.
    """
    if what.endswith(".onnx"):
        return OnnxPolicy(resolve_path(what))
    found = imported(what, "FILE.onnx, or MODULE:NAME of a Python object with infer(obs)")
    policy = found if hasattr(found, "infer") and not isinstance(found, type) else found()
    if not hasattr(policy, "infer"):
        raise ParameterError(f"'{what}' has no method infer(obs)")
    return policy
