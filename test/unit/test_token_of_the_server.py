"""control_node takes a token that the VLA's server made: of its own encoder, of its own size, and never for embeddings of the same shape."""

from __future__ import annotations

import numpy as np
import pytest
import small_robot
from small_robot import ROWS, TOKEN, WIDTH
from test_pipeline import Robot, Side

from rl_token_ros.control.arming import Refused
from rl_token_ros.control.condition import condition
from rl_token_ros.control.pipeline import Pipeline
from rl_token_ros.control.tick_record import Event
from rl_token_ros.interfaces import image_cdr, token_frame
from rl_token_ros.learning.identity import find_identity
from rl_token_ros.policy.actor_weights import Identity, fingerprint
from rl_token_ros.rl_token import encoder
from rl_token_ros.settings import parameters
from rl_token_ros.settings.learner import Learner
from rl_token_ros.settings.parameters import ParameterError

STAMP = 10**12


def message(matrix: np.ndarray, sha256: str | None = None, stamp_ns: int = STAMP):
    """A `vla/embedding`: a token of an encoder, or embeddings."""
    frame = "" if sha256 is None else token_frame.frame_of(sha256)
    return image_cdr.read(image_cdr.from_matrix(np.asarray(matrix, np.float32), stamp_ns, frame), "vla/embedding")


def held(pipeline: Pipeline) -> np.ndarray | None:
    """The token that the next call would use."""
    pipeline.step(Event.TICK, STAMP)
    token = pipeline.controller.proposals.token
    return None if token is None else token[1]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def pipeline(models, said):
    return Pipeline(small_robot.settings(token_encoder=str(models["encoder"]), vla_model=""), lambda error: said.append(str(error)))


def test_a_token_of_its_encoder_is_used_as_it_came(pipeline, said, random):
    token = random.normal(size=(1, TOKEN)).astype(np.float32)
    assert pipeline.encode(message(token, pipeline.encoder.sha256))
    np.testing.assert_array_equal(held(pipeline), token[0])
    assert said == []


@pytest.mark.parametrize(
    "shape, sha256, says",
    [
        ((1, TOKEN), "f" * 64, "holds a token of the encoder with SHA-256 ffffffffffff..., this robot's is"),
        ((1, TOKEN), "", "holds a token of the encoder with SHA-256 unknown"),
        ((1, TOKEN + 1), None, "says that it holds a token and is (1, 5); with 'token_size: 4' it is (1, 4)"),
        ((2, TOKEN), None, "says that it holds a token and is (2, 4)"),
    ],
)
def test_a_token_of_another_encoder_or_size_is_refused(pipeline, said, shape, sha256, says):
    assert not pipeline.encode(message(np.ones(shape), pipeline.encoder.sha256 if sha256 is None else sha256))
    assert held(pipeline) is None
    assert says in said[0]


def test_a_token_that_is_not_finite_is_refused(pipeline, said):
    assert not pipeline.encode(message(np.full((1, TOKEN), np.nan), pipeline.encoder.sha256))
    assert said == ["the token in this 'vla/embedding' is not finite"]


def test_what_does_not_say_that_it_is_a_token_is_none(pipeline, said):
    assert not pipeline.encode(message(np.ones((1, TOKEN))))
    assert said == [f"'vla/embedding': the VLA's embeddings are (1, {TOKEN}); the token encoder was made for ({ROWS}, {WIDTH})"]


def test_a_vla_of_one_row_as_wide_as_the_token_is_encoded(tmp_path):
    path = small_robot.write_encoder(tmp_path / "one.onnx", None, rows=1, size=TOKEN)
    made = Pipeline(small_robot.settings(token_encoder=str(path), vla_model=""), lambda error: None)
    row = np.ones((1, TOKEN), np.float32)
    assert made.encode(message(row))
    np.testing.assert_allclose(held(made), encoder.TokenEncoder(path).run(row))
    assert made.encode(message(row, made.encoder.sha256, STAMP + 1))
    np.testing.assert_array_equal(held(made), row[0])


def test_nothing_is_enabled_while_the_tokens_are_of_another_encoder(models):
    robot = Robot(models)
    robot.step()
    robot.pipeline.encode(message(np.ones((1, TOKEN)), "f" * 64, robot.now))
    with pytest.raises(Refused, match="holds a token of the encoder with SHA-256 ffffffffffff"):
        robot.step(Event.ENABLE)
    assert robot.step().command is None
    assert "disabled: 'vla/embedding' holds a token of the encoder" in condition(robot.pipeline, robot.now, Side())[1]
    robot.pipeline.encode(message(np.ones((1, TOKEN)), robot.pipeline.encoder.sha256, robot.now))
    robot.step(Event.ENABLE)
    assert robot.step().command is not None


def test_embeddings_that_change_their_number_of_rows_keep_it_from_being_enabled(models):
    robot = Robot(models)
    robot.step()
    robot.pipeline.encode(message(np.ones((ROWS, WIDTH)), None, robot.now))
    robot.pipeline.encode(message(np.ones((ROWS + 1, WIDTH)), None, robot.now + 1))
    with pytest.raises(Refused, match=r"the VLA's embeddings are \(4, 5\); the token encoder was made for \(3, 5\)"):
        robot.step(Event.ENABLE)


def test_a_robot_without_the_encoders_file_has_the_same_identity_and_takes_tokens_alone(models, said):
    sha256, vla = fingerprint(models["encoder"]), fingerprint(models["vla"])
    here = Pipeline(small_robot.settings(token_encoder=str(models["encoder"])), lambda error: None)
    settings = small_robot.settings(token_encoder="/nowhere/encoder.onnx", encoder_sha256=sha256, vla_sha256=vla)
    there = Pipeline(settings, lambda error: said.append(str(error)))
    learner = find_identity(parameters.build(Learner, small_robot.shared(encoder_sha256=sha256, vla_sha256=vla)))
    mine = [Identity.of(each.controller.settings, each.encoder.sha256, each.encoder.vla_sha256) for each in (here, there)]
    assert mine[0] == mine[1] == learner
    assert there.encode(message(np.ones((1, TOKEN)), sha256))
    assert not there.encode(message(np.ones((ROWS, WIDTH))))
    assert "embeddings (3, 5) came, and this machine has the token encoder's SHA-256 alone" in said[0]


def test_without_both_fingerprints_the_file_is_needed(models):
    with pytest.raises(ParameterError, match="'token_encoder' names '/nowhere.onnx', which does not exist"):
        encoder.load(small_robot.settings(token_encoder="/nowhere.onnx", encoder_sha256="a" * 64))
    with pytest.raises(ParameterError, match="parameter 'encoder_sha256' is aaaaaaaaaaaa..., but"):
        encoder.load(small_robot.settings(token_encoder=str(models["encoder"]), encoder_sha256="a" * 64))
    with pytest.raises(ParameterError, match="parameter 'encoder_sha256' is 'abc'; write the 64 hex digits"):
        small_robot.settings(encoder_sha256="abc")


def test_without_a_token_nothing_is_taken_for_one():
    made = Pipeline(small_robot.settings(token_size=0, token_encoder="", vla_model=""), lambda error: None)
    assert made.encode(message(np.ones((1, TOKEN)), "f" * 64))
    assert held(made).shape == (0,)
