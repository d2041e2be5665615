"""The critical phase that begins by itself: the regression, its switch, and that the operator always wins."""

from __future__ import annotations

import numpy as np
import pytest
import small_robot
from phase_models import GROUPS, SIZE, along_x

from rl_token_ros.control import phase_switch
from rl_token_ros.control.phase_switch import (
    CONFIRM,
    PhaseModel,
    PhaseSwitch,
    PhaseWatch,
    fit,
)
from rl_token_ros.robot.proprioception import RobotState
from rl_token_ros.settings.parameters import ParameterError


def see(switch: PhaseSwitch, probabilities: list[float], critical: bool = False) -> list[bool]:
    return [switch.see(p, critical) for p in probabilities]


# --- the regression -------------------------------------------------------------------------------------------------------------------


def test_it_finds_the_direction_that_matters_among_features_of_any_scale(random):
    values = random.normal(size=(600, 12)) * 10.0 ** random.uniform(-4, 4, 12) + 100.0
    score = (values[:, 3] - values[:, 3].mean()) / values[:, 3].std()
    weights, bias = fit(values[:400], score[:400] > 1.0)
    said = values[400:] @ weights + bias > 0.0
    assert (said == (score[400:] > 1.0)).mean() > 0.93


def test_a_rare_phase_counts_as_much_as_the_way_there(random):
    values = random.normal(size=(2000, 2))
    labels = values[:, 0] > 2.0  # 2 %
    weights, bias = fit(values, labels)
    assert (values[labels] @ weights + bias > 0.0).mean() > 0.9


def test_classes_that_are_perfectly_apart_and_constant_features_give_finite_weights():
    values = np.array([[0.0, 5.0], [0.1, 5.0], [1.0, 5.0], [1.1, 5.0]])
    weights, bias = fit(values, np.array([False, False, True, True]))
    assert np.isfinite(weights).all() and np.isfinite(bias)
    assert ((values @ weights + bias > 0.0) == [False, False, True, True]).all()


# --- the switch -----------------------------------------------------------------------------------------------------------------------


def test_it_begins_once_after_it_has_seen_the_outside():
    switch = PhaseSwitch(0.8)
    assert not any(see(switch, [0.9] * 20))  # begun in the middle of it: it does not know how it got there
    assert not any(see(switch, [0.1] * CONFIRM))
    assert see(switch, [0.9] * (CONFIRM + 5)) == [False] * (CONFIRM - 1) + [True] + [False] * 5


def test_a_blink_and_what_lies_between_the_thresholds_begin_nothing():
    switch = PhaseSwitch(0.8)
    see(switch, [0.1] * CONFIRM)
    assert not any(see(switch, [0.9] * (CONFIRM - 1) + [0.1] + [0.9] * (CONFIRM - 1) + [0.6] * 20))
    assert any(see(switch, [0.9] * CONFIRM))


def test_after_a_phase_it_must_see_the_outside_again_whoever_ended_it():
    switch = PhaseSwitch(0.8)
    see(switch, [0.1] * CONFIRM)
    assert any(see(switch, [0.9] * CONFIRM))
    see(switch, [0.9] * 10, critical=True)
    assert not any(see(switch, [0.9] * 50))
    assert not any(see(switch, [0.5] * 50 + [0.9] * 50))  # not below half of the threshold
    assert any(see(switch, [0.3] * CONFIRM + [0.9] * CONFIRM))


def test_what_the_operator_refuses_is_not_begun_before_the_arm_has_left():
    switch = PhaseSwitch(0.8)
    see(switch, [0.1] * CONFIRM)
    switch.refuse()
    assert not any(see(switch, [0.9] * 50))
    assert any(see(switch, [0.1] * CONFIRM + [0.9] * CONFIRM))


# --- beside a controller --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path):
    phase_switch.save(along_x(), tmp_path / "phase.safetensors")
    return small_robot.settings(phase_model=str(tmp_path / "phase.safetensors"))


def test_every_token_is_looked_at_once_and_only_where_the_arm_may_move(settings):
    watch = PhaseWatch(settings, "e" * 64)
    state = RobotState([], GROUPS)
    token = np.zeros(small_robot.TOKEN, np.float32)
    assert not watch.look(None, state, True, False)
    assert not watch.look((1, token), state, True, False)  # nothing measured yet
    state.update_wrench(1, (0, 0, 0), (0, 0, 0))

    def at(x: float, stamps: range, moving: bool = True) -> list[bool]:
        state.update_pose(stamps[0], (x, 0.0, 0.1), small_robot.DOWN)
        return [watch.look((stamp, token), state, moving, False) for stamp in stamps for _ in range(3)]

    assert not any(at(0.40, range(10, 20)))
    assert at(0.41, range(20, 30)).index(True) == 3 * (CONFIRM - 1)  # the same token three times counts once
    assert not any(at(0.40, range(30, 40)))
    assert not any(at(0.41, range(40, 50), moving=False))
    assert not any(at(0.41, range(50, 60)))  # enabled within it: as at the start


def test_a_file_comes_back_as_it_was(settings):
    model = phase_switch.load(settings, "e" * 64)
    np.testing.assert_array_equal(model.weights, along_x().weights)
    assert (model.bias, model.enter, model.proprioception) == (along_x().bias, 0.8, GROUPS)


@pytest.mark.parametrize(
    "change, sha, says",
    [
        ({}, "a" * 64, "was made with the token encoder eeeeeeeeeeee..., this robot has aaaaaaaaaaaa...; make it anew with train_phase"),
        (
            {"proprioception": ["ee_position", "command_lead"]},
            "e" * 64,
            r"with the proprioception \[ee_position, wrench_force\], this robot has \[ee_position\]",
        ),
        ({"phase_model": "/nowhere.safetensors"}, "e" * 64, "'/nowhere.safetensors', which does not exist; make one with train_phase"),
    ],
)
def test_a_file_for_another_robot_is_refused(settings, change, sha, says):
    robot = small_robot.settings(**{"phase_model": settings.phase_model, **change})
    with pytest.raises(ParameterError, match=says):
        phase_switch.load(robot, sha)


@pytest.mark.parametrize("content", [b"", b"nonsense" * 20])
def test_a_file_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "phase").write_bytes(content)
    with pytest.raises(ParameterError, match="'phase_model': .* cannot be read"):
        phase_switch.load(small_robot.settings(phase_model=str(tmp_path / "phase")), "e" * 64)


def test_numbers_that_cannot_be_used_are_refused(tmp_path):
    phase_switch.save(PhaseModel(np.full(SIZE, np.nan), 0.0, 0.8, "e" * 64, GROUPS), tmp_path / "phase")
    with pytest.raises(ParameterError, match="holds numbers that cannot be used"):
        phase_switch.load(small_robot.settings(phase_model=str(tmp_path / "phase")), "e" * 64)
