"""vla_server: serves an ONNX VLA, or a Python object with `infer(obs)`, over openpi's websocket protocol, embeddings included.

For the machine with the GPU; needs no ROS. `vla_node` with `backend: openpi` is its client, and so is openpi's own.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import http
import importlib
import logging
import os
import signal
import ssl
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import websockets.exceptions
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.frames import CloseCode

from rl_token_ros import memory
from rl_token_ros.parameters import ParameterError, resolve_path
from rl_token_ros.vla import wire
from rl_token_ros.weights import fingerprint

LARGEST_REQUEST = 1 << 28  # bytes
FRAGMENT = 1 << 20  # bytes; a long answer goes out in pieces, so that both ends copy less: 1 ms of 8 for embeddings of 5.7 MB
log = logging.getLogger("vla_server")


class Policy(Protocol):
    """What can be served. ``metadata`` and ``reset`` may be absent."""

    metadata: dict[str, Any]

    def infer(self, obs: dict[str, Any]) -> dict[str, Any]:
        """``{"actions": [H, A], "embeddings": [M, D]}`` for the map that the client sent."""

    def reset(self) -> None:
        """An episode has ended."""


class OnnxPolicy:
    """An ONNX VLA as `vla_node` runs it locally: takes ``image_<camera>`` and ``proprio``, gives ``actions`` and ``embeddings``.

    Runs on CUDA where this machine's onnxruntime can.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        if not path.is_file():
            raise ParameterError(f"there is no model '{path}'")
        wanted = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in onnxruntime.get_available_providers()]
        self._session = onnxruntime.InferenceSession(str(path), providers=wanted)
        self._inputs = {value.name: value for value in self._session.get_inputs()}
        self._outputs = [value.name for value in self._session.get_outputs()]
        model = self._session.get_modelmeta().custom_metadata_map
        self.metadata = {"vla_sha256": fingerprint(path), "inputs": list(self._inputs), **{k: str(v) for k, v in model.items()}}

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
    """Answers clients; one inference at a time, in a thread, so that pings and /healthz are answered meanwhile.

    Args:
        policy: what is served.
        api_key: what clients must send as ``Authorization: Api-Key ..``; empty: nothing.
        half: send embeddings as float16, which halves the transfer.
    """

    def __init__(self, policy: Policy, *, api_key: str = "", half: bool = False) -> None:
        self.policy = policy
        self.metadata = dict(getattr(policy, "metadata", None) or {})
        self._authorization = f"Api-Key {api_key}" if api_key else ""
        self._half = half
        self._turn = asyncio.Lock()

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> Server:
        """Start; the sockets' ports are those of ``server.sockets``."""
        return await serve(
            self._serve, host, port, ssl=tls, compression=None, max_size=LARGEST_REQUEST, process_request=self._admit, ping_timeout=None
        )

    def _admit(self, connection: ServerConnection, request: Any) -> Any:
        if request.path == "/healthz":
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        sent = request.headers.get("Authorization", "")
        if self._authorization and not hmac.compare_digest(sent.encode(), self._authorization.encode()):
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, "an API key is needed\n")
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        who = connection.remote_address
        log.info("%s connected", who)
        try:
            await connection.send(wire.pack(self.metadata))
            async for message in connection:
                await connection.send(_in_pieces(await self._reply(message)))
        except websockets.exceptions.ConnectionClosed:
            pass
        except Exception as error:  # as openpi does: the client is told everything, then the connection ends
            log.error("%s: %s", who, error)
            await connection.send(traceback.format_exc())
            await connection.close(CloseCode.INTERNAL_ERROR, "the traceback is in the frame before")
        log.info("%s left", who)

    async def _reply(self, message: str | bytes) -> bytes | str:
        request = {} if isinstance(message, str) else wire.unpack(message)
        if not isinstance(request, dict):
            raise wire.WireError(f"is a {type(request).__name__}; send a map")
        endpoint = request.pop("endpoint", "infer")
        if endpoint == "reset":
            if hasattr(self.policy, "reset"):
                await asyncio.to_thread(self.policy.reset)
            return "reset successful"
        if endpoint != "infer":
            raise ValueError(f"there is no endpoint '{endpoint}'; send infer or reset")
        async with self._turn:
            begun = time.perf_counter()
            answer = dict(await asyncio.to_thread(self.policy.infer, request))
            seconds = time.perf_counter() - begun
        if self._half and "embeddings" in answer:
            answer["embeddings"] = np.asarray(answer["embeddings"], np.float16)
        answer.setdefault("server_timing", {"infer_ms": 1e3 * seconds})
        return wire.pack(answer)


def _in_pieces(reply: bytes | str) -> Any:
    """What `send` makes fragments of; a short reply, or a text, as it is. Any client puts them together again."""
    if isinstance(reply, str) or len(reply) <= FRAGMENT:
        return reply
    whole = memoryview(reply)
    return [whole[i : i + FRAGMENT] for i in range(0, len(whole), FRAGMENT)]


def load(what: str) -> Policy:
    """The policy named on the command line: an ONNX file, or ``module:name`` of an object, or of a function that makes one.

    Raises:
        ParameterError: neither.
    """
    if what.endswith(".onnx"):
        return OnnxPolicy(resolve_path(what))
    module, colon, name = what.partition(":")
    if not colon:
        raise ParameterError(f"'{what}' is no policy; write FILE.onnx or MODULE:NAME of a Python object with infer(obs)")
    sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ParameterError(f"'{what}' cannot be imported: {error}") from None
    policy = found if hasattr(found, "infer") and not isinstance(found, type) else found()
    if not hasattr(policy, "infer"):
        raise ParameterError(f"'{what}' has no method infer(obs)")
    return policy


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="rl_token vla_server", description=__doc__.partition("\n")[0])
    parser.add_argument("policy", help="FILE.onnx, or MODULE:NAME of an object with infer(obs) or of a function that makes one")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for every network (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="(8000)")
    parser.add_argument("--api-key-variable", default="RL_TOKEN_API_KEY", help="environment variable with the key clients must send; unset: none")
    parser.add_argument("--tls", nargs=2, metavar=("CERTIFICATE", "KEY"), help="PEM files, for wss://")
    parser.add_argument("--half", action="store_true", help="send embeddings as float16: half the bytes")
    return parser.parse_args(arguments)


async def run(options: argparse.Namespace) -> None:
    """Serve until SIGINT or SIGTERM."""
    tls = None
    if options.tls:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*options.tls)
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    policy = PolicyServer(load(options.policy), api_key=os.environ.get(options.api_key_variable, ""), half=options.half)
    server = await policy.listen(options.host, options.port, tls)
    for name, value in policy.metadata.items():
        print(f"{name}: {value}")
    port = server.sockets[0].getsockname()[1]
    print(f"serving {options.policy} on {'wss' if tls else 'ws'}://{options.host}:{port}", flush=True)
    await ended.wait()
    server.close()
    await server.wait_closed()


def main() -> int:
    """Entry point; returns 2 for bad input."""
    options = parse()
    memory.keep()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("websockets").setLevel(logging.WARNING)  # its debug log would hold the API key
    try:
        asyncio.run(run(options))
    except (ParameterError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
