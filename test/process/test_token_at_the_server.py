"""vla_server --token-encoder: the token travels in place of the embeddings, and is the one that the robot would have made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_robot
from policy_servers import OpenPi, Policy, running
from small_robot import ROWS, TOKEN, WIDTH
from test_vla_server import ROOT, SEEN, client, serving
from websockets.sync.client import connect

from rl_token_ros.control.pipeline import Pipeline
from rl_token_ros.control.tick_record import Event
from rl_token_ros.interfaces import image_cdr
from rl_token_ros.policy.actor_weights import fingerprint
from rl_token_ros.rl_token.encoder import TokenEncoder
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.system.onnx_session import server_session
from rl_token_ros.vla import codec
from rl_token_ros.vla.backend import BackendError
from rl_token_ros.vla.server import OnnxPolicy, PolicyServer

LARGEST_REPLY = 20_000  # bytes, at real size


def at_the_server(path: Path) -> TokenEncoder:
    return TokenEncoder(path, make_session=server_session, named_by="--token-encoder")


def asked(url: str, **changes):
    """One answer of a server."""
    backend = client(url, token_encoder="", **changes)
    try:
        return backend.query(SEEN)
    finally:
        backend.close()


def token_on_the_robot(models, answer) -> np.ndarray:
    """What control_node makes of the `vla/embedding` that vla_node would publish."""
    refused: list[Exception] = []
    pipeline = Pipeline(small_robot.settings(token_encoder=str(models["encoder"]), vla_model=""), refused.append)
    pipeline.encode(image_cdr.read(answer.embedding_message(1), "vla/embedding"))
    assert not refused
    pipeline.step(Event.TICK, 2)
    return pipeline.controller.proposals.token[1]


def test_the_token_is_the_same_wherever_it_is_made(models):
    with serving(OnnxPolicy(models["vla"]), encoder=at_the_server(models["encoder"])) as server:
        made = asked(server.url)
        embeddings = {kind: asked(server.url, embeddings=kind) for kind in ("float32", "float16")}
    assert made.embeddings is None and made.token.shape == (TOKEN,) and made.encoder_sha256 == fingerprint(models["encoder"])
    token = token_on_the_robot(models, made)
    np.testing.assert_array_equal(token, made.token)
    for answer in embeddings.values():
        assert answer.token is None and answer.embeddings.shape == (ROWS, WIDTH)
        np.testing.assert_allclose(token_on_the_robot(models, answer), token, atol=1e-3 * np.abs(token).max())
    assert np.abs(embeddings["float16"].embeddings - embeddings["float32"].embeddings).max() > 0.0


def test_a_reply_of_real_size_holds_no_embeddings(tmp_path):
    """968 x 2048, 50 x 14: 7.9 MB as float32."""
    policy = Policy()
    policy.answer = {"actions": np.zeros((50, 14), np.float32), "embeddings": np.ones((968, 2048), np.float32)}
    path = small_robot.write_encoder(tmp_path / "wide.onnx", None, token=1, rows=968, size=968 * 2048)

    class Wide(TokenEncoder):
        def run(self, embeddings: np.ndarray) -> np.ndarray:
            return np.resize(super().run(embeddings), 2048)

    with serving(policy, encoder=Wide(path)) as server, connect(server.url, max_size=None) as raw:
        told = codec.unpack(raw.recv())
        raw.send(codec.pack({"proprio": SEEN.proprio}))
        reply = raw.recv()
        raw.send(codec.pack({"proprio": SEEN.proprio, "embeddings": "float16"}))
        half = raw.recv()
    assert told["encoder_sha256"] == fingerprint(path) and told["encoder_vla_sha256"] == "0" * 64
    assert len(reply) <= LARGEST_REPLY
    answer = codec.unpack(reply)
    assert answer["token"].shape == (2048,) and answer["token"].dtype == np.float32 and "embeddings" not in answer
    assert codec.unpack(half)["embeddings"].dtype == np.float16 and "token" not in codec.unpack(half)
    assert all("embeddings" not in request for request in policy.requests)


@pytest.mark.parametrize("asked_for", ["float64", "yes"])
def test_embeddings_of_another_type_are_not_to_be_had(asked_for):
    with serving(Policy()) as server, connect(server.url) as raw:
        raw.recv()
        raw.send(codec.pack({"embeddings": asked_for}))
        assert f"asks for embeddings as '{asked_for}'; write float32 or float16" in raw.recv()


def test_any_of_our_servers_sends_half_precision_where_asked():
    with serving(Policy()) as server, connect(server.url) as raw:
        raw.recv()
        raw.send(codec.pack({"embeddings": "float16"}))
        assert codec.unpack(raw.recv())["embeddings"].dtype == np.float16


@pytest.mark.parametrize("dialect", ["openpi", "endpoint"])
def test_embeddings_that_change_their_shape_are_an_answer_with_the_reason(models, dialect):
    policy = Policy()
    with serving(policy, encoder=at_the_server(models["stranger"])) as server:
        backend = client(server.url, dialect=dialect)
        assert backend.query(SEEN).token.shape == (TOKEN,)
        policy.answer["embeddings"] = np.ones((ROWS + 4, WIDTH), np.float32)
        with pytest.raises(BackendError, match=r"the VLA's embeddings are \(7, 5\); the token encoder was made for \(3, 5\)"):
            backend.query(SEEN)
        backend.close()


def test_a_policy_without_embeddings_is_an_answer_with_the_reason(models):
    policy = Policy()
    del policy.answer["embeddings"]
    with serving(policy, encoder=at_the_server(models["stranger"])) as server:
        with pytest.raises(BackendError, match="the policy gives no 'embeddings', of which the token is made"):
            asked(server.url)


def test_an_encoder_for_another_vla_is_not_served(models):
    with pytest.raises(ParameterError, match="--token-encoder: it was made for a VLA with SHA-256 000000000000..., the one served has"):
        PolicyServer(OnnxPolicy(models["vla"]), encoder=at_the_server(models["stranger"]))
    with pytest.raises(ParameterError, match="--token-encoder names '/nowhere.onnx', which does not exist"):
        at_the_server(Path("/nowhere.onnx"))


@pytest.mark.parametrize("known_by", ["file", "fingerprint"])
def test_a_server_with_another_encoder_is_refused(models, known_by):
    mine = {"token_encoder": str(models["encoder"])} if known_by == "file" else {"encoder_sha256": fingerprint(models["encoder"])}
    with serving(Policy(), encoder=at_the_server(models["stranger"])) as server:
        backend = client(server.url, **mine)
        with pytest.raises(BackendError, match="makes tokens with an encoder of SHA-256 .*; give vla_server --token-encoder that file"):
            backend.query(SEEN)
        backend.close()
        backend = client(server.url, **mine, embeddings="float32")  # whose encoder does not matter then
        assert backend.query(SEEN).embeddings.shape == (ROWS, WIDTH)
        backend.close()


@pytest.mark.parametrize(
    "token, metadata, says",
    [
        (np.ones(TOKEN + 1), {"encoder_sha256": "a" * 64}, "the VLA server's token has 5 values, parameter 'token_size' is 4"),
        (np.full(TOKEN, np.inf), {"encoder_sha256": "a" * 64}, "the VLA server's token is not finite"),
        ("four", {"encoder_sha256": "a" * 64}, "the VLA server's 'token' are no numbers"),
        (np.ones(TOKEN), {}, "sends a 'token', but no 'encoder_sha256' in its metadata"),
    ],
)
def test_what_cannot_be_a_token_is_refused(token, metadata, says):
    policy = Policy()
    policy.answer = {"actions": policy.answer["actions"], "token": token}
    with running(OpenPi(policy, metadata)) as server:
        with pytest.raises(BackendError, match=says):
            asked(server.url)


def test_embeddings_are_asked_of_servers_alone_that_would_send_a_token():
    policy = Policy()
    with running(OpenPi(policy, {"name": "theirs"})) as server:
        asked(server.url, embeddings="float16")
    assert "embeddings" not in policy.requests[-1]  # openpi's policies take whatever comes for a part of the observation


def test_the_command_makes_the_token(models, tmp_path):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "rl_token_ros.cli", "vla_server", str(models["vla"]), "--port", "0", "--token-encoder"]
    refused = subprocess.run([*command, str(models["stranger"])], env=environment, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2 and "error: --token-encoder: it was made for a VLA with" in refused.stderr
    with subprocess.Popen([*command, str(models["encoder"])], env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            lines = iter(process.stdout.readline, "")
            told = {}
            for line in lines:
                if line.startswith("serving "):
                    break
                name, _, value = line.strip().partition(": ")
                told[name] = value
            assert told["encoder_sha256"] == fingerprint(models["encoder"])
            assert asked(line.split(" on ")[1].strip()).token.shape == (TOKEN,)
        finally:
            process.kill()
