"""The simulated task: same seed, same numbers; fragile socket; sight of the last millimetre; smooth resets."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco")

from rl_token_ros.settings.sim_task import SimParameters
from rl_token_ros.sim.simulation import Simulation

PERIOD = 0.02


@pytest.fixture
def sim() -> Simulation:
    return Simulation(SimParameters(render_backend="raycast"))


def above_hole(sim: Simulation, error=(0.0, 0.0)) -> np.ndarray:
    """Tool position that puts the slipped peg on the surface, `error` metres beside the hole."""
    return sim.hole_position - (sim.peg_position - sim.ee_position) + np.array([*error, 0.0])


def go(sim: Simulation, goal: np.ndarray, speed: float, lead: float = 0.008) -> None:
    """Straight to a goal; the command stays within `lead` of the measured position."""
    command = sim.ee_position
    for _ in range(1500):
        way = goal - command
        far = np.linalg.norm(way)
        if sim.outcome is not None or far < 1e-6:
            return
        command = command + way * min(1.0, speed * PERIOD / far)
        here = sim.ee_position
        command = here + np.clip(command - here, -lead, lead)
        sim.step(command, PERIOD)


def insert(sim: Simulation, error=(0.0, 0.0), speed: float = 0.01) -> None:
    goal = above_hole(sim, error)
    go(sim, goal + [0.0, 0.0, 0.003], 0.05)
    for _ in range(20):  # the arm trails its command by 80 ms
        sim.step(goal + [0.0, 0.0, 0.003], PERIOD)
    go(sim, goal - [0.0, 0.0, 0.015], speed)


def test_same_seed_same_numbers():
    traces = []
    for _ in range(2):
        sim = Simulation(SimParameters(render_backend="raycast"))
        sim.reset(5)
        insert(sim, (0.001, 0.0))
        sim.reset()
        while sim.resetting:
            sim.step(np.zeros(3), PERIOD)
        traces.append([sim.measured()["joint_position"], sim.wrench, sim.hole_position, sim.lateral_offset, sim.images()["wrist"]])
    for a, b in zip(*traces):
        np.testing.assert_array_equal(a, b)


def test_seeds_and_episodes_differ(sim):
    places = []
    for seed in (1, 2, None, None):
        sim.place() if seed is None else sim.reset(seed)
        places.append((*sim.hole_position[:2], *sim.lateral_offset))
        slip = np.linalg.norm((sim.peg_position - sim.ee_position)[:2])
        assert sim.parameters.peg_offset_min - 1e-9 <= slip <= sim.parameters.peg_offset_max + 1e-9
    assert len(set(places)) == 4


@pytest.mark.parametrize("speed", [0.01, 0.03])
@pytest.mark.slow
def test_aligned_insertion_succeeds(sim, speed):
    for seed in range(5):
        sim.reset(seed)
        insert(sim, speed=speed)
        assert sim.outcome is True and sim.critical


@pytest.mark.parametrize("direction", range(4))
def test_misaligned_descent_breaks_the_socket(sim, direction):
    sim.reset(direction)
    angle = direction * np.pi / 2
    insert(sim, (0.0015 * np.cos(angle), 0.0015 * np.sin(angle)))
    assert sim.outcome is False and sim.failure == "force"
    assert np.linalg.norm(sim.wrench[:3]) > sim.parameters.force_limit
    assert sim.wrench[2] > 0.0  # the socket pushes the tool up


def test_pressing_and_sliding_does_not_find_the_hole(sim):
    for seed in range(4):
        sim.reset(seed)
        goal = above_hole(sim, (0.002, 0.0))
        go(sim, goal + [0.0, 0.0, 0.003], 0.05)
        go(sim, goal - [0.0, 0.0, 0.004], 0.01)  # presses with about 5 N
        assert sim.outcome is None and sim.wrench[2] > 2.0
        go(sim, goal - [0.004, 0.0, 0.004], 0.004)
        assert sim.outcome is not True


def test_a_light_touch_is_allowed(sim):
    goal = above_hole(sim, (0.002, 0.0))
    go(sim, goal + [0.0, 0.0, 0.003], 0.05)
    go(sim, goal - [0.0, 0.0, 0.002], 0.01)
    assert sim.outcome is None and 0.5 < sim.wrench[2] < sim.parameters.force_limit
    go(sim, goal + [0.0, 0.0, 0.01], 0.05)
    assert sim.outcome is None and np.linalg.norm(sim.wrench[:3]) < 0.5


def test_leaving_the_workspace_fails(sim):
    go(sim, sim.ee_position + [0.15, 0.0, 0.0], 0.1)
    assert sim.outcome is False and sim.failure == "wandered"


def test_missing_the_socket_fails(sim):
    go(sim, above_hole(sim, (0.04, 0.0)) + [0.0, 0.0, 0.01], 0.1)
    go(sim, above_hole(sim, (0.04, 0.0)) - [0.0, 0.0, 0.02], 0.05)
    assert sim.outcome is False and sim.failure == "missed"


def test_critical_phase_begins_over_the_hole_and_near_the_surface(sim):
    sim.step(sim.ee_position, PERIOD)
    assert not sim.critical
    for error, expected in ((0.008, False), (0.003, True)):
        goal = above_hole(sim, (error, error)) + [0.0, 0.0, 0.024]
        go(sim, goal, 0.05)
        for _ in range(20):
            sim.step(goal, PERIOD)
        assert sim.critical == expected


def test_reset_moves_smoothly_and_ignores_targets(sim):
    sim.reset(4)
    insert(sim)
    hole, steps, before = sim.hole_position, 0, sim.ee_position
    sim.reset()
    assert sim.outcome is None and not sim.critical and sim.resetting
    highest = 0.0
    while sim.resetting:
        sim.step(np.array([9.0, 9.0, 9.0]), PERIOD)
        steps += 1
        highest = max(highest, np.linalg.norm(sim.ee_position - before) / PERIOD)
        before = sim.ee_position
    assert highest < 0.25
    assert steps * PERIOD == pytest.approx(sim.parameters.reset_time, abs=2 * PERIOD)
    assert np.abs(sim.hole_position - hole).max() > 1e-4
    assert sim.outcome is None and not sim.critical and sim.ee_position[2] - hole[2] > 0.045
    insert(sim)
    assert sim.outcome is True


def test_free_motion_is_stiff_and_level(sim):
    target = sim.ee_position + [0.01, -0.01, -0.01]
    for _ in range(50):
        sim.step(target, PERIOD)
    np.testing.assert_allclose(sim.ee_position, target, atol=1e-4)
    np.testing.assert_allclose(np.abs(sim.ee_orientation), [1.0, 0.0, 0.0, 0.0], atol=1e-3)
    assert np.linalg.norm(sim.wrench[:3]) < 0.2


def test_bad_target_is_refused(sim):
    for target in ([0.4, 0.0], [0.4, 0.0, np.nan]):
        with pytest.raises(ValueError, match="three finite numbers"):
            sim.step(np.array(target), PERIOD)


def test_a_target_far_away_neither_throws_the_arm_nor_the_physics():
    simulation = Simulation(SimParameters())
    before = simulation.ee_position
    for _ in range(25):
        simulation.step(np.array([1e9, -1e9, 1e9]), 0.02)
    assert np.isfinite(simulation.ee_position).all() and np.isfinite(simulation.measured()["joint_velocity"]).all()
    assert np.linalg.norm(simulation.ee_position - before) < 1.0
