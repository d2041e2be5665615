"""A VLA server that goes away while it is asked for embeddings is waited for, said and counted."""

from __future__ import annotations

import threading

import numpy as np
import policy_servers
import pytest
import small_robot

from rl_token_ros.settings import parameters
from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla.backend import BackendError, Observation, Unreachable
from rl_token_ros.vla.openpi import OpenPiBackend
from rl_token_ros.vla.patient import PatientVla, for_asking

OBSERVATION = Observation(0, {"base": np.zeros((8, 8, 3), np.uint8)}, np.zeros(3, np.float32), "insert")


def backend(url: str, **changes) -> OpenPiBackend:
    values = small_robot.shared(vla_proprioception=["ee_position"], image_height=0, image_width=0, **changes)
    return OpenPiBackend(for_asking(parameters.build(Vla, values), url), 3)


def patient(url: str, said: list[str], patience: float = 60.0, **changes) -> PatientVla:
    return PatientVla(backend(url, **changes), patience, said.append)


def server(vla: str = "", rows: int = policy_servers.ROWS) -> policy_servers.OpenPi:
    policy = policy_servers.Policy()
    policy.answer = {**policy.answer, "embeddings": np.ones((rows, 5), np.float32)}
    return policy_servers.OpenPi(policy, {"vla_sha256": vla} if vla else {})


def test_embeddings_are_asked_for_whatever_the_actions_are():
    policy = policy_servers.Policy()
    policy.answer = {"actions": np.zeros((1, 99), np.float32), "embeddings": np.ones((2, 5), np.float32)}
    with policy_servers.running(policy_servers.OpenPi(policy)) as running:
        vla = patient(running.url, [])
        np.testing.assert_array_equal(vla.embed(OBSERVATION), np.ones((2, 5)))
        policy.answer = {"actions": np.zeros((1, 99), np.float32)}
        with pytest.raises(BackendError, match="answers without 'embeddings'"):
            vla.embed(OBSERVATION)
        vla.close()


def test_a_server_that_goes_away_and_comes_back_is_waited_for():
    said: list[str] = []
    lost, back = threading.Event(), threading.Event()

    def note(text: str) -> None:
        said.append(text)
        lost.set()

    with policy_servers.running(server("a" * 64)) as running:
        vla = PatientVla(backend(running.url), 60.0, note)
        vla.embed(OBSERVATION)
        port = running.port

    def come_back() -> None:
        lost.wait(60.0)
        with policy_servers.running(server("a" * 64), port):
            back.set()
            done.wait(60.0)

    done = threading.Event()
    thread = threading.Thread(target=come_back)
    thread.start()
    try:
        assert vla.embed(OBSERVATION).shape == (3, 5)
        assert back.is_set() and vla.lost == 1
        assert "nothing listens there" in said[0] or "VLA server" in said[0]
        assert "tried again for 60 s" in said[0] and "the VLA answers again, after" in said[1] and len(said) == 2
        vla.embed(OBSERVATION)
        assert vla.lost == 1
    finally:
        done.set()
        thread.join(60.0)
        vla.close()


def test_one_that_comes_back_with_another_vla_is_refused():
    with policy_servers.running(server("a" * 64)) as running:
        vla = patient(running.url, [])
        vla.embed(OBSERVATION)
        port = running.port
    with policy_servers.running(server("b" * 64), port):
        with pytest.raises(BackendError, match="now serves a VLA with SHA-256 'bbbbbbbbbbbb', before it was 'aaaaaaaaaaaa'"):
            vla.embed(OBSERVATION)
    vla.close()


def test_patience_ends_and_a_server_that_was_never_there_is_said_at_once():
    with policy_servers.running(server()) as running:
        vla = patient(running.url, [], patience=0.5)
        url = running.url
    with pytest.raises(Unreachable, match="given up after 0.5 s. Start the server and this command again"):
        vla.embed(OBSERVATION)
    with pytest.raises(Unreachable, match="nothing listens there"):
        patient(url, [])
    vla.close()


def test_what_the_policy_refuses_is_not_tried_again():
    policy = policy_servers.Policy()

    def refuse() -> None:
        raise ValueError("the observation has no image_wrist")

    policy.before = refuse
    with policy_servers.running(policy_servers.OpenPi(policy)) as running:
        vla = patient(running.url, [])
        with pytest.raises(BackendError, match="the VLA server failed: ValueError: the observation has no image_wrist"):
            vla.embed(OBSERVATION)
        assert len(policy.requests) == 1 and vla.lost == 0
        vla.close()


def test_a_server_of_another_vla_than_the_parameters_name_is_refused():
    with policy_servers.running(server("b" * 64)) as running:
        with pytest.raises(BackendError, match="parameter 'vla_sha256' is aaaaaaaaaaaa"):
            patient(running.url, [], vla_sha256="a" * 64)
