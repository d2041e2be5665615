"""The openpi backend against servers that behave as openpi's, and as the endpoint dialect's, over loopback."""

from __future__ import annotations

import logging
import shutil
import ssl
import subprocess
import threading
import time
import urllib.request

import numpy as np
import pytest
from policy_servers import ACTIONS, HORIZON, OpenPi, Policy, running

from rl_token_ros.settings import parameters
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla import connection
from rl_token_ros.vla.backend import BackendError, Observation
from rl_token_ros.vla.openpi import OpenPiBackend

LONG = 30.0  # s, a deadline that no passing test reaches
SEEN = Observation(1, {"base": np.full((4, 4, 3), 7, np.uint8)}, np.arange(3, dtype=np.float32), "insert")


@pytest.fixture(autouse=True)
def quick_attempts(monkeypatch):
    monkeypatch.setattr(connection, "FIRST_DELAY", 0.001)
    monkeypatch.setattr(connection, "LAST_DELAY", 0.02)


@pytest.fixture
def policy() -> Policy:
    return Policy()


@pytest.fixture
def backend(request):
    """Makes backends and closes them."""
    made = []

    def make(url: str, **changes) -> OpenPiBackend:
        values = {
            "action_names": ["x", "y", "z"], "residual_scale": [0.1] * 3, "cameras": ["base"], "chunk_length": 10,
            "proprioception": ["ee_position"], "vla_proprioception": ["ee_position"], "backend": "openpi", "server": url,
            "image_height": 0, "query_timeout": LONG, "warmup_timeout": LONG, **changes,
        }  # fmt: skip
        made.append(OpenPiBackend(parameters.build(Vla, values), 3))
        return made[-1]

    yield make
    for each in made:
        each.close()


def until_it_answers(backend: OpenPiBackend):
    """Ask until there is an answer; a passing test needs a few attempts."""
    deadline = time.monotonic() + LONG
    while True:
        try:
            return backend.query(SEEN)
        except BackendError:
            assert time.monotonic() < deadline
            time.sleep(0.005)


def test_a_query_brings_actions_embeddings_and_the_servers_time(policy, backend):
    with running(OpenPi(policy, {"robot": "none"})) as server:
        asked = backend(server.url)
        answer = asked.query(SEEN)
    np.testing.assert_array_equal(answer.actions, policy.answer["actions"])
    np.testing.assert_array_equal(answer.embeddings, policy.answer["embeddings"])
    assert answer.actions.dtype == answer.embeddings.dtype == np.float32
    assert answer.server_seconds == pytest.approx(0.001)
    assert asked.client.metadata == {"robot": "none"}
    (request,) = policy.requests
    assert set(request) == {"image_base", "proprio", "task"} and request["task"] == "insert"
    np.testing.assert_array_equal(request["image_base"], SEEN.images["base"])
    np.testing.assert_array_equal(request["proprio"], SEEN.proprio)


def test_one_connection_serves_many_queries(policy, backend):
    server = OpenPi(policy)
    with running(server) as address:
        asked = backend(address.url)
        for _ in range(20):
            asked.query(SEEN)
    assert server.connections == 1 and len(policy.requests) == 20


def test_a_traceback_is_reported_and_the_next_query_is_answered(policy, backend):
    def fail() -> None:
        raise KeyError("observation/state")

    policy.before = fail
    server = OpenPi(policy)
    with running(server) as address:
        asked = backend(address.url)
        with pytest.raises(BackendError, match="the VLA server failed: KeyError: 'observation/state'") as told:
            asked.query(SEEN)
        assert "Traceback" in str(told.value) and server.closed_by_server == 1
        policy.before = lambda: None
        assert until_it_answers(asked).actions.shape == (HORIZON, ACTIONS)
    assert server.connections == 2


def test_a_server_that_is_not_there_is_asked_again_with_growing_pauses(policy, backend):
    with running(OpenPi(policy)) as address:
        port, url = address.port, address.url
    asked = backend(url)
    with pytest.raises(BackendError, match="nothing listens there"):
        asked.query(SEEN)
    pauses = []
    for _ in range(6):
        while asked.client._not_before > time.monotonic():
            time.sleep(0.001)
        before = time.monotonic()
        with pytest.raises(BackendError, match="nothing listens there"):
            asked.query(SEEN)
        pauses.append(asked.client._not_before - before)
    assert pauses[3] > pauses[0] and asked.client._delay == connection.LAST_DELAY
    with pytest.raises(BackendError, match="nothing listens there.*; next attempt in"):
        asked.query(SEEN)
    with running(OpenPi(policy), port):
        until_it_answers(asked)
    assert asked.client._delay == connection.FIRST_DELAY


def test_a_server_that_dies_and_comes_back(policy, backend):
    first = OpenPi(policy)
    with running(first) as address:
        asked = backend(address.url)
        asked.query(SEEN)
        port = address.port
    with pytest.raises(BackendError):
        asked.query(SEEN)
    with running(OpenPi(policy), port):
        until_it_answers(asked)


def test_a_connection_that_the_server_ended_while_quiet_is_made_again_unnoticed(policy, backend):
    server = OpenPi(policy)
    with running(server) as address:
        asked = backend(address.url)
        asked.query(SEEN)
        (quiet,) = address._server.connections
        address._loop.call_soon_threadsafe(quiet.transport.abort)
        deadline = time.monotonic() + LONG
        while asked.client._connection.close_code is None:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        asked.query(SEEN)
    assert server.connections == 2


def test_an_answer_after_the_deadline_is_never_taken_for_a_later_ones(policy, backend):
    """The event loop is blocked by the slow inference, so not even a ping is answered."""
    release, counter = threading.Event(), iter(range(1000))

    def before() -> None:
        policy.answer = {**policy.answer, "actions": np.full((HORIZON, ACTIONS), next(counter), np.float32)}
        if len(policy.requests) == 2:
            release.wait(LONG)

    policy.before = before
    with running(OpenPi(policy)) as address:
        asked = backend(address.url, query_timeout=0.2)
        assert asked.query(SEEN).actions[0, 0] == 0
        with pytest.raises(BackendError, match=r"did not answer within 0.2 s \(query_timeout\)"):
            asked.query(SEEN)
        release.set()
        assert until_it_answers(asked).actions[0, 0] == 2  # not 1, which was late


def test_a_server_that_does_not_read_holds_up_no_sender(policy, backend):
    """Its event loop is blocked by another client's inference, and the request is larger than the sockets' buffers."""
    release, busy = threading.Event(), threading.Event()
    large = Observation(1, {"base": np.zeros((4000, 4000, 3), np.uint8)}, SEEN.proprio, "")

    def before() -> None:
        if len(policy.requests) == 2:
            busy.set()
            release.wait(LONG)

    policy.before = before
    with running(OpenPi(policy)) as address:
        asked, other = backend(address.url, query_timeout=0.2), backend(address.url)
        asked.query(SEEN)
        thread = threading.Thread(target=other.query, args=(SEEN,))
        thread.start()
        assert busy.wait(LONG)
        with pytest.raises(BackendError):
            asked.query(large)
        assert not release.is_set()  # it gave up by itself
        release.set()
        thread.join(LONG)
        until_it_answers(asked)


def test_the_first_query_of_a_connection_may_take_longer(policy, backend):
    """A policy compiles in its first inference."""
    release = threading.Event()
    policy.before = lambda: release.wait(LONG) and None
    with running(OpenPi(policy)) as address:
        asked = backend(address.url, query_timeout=0.05)
        timer = threading.Timer(0.5, release.set)
        timer.start()
        assert asked.query(SEEN).actions.shape == (HORIZON, ACTIONS)
        impatient = backend(address.url, warmup_timeout=0.05)
        release.clear()
        with pytest.raises(BackendError, match="warmup_timeout"):
            impatient.query(SEEN)
        release.set()


def test_closing_ends_a_query_under_way(policy, backend):
    release, asked_for = threading.Event(), threading.Event()

    def before() -> None:
        asked_for.set()
        release.wait(LONG)

    policy.before = before
    with running(OpenPi(policy)) as address:
        asked = backend(address.url)
        failures: list[BaseException] = []

        def query() -> None:
            try:
                asked.query(SEEN)
            except BackendError as error:
                failures.append(error)

        thread = threading.Thread(target=query)
        thread.start()
        assert asked_for.wait(LONG)
        asked.close()
        thread.join(LONG)
        assert not thread.is_alive() and failures
        release.set()


def test_the_endpoint_dialect_names_its_endpoint_and_survives_errors(policy, backend):
    server = OpenPi(policy, endpoints=True)
    with running(server) as address:
        asked = backend(address.url, dialect="endpoint")
        asked.query(SEEN)

        def fail() -> None:
            raise ValueError

        policy.before = fail
        with pytest.raises(BackendError, match="the VLA server failed: Internal inference error"):
            asked.query(SEEN)
        policy.before = lambda: None
        policy.answer = policy.answer["actions"]  # such servers may answer with the actions alone
        with pytest.raises(BackendError, match="without 'embeddings'"):
            asked.query(SEEN)
        asked.reset()
        without = backend(address.url, dialect="endpoint", token_size=0)
        without.reset()
        assert without.query(SEEN).embeddings is None
    assert server.connections == 2 and policy.resets == 1
    sessions = {request["session_id"] for request in policy.requests}
    assert len(sessions) == 2  # one for each client


def test_openpi_has_no_endpoints(policy, backend):
    with running(OpenPi(policy)) as address:
        asked = backend(address.url)
        asked.reset()
        asked.query(SEEN)
    assert "endpoint" not in policy.requests[0]


def test_a_server_without_embeddings_is_told_how_to_give_them(policy, backend):
    del policy.answer["embeddings"]
    with running(OpenPi(policy)) as address:
        with pytest.raises(BackendError) as told:
            backend(address.url).query(SEEN)
        assert "'rl_token vla_server --openpi CONFIG CHECKPOINT'" in str(told.value) and "'token_size: 0'" in str(told.value)
        answer = backend(address.url, token_size=0).query(SEEN)
    assert answer.embeddings is None and answer.actions.shape == (HORIZON, ACTIONS)


@pytest.mark.parametrize(
    "answer, says",
    [
        ({"action": 1}, "has no 'actions'; it has action"),
        ([1, 2], "has no 'actions'; it has list"),
        ({"actions": "fast"}, "'actions' are no numbers"),
        ({"actions": np.zeros(3)}, r"'actions' have shape \(3,\)"),
        ({"actions": np.zeros((2, 20, 3))}, "'actions' have shape"),
        ({"actions": np.zeros((20, 8))}, "actions of 8 values, action_names and gripper_names are 3; say with 'action_columns'"),
        ({"actions": np.zeros((20, 2))}, "actions of 2 values"),
        (
            {"actions": np.zeros((9, 3))},
            "gives 9 steps of chunk_dt 0.02 s, 0.18 s in all, and chunk_length 10 at control_rate 50 Hz is 0.20 s",
        ),
        ({"actions": np.full((20, 3), np.nan)}, "are not finite"),
        ({"actions": np.zeros((20, 3)), "embeddings": np.zeros(4)}, "'embeddings' have shape"),
    ],
)
def test_an_answer_that_cannot_be_used_says_why(policy, backend, answer, says):
    policy.answer = answer
    with running(OpenPi(policy)) as address:
        with pytest.raises(BackendError, match=says):
            backend(address.url).query(SEEN)


def test_columns_steps_and_units_of_the_actions_are_the_robots(policy, backend):
    policy.answer["actions"] = np.arange(20 * 8, dtype=np.float64).reshape(1, 20, 8)
    with running(OpenPi(policy)) as address:
        asked = backend(address.url, action_columns="7,0:2", action_scale=[0.1, 1.0, 10.0], horizon=15)
        actions = asked.query(SEEN).actions
    assert actions.shape == (15, 3)
    np.testing.assert_allclose(actions[1], [1.5, 8.0, 90.0], rtol=1e-6)
    with pytest.raises(ParameterError, match="'action_columns' takes 2 values; write 3"):
        backend("ws://h:1", action_columns="0:2")


def test_half_precision_embeddings_are_taken(policy, backend):
    policy.answer["embeddings"] = policy.answer["embeddings"].astype(np.float16)[None]
    with running(OpenPi(policy)) as address:
        assert backend(address.url).query(SEEN).embeddings.dtype == np.float32


def test_statistics_are_applied_on_both_sides(policy, backend, tmp_path):
    (tmp_path / "stats.json").write_text(
        '{"observation.state": {"mean": [0, 1, 2], "std": [1, 1, 2]}, "action": {"mean": [1, 1, 1], "std": [2, 2, 2]}}'
    )
    with running(OpenPi(policy)) as address:
        answer = backend(address.url, statistics_file=str(tmp_path / "stats.json")).query(SEEN)
    np.testing.assert_allclose(policy.requests[0]["proprio"], [0.0, 0.0, 0.0], atol=1e-5)
    np.testing.assert_allclose(answer.actions, 2.0, rtol=1e-5)


def test_the_api_key_opens_the_door_and_is_in_no_log(policy, backend, monkeypatch, caplog):
    secret = "s3cr3t-of-the-robot"
    caplog.set_level(logging.DEBUG)
    with running(OpenPi(policy, api_key=secret)) as address:
        logging.getLogger("websockets.server").setLevel(logging.WARNING)  # the server's own log is the server's affair
        closed = backend(address.url)
        with pytest.raises(BackendError, match="refused the connection with status 403: set the API key"):
            closed.query(SEEN)
        monkeypatch.setenv("MY_KEY", secret)
        wrong = backend(address.url, api_key_variable="MY_KEY")
        wrong.query(SEEN)
    with pytest.raises(BackendError) as told:
        wrong.query(SEEN)
    assert secret not in caplog.text and secret not in str(told.value)
    with pytest.raises(ParameterError) as refused:
        backend(f"ws://user:{secret}@host")
    assert secret not in str(refused.value)


def test_a_key_that_would_travel_in_the_clear_is_noticed(backend, monkeypatch):
    monkeypatch.setenv("MY_KEY", "key")
    assert "in the clear" in backend("ws://10.0.0.1:1", api_key_variable="MY_KEY").warning
    assert not backend("wss://10.0.0.1:1", api_key_variable="MY_KEY").warning
    assert not backend("ws://localhost:1", api_key_variable="MY_KEY").warning
    assert not backend("ws://10.0.0.1:1").warning


def test_tls_with_a_certificate_of_ones_own(policy, backend, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=policy", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*make, "-out", certificate, "-keyout", key], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with running(OpenPi(policy), tls=tls) as address:
        assert address.url.startswith("wss://")
        assert backend(address.url, tls_certificate=str(certificate)).query(SEEN).embeddings is not None
        with pytest.raises(BackendError, match="'tls_certificate'"):
            backend(address.url).query(SEEN)
    with pytest.raises(ParameterError, match="'tls_certificate' names"):
        backend("wss://h:1", tls_certificate=str(key))


@pytest.mark.parametrize("greeting", [b"\xc1", b"\x01", "hello"])
def test_a_server_that_speaks_another_language_is_named(policy, backend, greeting):
    with running(OpenPi(policy, greeting)) as address:
        with pytest.raises(BackendError, match="VLA server ws://"):
            backend(address.url).query(SEEN)


@pytest.mark.parametrize("url", ["localhost:8000", "http://localhost:8000", "ws://", ""])
def test_an_address_that_is_none_is_refused(backend, url):
    with pytest.raises(ParameterError, match="'server'"):
        backend(url)


def test_a_server_of_another_vla_is_refused(policy, backend):
    with running(OpenPi(policy, {"vla_sha256": "a" * 64})) as address:
        with pytest.raises(BackendError, match="serves a VLA with SHA-256 aaaa"):
            backend(address.url, vla_sha256="b" * 64).query(SEEN)
        assert backend(address.url, vla_sha256="a" * 64).query(SEEN).actions is not None


def test_health_of_the_stand_in(policy):
    """The stand-in is openpi's in this, too; `check` looks there."""
    with running(OpenPi(policy)) as address:
        with urllib.request.urlopen(f"http://127.0.0.1:{address.port}/healthz") as answer:
            assert answer.read() == b"OK\n"
