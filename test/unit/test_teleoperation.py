"""A human's hand on the arm, through the real controller: no jump when it takes over, none when it lets go, and silence ends it."""

from __future__ import annotations

import numpy as np
import pytest
import small_robot
from small_robot import CHUNK, HOME, HORIZON, STEP

from rl_token_ros.control.chunk import Chunk
from rl_token_ros.control.controller import Controller
from rl_token_ros.interfaces.codes import Source
from rl_token_ros.operator.teleoperation import Teleoperation
from rl_token_ros.policy.actor import ResidualActor
from rl_token_ros.settings import parameters
from rl_token_ros.settings.operator import Operator

PERIOD, SECOND = 20_000_000, 1_000_000_000
NAMES = ["x", "y", "z"]
FULL = np.array([1.0, -1.0, 0.5])


class Bench:
    """A perfect arm under the real controller, a VLA, and a hand that hears the controller's commands as from `~/ticks`: a tick late."""

    def __init__(self, action_type: str = "delta", mode: str = "vla", **of_operator) -> None:
        self.settings = small_robot.settings(action_type=action_type, mode=mode)
        self.controller = Controller(self.settings, ResidualActor(small_robot.TOKEN, 9, CHUNK, 3, layers=2))
        self.controller.actor.weights = small_robot.make_weights(5, residual=0.5)
        self.hand = Teleoperation(parameters.build(Operator, small_robot.shared(action_type=action_type, **of_operator)))
        self.now, self.position = 1_000 * SECOND, HOME.copy()
        self.leader: np.ndarray | None = None
        self.deflection: dict[str, np.ndarray] = {}
        self.commands, self.velocities, self.sources, self.rows = [HOME.copy()], [np.zeros(3)], [], []
        self._sense()
        self.controller.enable(self.now)
        self.tick(20)

    def _sense(self) -> None:
        controller = self.controller
        controller.state.update_pose(self.now, self.position, small_robot.DOWN)
        controller.state.update_wrench(self.now, (0, 0, 0), (0, 0, 0))
        action = STEP if self.settings.action_type == "delta" else HOME + [0.04, 0.02, -0.02]
        controller.proposals.set_chunk(Chunk(self.now, PERIOD, np.tile(action, (HORIZON, 1))), self.now)
        controller.proposals.set_token(self.now, np.zeros(small_robot.TOKEN, np.float32), self.now)

    def tick(self, count: int = 1) -> None:
        for _ in range(count):
            self.now += PERIOD
            if self.leader is not None:
                self.hand.lead(self.now, NAMES, self.leader)
            for device, value in self.deflection.items():
                self.hand.deflect(device, self.now, value)
            if (action := self.hand.action(self.now)) is not None:
                self.controller.proposals.set_human(self.now, action[:3], corrects=self.hand.corrects)
            self._sense()
            command = self.controller.tick(self.now)
            self.hand.commanded(command.position if self.controller.enabled and not self.controller.stop_reason else None)
            self.position = command.position
            self.commands.append(command.position.copy())
            self.velocities.append(command.velocity.copy())
            self.sources.append(self.controller.source)
            self.rows += self.controller.episode.take()[0]

    def take_over(self, by: str = "keys") -> None:
        assert self.hand.take_over(by, self.now) == ""

    def assert_no_jump(self) -> None:
        """Every command within one tick's limit of the one before: of velocity, and of its change."""
        steps, changes = np.diff(self.commands, axis=0), np.diff(self.velocities, axis=0)
        assert (np.abs(steps) <= np.array(self.settings.velocity_limit) * 0.02 + 1e-9).all()
        assert (np.abs(changes) <= np.array(self.settings.acceleration_limit) * 0.02 + 1e-9).all()


KINDS = [("delta", "relative"), ("delta", "absolute"), ("absolute", "relative"), ("absolute", "absolute")]


@pytest.mark.parametrize("mode", ["vla", "actor"])
@pytest.mark.parametrize("action_type, follow", KINDS)
def test_a_leader_far_away_takes_over_and_hands_back_without_a_jump(action_type, follow, mode):
    bench = Bench(action_type, mode, leader_follow=follow)
    bench.controller.set_critical(True, bench.now)
    bench.tick(10)
    assert bench.sources[-1] == (Source.ACTOR if mode == "actor" else Source.VLA)
    bench.leader = np.array([0.31, 0.09, 0.19])  # at the other end of the workspace
    bench.tick(3)
    bench.take_over()
    bench.tick(2)
    assert bench.sources[-1] == Source.HUMAN
    for _ in range(60):
        bench.leader = bench.leader + [0.0, -0.002, 0.0]
        bench.tick()
    bench.hand.hand_back("keys")
    bench.tick(30)
    assert bench.sources[-1] != Source.HUMAN
    bench.assert_no_jump()
    human = [row["source"][0] == Source.HUMAN for row in bench.rows]
    assert 50 < sum(human) < len(human)  # in `replay`, with its source


@pytest.mark.parametrize("action_type", ["delta", "absolute"])
def test_a_relative_leader_moves_the_arm_as_far_as_itself_wherever_it_is(action_type):
    bench = Bench(action_type)
    bench.leader = np.array([5.0, 5.0, 5.0])
    bench.tick(3)
    bench.take_over()
    begin = bench.commands[-1]
    for _ in range(50):
        bench.leader = bench.leader + np.array([0.0, 0.0006, -0.0004])
        bench.tick()
    bench.tick(80)  # it catches up
    np.testing.assert_allclose(bench.commands[-1] - begin, [0.0, 0.03, -0.02], atol=2e-4)
    bench.assert_no_jump()


def test_an_absolute_leader_brings_the_arm_to_where_it_is():
    bench = Bench("absolute", leader_follow="absolute")
    bench.leader = np.array([0.44, -0.05, 0.15])
    bench.tick()
    bench.take_over()
    bench.tick(150)
    np.testing.assert_allclose(bench.commands[-1], bench.leader, atol=1e-6)
    bench.assert_no_jump()


@pytest.mark.parametrize("action_type", ["delta", "absolute"])
@pytest.mark.parametrize("device", ["joy", "twist"])
def test_a_deflected_device_moves_the_arm_at_its_speed_and_let_go_it_stops(action_type, device):
    bench = Bench(action_type, jog_speed=[0.04] * 3)
    bench.take_over(device)
    bench.tick(30)
    begin = bench.commands[-1]
    bench.deflection = {device: FULL}
    bench.tick(50)
    np.testing.assert_allclose(bench.commands[-1] - begin, FULL * 0.04, atol=0.003)  # one second of it, less what starting takes
    bench.deflection = {device: np.zeros(3)}
    bench.tick(15)
    still = bench.commands[-1]
    bench.tick(20)
    np.testing.assert_allclose(bench.commands[-1], still, atol=1e-9)
    assert bench.sources[-1] == Source.HUMAN
    bench.hand.hand_back(device)
    bench.tick(30)
    assert bench.sources[-1] == Source.VLA
    bench.assert_no_jump()


@pytest.mark.parametrize("action_type", ["delta", "absolute"])
def test_at_full_speed_letting_go_stops_before_the_policy_has_it_back(action_type):
    """The last intervention acts for as long as intervention_timeout: it must not be the one at full speed."""
    bench = Bench(action_type, jog_speed=[0.1] * 3)
    bench.take_over("joy")
    bench.deflection = {"joy": np.array([0.0, -1.0, 0.0])}
    bench.tick(30)
    at = bench.commands[-1]
    bench.hand.hand_back("joy")
    bench.tick(10)
    human = np.array(bench.commands[-10:])[np.array(bench.sources[-10:]) == Source.HUMAN]
    assert len(human) >= 9 and abs(human[-1][1] - at[1]) < 0.1 * 0.1  # half of what 0.2 s at that speed would be
    bench.assert_no_jump()


def test_a_pressed_key_moves_for_a_moment_only():
    bench = Bench(jog_speed=[0.04] * 3)
    bench.take_over()
    bench.tick(5)
    begin = bench.commands[-1]
    bench.hand.deflect("keys", bench.now, np.array([0.0, 1.0, 0.0]))
    bench.tick(60)
    assert 0.003 < (bench.commands[-1] - begin)[1] < 0.04 * 0.2
    assert bench.sources[-1] == Source.HUMAN  # taken over: it stands still until it is handed back


def test_a_leader_that_falls_silent_hands_back():
    bench = Bench()
    bench.leader = HOME.copy()
    bench.tick(3)
    bench.take_over()
    bench.tick(10)
    bench.leader = None
    bench.tick(40)
    assert not bench.hand.active and bench.hand.ended == "the leader arm is silent"
    assert bench.sources[-1] == Source.VLA
    bench.assert_no_jump()
    bench.leader = HOME.copy()
    bench.tick(10)
    assert bench.sources[-1] == Source.VLA  # it does not come back by itself


def test_a_joystick_that_falls_silent_moves_the_arm_no_more():
    bench = Bench(jog_speed=[0.04] * 3)
    bench.take_over("joy")
    bench.deflection = {"joy": FULL}
    bench.tick(10)
    bench.deflection = {}
    bench.tick(30)
    still = bench.commands[-1]
    bench.tick(10)
    np.testing.assert_allclose(bench.commands[-1], still, atol=1e-9)


def test_a_stopped_arm_takes_the_hand_off_and_a_disabled_one_takes_none_on():
    bench = Bench()
    bench.take_over()
    bench.tick(5)
    bench.controller.stop("somebody pressed it")
    bench.tick(5)
    assert not bench.hand.active and bench.hand.ended == "the arm may not move"
    assert bench.hand.take_over("keys", bench.now) == "the arm may not move: enable it first"
    bench.controller.reset_stop()
    bench.tick(1)
    bench._sense()
    while bench.controller.filter.moving:
        bench.tick()
    bench.controller.enable(bench.now)
    bench.tick(20)
    assert bench.sources[-1] == Source.VLA  # the hand was taken off: it must be put on again


def test_two_devices_hold_it_until_both_let_go():
    bench = Bench()
    bench.take_over("keys")
    bench.take_over("twist")
    bench.hand.hand_back("keys")
    assert bench.hand.active
    bench.hand.hand_back("twist")
    assert not bench.hand.active
    assert bench.hand.action(bench.now) is not None and bench.hand.action(bench.now) is None  # rest, once


def test_leaders_have_names_signs_and_grippers():
    hand = Teleoperation(
        parameters.build(
            Operator,
            small_robot.shared(
                action_type="absolute", gripper_names=["finger"], leader_names=["l1", "l2", "l3", "grip"], leader_scale=[1.0, -1.0, 0.5, 2.0]
            ),
        )
    )
    hand.commanded(HOME)
    hand.lead(0, ["grip", "l1", "l2", "l3", "other"], [0.1, 0.0, 0.0, 0.0, 9.0])
    hand.take_over("keys", 0)
    hand.lead(0, ["grip", "l1", "l2", "l3"], [0.2, 0.01, 0.01, 0.01])
    assert hand.names == ["x", "y", "z", "finger"]
    np.testing.assert_allclose(hand.action(0), [*(HOME + [0.01, -0.01, 0.005]), 0.4])


@pytest.mark.parametrize(
    "names, position, says",
    [
        (["x", "y"], [0.0, 0.0], "'leader/joint_states' has no z; it has x, y: write the leader's names in 'leader_names'"),
        (NAMES, [0.0, np.nan, 0.0], "not finite"),
    ],
)
def test_a_leader_that_does_not_fit_is_refused(names, position, says):
    with pytest.raises(ValueError, match=says):
        Bench().hand.lead(0, names, position)


# --- a hand that corrects ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action_type", ["delta", "absolute"])
def test_a_correcting_hand_adds_to_the_vla_at_most_what_the_actor_may(action_type):
    bench = Bench(action_type, mode="actor", hand_moves="residual")
    bench.controller.set_critical(True, bench.now)
    bench.take_over()
    bench.deflection = {"joy": FULL}
    bench.tick(2 * CHUNK)
    bench.assert_no_jump()
    rows = np.concatenate(bench.rows)
    rows = rows[rows["source"] == Source.HUMAN]
    assert len(rows) == 2 * CHUNK - 1  # the last has no reward yet
    residual = (rows["action"] - rows["reference"].reshape(len(rows), CHUNK, 3)[:, 0]) / bench.settings.step_residual_scale
    assert (np.abs(residual) <= 1.001).all()
    np.testing.assert_allclose(residual[CHUNK:], np.tile(FULL, (CHUNK - 1, 1)), atol=1e-3)


def test_a_corrected_residual_is_bounded_whatever_is_sent():
    bench = Bench()
    bench.controller.proposals.set_human(bench.now, np.array([1e3, -1e3, 0.0]), corrects=True)
    base = bench.controller.proposals.base(bench.now)
    np.testing.assert_array_equal(bench.controller.proposals.human(bench.now), base + np.array(bench.settings.residual_scale) * [1.0, -1.0, 0.0])


def test_where_the_vla_is_silent_a_correction_moves_nothing():
    bench = Bench(hand_moves="residual")
    bench.take_over()
    bench.deflection = {"joy": FULL}
    bench.controller.proposals.forget("vla/reference")
    bench.controller.proposals.set_human(bench.now, np.ones(3), corrects=True)
    assert bench.controller.proposals.human(bench.now) is None
    command = bench.controller.tick(bench.now + 1)
    assert bench.controller.source == Source.HOLD and command is not None


def test_a_leader_corrects_by_how_far_it_was_moved():
    bench = Bench(hand_moves="residual", leader_full=0.1)
    bench.leader = np.array([1.0, 2.0, 3.0])
    bench.tick()
    bench.take_over()
    bench.leader = bench.leader + [0.05, -0.3, 0.0]
    bench.tick()
    bound = np.array(bench.settings.residual_scale)
    np.testing.assert_allclose(bench.hand.action(bench.now), bound * [0.5, -1.0, 0.0])


def test_letting_go_of_a_correction_leaves_the_vla_as_it_was():
    bench = Bench(hand_moves="residual")
    bench.take_over()
    bench.deflection = {"joy": FULL}
    bench.tick(10)
    bench.deflection = {}
    bench.hand.hand_back("keys")
    np.testing.assert_array_equal(bench.hand.action(bench.now), np.zeros(3))
    bench.tick(20)
    bench.assert_no_jump()
    assert bench.sources[-1] == Source.VLA


def test_what_a_hand_moves_is_switched_while_nobody_holds_it():
    bench = Bench()
    assert not bench.hand.corrects
    bench.take_over()
    assert bench.hand.switch() == "hand back first"
    bench.hand.hand_back("keys")
    bench.tick()
    assert bench.hand.switch() == "" and bench.hand.corrects
