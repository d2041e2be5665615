"""The residual keeps its bound, whatever the actor gives."""

from __future__ import annotations

import numpy as np
import small_robot
from hypothesis import given, settings
from hypothesis import strategies as st
from small_robot import CHUNK, HOME, TOKEN

from rl_token_ros.control.safety_filter import Limits, SafetyFilter
from rl_token_ros.interfaces.codes import Clipped
from rl_token_ros.policy.actor import ResidualActor
from rl_token_ros.policy.exploration import Exploration
from rl_token_ros.policy.residual_policy import ResidualPolicy
from rl_token_ros.policy.rollout import Rollout
from rl_token_ros.robot import action_space
from rl_token_ros.robot.action_space import ActionSpace

SCALE = np.array([0.0008, 0.002, 1e-5])
ACTOR = ResidualActor(TOKEN, 9, CHUNK, 3, layers=2)
LIMITS = Limits(HOME - 0.1, HOME + 0.1, np.full(3, 0.1), np.full(3, 2.0), np.full(3, 0.01))
biases = st.lists(st.one_of(st.floats(width=32), st.floats(-3.0, 3.0)), min_size=CHUNK * 3, max_size=CHUNK * 3)
windows = st.floats(-1.0, 1.0).map(lambda value: value * np.linspace(0.0, 1.0, CHUNK * 3).reshape(CHUNK, 3))


@settings(max_examples=60, deadline=None)
@given(
    outputs=st.lists(biases, min_size=1, max_size=2), sigma=st.floats(0.0, 1.0), correlation=st.floats(0.0, 0.999), interval=st.integers(1, CHUNK),
    late=st.floats(0.0, 10.0), ramp=st.sampled_from([0.0, 0.1]), seen=st.lists(windows, min_size=1, max_size=12),
)  # fmt: skip
def test_the_action_leaves_the_reference_by_at_most_the_bound_or_moves_nothing(outputs, sigma, correlation, interval, late, ramp, seen):
    """For any weights, also not finite ones and while one version takes over from another; the noise is within the bound too."""
    ACTOR.weights = None
    rollout = Rollout(ACTOR, small_robot.settings(rollout_ramp=ramp))
    noise = Exploration(
        small_robot.settings(exploration_sigma=sigma, exploration_correlation=correlation, exploration_late=late, replan_interval=interval)
    )
    policy = ResidualPolicy(rollout, SCALE, noise, interval)
    limiter = SafetyFilter(LIMITS, 0.02)
    limiter.seed(HOME)
    policy.begin(1)
    planned = seen[0]
    for step, window in enumerate(seen):
        if step % 6 == 0:
            weights = small_robot.make_weights(1 + step)
            weights.tensors["b2"][:] = outputs[step // 6 % len(outputs)]
            rollout.offer(weights)
        rollout.take(acting=True)
        if ACTOR.weights is None:  # left, because what they gave was not finite: the base acts alone
            return
        if step % interval == 0:
            planned = window
        with np.errstate(invalid="ignore"):
            action = policy.act(np.zeros(TOKEN, np.float32), np.zeros(9, np.float32), window)
        before, was_moving = limiter.command, np.abs(limiter.velocity) * 0.02
        command, reasons = limiter.step(before + action, before, stop_at_target=False)
        if np.isfinite(action).all():
            assert (np.abs(action - planned[step % interval]) <= SCALE * (1 + 1e-9) + 1e-12).all()
        else:
            assert reasons & Clipped.NOT_FINITE
            assert (np.abs(command - before) <= was_moving + 1e-12).all()
        rollout.acted(reasons)


def noise_of(late, draws, begun=1):
    """[draws, A] of an episode whose limit is 60 chunks."""
    noise = Exploration(
        small_robot.settings(exploration_sigma=0.4, exploration_late=late, episode_time_limit=6.0, control_rate=40.0, replan_interval=4)
    )
    noise.begin(begun)
    return np.array([noise.draw() for _ in range(draws)]), noise


def test_noise_grows_late_in_an_episode_only():
    """The same numbers for a third of the limit; at the limit `exploration_late` times `exploration_sigma` more."""
    flat, grown = noise_of(0.0, 60)[0], noise_of(4.0, 60)[0]
    np.testing.assert_array_equal(grown[:20], flat[:20])
    ratio = grown[20:] / flat[20:]
    assert (np.diff(ratio[:, 0]) > 0).all()
    strength = np.random.default_rng([small_robot.settings().seed, 1]).uniform()
    np.testing.assert_allclose(ratio[-1], (strength + 4.0) / strength)


def test_grown_noise_goes_on_from_a_record():
    noise = noise_of(4.0, 45)[1]
    other = noise_of(4.0, 0, begun=7)[1]
    other.resume(1, 45)
    np.testing.assert_array_equal(other.draw(), noise.draw())


def quicker(gain, begun, window, weights, ramp=0.0):
    """[2 chunks, A]: residuals of the first steps of two chunks, as shares of the bound, and the policy."""
    made = small_robot.settings(exploration_gain=gain, exploration_sigma=0.0)
    ACTOR.weights = None
    rollout = Rollout(ACTOR, small_robot.settings(rollout_ramp=ramp))
    rollout.offer(weights)
    rollout.take(acting=True)
    policy = ResidualPolicy(rollout, SCALE, Exploration(made), 1, action_space.of_actions(made))
    policy.begin(begun)
    actions = [policy.act(np.zeros(TOKEN, np.float32), np.zeros(9, np.float32), window) for _ in range(2)]
    return (np.array(actions) - window[0]) / SCALE, policy


def test_before_the_first_actor_half_of_the_episodes_have_more_of_the_bases_motion_in_each_dimension():
    """Twice the mean of the chunk in the one, nothing in the other, never more than the bound; the same within an episode."""
    window = np.linspace(0.5, 1.5, CHUNK)[:, None] * SCALE * [0.2, -0.3, 5.0]  # mean: 0.2, -0.3, 5 times the bound
    seen = np.array([quicker(2.0, begun, window, small_robot.make_weights(1))[0] for begun in range(1, 41)])
    np.testing.assert_array_equal(seen[:, 0], seen[:, 1])
    for dimension, more in enumerate([0.4, -0.6, 1.0]):
        values = seen[:, 0, dimension].round(9)
        assert set(values) == {0.0, more}
        assert 10 <= np.count_nonzero(values) <= 30
    assert len({tuple(episode) for episode in seen[:, 0]}) == 8  # each dimension for itself
    np.testing.assert_array_equal(quicker(0.0, 5, window, small_robot.make_weights(1))[0], 0.0)


def test_an_actor_that_has_learned_something_is_not_made_quicker():
    window = np.tile(SCALE * 0.5, (CHUNK, 1))
    np.testing.assert_allclose(quicker(2.0, 1, window, small_robot.make_weights(1, residual=0.25))[0], 0.25, atol=1e-6)


def test_nor_while_its_share_still_grows_from_nothing():
    """A ramp begins with a residual of 0, at every episode."""
    window = np.tile(SCALE * 0.5, (CHUNK, 1))
    for begun in range(1, 9):
        assert (quicker(2.0, begun, window, small_robot.make_weights(1, residual=0.25), ramp=1.0)[0] == 0.0).all()


def test_more_of_the_bases_motion_is_found_again_from_a_record_and_leaves_the_noise_as_it_was():
    window = np.tile(SCALE * 0.5, (CHUNK, 1))
    policy = quicker(2.0, 3, window, small_robot.make_weights(1))[1]
    other = quicker(2.0, 4, window, small_robot.make_weights(1))[1]
    other.exploration.resume(3, 2)
    np.testing.assert_array_equal(other.exploration.more_of(SCALE), policy.exploration.more_of(SCALE))
    plain, gained = (Exploration(small_robot.settings(exploration_gain=gain, exploration_sigma=0.4)) for gain in (0.0, 2.0))
    for noise in (plain, gained):
        noise.begin(3)
    np.testing.assert_array_equal([plain.draw() for _ in range(3)], [gained.draw() for _ in range(3)])


def test_the_motion_of_positions_is_their_way_and_of_deltas_their_mean():
    window = np.array([[0.0, 1.0], [0.1, 1.0], [0.4, 0.8]])
    np.testing.assert_allclose(ActionSpace().motion(window), [0.4, -0.2])
    np.testing.assert_allclose(ActionSpace(deltas=True).motion(window), [0.5 / 3, 2.8 / 3])
