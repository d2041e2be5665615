"""A thousand damaged messages for every topic that the network may write: refused with a sentence, or harmless; nothing else.

Whatever they say, no file is touched by it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import scripted_arm
import small_robot
from command_limits import within_limits
from fuzzing import damaged_messages, damaged_weights
from scripted_arm import DTYPE, HOME, HORIZON, JOINTS, SECOND

from rl_token_ros.control.pipeline import Pipeline
from rl_token_ros.control.tick_record import Event
from rl_token_ros.interfaces import replay_table
from rl_token_ros.interfaces.replay_table import ReplayError
from rl_token_ros.policy import actor_weights
from rl_token_ros.policy.actor import ResidualActor
from rl_token_ros.policy.actor_weights import WeightsError
from rl_token_ros.policy.weights_gate import WeightsGate
from rl_token_ros.settings import parameters
from rl_token_ros.settings.control import Control

MESSAGES = 1000
_watched: list[list[str]] = []  # of the test that runs
sys.addaudithook(
    lambda event, arguments: (
        _watched[-1].append(f"{event} {arguments[0]}")
        if _watched and event in ("open", "os.mkdir", "os.rename", "os.remove", "subprocess.Popen")
        else None
    )
)


@pytest.fixture
def files() -> Iterator[list[str]]:
    """What the test opens, makes, renames, removes or starts from here on."""
    _watched.append([])
    open(os.devnull).close()
    assert _watched[-1] == [f"open {os.devnull}"]
    yield _watched[-1]
    _watched.pop()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return scripted_arm.write_models(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("topic", ["vla/reference", "vla/embedding"])
def test_what_the_vla_says_never_breaks_a_limit_or_the_pipeline(models, tmp_path, random, files, topic):
    values = scripted_arm.parameters(models, tmp_path)
    known = parameters.fields(Control)
    refused: list[str] = []
    pipeline = Pipeline(parameters.build(Control, {k: v for k, v in values.items() if k in known}), lambda error: refused.append(str(error)))
    now, position, velocity = 1000 * SECOND, HOME.copy(), np.zeros(3)
    good = scripted_arm.trajectory(now, np.full((HORIZON, 3), 0.001))

    def tick() -> np.ndarray | None:
        nonlocal now
        now += 20_000_000
        pipeline.controller.state.update_joints(now, JOINTS, position)
        command = pipeline.step(Event.TICK, now).command
        return None if command is None else command.position

    pipeline.propose(good, now)
    tick()
    pipeline.step(Event.ENABLE, now)
    files.clear()
    for message in damaged_messages(random, topic, MESSAGES, lambda: now):
        if not isinstance(message, bytes):
            pipeline.propose(message, now) if topic == "vla/reference" else pipeline.encode(message)
        command = tick()
        if command is not None:
            velocity = within_limits(position, command, velocity, pipeline.controller.filter.limits, 0.02)
            position = command
    assert len(refused) > MESSAGES // 4 and all(refused)
    unnamed = {text for text in refused if topic not in text}
    assert not unnamed
    assert not files


def test_replay_messages_are_refused_with_a_sentence_or_are_rows(random, files):
    refused = 0
    files.clear()
    for message in damaged_messages(random, "replay", MESSAGES, lambda: SECOND):
        if isinstance(message, bytes):
            continue
        try:
            rows = replay_table.decode(message, DTYPE)
        except ReplayError as error:
            refused += 1
            assert "replay" in str(error)
        else:
            assert np.isfinite(rows["token"]).all()
    assert refused > MESSAGES // 2
    assert not files


def test_weights_are_refused_with_a_sentence_or_are_weights(random, files):
    actor = ResidualActor(small_robot.TOKEN, 9, small_robot.CHUNK, 3, layers=2)
    observation = np.zeros(actor.architecture.inputs, np.float32)
    sent = small_robot.make_weights(37, 0.3, run="5f3a9c0d1e2b4a67")
    good = actor_weights.encode(sent)
    refused = 0
    gates = [WeightsGate(actor, small_robot.identity()) for _ in range(MESSAGES)]
    files.clear()
    for gate, blob in zip(gates, damaged_weights(random, good, MESSAGES)):
        try:
            ready = gate.admit(blob, observation)
        except WeightsError as error:
            refused += 1
            assert str(error)
        else:
            # Damage that says nothing else, as a blank in the header. Another version or run would keep the learner's next weights out.
            assert (ready.version, ready.run, ready.updates, ready.identity) == (sent.version, sent.run, sent.updates, sent.identity)
            assert all(np.array_equal(ready.tensors[name], tensor) for name, tensor in sent.tensors.items())
    assert refused > MESSAGES // 2
    assert not files
