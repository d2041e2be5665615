"""control_node with a classifier of the critical phase, on real topics: it begins the phase, and the operator always wins."""

from __future__ import annotations

import pytest
import small_robot
from phase_models import along_x
from world import World

from rl_token_ros.control import phase_switch
from rl_token_ros.control.phase_switch import PhaseModel
from rl_token_ros.interfaces.codes import Ended
from rl_token_ros.nodes.control_node import ControlNode
from rl_token_ros.policy.actor_weights import fingerprint


def test_it_begins_where_it_learned_to_and_not_again_where_the_operator_ended_it(graph, models, tmp_path):
    model = along_x()
    phase_switch.save(PhaseModel(model.weights, model.bias, model.enter, fingerprint(models["encoder"]), model.proprioception), tmp_path / "phase")
    values = small_robot.control(
        vla_model=str(models["vla"]), token_encoder=str(models["encoder"]), state_timeout=2.0, phase_model=str(tmp_path / "phase")
    )
    control = graph.add(ControlNode, values=values)
    world = graph.add(World)
    graph.wait_for(lambda: not control.controller.not_ready(control._now()), "every input fresh")
    graph.wait_for(lambda: world.call(graph, "enable", True).success, "enabled")
    episode = control.controller.episode
    graph.wait_for(lambda: episode.active, "the phase begun by itself")
    assert world.position[0] > small_robot.HOME[0] + 0.003
    graph.wait_for(lambda: float(world.report.get("phase_probability", "0")) > model.enter, "what it thinks in /diagnostics")
    assert world.call(graph, "critical_phase", False).success
    graph.wait_for(lambda: world.endings == [Ended.ABORTED], "ended by the operator")
    seen, ticks = control.controller.phase.seen_ns, control.ticks.ticks
    graph.wait_for(lambda: control.ticks.ticks > ticks + 40 and control.controller.phase.seen_ns > seen + 500_000_000, "more tokens looked at")
    assert control.controller.phase.probability > model.enter and not episode.active and episode.number == 1
    assert world.call(graph, "critical_phase", True).success  # the operator's own switch works as ever
    assert episode.active and episode.number == 2


def test_a_model_for_another_encoder_ends_the_start_with_a_sentence(graph, models, tmp_path):
    from rl_token_ros.settings.parameters import ParameterError

    phase_switch.save(along_x(), tmp_path / "phase")
    values = small_robot.control(vla_model=str(models["vla"]), token_encoder=str(models["encoder"]), phase_model=str(tmp_path / "phase"))
    with pytest.raises(ParameterError, match="make it anew with train_phase"):
        graph.add(ControlNode, values=values)
