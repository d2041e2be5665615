"""The group of rotations: about every axis, near 0 and near pi; and the one place where positions of actions are added and subtracted."""

from __future__ import annotations

import math

import numpy as np
import pytest
import small_robot
import turning
from turning import AXES, angle_between, matrix, of_quaternion

from rl_token_ros.robot import action_space, rotations
from rl_token_ros.robot.action_space import PLAIN, ActionSpace

ANGLES = [0.0, 1e-300, 1e-12, 1e-9, 2e-9, 1e-8, 1e-5, 0.1, 1.0, math.pi / 2, 3.0, math.pi - 1e-5, math.pi - 1e-9, math.pi]
BEYOND = [math.pi + 1e-9, 4.0, 2 * math.pi - 1e-9, 2 * math.pi, 7.0, 100.0]


def axes(random) -> list[np.ndarray]:
    some = [np.array(axis) for axis in AXES.values()] + list(random.normal(size=(20, 3)))
    return [sign * axis / np.linalg.norm(axis) for axis in some for sign in (1.0, -1.0)]


@pytest.mark.parametrize("angle", ANGLES + BEYOND)
def test_exp_and_log_are_each_others_inverse(random, angle):
    for axis in axes(random):
        q = rotations.exp((angle * axis).tolist())
        assert np.linalg.norm(q) == pytest.approx(1.0, abs=1e-15)
        np.testing.assert_allclose(of_quaternion(q), matrix(angle * axis), atol=4e-15 * max(angle, 1.0))
        turn = rotations.log(q)
        assert rotations.norm(turn) <= math.pi * (1 + 1e-15)
        np.testing.assert_allclose(matrix(turn), matrix(angle * axis), atol=4e-15 * max(angle, 1.0))
        if angle < math.pi:
            np.testing.assert_allclose(turn, angle * axis, rtol=1e-7 if angle > 3.0 else 1e-14, atol=1e-300)
        assert rotations.log([-value for value in q]) == turn, "q and -q are one rotation, bit for bit"


def test_a_half_turn_has_one_vector_whichever_its_quaternion(random):
    for axis in axes(random):
        assert rotations.log((*axis, 0.0)) == rotations.log((*-axis, 0.0)) == rotations.log((*axis, -0.0))
        np.testing.assert_allclose(np.abs(rotations.log((*axis, 0.0))), math.pi * np.abs(axis), rtol=1e-15)


def test_turns_come_from_the_left_and_arrays_are_the_same(random):
    turns, others = (random.uniform(-4.0, 4.0, (50, 3)) for _ in range(2))
    turns[:3], others[1:4] = 0.0, 1e-11
    for turn, other, moved, back, q in zip(
        turns, others, rotations.moved(turns, others), rotations.difference(turns, others), rotations.quaternions(turns)
    ):
        np.testing.assert_allclose(q, rotations.exp(turn.tolist()), atol=1e-15)
        np.testing.assert_allclose(rotations.vectors(q), rotations.log(q.tolist()), atol=1e-15)
        np.testing.assert_allclose(matrix(moved), matrix(other) @ matrix(turn), atol=1e-14)
        np.testing.assert_allclose(matrix(back) @ matrix(other), matrix(turn), atol=1e-14)
        assert max(np.linalg.norm(moved), np.linalg.norm(back)) <= math.pi * (1 + 1e-15)
        vector = random.normal(size=3)
        np.testing.assert_allclose(rotations.rotated(rotations.exp(turn.tolist()), vector), matrix(turn) @ vector, atol=1e-14)


def test_a_window_has_no_jump_at_pi(random):
    for axis in axes(random)[:10]:
        there = np.linspace(2.5, 4.0, 30)[:, None] * axis
        window = rotations.moved(there, np.zeros(3))
        assert np.linalg.norm(np.diff(window, axis=0), axis=1).max() > 5.0, "the numbers do not jump: nothing is tested"
        found = rotations.continuous(window)
        np.testing.assert_allclose(np.diff(found, axis=0), np.diff(there, axis=0), atol=1e-9)
        for one, other in zip(found, window):
            np.testing.assert_allclose(matrix(one), matrix(other), atol=1e-13)
        np.testing.assert_array_equal(rotations.continuous(np.stack([window, window])), [found, found])
    small = random.uniform(-0.8, 0.8, (4, 10, 3))
    assert rotations.continuous(small) is small


def test_what_is_plain_is_added_and_subtracted_as_numbers_are(random):
    one, other, reach = random.normal(size=(3, 7))
    reach = np.abs(reach)
    np.testing.assert_array_equal(PLAIN.difference(one, other), one - other)
    np.testing.assert_array_equal(PLAIN.moved(one, other), one + other)
    np.testing.assert_array_equal(PLAIN.near(one, other, reach), np.clip(one, other - reach, other + reach))
    np.testing.assert_array_equal(PLAIN.carried(one, other, reach), one + (reach - other))
    assert PLAIN.continuous(one[None]).tobytes() == one.tobytes()


def test_a_space_with_a_rotation_takes_the_shortest_way(random):
    space = ActionSpace(1)
    one, other = random.uniform(-3.0, 3.0, (2, 5, 4, 6))
    way = space.difference(one, other)
    np.testing.assert_array_equal(way[..., [0, 4, 5]], (one - other)[..., [0, 4, 5]])
    assert np.linalg.norm(way[..., 1:4], axis=-1).max() <= math.pi + 1e-15
    there = space.moved(other, way)
    np.testing.assert_allclose(there[..., [0, 4, 5]], one[..., [0, 4, 5]])
    for found, wanted in zip(there.reshape(-1, 6), one.reshape(-1, 6)):
        assert angle_between(matrix(found[1:4]), matrix(wanted[1:4])) < 1e-13
    # 0.2 rad apart over pi, not 6.08
    a, b = np.zeros(4), np.zeros(4)
    a[2], b[2] = math.pi - 0.1, -math.pi + 0.1
    np.testing.assert_allclose(space.difference(b, a), [0.0, 0.0, 0.2, 0.0], atol=1e-15)
    np.testing.assert_allclose(space.near(b, a, np.full(4, 0.05))[2], math.pi - 0.05)
    np.testing.assert_allclose(matrix(space.carried(b, a, np.zeros(4))[1:]), matrix([0.0, 0.2, 0.0]), atol=1e-15)
    assert space.difference(a.astype(np.float32), b.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("action_type", ["delta", "absolute"])
def test_deltas_are_turns_already(action_type):
    made = small_robot.parameters.build(small_robot.Control, turning.control(action_type=action_type))
    assert action_space.of_positions(made).turns and action_space.of_actions(made).turns == (action_type == "absolute")
    assert not action_space.of_positions(small_robot.settings(action_type=action_type)).turns
