"""A connection to a policy server that speaks openpi's websocket protocol: made when first needed, made again after a failure.

The server speaks first, with its metadata; then one binary reply comes per binary request. A *text* frame is a traceback, after
which openpi's server closes with code 1011. Needs `websockets` and `msgpack`.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import socket
import ssl
import struct
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import websockets.exceptions
from websockets.sync.client import ClientConnection, connect

from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.vla import codec
from rl_token_ros.vla.backend import Unreachable

FIRST_DELAY, LAST_DELAY = 0.1, 5.0  # s, between two attempts; doubles with every failure
PING_INTERVAL = 10.0  # s; keeps routers and proxies from dropping a quiet connection
LARGEST_REPLY = 1 << 28  # bytes
READ_BYTES = 1 << 20  # taken from the socket at once; with websockets' own 64 kB, embeddings of 5.7 MB take 2 ms longer

Result = TypeVar("Result")

# websockets writes request headers, and with them the API key, to its debug log: a logger of our own, which never goes that far.
LOGGER = logging.getLogger("rl_token_ros.websockets")
LOGGER.setLevel(logging.WARNING)


class PolicyClient:
    """Asks a policy server, one request at a time, from one thread; :meth:`close` may be called from any.

    Args:
        url: ``ws://host:port`` or ``wss://host:port``, with a path where a proxy wants one.
        api_key: sent as ``Authorization: Api-Key ..``; never logged.
        certificate: PEM file of the authority that signed the server's certificate; empty: the system's authorities.
        timeout: s for one request, and for a connection.
        warmup_timeout: s for the first request of a connection: policies compile then.

    Raises:
        ParameterError: the URL or the certificate cannot be used.
    """

    def __init__(self, url: str, *, api_key: str = "", certificate: str = "", timeout: float, warmup_timeout: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise ParameterError(f"parameter 'server' is '{url}'; write ws://HOST:PORT, or wss://HOST:PORT for TLS")
        if parts.username or parts.password:
            raise ParameterError("parameter 'server' holds a user or password; give the key in the environment, see 'api_key_variable'")
        self._host, self._port = parts.hostname, parts.port or (443 if parts.scheme == "wss" else 80)
        self.url = url
        self.metadata: dict[str, Any] = {}
        self.connections = 0
        self.request_bytes = self.reply_bytes = 0  # of the newest
        self._headers = {"Authorization": f"Api-Key {api_key}"} if api_key else None
        self._ssl = _trust(certificate) if parts.scheme == "wss" else None
        self.in_the_clear = bool(api_key) and self._ssl is None and not _is_loopback(self._host)
        self._timeout, self._warmup_timeout = timeout, warmup_timeout
        self._resources = contextlib.ExitStack()
        self._connection: ClientConnection | None = None
        self._greeted = self._warm = self._closed = False
        self._delay, self._not_before, self._failure = FIRST_DELAY, 0.0, ""

    def ask(self, request: dict[str, Any]) -> Any:
        """The reply to a request, decoded; a text frame comes as str.

        Raises:
            Unreachable: no connection, no reply in time, or none that can be read. The connection is given up then: a late reply
                must not be taken for the answer to a later request. Within the back-off after a failure this raises at once.
        """
        reply = self._tried(lambda: self._exchange(codec.pack(request)))
        self._warm, self._delay = True, FIRST_DELAY
        return reply

    def greet(self) -> dict[str, Any]:
        """The server's metadata, of the connection that there is, or of a new one.

        Raises:
            Unreachable: as of :meth:`ask`.
        """
        self._tried(self._connected)
        return self.metadata

    def _tried(self, action: Callable[[], Result]) -> Result:
        wait = self._not_before - time.monotonic()
        if wait > 0:
            raise Unreachable(f"{self._failure}; next attempt in {wait:.1f} s")
        try:
            return action()
        except (OSError, websockets.exceptions.WebSocketException, codec.WireError) as error:
            self.give_up(self._explain(error))
            raise Unreachable(self._failure) from None

    def give_up(self, reason: str) -> None:
        """Drop the connection; the next one is made after a back-off."""
        self._drop()
        self._failure, self._not_before = reason, time.monotonic() + self._delay
        self._delay = min(2 * self._delay, LAST_DELAY)

    def close(self) -> None:
        """End for good; a request under way fails at once."""
        self._closed = True
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)

    def _exchange(self, data: bytes) -> Any:
        connection = self._connected()
        timeout = self._timeout if self._warm else self._warmup_timeout
        connection.send(data)
        reply = connection.recv(timeout)
        self.request_bytes, self.reply_bytes = len(data), len(reply)
        return reply if isinstance(reply, str) else codec.unpack(reply)

    def _connected(self) -> ClientConnection:
        connection = self._connection
        if connection is None or connection.close_code is not None:  # a server may end a connection that was quiet for long
            connection = self._connect()
        return connection

    def _connect(self) -> ClientConnection:
        self._drop()
        if self._closed:
            raise OSError("closed")
        raw = socket.create_connection((self._host, self._port), self._timeout)
        # A server that does not read must not hold up the sender either. websockets itself knows no deadline for sending.
        seconds, microseconds = divmod(round(self._timeout * 1e6), 1_000_000)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", seconds, microseconds))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._resources.callback(raw.close)
        connection = self._resources.enter_context(
            connect(
                self.url,
                sock=raw,
                ssl=self._ssl,
                additional_headers=self._headers,
                compression=None,  # pictures and embeddings do not compress, and openpi does without
                open_timeout=self._timeout,
                close_timeout=0.2,
                ping_interval=PING_INTERVAL,
                ping_timeout=None,  # openpi's server answers no ping while it infers; the deadline of a request finds a dead one
                max_size=LARGEST_REPLY,
                logger=LOGGER,
            )
        )
        connection.recv_bufsize = READ_BYTES
        self._connection = connection
        first = connection.recv(self._timeout)
        metadata = None if isinstance(first, str) else codec.unpack(first)
        if not isinstance(metadata, dict):
            raise codec.WireError("its first message is no metadata; is this an openpi policy server?")
        self.metadata, self._greeted, self._warm = metadata, True, False
        self.connections += 1
        return connection

    def _drop(self) -> None:
        connection, self._connection, self._greeted = self._connection, None, False
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)  # no closing handshake with a server that may be stuck
        with contextlib.suppress(OSError, websockets.exceptions.WebSocketException):
            self._resources.close()

    def _explain(self, error: Exception) -> str:
        where = f"VLA server {self.url}"
        if isinstance(error, TimeoutError) and self._greeted:
            limit, name = (self._timeout, "query_timeout") if self._warm else (self._warmup_timeout, "warmup_timeout")
            return f"{where} did not answer within {limit:g} s ({name})"
        if isinstance(error, TimeoutError):
            return f"{where} did not take a connection within {self._timeout:g} s; is it running, or busy with another client?"
        if isinstance(error, websockets.exceptions.InvalidStatus) and error.response.status_code in (401, 403):
            status = error.response.status_code
            return f"{where} refused the connection with status {status}: set the API key in the variable that 'api_key_variable' names"
        if isinstance(error, ConnectionRefusedError):
            return f"{where}: nothing listens there; is the server running, and the port right?"
        if isinstance(error, ssl.SSLError):
            return f"{where}: {error.reason or error}; name the authority of its certificate in 'tls_certificate'"
        if isinstance(error, codec.WireError):
            return f"{where}: what it sent {error}" if not str(error).startswith("its ") else f"{where}: {error}"
        return f"{where}: {error or type(error).__name__}"


def api_key(variable: str) -> str:
    """The key in an environment variable: parameters can be read by everyone on the ROS graph, the environment cannot."""
    return os.environ.get(variable, "").strip() if variable else ""


def _trust(certificate: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=certificate or None)
    except OSError as error:
        raise ParameterError(f"parameter 'tls_certificate' names '{certificate}', which is no certificate: {error}") from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
