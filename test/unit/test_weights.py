"""Weights are let in, not trusted: whatever the bytes, only WeightsError escapes, and the weights in use stay."""

from __future__ import annotations

import dataclasses
import json
import struct

import numpy as np
import pytest
import safetensors.numpy
import small_robot

from rl_token_ros.policy import actor_weights
from rl_token_ros.policy.actor import ResidualActor
from rl_token_ros.policy.actor_weights import WeightsError
from rl_token_ros.policy.weights_gate import WeightsGate

OBSERVATION = np.zeros(small_robot.architecture().inputs, np.float32)


@pytest.fixture
def actor() -> ResidualActor:
    return ResidualActor(small_robot.TOKEN, 9, small_robot.CHUNK, 3, layers=2)


@pytest.fixture
def gate(actor) -> WeightsGate:
    return WeightsGate(actor, small_robot.identity())


def blob(version: int = 1, residual: float = 0.0, **changes) -> bytes:
    return actor_weights.encode(small_robot.make_weights(version, residual, **changes))


def with_metadata(**changes: str | None) -> bytes:
    """A blob whose metadata entries are replaced, or left out where None."""
    made = blob()
    (length,) = struct.unpack_from("<Q", made)
    metadata = {**json.loads(made[8 : 8 + length])["__metadata__"], **changes}
    return safetensors.numpy.save(small_robot.make_weights().tensors, {key: value for key, value in metadata.items() if value is not None})


def push(gate: WeightsGate, message: bytes) -> None:
    ready = gate.admit(message, OBSERVATION)
    assert ready is not None
    gate._actor.weights = ready  # as rollout.Rollout does in a tick


def test_weights_survive_the_wire_to_the_bit(random):
    tensors = {name: random.normal(size=shape).astype(np.float32) for name, shape in small_robot.architecture().shapes().items()}
    tensors["input_scale"] = np.abs(tensors["input_scale"])
    sent = small_robot.make_weights(7, tensors=tensors, run="a" * 16)
    came = actor_weights.decode(actor_weights.encode(sent))
    assert dataclasses.replace(came, tensors={}) == dataclasses.replace(sent, tensors={})
    for name in tensors:
        np.testing.assert_array_equal(came.tensors[name], tensors[name])


def test_good_weights_act(gate, actor):
    push(gate, blob(1, residual=0.5))
    np.testing.assert_allclose(actor.run(OBSERVATION), 0.5, atol=1e-6)
    assert (actor.version, gate.accepted, gate.refused) == (1, 1, 0)


def test_the_graph_computes_what_the_tensors_say(gate, actor, random):
    tensors = {name: random.normal(size=shape).astype(np.float32) for name, shape in small_robot.architecture().shapes().items()}
    tensors["input_scale"] = np.abs(tensors["input_scale"])
    push(gate, blob(tensors=tensors))
    seen = random.normal(size=OBSERVATION.shape).astype(np.float32)
    h = np.clip((seen - tensors["input_mean"]) * tensors["input_scale"], -10.0, 10.0)
    for i in range(2):
        h = np.maximum(h @ tensors[f"w{i}"] + tensors[f"b{i}"], 0.0)
    expected = np.tanh(h @ tensors["w2"] + tensors["b2"]).reshape(small_robot.CHUNK, 3)
    np.testing.assert_allclose(actor.run(seen), expected, atol=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"action_names": ["y", "x", "z"]},
        {"action_type": "absolute"},
        {"proprioception": ["ee_position"]},
        {"residual_scale": [0.0008, 0.0008, 0.0009]},
        {"residual_scale": [0.0008]},
        {"encoder_sha256": "a" * 64},
        {"vla_sha256": "a" * 64},
    ],
)
def test_weights_made_for_something_else_are_refused_and_the_old_ones_stay(gate, actor, change):
    push(gate, blob(1, residual=0.5))
    with pytest.raises(WeightsError, match=f"made for {next(iter(change))}"):
        gate.admit(blob(2, identity=small_robot.identity(**change)), OBSERVATION)
    assert (actor.version, gate.refused) == (1, 1)
    assert next(iter(change)) in gate.last_refusal


@pytest.mark.parametrize("change", [{"token": 5}, {"proprio": 8}, {"chunk_length": 5}, {"action": 2}, {"layers": 3}])
def test_weights_of_another_shape_are_refused(gate, change):
    shape = dataclasses.replace(small_robot.architecture(), **change)
    tensors = {name: np.zeros(size, np.float32) for name, size in shape.shapes().items()}
    with pytest.raises(WeightsError, match=f"made for {next(iter(change))} ="):
        gate.admit(blob(architecture=shape, tensors=tensors), OBSERVATION)


def test_the_hidden_width_is_the_learners_choice(gate):
    shape = small_robot.architecture(hidden=32)
    push(gate, blob(architecture=shape, tensors={name: np.zeros(size, np.float32) for name, size in shape.shapes().items()}))


def test_older_weights_are_refused_and_repeated_ones_ignored(gate, actor):
    push(gate, blob(3))
    with pytest.raises(WeightsError, match="version 2 are older than version 3"):
        gate.admit(blob(2), OBSERVATION)
    assert gate.admit(blob(3), OBSERVATION) is None
    assert (actor.version, gate.accepted, gate.refused) == (3, 1, 1)


def test_tensors_that_are_not_finite_are_refused(gate):
    for value in (np.nan, np.inf):
        bad = small_robot.make_weights()
        bad.tensors["w1"][3, 3] = value
        with pytest.raises(WeightsError, match="'w1' of the weights is not finite"):
            gate.admit(actor_weights.encode(bad), OBSERVATION)


def test_finite_tensors_that_give_nonsense_are_refused(gate):
    bad = small_robot.make_weights()
    bad.tensors["input_scale"][:] = 1e38
    bad.tensors["w0"][:] = 3e38
    bad.tensors["w1"][:] = 3e38
    bad.tensors["w2"][:, ::2] = -3e38  # infinity times zero, or infinity minus infinity
    bad.tensors["b0"][::2] = 3e38
    bad.tensors["w2"][::2, :] = 3e38
    with pytest.raises(WeightsError, match="not finite or beyond 1"):
        gate.admit(actor_weights.encode(bad), np.ones_like(OBSERVATION))


def test_a_learner_that_began_anew_is_let_in_and_the_one_before_is_not_let_in_again(gate, actor):
    push(gate, blob(57, run="first"))
    push(gate, blob(1, run="second"))
    assert actor.version == 1
    with pytest.raises(WeightsError, match="of the learner's run 'first', which was left for run 'second'; stop one of the two"):
        gate.admit(blob(58, run="first"), OBSERVATION)
    with pytest.raises(WeightsError, match="run 'first', which was left"):
        gate.admit(blob(57, run="first"), OBSERVATION)
    assert gate.admit(blob(1, run="second"), OBSERVATION) is None
    push(gate, blob(2, run="second"))
    assert (actor.version, gate.refused) == (2, 2)


def test_weights_of_another_run_that_are_refused_do_not_end_the_run(gate, actor):
    push(gate, blob(57, run="first"))
    with pytest.raises(WeightsError, match="made for vla_sha256"):
        gate.admit(blob(1, run="second", identity=small_robot.identity(vla_sha256="a" * 64)), OBSERVATION)
    push(gate, blob(58, run="first"))


def test_weights_that_change_too_much_are_refused_and_large_changes_are_told(actor):
    gate = WeightsGate(actor, small_robot.identity(), change_limit=0.5)
    with pytest.raises(WeightsError, match="change the residuals by 0.90 of residual_scale .* weights_change_limit is 0.5"):
        gate.admit(blob(1, residual=0.9), OBSERVATION)
    assert actor.version == 0
    push(gate, blob(2, residual=0.1))
    assert gate.change == pytest.approx(0.1, abs=1e-6) and not gate.large_change
    push(gate, blob(3, residual=0.4))
    assert gate.large_change
    with pytest.raises(WeightsError, match="weights version 4 change the residuals by 0.80"):
        gate.admit(blob(4, residual=-0.4), OBSERVATION)
    assert actor.version == 3


def test_a_normalisation_that_no_deviation_can_give_is_refused(gate):
    bad = small_robot.make_weights()
    bad.tensors["input_scale"][2] = -1.0
    with pytest.raises(WeightsError, match="'input_scale' of the weights has negative numbers"):
        gate.admit(actor_weights.encode(bad), OBSERVATION)


@pytest.mark.parametrize(
    "message, says",
    [
        (with_metadata(format_version="1"), "format version 1"),
        (with_metadata(identity=None), "no 'identity'"),
        (with_metadata(weights_version="0"), "version outside 1"),
        (with_metadata(weights_version="-1"), "version outside 1"),
        (with_metadata(weights_version=str(2**32)), "version outside 1"),
        (with_metadata(created_ns=str(10**30)), "created_ns outside"),
        (with_metadata(created_ns="9" * 5000), "not readable"),
        (with_metadata(architecture="[" * 100_000), "not readable"),
        (with_metadata(architecture="[]"), "not readable"),
        (with_metadata(architecture=json.dumps({**dataclasses.asdict(small_robot.architecture()), "layers": float("inf")})), "not readable"),
        (with_metadata(architecture=json.dumps({**dataclasses.asdict(small_robot.architecture()), "layers": 10**9})), "names and shapes"),
        (with_metadata(architecture=json.dumps({**dataclasses.asdict(small_robot.architecture()), "hidden": -8})), "names and shapes"),
        (with_metadata(identity="{}"), "not readable"),
        (with_metadata(identity=json.dumps({**dataclasses.asdict(small_robot.identity()), "residual_scale": 3})), "no list of numbers"),
        (with_metadata(identity=json.dumps({**dataclasses.asdict(small_robot.identity()), "residual_scale": ["a", "b", "c"]})), "no list of numbers"),
        (with_metadata(identity=json.dumps({**dataclasses.asdict(small_robot.identity()), "residual_scale": [10**400] * 3})), "no list of numbers"),
        (with_metadata(identity=json.dumps({**dataclasses.asdict(small_robot.identity()), "action_names": None})), "no list of names"),
        (safetensors.numpy.save({"w0": np.zeros(3, np.float32)}), "no 'format_version'"),
        (b"", "not readable"),
        (b"\xff" * 8, "not readable"),
        (struct.pack("<Q", 2) + b"{}", "no 'format_version'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_crafted_message_is_refused_with_a_reason(gate, message, says):
    with pytest.raises(WeightsError, match=says):
        gate.admit(message, OBSERVATION)
    assert gate.refused == 1


def test_an_actor_saturated_to_just_beyond_one_is_let_in(actor):
    # onnxruntime's tanh in float32 is 1.0000002 for some arguments between 8.2 and 9.
    architecture = dataclasses.replace(actor.architecture, hidden=8)
    tensors = {name: np.zeros(shape, np.float32) for name, shape in architecture.shapes().items()}
    beyond = 0.0
    for low in np.linspace(8.2, 9.0, 200):
        tensors["b2"] = np.linspace(low, low + 0.004, architecture.outputs).astype(np.float32)
        ready = actor.prepare(actor_weights.ActorWeights(1, 0, architecture, small_robot.identity(), tensors), OBSERVATION)
        beyond = max(beyond, float(actor.run(OBSERVATION, ready).max()))
    assert beyond > 0.9999
