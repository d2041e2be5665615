"""vla_server: ONNX files and Python objects over openpi's protocol, for our client and, where it is installed, openpi's own."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import small_robot
from policy_servers import Policy
from websockets.sync.client import connect

from rl_token_ros.commands import vla_server
from rl_token_ros.policy.actor_weights import fingerprint
from rl_token_ros.settings import parameters
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.vla import Vla
from rl_token_ros.system.onnx_session import session
from rl_token_ros.vla import codec
from rl_token_ros.vla.backend import BackendError, Observation
from rl_token_ros.vla.openpi import OpenPiBackend
from rl_token_ros.vla.server import OnnxPolicy, PolicyServer, load

ROOT = Path(__file__).parents[2]
PICTURE = np.full((small_robot.IMAGE, small_robot.IMAGE, 3), 9, np.uint8)
SEEN = Observation(1, {"base": PICTURE}, np.arange(3, dtype=np.float32), "insert")


@contextlib.contextmanager
def serving(policy, tls=None, **options):
    """The server in a thread: its port and URL."""
    server = PolicyServer(policy, **options).listen("127.0.0.1", 0, tls)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    port = server.socket.getsockname()[1]
    try:
        yield SimpleNamespace(port=port, url=f"ws://127.0.0.1:{port}")
    finally:
        server.shutdown()
        thread.join(30.0)


def client(url: str, **changes) -> OpenPiBackend:
    values = small_robot.shared(vla_proprioception=["ee_position"], backend="openpi", server=url, image_height=0, query_timeout=30.0, **changes)
    return OpenPiBackend(parameters.build(Vla, values), 3)


def test_an_onnx_vla_answers_over_the_network_as_it_does_locally(models):
    policy = OnnxPolicy(models["vla"])
    with serving(policy) as server:
        asked = client(server.url)
        answer = asked.query(SEEN)
        asked.close()
    model = session(models["vla"])
    actions, embeddings = model.run(["actions", "embeddings"], {"image_base": PICTURE[None], "proprio": SEEN.proprio[None]})
    np.testing.assert_allclose(answer.actions, actions[0], rtol=1e-6)
    np.testing.assert_allclose(answer.embeddings, embeddings[0], rtol=1e-6)
    assert answer.server_seconds > 0.0
    assert asked.client.metadata["vla_sha256"] == fingerprint(models["vla"])


@pytest.mark.parametrize("there", [["CPUExecutionProvider"], ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]])
def test_an_onnx_vla_runs_on_cuda_where_onnxruntime_can_and_says_where(models, monkeypatch, there):
    onnxruntime = pytest.importorskip("onnxruntime")
    asked, make = [], onnxruntime.InferenceSession

    def session_on_cpu(path, providers):
        asked.append(providers)
        return make(path, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: there)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session_on_cpu)
    assert OnnxPolicy(models["vla"]).metadata["runs_on"] == "CPU"  # what it came to, here
    assert asked == [[name for name in there if not name.startswith("Tensorrt")]]


def test_an_observation_that_lacks_something_is_answered_with_the_reason(models):
    with serving(OnnxPolicy(models["vla"])) as server:
        asked = client(server.url, observation_preset="", observation_keys=["proprio: proprio"])
        with pytest.raises(BackendError, match="the observation has no image_base; it has proprio: use observation_preset plain"):
            asked.query(SEEN)
        asked.close()


def test_half_precision_halves_the_embeddings():
    policy = Policy()
    with serving(policy, half=True) as server, connect(server.url) as raw:
        raw.recv()
        raw.send(codec.pack({"proprio": SEEN.proprio}))
        answer = codec.unpack(raw.recv())
    assert answer["embeddings"].dtype == np.float16
    assert policy.answer["embeddings"].dtype == np.float32  # the policy's own is left as it was


@pytest.mark.parametrize("rows", [1, 511, 2300])
def test_a_long_answer_arrives_whole(rows):
    policy = Policy()
    policy.answer["embeddings"] = embeddings = np.random.default_rng(0).normal(size=(rows, 512)).astype(np.float32)
    with serving(policy) as server:
        asked = client(server.url)
        np.testing.assert_array_equal(asked.query(SEEN).embeddings, embeddings)
        asked.close()


def test_both_dialects_are_served():
    policy = Policy()
    with serving(policy) as server:
        for dialect in ("openpi", "endpoint"):
            asked = client(server.url, dialect=dialect)
            asked.reset()
            asked.query(SEEN)
            asked.close()
    assert policy.resets == 1 and "endpoint" not in policy.requests[-1]


def test_health_and_pings_are_answered_while_a_policy_thinks():
    policy, release, thinking = Policy(), threading.Event(), threading.Event()

    def before() -> None:
        thinking.set()
        release.wait(30.0)

    policy.before = before
    with serving(policy) as server, connect(server.url) as raw:
        raw.recv()
        raw.send(codec.pack({}))
        assert thinking.wait(30.0)
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/healthz") as answer:
            assert answer.read() == b"OK\n"
        assert raw.ping().wait(30.0)
        release.set()
        assert "actions" in codec.unpack(raw.recv())


def test_two_clients_take_turns():
    policy = Policy()
    inside: list[int] = []
    most: list[int] = []

    def before() -> None:
        inside.append(1)
        most.append(len(inside))
        threading.Event().wait(0.01)
        inside.pop()

    policy.before = before
    with serving(policy) as server:
        clients = [client(server.url) for _ in range(3)]
        threads = [threading.Thread(target=each.query, args=(SEEN,)) for each in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30.0)
        for each in clients:
            each.close()
    assert len(most) == 3 and max(most) == 1


def test_clients_without_the_key_stay_outside_and_no_key_is_in_the_log(monkeypatch, caplog):
    right, wrong = "s3cr3t-of-the-server", "s3cr3t-of-another"
    caplog.set_level(logging.DEBUG, "vla_server")
    with serving(Policy(), api_key=right) as server:
        monkeypatch.setenv("RL_TOKEN_API_KEY", wrong)
        asked = client(server.url)
        with pytest.raises(BackendError, match="status 401"):
            asked.query(SEEN)
        monkeypatch.setenv("RL_TOKEN_API_KEY", right)
        asked = client(server.url)
        asked.query(SEEN)
        asked.close()
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/healthz") as answer:
            assert answer.status == 200  # says nothing but that it lives
    assert "connected" in caplog.text and "s3cr3t" not in caplog.text


def test_openpis_own_client_is_served():
    pytest.importorskip("openpi_client")
    from openpi_client.websocket_client_policy import WebsocketClientPolicy

    policy = Policy()
    policy.metadata = {"robot": "none"}
    with serving(policy) as server:
        theirs = WebsocketClientPolicy("127.0.0.1", server.port)
        assert theirs.get_server_metadata() == {"robot": "none"}
        answer = theirs.infer({"observation/state": np.ones(8), "prompt": "insert"})
        np.testing.assert_array_equal(answer["embeddings"], policy.answer["embeddings"])
        np.testing.assert_array_equal(policy.requests[0]["observation/state"], np.ones(8))

        def fail() -> None:
            raise KeyError("state")

        policy.before = fail
        with pytest.raises(RuntimeError, match="KeyError: 'state'"):
            theirs.infer({})


@pytest.mark.parametrize(
    "what, says",
    [
        ("model", "is no MODULE:NAME; write FILE.onnx, or MODULE:NAME"),
        ("none.onnx", "there is no model"),
        ("no_such_module:policy", "cannot be imported"),
        ("json:nothing", "cannot be imported"),
        ("collections:OrderedDict", r"has no method infer\(obs\)"),
    ],
)
def test_what_cannot_be_served_is_refused(what, says, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParameterError, match=says):
        load(what)


def test_the_command_serves_a_python_object_until_it_is_asked_to_end(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "class Mine:\n"
        "    metadata = {'name': 'mine'}\n"
        "    def infer(self, obs):\n"
        "        return {'actions': np.tile(obs['proprio'], (20, 1)), 'embeddings': np.ones((2, 2))}\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "rl_token_ros.cli", "vla_server", "mine:Mine", "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            lines = [process.stdout.readline() for _ in range(2)]
            assert lines[0] == "name: mine\n"
            url = lines[1].split(" on ")[1].strip()
            asked = client(url)
            np.testing.assert_allclose(asked.query(SEEN).actions[3], SEEN.proprio)
            asked.close()
            process.send_signal(signal.SIGTERM)
            assert process.wait(30.0) == 0
        finally:
            process.kill()


def test_a_port_in_use_is_bad_input(capsys, monkeypatch):
    with serving(Policy()) as server:
        options = vla_server.parse(["json:nothing", "--port", str(server.port)])
        monkeypatch.setattr(vla_server, "load", lambda _: Policy())
        with pytest.raises(OSError):
            vla_server.run(options)
