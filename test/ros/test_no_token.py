"""`token_size: 0`: from VLA to learner and back on proprioception and reference alone."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import small_robot
from builtin_interfaces.msg import Time
from sensor_msgs.msg import PointCloud2, PointField
from trajectory_msgs.msg import JointTrajectory
from world import trajectory

from rl_token_ros.control.pipeline import Pipeline
from rl_token_ros.control.tick_record import Event
from rl_token_ros.interfaces import replay_table
from rl_token_ros.interfaces.codes import Source
from rl_token_ros.learning.identity import find_identity
from rl_token_ros.policy import actor_weights
from rl_token_ros.policy.actor_weights import Architecture, Identity, fingerprint
from rl_token_ros.rl_token import encoder
from rl_token_ros.settings import parameters
from rl_token_ros.settings.learner import Learner
from rl_token_ros.settings.parameters import ParameterError

SECOND = 1_000_000_000


def test_a_row_without_token_travels_without_that_column():
    dtype = replay_table.row_dtype(0, 9, 4, 3)
    rows = np.zeros(2, dtype)
    rows["proprio"], rows["action"] = 3.0, 0.5
    message = replay_table.encode(rows, PointCloud2(), PointField)
    assert "token" not in [field.name for field in message.fields]
    np.testing.assert_array_equal(replay_table.decode(message, dtype), rows)


def test_the_residual_acts_on_proprioception_and_reference():
    settings = small_robot.settings(token_size=0, mode="actor")
    refused: list[Exception] = []
    pipeline = Pipeline(settings, refused.append)
    controller = pipeline.controller
    now = 10 * SECOND
    controller.state.update_pose(now, small_robot.HOME, small_robot.DOWN)
    controller.state.update_wrench(now, np.zeros(3), np.zeros(3))
    reference: JointTrajectory = trajectory(Time(sec=10))
    pipeline.propose(reference, now)
    pipeline.step(Event.ENABLE, now)
    pipeline.step(Event.CRITICAL, now)
    architecture = Architecture(0, 9, small_robot.CHUNK, 3, 8, 2)
    tensors = {name: np.zeros(shape, np.float32) for name, shape in architecture.shapes().items()}
    tensors["b2"][:] = np.arctanh(0.5)
    blob = actor_weights.encode(small_robot.make_weights(architecture=architecture, tensors=tensors, identity=Identity.of(settings, "", "")))
    pipeline.admit(blob)
    rows: list[np.ndarray] = []
    for tick in range(30):
        at = now + tick * 20_000_000
        controller.state.update_pose(at, controller.filter.command, small_robot.DOWN)
        controller.state.update_wrench(at, np.zeros(3), np.zeros(3))
        reference.header.stamp = Time(sec=at // SECOND, nanosec=at % SECOND)
        pipeline.propose(reference, at)
        rows += pipeline.step(Event.TICK, at).rows
    assert not refused and rows
    assert rows[-1]["source"] == Source.ACTOR and rows[-1]["token"].size == 0
    assert rows[-1]["reference"][0, 0] == pytest.approx(small_robot.STEP[0])


def test_the_learner_learns_and_checkpoints_without_token(tmp_path):
    learning_helpers = pytest.importorskip("learning_helpers")
    from rl_token_ros.learning.learner import Learner as Learning

    settings = learning_helpers.small_settings(token_size=0, encoder_sha256="")
    learner = Learning(settings, learning_helpers.PROPRIO, "", settings.vla_sha256)
    whole = learning_helpers.episodes(learning_helpers.small_settings(), 12)
    rows = np.zeros(len(whole), learning_helpers.dtype_of(settings))
    for name in rows.dtype.names:
        if name != "token":
            rows[name] = whole[name]
    learner.add(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        while learner.phase == "pretraining":
            assert learner.update(100)
    learner.save(str(tmp_path))
    again = Learning(settings, learning_helpers.PROPRIO, "", settings.vla_sha256)
    assert again.restore(str(tmp_path)) and again.updates == learner.updates
    sent = actor_weights.decode(actor_weights.encode(learner.weights()))
    assert sent.architecture.token == 0


def test_the_fingerprint_is_the_vlas_alone(models):
    with_file = small_robot.settings(token_size=0, vla_model=str(models["vla"]))
    assert encoder.load(with_file).vla_sha256 == fingerprint(models["vla"]) and encoder.load(with_file).sha256 == ""
    named = parameters.build(Learner, small_robot.shared(token_size=0, vla_sha256="a" * 64))
    assert find_identity(named).vla_sha256 == encoder.load(small_robot.settings(token_size=0, vla_sha256="a" * 64)).vla_sha256 == "a" * 64
    with pytest.raises(ParameterError, match="was made for a VLA with"):
        encoder.load(small_robot.settings(token_encoder=str(models["encoder"]), vla_sha256="a" * 64))
