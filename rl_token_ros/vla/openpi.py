"""The `openpi` backend: a VLA behind a policy server, asked over a websocket (openpi's own server, `vla_server`, and their kin).

Two dialects: ``openpi``, and ``endpoint``, whose requests name an endpoint (``infer``, ``reset``) and whose errors are binary
``{"type": "error", "message": ..}``. A reply holds ``actions`` [H, A] and, for the RL token, ``embeddings`` [M, D], or the ``token`` [Dz] itself
where the server's metadata names the encoder that made it.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import numpy as np

from rl_token_ros.policy.actor_weights import fingerprint
from rl_token_ros.settings.files import resolve_path
from rl_token_ros.settings.horizon import refusal
from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla.backend import Answer, BackendError, Observation
from rl_token_ros.vla.connection import PolicyClient, api_key
from rl_token_ros.vla.keys import KeyMap
from rl_token_ros.vla.normalisation import Statistics
from rl_token_ros.vla.policy_actions import PolicyActions

NO_EMBEDDINGS = (
    "the VLA server answers without 'embeddings', of which the RL token is made. In place of openpi's serve_policy.py run "
    "'rl_token vla_server --openpi CONFIG CHECKPOINT', which sends them (docs/your_vla.md), or write 'token_size: 0' to practise without a token, on "
    "proprioception and reference alone"
)


def connect(settings: Vla) -> PolicyClient:
    """The client of the server that the parameters name; it connects when it is first used.

    Raises:
        ParameterError: the address or the certificate cannot be used.
    """
    return PolicyClient(
        settings.server,
        api_key=api_key(settings.api_key_variable),
        certificate=str(resolve_path(settings.tls_certificate)) if settings.tls_certificate else "",
        timeout=settings.query_timeout,
        warmup_timeout=settings.warmup_timeout,
    )


class OpenPiBackend:
    """Turns observations into requests and replies into answers.

    Raises:
        ParameterError: parameters that cannot be used, see :class:`KeyMap`, :class:`PolicyClient` and :class:`Statistics`.
    """

    def __init__(self, settings: Vla, proprio_size: int) -> None:
        self.settings = settings
        self._keys = KeyMap(settings, proprio_size)
        self.client = connect(settings)
        in_the_clear = "the API key travels in the clear; use wss:// beyond your own network" if self.client.in_the_clear else ""
        self.warning = "; ".join(filter(None, [in_the_clear, settings.pace_warning]))
        self._actions = PolicyActions(settings)
        self._statistics = None
        if settings.statistics_file:
            self._statistics = Statistics(resolve_path(settings.statistics_file), settings.statistics_mode, proprio_size, self._actions.width)
        encoder = resolve_path(settings.token_encoder) if settings.token_encoder else None
        self._encoder_sha256 = settings.encoder_sha256 or (fingerprint(encoder) if encoder and encoder.is_file() else "")
        self._session = uuid.uuid4().hex
        self._reset_due = False
        self._checked = 0

    def query(self, observation: Observation) -> Answer:
        """One request; see :meth:`PolicyClient.ask` for what may go wrong and how long it takes."""
        return self._answer(self._ask(observation, self.settings.embeddings), observation.orientation)

    def embed(self, observation: Observation) -> np.ndarray:
        """Likewise; a server that makes tokens sends the embeddings in their place."""
        reply = self._ask(observation, self.settings.embeddings or "float16")
        if not isinstance(reply, dict) or "embeddings" not in reply:
            raise BackendError(NO_EMBEDDINGS)
        return _matrix(reply["embeddings"], "embeddings")

    def describe(self) -> dict[str, Any]:
        """The server's metadata."""
        found = self.client.greet()
        self._refuse_other_models()
        return found

    def _ask(self, observation: Observation, embeddings: str) -> Any:
        """The reply, which is none of the server's errors.

        Args:
            embeddings: type in which they are wanted of a server that makes tokens; empty: the token.
        """
        if self._reset_due and self.settings.dialect == "endpoint":
            self._reset_due = False
            _refuse_error(self.client.ask({"endpoint": "reset", "session_id": self._session}))
        if self._statistics is not None:
            observation = replace(observation, proprio=self._statistics.normalise(observation.proprio))
        request = self._keys.request(observation)
        if embeddings and "encoder_sha256" in self.client.greet():  # another server would take it for a part of the observation
            request["embeddings"] = embeddings
        if self.settings.dialect == "endpoint":
            request |= {"endpoint": "infer", "session_id": self._session}
        reply = self.client.ask(request)
        self._refuse_other_models()
        if isinstance(reply, str):  # openpi's server closes after it
            self.client.give_up("the VLA server ended the connection after an error")
            raise BackendError(f"the VLA server failed: {reply.strip().splitlines()[-1] if reply.strip() else 'no reason given'}\n{reply}")
        _refuse_error(reply)
        return reply

    def reset(self) -> None:
        """An episode has ended: a policy with a memory forgets it before the next query (dialect endpoint)."""
        self._reset_due = True

    def report(self) -> dict[str, Any]:
        """Bytes of the newest request and reply, and whose tokens the server sends."""
        client = self.client
        return {
            "request_bytes": client.request_bytes,
            "reply_bytes": client.reply_bytes,
            "servers_token_encoder": str(client.metadata.get("encoder_sha256", "")),
        }

    def close(self) -> None:
        """End; a query under way fails."""
        self.client.close()

    def _refuse_other_models(self) -> None:
        """Once per connection: where a server says which VLA it serves, and by which encoder it makes tokens, they must be this robot's."""
        if self._checked == self.client.connections:
            return
        if reason := self._other_models(self.client.metadata):
            self.client.give_up(reason)
            raise BackendError(reason)
        self._checked = self.client.connections

    def _other_models(self, theirs: dict[str, Any]) -> str:
        """Why this server is not for this robot; empty: it is."""
        served, mine = str(theirs.get("vla_sha256") or ""), self.settings.vla_sha256
        if mine and served and served != mine:
            return f"the VLA server serves a VLA with SHA-256 {served[:12]}..., parameter 'vla_sha256' is {mine[:12]}...; serve that one"
        encoder, mine = str(theirs.get("encoder_sha256") or ""), self._encoder_sha256
        if self.settings.token_size and not self.settings.embeddings and mine and encoder and encoder != mine:
            return (
                f"the VLA server makes tokens with an encoder of SHA-256 {encoder[:12]}..., this robot's 'token_encoder' is {mine[:12]}...; "
                "give vla_server --token-encoder that file"
            )
        return ""

    def _answer(self, reply: Any, orientation: np.ndarray | None = None) -> Answer:
        if isinstance(reply, np.ndarray):  # dialect endpoint: the actions alone
            reply = {"actions": reply}
        if not isinstance(reply, dict) or "actions" not in reply:
            found = ", ".join(map(str, reply)) if isinstance(reply, dict) else type(reply).__name__
            raise BackendError(f"the VLA server's reply has no 'actions'; it has {found}")
        settings = self.settings
        actions = _matrix(reply["actions"], "actions")
        if why := self._actions.refusal(actions.shape[1]):
            raise BackendError(why)
        if self._statistics is not None:
            actions = self._statistics.restore(actions[:, : self._actions.width])
        actions = self._actions.read(actions[: settings.horizon or None], orientation)
        if why := refusal(settings, len(actions)):
            raise BackendError(why)
        if not np.isfinite(actions).all():
            raise BackendError("the VLA server's actions are not finite")
        token = self._token(reply["token"]) if "token" in reply and settings.token_size else None
        if settings.token_size and token is None and "embeddings" not in reply:
            raise BackendError(NO_EMBEDDINGS)
        embeddings = _matrix(reply["embeddings"], "embeddings") if "embeddings" in reply else None
        timing = reply.get("server_timing")
        milliseconds = timing.get("infer_ms") if isinstance(timing, dict) else None
        seconds = milliseconds * 1e-3 if isinstance(milliseconds, (int, float)) else None
        return Answer(actions, embeddings, seconds, token, str(self.client.metadata.get("encoder_sha256") or ""))

    def _token(self, value: Any) -> np.ndarray:
        """float32 [Dz] of a server that says which encoder made it."""
        if not self.client.metadata.get("encoder_sha256"):
            raise BackendError("the VLA server sends a 'token', but no 'encoder_sha256' in its metadata: the SHA-256 of the encoder that made it")
        token = _matrix([value], "token").ravel()
        if len(token) != (size := self.settings.token_size):
            raise BackendError(f"the VLA server's token has {len(token)} values, parameter 'token_size' is {size}; write that of its encoder")
        if not np.isfinite(token).all():
            raise BackendError("the VLA server's token is not finite")
        return token


def _refuse_error(reply: Any) -> None:
    if isinstance(reply, dict) and reply.get("type") == "error":
        raise BackendError(f"the VLA server failed: {reply.get('message', 'no reason given')}")


def _matrix(value: Any, name: str) -> np.ndarray:
    """float32 [rows, columns] from numbers of any type, with or without a leading batch of one."""
    try:
        matrix = np.asarray(value, np.float32)
    except (TypeError, ValueError):
        raise BackendError(f"the VLA server's '{name}' are no numbers") from None
    if matrix.ndim == 3 and len(matrix) == 1:
        matrix = matrix[0]
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise BackendError(f"the VLA server's '{name}' have shape {matrix.shape}; expected two dimensions")
    return matrix
