"""vla_node and control_node with a server that makes the token: it arrives, and one of another encoder keeps the arm from being enabled."""

from __future__ import annotations

import contextlib
import threading

import numpy as np
import pytest
import small_robot
from policy_servers import OpenPi, Policy, running
from test_vla_node import Robot

from rl_token_ros.commands import check
from rl_token_ros.interfaces import images, token_frame
from rl_token_ros.interfaces.graph_check import FAIL, INFO, OK
from rl_token_ros.nodes.control_node import ControlNode
from rl_token_ros.nodes.vla_node import VlaNode
from rl_token_ros.policy.actor_weights import fingerprint
from rl_token_ros.rl_token.encoder import TokenEncoder
from rl_token_ros.settings import parameters
from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla.server import PolicyServer


@contextlib.contextmanager
def serving(encoder: TokenEncoder | None = None):
    """A policy of constant embeddings behind our server: its URL."""
    server = PolicyServer(Policy(), encoder=encoder).listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
    finally:
        server.shutdown()
        thread.join(30.0)


def remote(url: str, **changes) -> dict:
    return small_robot.shared(
        backend="openpi", server=url, vla_proprioception=["ee_position"], query_rate=100.0, image_timeout=5.0, image_height=0,
        query_timeout=30.0, warmup_timeout=30.0, **changes,
    )  # fmt: skip


def test_the_token_arrives(graph, models):
    control = graph.add(ControlNode, values=small_robot.control(token_encoder=str(models["encoder"])))
    with serving(TokenEncoder(models["encoder"])) as url:
        vla, robot = graph.add(VlaNode, values=remote(url, token_encoder=str(models["encoder"]))), graph.add(Robot)
        graph.wait_for(lambda: robot.embeddings and control.controller.proposals.token is not None, "a token")
        vla.close()
    message = robot.embeddings[-1]
    assert (message.height, message.width) == (1, small_robot.TOKEN)
    assert token_frame.encoder_of(message.header.frame_id) == fingerprint(models["encoder"])
    expected = TokenEncoder(models["encoder"]).run(Policy().answer["embeddings"])
    np.testing.assert_allclose(images.to_matrix(message, "t")[0], expected, rtol=1e-5)
    np.testing.assert_allclose(control.controller.proposals.token[1], expected, rtol=1e-5)
    assert control.refused_inputs == 0
    report = vla.backend.report()
    assert report["servers_token_encoder"] == fingerprint(models["encoder"]) and 0 < report["reply_bytes"] < 2000


def test_a_token_of_another_encoder_is_refused_by_control_node(graph, models):
    """vla_node does not know the robot's encoder here."""
    control = graph.add(ControlNode, values=small_robot.control(token_encoder=str(models["encoder"])))
    with serving(TokenEncoder(models["stranger"])) as url:
        vla, robot = graph.add(VlaNode, values=remote(url)), graph.add(Robot)
        graph.wait_for(lambda: robot.embeddings and control.refused_inputs, "a refusal")
        vla.close()
    assert control.controller.proposals.token is None
    told = control.pipeline.disagreements(control._now(), control._command_topic)
    assert any("holds a token of the encoder with SHA-256" in each for each in told)


def test_vla_node_says_nothing_of_a_server_with_another_encoder(graph, models):
    with serving(TokenEncoder(models["stranger"])) as url:
        vla, robot = graph.add(VlaNode, values=remote(url, token_encoder=str(models["encoder"]))), graph.add(Robot)
        graph.wait_for(lambda: vla.failures, "a failure")
        vla.close()
    assert "the VLA server makes tokens with an encoder of SHA-256" in vla._message
    assert not robot.embeddings and not robot.chunks


def test_embeddings_come_where_they_are_asked_for(graph, models):
    control = graph.add(ControlNode, values=small_robot.control(token_encoder=str(models["encoder"])))
    with serving(TokenEncoder(models["encoder"])) as url:
        vla, robot = graph.add(VlaNode, values=remote(url, embeddings="float16")), graph.add(Robot)
        graph.wait_for(lambda: robot.embeddings and control.controller.proposals.token is not None, "a token")
        vla.close()
    np.testing.assert_array_equal(images.to_matrix(robot.embeddings[-1], "t"), Policy().answer["embeddings"])


@pytest.mark.parametrize(
    "theirs, mine, asks, elsewhere, level, says",
    [
        ("a" * 64, "a" * 64, "", False, OK, "made by the server; its encoder is this robot's, SHA-256 aaaaaaaaaaaa"),
        ("a" * 64, "a" * 64, "", True, OK, "made by the server"),
        ("a" * 64, "b" * 64, "", False, FAIL, "the server's encoder has SHA-256 aaaaaaaaaaaa..., this robot's bbbbbbbbbbbb"),
        ("a" * 64, "b" * 64, "float16", False, OK, "made by control_node: 'embeddings: float16' asks for what it is made of"),
        ("a" * 64, "a" * 64, "float16", True, FAIL, "lacks the encoder's file: 'embeddings: float16'"),
        ("", "b" * 64, "", False, INFO, "made by control_node: the server has no --token-encoder"),
        ("", "b" * 64, "", True, FAIL, "lacks the encoder's file: the server has no --token-encoder"),
    ],
)
def test_check_says_who_makes_the_token(theirs, mine, asks, elsewhere, level, says):
    found = check.judge_token(theirs, mine, asks, elsewhere)
    assert found.level == level and says in found.text


def test_check_asks_the_server(models):
    control = small_robot.settings(token_encoder=str(models["encoder"]))
    with serving(TokenEncoder(models["encoder"])) as url:
        vla = parameters.build(Vla, remote(url))
        assert [(found.topic, found.level) for found in check.files(control, vla)] == [("token_encoder", OK), ("server", OK), ("token", OK)]
    with running(OpenPi(Policy())) as server:
        assert check.files(control, parameters.build(Vla, remote(server.url)))[-1].level == INFO
