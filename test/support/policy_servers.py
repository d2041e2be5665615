"""Policy servers for tests, each in a thread: one that behaves as openpi's does, one of the endpoint dialect, and ours."""

from __future__ import annotations

import asyncio
import contextlib
import http
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import numpy as np
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from rl_token_ros.vla import codec

HORIZON, ACTIONS, ROWS, WIDTH = 20, 3, 3, 5


class Policy:
    """Answers with constant actions and embeddings; ``before`` is run in every inference, and may wait or raise."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.resets = 0
        self.before: Callable[[], None] = lambda: None
        self.answer: Any = {
            "actions": np.full((HORIZON, ACTIONS), 0.5, np.float32),
            "embeddings": np.arange(ROWS * WIDTH, dtype=np.float32).reshape(ROWS, WIDTH),
        }

    def infer(self, obs: dict[str, Any]) -> Any:
        self.requests.append(obs)
        self.before()
        return self.answer

    def reset(self) -> None:
        self.resets += 1


class OpenPi:
    """openpi's websocket server: its metadata first; inference blocks the event loop; a traceback as text, then close 1011."""

    def __init__(self, policy: Policy, metadata: Any = None, api_key: str = "", endpoints: bool = False) -> None:
        self.policy, self.metadata, self.api_key, self.endpoints = policy, metadata or {}, api_key, endpoints
        self.connections = 0
        self.headers: list[Any] = []
        self.closed_by_server = 0

    async def handle(self, websocket: Any) -> None:
        self.connections += 1
        await websocket.send(self.metadata if isinstance(self.metadata, (bytes, str)) else codec.pack(self.metadata))
        while True:
            try:
                obs = codec.unpack(await websocket.recv())
                await websocket.send(self._endpoint(obs) if self.endpoints else self._infer(obs))
            except ConnectionClosed:
                return
            except Exception:
                self.closed_by_server += 1
                await websocket.send(traceback.format_exc())
                await websocket.close(CloseCode.INTERNAL_ERROR, "Internal server error. Traceback included in previous frame.")
                return

    def _infer(self, obs: dict[str, Any]) -> bytes:
        answer = self.policy.infer(obs)
        return codec.pack(answer | {"server_timing": {"infer_ms": 1.0}} if isinstance(answer, dict) else answer)

    def _endpoint(self, obs: dict[str, Any]) -> bytes | str:
        """Errors are answered, not fatal."""
        try:
            if obs.pop("endpoint") == "reset":
                self.policy.reset()
                return "reset successful"
            return self._infer(obs)
        except Exception:
            return codec.pack({"type": "error", "message": "Internal inference error"})

    def admit(self, connection: Any, request: Any) -> Any:
        self.headers.append(request.headers)
        if request.path == "/healthz":
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        if self.api_key and request.headers.get("Authorization") != f"Api-Key {self.api_key}":
            return connection.respond(http.HTTPStatus.FORBIDDEN, "no\n")
        return None

    async def listen(self, host: str, port: int, tls: Any = None) -> Any:
        return await serve(self.handle, host, port, ssl=tls, compression=None, max_size=None, process_request=self.admit)


class Running:
    """A server that runs: its URL, and a way to end it."""

    def __init__(self, listen: Callable[..., Awaitable[Any]], port: int = 0, tls: Any = None) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(listen("127.0.0.1", port, tls), self._loop).result(30.0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'wss' if tls else 'ws'}://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """End it as a killed process ends: every connection is cut."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(30.0)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(30.0)

    async def _end(self) -> None:
        for connection in list(getattr(self._server, "connections", ())):
            connection.transport.abort()
        self._server.close()
        await self._server.wait_closed()


@contextlib.contextmanager
def running(server: Any, port: int = 0, tls: Any = None) -> Iterator[Running]:
    """A server in a thread, ended at the end of the with."""
    made = Running(server.listen, port, tls)
    try:
        yield made
    finally:
        made.stop()
