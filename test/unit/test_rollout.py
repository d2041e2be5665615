"""Which weights act: they take over step by step, are returned from, and are left by themselves when things get worse at once."""

from __future__ import annotations

import numpy as np
import pytest
import small_robot

from rl_token_ros.interfaces.codes import Clipped, Ended
from rl_token_ros.policy import rollout
from rl_token_ros.policy.actor import ResidualActor
from rl_token_ros.policy.actor_weights import WeightsError
from rl_token_ros.policy.rollout import Jump, Rollout

OBSERVATION = np.zeros(small_robot.architecture().inputs, np.float32)
RAMP = 10  # control steps


class Trial:
    """A rollout and its actor, with episodes that go as they are told to."""

    def __init__(self, **changes) -> None:
        self.actor = ResidualActor(small_robot.TOKEN, 9, small_robot.CHUNK, 3, layers=2)
        settings = small_robot.settings(**{"rollout_ramp": RAMP * 0.02, "rollback_seconds": 1.0, **changes})
        self.rollout = Rollout(self.actor, settings)

    def act(self, ticks: int = 1, clipped: int = 0) -> list[float]:
        """Control steps in which the weights act; the residual of each."""
        residuals = []
        for _ in range(ticks):
            self.rollout.take(acting=True)
            residuals.append(float(self.rollout.run(OBSERVATION)[0, 0]))
            self.rollout.acted(clipped)
        return residuals

    def idle(self, ticks: int = 1) -> None:
        for _ in range(ticks):
            self.rollout.take(acting=False)

    def offer(self, version: int, residual: float = 0.0) -> None:
        self.rollout.offer(small_robot.make_weights(version, residual))

    def episode(self, code: int, clipped: int = 0) -> None:
        """Long enough for a ramp."""
        self.act(RAMP + 1, clipped)
        self.rollout.episode_ended(code)
        self.idle()


@pytest.fixture
def trial() -> Trial:
    return Trial()


# --- taking over ----------------------------------------------------------------------------------------------------------


def test_the_first_weights_take_over_from_the_base_step_by_step(trial):
    trial.offer(1, 0.5)
    np.testing.assert_allclose(trial.act(RAMP + 3), [*np.linspace(0.0, 0.5, RAMP + 1), 0.5, 0.5], atol=1e-6)


def test_each_new_version_takes_over_from_the_one_before(trial):
    trial.offer(1, 0.5)
    trial.act(RAMP)
    trial.offer(2, -0.5)
    np.testing.assert_allclose(trial.act(RAMP + 2), [*np.linspace(0.5, -0.5, RAMP + 1), -0.5], atol=1e-6)


def test_while_one_takes_over_newer_ones_wait_and_only_the_newest_follows(trial):
    trial.offer(1, 0.1)
    versions = []
    for version in range(2, 3 * RAMP):
        trial.act()
        versions.append(trial.actor.version)
        trial.offer(version, 0.1)
    assert versions == [1] * RAMP + [RAMP + 1] * RAMP + [2 * RAMP + 1] * (len(versions) - 2 * RAMP)


def test_pushes_in_quick_succession_never_move_a_residual_by_more_than_a_step_of_the_ramp(trial):
    random = np.random.default_rng(0)
    trial.offer(1)
    residuals = []
    for version in range(2, 300):
        residuals += trial.act()
        if random.random() < 0.5:
            trial.offer(version, float(random.uniform(-0.99, 0.99)))
    assert np.abs(np.diff(residuals)).max() <= 2.0 / RAMP + 1e-6
    assert np.ptp(residuals) > 1.0


def test_between_episodes_nobody_waits(trial):
    trial.offer(1, 0.5)
    trial.act(3)
    for version in (2, 3, 4):
        trial.offer(version, -0.5)
        trial.idle()
        assert trial.actor.version == version
    np.testing.assert_allclose(trial.act(RAMP + 1), np.linspace(0.0, -0.5, RAMP + 1), atol=1e-6)  # version 1 hardly acted


def test_without_a_ramp_weights_act_at_once():
    trial = Trial(rollout_ramp=0.0)
    trial.offer(1, 0.5)
    np.testing.assert_allclose(trial.act(2), 0.5, atol=1e-6)


def test_the_ramp_is_of_acting_not_of_time(trial):
    trial.offer(1, 0.5)
    trial.idle(100)
    assert trial.rollout.share == 0.0 and trial.act()[0] == 0.0


def test_when_the_residual_begins_to_act_it_takes_over_from_the_base(trial):
    trial.offer(1, 0.5)
    trial.act(RAMP + 1)
    trial.rollout.begin()
    np.testing.assert_allclose(trial.act(RAMP + 1), np.linspace(0.0, 0.5, RAMP + 1), atol=1e-6)


# --- going back -----------------------------------------------------------------------------------------------------------


def test_a_rollback_acts_at_once_and_newer_weights_wait(trial):
    with pytest.raises(WeightsError, match="no previous weights"):
        trial.rollout.rollback()
    for version in (1, 2, 3):
        trial.offer(version, 0.1 * version)
        trial.act(RAMP)
    assert trial.rollout.rollback() == "weights version 3 left, version 2 is running"
    np.testing.assert_allclose(trial.act(), 0.2, atol=1e-6)
    trial.offer(4, 0.4)
    np.testing.assert_allclose(trial.act(49), 0.2, atol=1e-6)
    np.testing.assert_allclose(trial.act(RAMP + 1), np.linspace(0.2, 0.4, RAMP + 1), atol=1e-6)
    assert trial.actor.version == 4


def test_rollbacks_go_back_further_each_time(trial):
    for version in (1, 2, 3):
        trial.offer(version)
        trial.act(RAMP)
    for version in (2, 1):
        trial.rollout.rollback()
        assert trial.actor.version == version
    with pytest.raises(WeightsError, match="no previous weights"):
        trial.rollout.rollback()


def test_weights_that_never_acted_are_not_returned_to(trial):
    trial.offer(1)
    trial.act(RAMP)
    for version in (2, 3):
        trial.offer(version)
        trial.idle()
    trial.rollout.rollback()
    assert trial.actor.version == 1


# --- returning by itself --------------------------------------------------------------------------------------------------


def practised(trial: Trial, random: np.random.Generator, episodes: int, success: float, first: int = 1) -> None:
    """Practice with a new version for every episode."""
    for version in range(first, first + episodes):
        trial.offer(version)
        trial.episode(Ended.SUCCESS if random.random() < success else Ended.TIME_LIMIT)


def test_failures_that_jump_return_to_weights_that_were_good(trial, random):
    practised(trial, random, 60, success=0.95)
    before = trial.actor.version
    assert trial.rollout.reverts == 0
    episodes = 0
    while not trial.rollout.reverts:
        trial.offer(100 + episodes, 0.9)
        trial.episode(Ended.FAILURE)
        episodes += 1
        assert episodes <= 8
    assert before - 10 < trial.actor.version <= before
    assert trial.rollout.last_revert.startswith(f"weights version {99 + episodes} left for {trial.actor.version}: episodes failed: ")
    held = trial.actor.version
    trial.offer(500)
    trial.act(40)
    assert trial.actor.version == held and trial.rollout.held > 0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("success", [0.0, 0.02, 0.4, 0.6, 0.9, 1.0])
@pytest.mark.slow
def test_ordinary_practice_of_any_success_rate_is_left_alone(success, seed):
    trial = Trial(rollout_ramp=0.0)
    practised(trial, np.random.default_rng(seed), 400, success)
    assert trial.rollout.reverts == 0


def test_practice_that_learns_and_forgets_slowly_is_left_alone(trial, random):
    for block, success in enumerate([0.4, 0.5, 0.65, 0.8, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4]):
        practised(trial, random, 20, success, first=1 + 20 * block)
    assert trial.rollout.reverts == 0


def test_commands_that_the_arm_cannot_follow_return_to_the_weights_before(trial):
    trial.offer(1)
    for _ in range(30):
        trial.episode(Ended.SUCCESS)
    trial.offer(2)
    for _ in range(6):
        trial.episode(Ended.SUCCESS, clipped=Clipped.VELOCITY)
    assert trial.rollout.reverts == 1 and trial.actor.version == 1
    assert "had most commands changed by the filter" in trial.rollout.last_revert


def test_contact_is_no_reason_to_return(trial):
    trial.offer(1)
    for _ in range(30):
        trial.episode(Ended.SUCCESS)
    trial.offer(2)
    for _ in range(30):
        trial.episode(Ended.SUCCESS, clipped=Clipped.LEAD | Clipped.ACCELERATION)
    assert trial.rollout.reverts == 0


@pytest.mark.parametrize("before", [0, 1])
def test_an_actor_that_gives_nonsense_is_left_in_the_next_tick(trial, before):
    for version in range(1, before + 1):
        trial.offer(version, 0.2)
        trial.act(RAMP)
    broken = small_robot.make_weights(7)
    broken.tensors["b2"][:] = np.nan
    trial.rollout.offer(broken)
    trial.act(1, clipped=Clipped.NOT_FINITE)
    trial.idle()
    assert trial.actor.version == before
    assert trial.rollout.last_revert == f"weights version 7 left for {before or 'none'}: its residuals are not finite"


def test_when_the_same_weights_were_good_before_nothing_is_returned_to(trial):
    trial.offer(1)
    for code in [Ended.SUCCESS] * 40 + [Ended.FAILURE] * 20:
        trial.episode(code)
    assert trial.actor.version == 1 and trial.rollout.reverts == 0 and trial.rollout.held == 0


def test_discarded_episodes_and_those_of_the_base_do_not_count(trial):
    trial.offer(1)
    for _ in range(40):
        trial.episode(Ended.SUCCESS)
    trial.offer(2)
    for _ in range(20):
        trial.episode(Ended.ABORTED)
        trial.rollout.episode_ended(Ended.FAILURE)  # nothing acted
    assert trial.actor.version == 2


def test_it_can_be_turned_off():
    trial = Trial(auto_revert=False)
    trial.offer(1)
    for code in [Ended.SUCCESS] * 40 + [Ended.FAILURE] * 20:
        trial.offer(2 if code == Ended.FAILURE else 1)
        trial.episode(code)
    assert trial.actor.version == 2 and trial.rollout.reverts == 0


def test_few_versions_are_kept(trial, random):
    """Weights take megabytes."""
    practised(trial, random, 200, success=0.9)
    kept = {id(weights) for _, weights in trial.rollout._failures._events}
    assert len(kept) <= (rollout.WINDOW + rollout.REFERENCE) // rollout.SPACING + 2


def test_a_jump_needs_something_to_be_held_against():
    jump = Jump()
    assert [jump.add(True, None) for _ in range(50)] == [None] * 50
