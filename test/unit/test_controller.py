"""The control loop: when the arm may move, what it does when inputs fail, and what is recorded."""

from __future__ import annotations

import numpy as np
import pytest
import small_robot
from hypothesis import HealthCheck, given
from hypothesis import settings as run
from hypothesis import strategies as st
from small_robot import CHUNK, HOME, HORIZON, STEP
from test_filter import within_limits

from rl_token_ros.control.arming import Refused
from rl_token_ros.control.chunk import Chunk, ChunkError
from rl_token_ros.control.controller import Command, Controller
from rl_token_ros.interfaces.codes import Clipped, Ended, Source
from rl_token_ros.policy.actor import ResidualActor
from rl_token_ros.settings.parameters import ParameterError

PERIOD = 20_000_000
SECOND = 1_000_000_000
START = 1_000 * SECOND


class Arm:
    """A controller and an arm that goes where it is told at once; time goes on by ticks. What is in ``silent`` sends nothing.

    Its measurements arrive ``lag`` ticks after they were made.
    """

    def __init__(self, lag: int = 0, **changes) -> None:
        self.lag, self.measured, self.step = lag * PERIOD, [(0, HOME)], STEP  # stamp in ns, position
        self.settings = small_robot.settings(**changes)
        self.controller = Controller(self.settings, ResidualActor(small_robot.TOKEN, 9, CHUNK, 3, layers=2))
        self.now = START
        self.position = HOME.copy()
        self.silent: set[str] = set()
        self.commands: list[Command | None] = []
        self.rows: list[np.ndarray] = []
        self.endings: list[int] = []

    def sense(self) -> None:
        """Fresh inputs with the stamp of now."""
        if "pose" not in self.silent:
            self.measured.append((self.now, self.position))
            self.controller.state.update_pose(*[one for one in self.measured if one[0] <= self.now - self.lag][-1], small_robot.DOWN)
        if "wrench" not in self.silent:
            self.controller.state.update_wrench(self.now, (0, 0, 0), (0, 0, 0))
        if "vla" not in self.silent:
            self.controller.proposals.set_chunk(Chunk(self.now, PERIOD, np.tile(self.step, (HORIZON, 1))), self.now)
            self.controller.proposals.set_token(self.now, np.zeros(small_robot.TOKEN, np.float32), self.now)

    def tick(self, count: int = 1) -> Command | None:
        for _ in range(count):
            self.now += PERIOD
            self.sense()
            self.commands.append(self.controller.tick(self.now))
            if self.commands[-1] is not None:
                self.position = self.commands[-1].position
            rows, endings = self.controller.episode.take()
            self.rows += rows
            self.endings += endings
        return self.commands[-1]

    def enable(self) -> None:
        self.sense()
        self.controller.enable(self.now)

    def column(self, name: str) -> list:
        return [row[name][0].tolist() for row in self.rows]


@pytest.fixture
def arm() -> Arm:
    made = Arm()
    made.enable()
    return made


@pytest.fixture
def practising() -> Arm:
    """In mode actor, in the critical phase, with weights whose residual is a half."""
    made = Arm(mode="actor")
    made.controller.actor.weights = small_robot.make_weights(5, residual=0.5)
    made.enable()
    made.controller.set_critical(True, made.now)
    return made


# --- the switch ---------------------------------------------------------------------------------------------------------


def test_nothing_is_commanded_before_it_is_enabled():
    arm = Arm()
    assert arm.tick(50) is None
    assert set(arm.commands) == {None}


@pytest.mark.parametrize("silent, says", [("pose", "no measurement of ee_position"), ("wrench", "wrench_force"), ("vla", "no fresh chunk")])
def test_it_is_not_enabled_without_every_input(silent, says):
    arm = Arm()
    arm.silent = {silent}
    with pytest.raises(Refused, match=says):
        arm.enable()
    assert arm.tick() is None


@pytest.mark.parametrize("silent, says", [("pose", "state_timeout is 0.2"), ("wrench", "state_timeout is 0.2"), ("vla", "no fresh chunk")])
def test_it_is_not_enabled_on_old_inputs(silent, says):
    arm = Arm()
    arm.tick()
    arm.silent = {silent}
    arm.tick(60)
    with pytest.raises(Refused, match=says):
        arm.enable()


def test_it_is_not_enabled_beside_another_publisher():
    arm = Arm()
    arm.sense()
    with pytest.raises(Refused, match="'command' is also published by /servo, /teleop; stop that first"):
        arm.controller.enable(arm.now, ["/teleop", "/servo"])
    assert arm.tick() is None


def test_it_is_not_enabled_outside_the_position_limits():
    arm = Arm()
    arm.position = np.array([0.29, 0.0, 0.1])
    with pytest.raises(Refused, match="outside position_min"):
        arm.enable()


def test_it_is_not_enabled_outside_the_workspace():
    arm = Arm(workspace_min=[0.0, 0.0, 0.0], workspace_max=[1.0, 1.0, 0.05])
    with pytest.raises(Refused, match="outside the box"):
        arm.enable()
    assert arm.controller.stop_reason == ""


def test_it_is_not_enabled_when_the_first_command_would_turn_the_tool():
    Arm(tool_orientation=[-1.0, 0.0, 0.0, 0.0]).enable()  # the same orientation as DOWN
    arm = Arm(tool_orientation=[0.0, 0.0, 0.0, 1.0])
    with pytest.raises(Refused, match="turned by 3.14 rad from tool_orientation"):
        arm.enable()


@pytest.mark.parametrize("given, told", [([], small_robot.DOWN), ([-1.0, 0.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0])])
def test_a_command_says_where_the_tool_was_when_the_arm_was_enabled(given, told):
    arm = Arm(tool_orientation=given)
    arm.enable()
    at, turn = arm.tick().pose
    np.testing.assert_allclose(at, arm.position, atol=0.01)
    assert turn.tolist() == list(told)
    assert arm.tick().pose[0] is at  # and not where it is since


def test_the_first_command_starts_at_the_measured_position():
    arm = Arm()
    arm.tick(5)
    arm.position = measured = HOME + [0.03, -0.05, 0.02]
    arm.now += PERIOD
    arm.enable()
    command = arm.tick()
    within_limits(measured, command.position, np.zeros(3), arm.controller.filter.limits, 0.02)


# --- until commands arrive ------------------------------------------------------------------------------------------------


@pytest.fixture
def unheard() -> Arm:
    """Enabled, with an arm that nothing reaches yet and that is moved by hand meanwhile."""
    made = Arm()
    made.enable()
    made.controller.await_handshake()
    return made


def lose(arm: Arm, ticks: int, drift: float = 1e-4) -> list[tuple[np.ndarray, Command]]:
    """Commands that do not arrive, each with where the arm was measured then."""
    lost = []
    for _ in range(ticks):
        arm.position = measured = arm.position + [drift, 0.0, 0.0]
        if (command := arm.tick()) is not None:
            lost.append((measured, command))
        arm.position = measured
    return lost


def test_the_first_command_that_arrives_starts_at_the_measured_position_however_many_were_lost(unheard):
    lost = lose(unheard, 60)
    assert len(lost) == 12  # ten a second
    for measured, command in lost:
        assert command.holding and not command.velocity.any()
        np.testing.assert_array_equal(command.position, measured)
    unheard.controller.shaken()
    command = unheard.tick()
    assert not command.holding
    within_limits(lost[-1][0], command.position, np.zeros(3), unheard.controller.filter.limits, 0.02)


def test_the_first_motion_goes_on_from_where_the_arm_was_last_told_to_be(unheard):
    """An acknowledged command is where the arm's controller is; a measurement that is on its way says where it was."""
    told = lose(unheard, 58, drift=4e-4)[-1][1].position
    unheard.controller.shaken()
    within_limits(told, unheard.tick().position, np.zeros(3), unheard.controller.filter.limits, 0.02)


@pytest.mark.parametrize("lag", [0, 3, 8])
def test_enabled_again_at_once_the_arm_is_not_led_back_to_where_it_was_measured_on_its_way_to_rest(lag):
    """Every command within the limits of the one before, whoever disabled and enabled it in between, and however late it is measured."""
    arm = Arm(lag=lag)
    arm.step = 8 * STEP
    arm.tick(1 + lag)
    arm.enable()
    arm.tick(20)
    before, velocity, limits = arm.position, arm.controller.filter.velocity, arm.controller.filter.limits
    arm.controller.disable()
    for _ in range(100):
        try:
            arm.enable()
            arm.controller.await_handshake()
            break
        except Refused as refused:
            assert "coming to rest" in str(refused)
        if (command := arm.tick()) is not None:
            velocity, before = within_limits(before, command.position, velocity, limits, 0.02), command.position
    for _ in range(30):
        if (command := arm.tick()) is not None:
            velocity, before = within_limits(before, command.position, velocity, limits, 0.02), command.position
            arm.controller.shaken()
    assert velocity.any()


def test_an_arm_that_nothing_reaches_is_stopped_before_anybody_has_forgotten_it(unheard):
    lose(unheard, 500, drift=0.0)
    assert unheard.controller.stop_reason == ""
    lose(unheard, 1, drift=0.0)
    assert "has not acknowledged it for 10 s" in unheard.controller.stop_reason
    unheard.controller.shaken()
    assert unheard.tick().holding


@pytest.mark.parametrize("how", ["stop", "disable", "silence", "outside"])
def test_whatever_ends_motion_ends_the_waiting_too(unheard, how):
    lose(unheard, 3)
    if how == "silence":
        unheard.silent = {"pose"}
        lose(unheard, 60)
        assert "state_timeout" in unheard.controller.stop_reason
    elif how == "outside":
        unheard.position = np.array([0.6, 0.0, 0.1])
        lose(unheard, 5)
        assert "outside position_min" in unheard.controller.stop_reason
    else:
        {"stop": lambda: unheard.controller.stop("test"), "disable": unheard.controller.disable}[how]()
    unheard.controller.shaken()
    assert unheard.tick().holding


def test_an_episode_that_begins_meanwhile_has_no_step_before_commands_arrive():
    arm = Arm(mode="actor")
    arm.controller.actor.weights = small_robot.make_weights(5, residual=0.5)
    arm.enable()
    arm.controller.await_handshake()
    arm.controller.set_critical(True, arm.now)
    lose(arm, 20)
    arm.controller.shaken()
    arm.tick(10)
    arm.controller.end_episode(Ended.SUCCESS)
    arm.tick()
    assert arm.column("step") == list(range(20, 30))


def test_enabling_a_moving_arm_again_does_not_jolt_it(arm):
    limits, velocity = arm.controller.filter.limits, np.zeros(3)
    arm.tick(20)
    velocity = arm.controller.filter.velocity
    before = arm.position
    arm.position = before - [0.005, 0.0, 0.0]  # the arm lags behind its command
    arm.now += PERIOD
    arm.enable()
    within_limits(before, arm.tick().position, velocity, limits, 0.02)


def leave(arm: Arm) -> list[Command]:
    """The commands of a disabled arm until it is silent."""
    begin = len(arm.commands)
    while arm.tick() is not None:
        assert len(arm.commands) - begin < 200
    return arm.commands[begin:-1]


def test_disabled_it_comes_to_rest_where_it_was_measured_and_is_silent_then(practising):
    practising.tick(20)
    limits, velocity, before = practising.controller.filter.limits, practising.controller.filter.velocity, practising.position
    assert np.abs(velocity).max() > 0.01
    practising.controller.disable()
    last = leave(practising)
    for command in last:
        velocity = within_limits(before, command.position, velocity, limits, 0.02)
        before = command.position
    assert np.abs(last[-1].velocity).max() < 1e-9
    np.testing.assert_allclose(last[-1].position, practising.commands[18].position, atol=1e-9)  # where the arm was when it last said so
    assert practising.tick(50) is None
    assert practising.endings == [Ended.ABORTED]


def test_it_is_not_enabled_again_before_it_has_come_to_rest(arm):
    arm.tick(20)
    arm.controller.disable()
    with pytest.raises(Refused, match="coming to rest"):
        arm.enable()
    leave(arm)
    arm.enable()
    assert not arm.tick().holding


def test_a_disabled_arm_that_is_carried_around_is_not_followed_for_ever(arm):
    arm.tick(20)
    arm.controller.disable()
    commands = 0
    for i in range(300):
        arm.position = HOME + [0.03 * np.sin(i), 0.0, 0.0]
        arm.now += PERIOD
        arm.sense()
        commands += arm.controller.tick(arm.now) is not None
    assert commands < 60


@pytest.mark.parametrize("way", ["disable", "stop", "silence"])
def test_a_velocity_interface_brakes_to_zero_speed_where_a_position_interface_holds(way):
    arm = Arm(command_interface="twist")
    arm.enable()
    arm.tick(20)
    lag = np.array([0.004, 0.0, 0.0])
    velocity, limits = arm.controller.filter.velocity, arm.controller.filter.limits
    assert velocity[0] > 0.0
    {"disable": arm.controller.disable, "stop": lambda: arm.controller.stop("test"), "silence": lambda: arm.silent.add("vla")}[way]()
    if way == "silence":
        arm.tick(HORIZON - 1)
    for _ in range(30):
        arm.position = arm.position - lag  # the arm is not where the count of commands says
        command = arm.tick()
        if command is None:
            break
        assert (np.abs(velocity - command.velocity) <= limits.acceleration * 0.02 + 1e-9).all()
        assert (command.velocity * velocity >= 0.0).all()  # it never turns back
        velocity = command.velocity
    np.testing.assert_array_equal(velocity, 0.0)


# --- stop ---------------------------------------------------------------------------------------------------------------


def test_a_stop_acts_in_the_next_tick_and_latches(arm):
    arm.tick(20)
    arm.controller.stop("test")
    assert arm.tick().holding
    arm.tick(50)
    assert all(command.holding for command in arm.commands[20:])
    assert np.abs(arm.commands[-1].velocity).max() < 1e-9
    with pytest.raises(Refused, match="stopped: test; call ~/reset_stop first"):
        arm.enable()


def test_resetting_a_stop_leaves_the_arm_disabled(arm):
    arm.controller.stop("test")
    arm.tick()
    arm.controller.reset_stop()
    assert arm.tick(5) is None
    arm.enable()
    assert not arm.tick().holding


def test_a_stop_while_disabled_keeps_it_from_being_enabled():
    arm = Arm()
    arm.controller.stop("test")
    with pytest.raises(Refused, match="stopped: test"):
        arm.enable()


def test_the_first_reason_of_a_stop_is_kept(arm):
    arm.controller.stop("first")
    arm.controller.stop("second")
    assert arm.controller.stop_reason == "first"


def test_a_human_does_not_move_a_stopped_arm(arm):
    arm.controller.stop("test")
    arm.tick(50)
    resting = arm.position
    arm.controller.proposals.set_human(arm.now, np.array([0.002, 0.0, 0.0]))
    arm.tick(5)
    np.testing.assert_allclose(arm.position, resting, atol=1e-9)


# --- the ladder ---------------------------------------------------------------------------------------------------------


def test_the_old_chunk_goes_on_then_the_arm_holds_then_it_stops():
    arm = Arm(hold_timeout=0.5, chunk_timeout=10.0)
    arm.enable()
    arm.tick()
    arm.silent = {"vla"}
    arm.tick(HORIZON + 60)
    holding = [command.holding for command in arm.commands]
    assert holding == [False] * HORIZON + [True] * 61
    assert "no usable chunk" in arm.controller.stop_reason
    assert arm.controller.counts["ticks_holding"] == 26  # 0.5 s, both ends
    arm.silent = set()
    assert arm.tick(5).holding


def test_holding_ends_by_itself_when_a_chunk_comes(arm):
    arm.silent = {"vla"}
    assert arm.tick(HORIZON + 5).holding
    arm.silent = set()
    assert not arm.tick().holding


def test_it_holds_what_was_measured_not_what_was_commanded(arm):
    arm.tick(20)
    arm.silent = {"vla"}
    arm.tick(HORIZON - 1)
    arm.position = measured = arm.position - [0.004, 0.0, 0.0]
    arm.now += PERIOD
    arm.sense()
    assert arm.controller.tick(arm.now).holding
    for _ in range(40):
        arm.now += PERIOD
        arm.sense()
        command = arm.controller.tick(arm.now)
    np.testing.assert_allclose(command.position, measured, atol=1e-9)


@pytest.mark.parametrize("age, used", [(0, True), (299_999_999, True), (300_000_000, True), (300_000_001, False), (-1, False)])
def test_a_chunk_is_used_up_to_its_age_limit(age, used):
    arm = Arm(chunk_timeout=0.3)
    arm.silent = {"vla"}
    arm.sense()
    arm.controller.proposals.set_chunk(Chunk(arm.now - age, PERIOD, np.tile(STEP, (HORIZON, 1))), arm.now)
    if used:
        arm.controller.enable(arm.now)
    else:
        with pytest.raises(Refused, match="no fresh chunk"):
            arm.controller.enable(arm.now)


def test_a_chunk_or_token_from_the_future_is_refused_and_does_not_keep_later_ones_out(arm):
    with pytest.raises(ChunkError, match="in the future"):
        arm.controller.proposals.set_chunk(Chunk(arm.now + SECOND, PERIOD, np.zeros((HORIZON, 3))), arm.now)
    with pytest.raises(ValueError, match="in the future"):
        arm.controller.proposals.set_token(arm.now + SECOND, np.ones(small_robot.TOKEN, np.float32), arm.now)
    assert not arm.tick(HORIZON + 5).holding


def test_an_older_chunk_does_not_replace_a_newer_one(arm):
    arm.tick()
    arm.controller.proposals.set_chunk(Chunk(arm.now - 1, PERIOD, np.full((HORIZON, 3), 9.0)), arm.now)
    assert arm.controller.proposals.chunk.age_ns(arm.now) == 0


@pytest.mark.parametrize("silent", ["pose", "wrench"])
@pytest.mark.parametrize("holding", [False, True])
def test_old_measurements_stop_the_arm_also_while_it_holds(arm, silent, holding):
    if holding:
        arm.silent = {"vla"}
        arm.tick(HORIZON + 5)
    arm.silent = arm.silent | {silent}
    arm.tick(10)
    assert arm.controller.stop_reason == ""  # exactly state_timeout old
    arm.tick()
    assert "state_timeout is 0.2 s" in arm.controller.stop_reason
    arm.silent = set()
    assert arm.tick(5).holding


def test_commands_stay_in_the_workspace_box_and_so_does_the_arm():
    arm = Arm(workspace_min=[0.3, -0.1, 0.095], workspace_max=[0.405, 0.1, 0.2])
    arm.enable()
    arm.tick(200)
    np.testing.assert_allclose(arm.position, [0.405, 0.0, 0.095], atol=1e-9)
    assert arm.controller.stop_reason == ""
    assert arm.controller.counts["filter_position"] > 50


def test_a_box_that_leaves_no_room_for_commands_is_refused():
    with pytest.raises(ParameterError, match="leave nothing of the box .* for z"):
        Arm(workspace_min=[0.3, -0.1, 0.2], workspace_max=[0.5, 0.1, 0.3])


def test_leaving_the_workspace_stops_the_arm():
    arm = Arm(workspace_min=[0.0, -0.1, 0.0], workspace_max=[1.0, 0.1, 0.2])
    arm.enable()
    arm.tick(5)
    arm.position = HOME + [0.0, 0.0, 0.11]
    assert arm.tick().holding
    assert "outside the box" in arm.controller.stop_reason


def test_a_clock_that_goes_back_stops_the_arm_and_forgets_every_input(practising):
    practising.tick(10)
    practising.now -= 5 * SECOND
    assert practising.tick().holding
    assert "went back by 4.980 s" in practising.controller.stop_reason
    assert practising.endings == [Ended.ABORTED]
    practising.tick(3)
    assert set(practising.controller.state.stamps.values()) == {practising.now}
    practising.controller.reset_stop()
    practising.now += PERIOD
    practising.enable()
    assert not practising.tick().holding


@pytest.mark.parametrize("back", [1, 1_000_000, 50_000_000])
def test_a_clock_that_is_corrected_by_a_little_does_not_stop_the_arm(practising, back):
    practising.tick(10)
    practising.now -= PERIOD + back
    limits, velocity, before = practising.controller.filter.limits, practising.controller.filter.velocity, practising.position
    for _ in range(5):
        command = practising.tick()
        velocity = within_limits(before, command.position, velocity, limits, 0.02)
        before = command.position
        assert not command.holding
    assert practising.controller.stop_reason == "" and practising.controller.episode.active
    assert practising.controller.counts["clock_corrections"] == -(-back // PERIOD)
    stamps = [int(row["stamp_sec"][0]) * SECOND + int(row["stamp_nanosec"][0]) for row in practising.rows]
    assert stamps == sorted(stamps)


@pytest.mark.parametrize("ahead", [0.9, 1.1, 100.0])
def test_a_clock_that_leaps_ahead_stops_the_arm_even_if_all_inputs_are_fresh_again(practising, ahead):
    practising.tick(10)
    practising.now += round(ahead * SECOND) - PERIOD
    practising.tick()
    assert ("no control step for" in practising.controller.stop_reason) == (ahead > 1.0), practising.controller.stop_reason
    practising.now += 100 * SECOND
    practising.controller.reset_stop()
    practising.tick(2)
    assert practising.controller.stop_reason == ""  # an arm that is disabled is not stopped for that


def test_a_clock_that_goes_back_little_by_little_stops_the_arm(arm):
    for _ in range(10):
        arm.now -= 2 * PERIOD
        arm.tick()
    assert "the clock went back" in arm.controller.stop_reason


@pytest.mark.parametrize("first", ["pose", "wrench"])
def test_after_a_clock_jump_inputs_may_return_one_by_one(arm, first):
    arm.tick(10)
    arm.now -= 5 * SECOND
    arm.silent = {"pose", "wrench", "vla"}
    arm.tick()
    arm.silent = {"pose", "wrench", "vla"} - {first}
    assert arm.tick(3).holding
    assert np.isfinite(arm.tick().position).all()


def test_a_clock_that_leaps_ahead_stops_the_arm(arm):
    arm.tick(5)
    arm.silent = {"pose"}
    arm.now += 3600 * SECOND
    assert arm.tick().holding
    assert "state_timeout" in arm.controller.stop_reason


# --- human --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("age, acts", [(0, True), (200_000_000, True), (200_000_001, False), (-10_000_000, True), (-SECOND, False)])
def test_the_human_acts_while_the_intervention_is_fresh(practising, age, acts):
    practising.tick(2)
    practising.controller.proposals.set_human(practising.now + PERIOD - age, np.array([-0.0001, 0.0, 0.0]))
    practising.tick(2 if age < 200_000_000 else 1)
    practising.controller.end_episode(Ended.FAILURE)
    practising.tick()
    assert (Source.HUMAN in practising.column("source")) == acts


def test_the_human_goes_through_the_same_filter(arm):
    limits, before, velocity = arm.controller.filter.limits, arm.position, np.zeros(3)
    for _ in range(50):
        arm.controller.proposals.set_human(arm.now + PERIOD, np.array([1e6, -1e6, 1e300]))
        command = arm.tick()
        velocity = within_limits(before, command.position, velocity, limits, 0.02)
        before = command.position


def test_an_intervention_that_is_not_finite_is_refused(arm):
    with pytest.raises(ValueError, match="'intervention' holds values that are not finite"):
        arm.controller.proposals.set_human(arm.now, np.array([0.0, np.nan, 0.0]))


# --- base, actor, shadow ------------------------------------------------------------------------------------------------


def residuals(arm: Arm) -> np.ndarray:
    """(executed - reference) / scale of the recorded rows once the velocity has settled, [n, 3]."""
    reference = np.array(arm.column("reference"))[:, :3]
    return ((np.array(arm.column("action")) - reference) / 0.0008)[10:]


@pytest.mark.parametrize("mode, residual, source, version", [("actor", 0.5, 1, 5), ("shadow", 0.0, 0, 0), ("vla", 0.0, 0, 0)])
def test_each_mode_executes_and_records_what_it_says(practising, mode, residual, source, version):
    practising.controller.change(small_robot.settings(mode=mode))
    practising.tick(30)
    np.testing.assert_allclose(residuals(practising), residual, atol=1e-3)
    assert set(practising.column("source")) == {source}
    assert set(practising.column("weights_version")) == {version}


def test_the_mode_changes_between_two_ticks(practising):
    practising.tick(20)
    practising.controller.change(small_robot.settings(mode="vla"))
    practising.tick(20)
    assert practising.column("source") == [1] * 20 + [0] * 19
    np.testing.assert_allclose(residuals(practising)[-5:], 0.0, atol=1e-3)


def test_outside_the_critical_phase_the_base_acts_alone_and_nothing_is_recorded():
    arm = Arm(mode="actor")
    arm.controller.actor.weights = small_robot.make_weights(residual=0.5)
    arm.enable()
    arm.tick(30)
    np.testing.assert_allclose(arm.commands[-1].velocity * 0.02, STEP, atol=1e-9)
    assert arm.rows == []


def test_without_weights_the_base_acts_alone(practising):
    practising.controller.actor.weights = None
    practising.tick(30)
    np.testing.assert_allclose(residuals(practising), 0.0, atol=1e-3)


@pytest.mark.parametrize("interval", [1, 2, CHUNK])
def test_new_weights_act_and_are_recorded_from_the_next_plan_on(interval):
    arm = Arm(mode="actor", replan_interval=interval, acceleration_limit=[100.0] * 3)
    arm.controller.actor.weights = small_robot.make_weights(5, residual=0.0)
    arm.enable()
    arm.controller.set_critical(True, arm.now)
    arm.tick(CHUNK + 1)  # a plan of CHUNK steps and, where the interval is CHUNK, the first step of the next
    arm.controller.actor.weights = small_robot.make_weights(6, residual=0.5)
    arm.tick(2 * CHUNK)
    versions = np.array(arm.column("weights_version"))
    executed = (np.array(arm.column("action")) - np.array(arm.column("reference"))[:, :3])[:, 0] / 0.0008
    np.testing.assert_allclose(executed, np.where(versions == 6, 0.5, 0.0), atol=1e-3)
    assert list(versions).count(5) == -(-(CHUNK + 1) // interval) * interval


def test_exploration_is_one_draw_per_chunk_within_the_bound_and_repeatable():
    traces = []
    for _ in range(2):
        arm = Arm(mode="actor", exploration_sigma=0.8, acceleration_limit=[100.0] * 3)
        arm.controller.actor.weights = small_robot.make_weights()
        arm.enable()
        arm.controller.set_critical(True, arm.now)
        arm.tick(10 * CHUNK + 1)
        reference = np.array(arm.column("reference"))[:, :3]
        traces.append(((np.array(arm.column("action")) - reference) / 0.0008).reshape(10, CHUNK, 3))
    np.testing.assert_array_equal(*traces)
    np.testing.assert_allclose(traces[0], traces[0][:, :1].repeat(CHUNK, axis=1), atol=1e-3)
    assert np.abs(traces[0]).max() <= 1.001
    assert len(np.unique(traces[0][:, 0].round(6), axis=0)) == 10


@pytest.mark.parametrize("automatic", [False, True])
def test_an_actor_that_gives_nonsense_moves_nothing_and_is_left(automatic):
    practising = Arm(mode="actor", auto_revert=automatic)
    practising.controller.actor.weights = small_robot.make_weights(5, residual=0.5)
    practising.enable()
    practising.controller.set_critical(True, practising.now)
    practising.tick(10)
    broken = small_robot.make_weights()
    broken.tensors["b2"][:] = np.nan
    practising.controller.actor.weights = broken
    limits, before, velocity = practising.controller.filter.limits, practising.position, practising.controller.filter.velocity
    for _ in range(30):
        command = practising.tick()
        velocity = within_limits(before, command.position, velocity, limits, 0.02)
        before = command.position
    nonsense = practising.controller.counts["filter_not_finite"]
    assert nonsense == 1 if automatic else nonsense > 20
    assert practising.controller.actor.version == (0 if automatic else 1)
    np.testing.assert_allclose(velocity * 0.02, STEP if automatic else 0.0, atol=1e-9)  # the base, or nothing


def test_absolute_actions_are_positions_to_be_in():
    arm = Arm(action_type="absolute")
    goal = HOME + [0.01, -0.02, 0.005]
    arm.silent = {"vla"}
    arm.sense()
    arm.controller.proposals.set_chunk(Chunk(arm.now, SECOND, np.tile(goal, (HORIZON, 1))), arm.now)
    arm.controller.enable(arm.now)
    for _ in range(49):
        arm.tick()
    np.testing.assert_allclose(arm.position, goal, atol=1e-6)


def test_a_delta_is_per_chunk_step_whatever_the_control_rate():
    arm = Arm(control_rate=100.0)
    arm.enable()
    arm.tick(30)
    np.testing.assert_allclose(arm.commands[-1].velocity, STEP / 0.02, atol=1e-9)


# --- episodes -----------------------------------------------------------------------------------------------------------


def test_a_row_records_what_was_seen_and_what_was_sent(practising):
    practising.tick()
    command = practising.commands[-1]
    practising.controller.end_episode(Ended.SUCCESS)
    practising.tick()
    (row,) = (row[0] for row in practising.rows)
    np.testing.assert_allclose(row["action"], command.position - HOME, atol=1e-9)
    np.testing.assert_allclose(row["reference"].reshape(CHUNK, 3), np.tile(STEP, (CHUNK, 1)), rtol=1e-6)
    np.testing.assert_allclose(row["proprio"][:3], HOME, rtol=1e-6)
    np.testing.assert_allclose(row["proprio"][3:6], 0.0, atol=1e-9)
    assert (row["reward"], row["ended"], row["critical"], row["clipped"]) == (1.0, Ended.SUCCESS, 1, 0)


def test_what_the_filter_changed_is_marked_and_counted():
    arm = Arm(acceleration_limit=[0.1] * 3)
    arm.enable()
    arm.controller.set_critical(True, arm.now)
    arm.tick(2)
    assert arm.column("clipped") == [Clipped.ACCELERATION]
    np.testing.assert_allclose(arm.column("action")[0], arm.commands[0].position - HOME, atol=1e-9)
    assert arm.controller.counts["filter_acceleration"] == 2


def test_an_outcome_between_two_ticks_ends_the_last_step(practising):
    practising.tick(5)
    practising.controller.end_episode(Ended.FAILURE)
    practising.tick(5)
    assert practising.column("ended") == [0, 0, 0, 0, Ended.FAILURE]
    assert practising.column("reward") == [0.0] * 5


def test_the_time_limit_ends_an_episode_and_the_next_one_counts_on():
    arm = Arm(episode_time_limit=0.1)
    arm.enable()
    arm.controller.set_critical(True, arm.now)
    arm.tick(8)
    assert arm.endings == [Ended.TIME_LIMIT]
    assert arm.column("ended") == [0, 0, 0, Ended.TIME_LIMIT]
    arm.controller.set_critical(True, arm.now)
    arm.tick(8)
    assert arm.column("seq") == list(range(8))
    assert arm.column("episode") == [1] * 4 + [2] * 4


def test_the_end_of_the_critical_phase_aborts_an_episode_without_outcome(practising):
    practising.tick(3)
    practising.controller.set_critical(False, practising.now)
    practising.tick()
    assert practising.endings == [Ended.ABORTED]


@pytest.mark.parametrize("prepare", [lambda arm: arm.controller.disable(), lambda arm: arm.controller.stop("test")])
def test_no_episode_begins_while_the_arm_may_not_move(arm, prepare):
    prepare(arm)
    arm.controller.set_critical(True, arm.now)
    arm.tick(3)
    assert not arm.controller.episode.active


def test_holding_leaves_a_gap_in_step_and_none_in_seq(practising):
    practising.tick(3)
    practising.silent = {"vla"}
    practising.tick(HORIZON + 4)
    practising.silent = set()
    practising.tick(3)
    practising.controller.stop("test")
    practising.tick()
    steps = np.array(practising.column("step"))
    assert (np.diff(steps) > 1).sum() == 1
    assert practising.column("seq") == list(range(len(steps)))
    assert practising.column("ended")[-1] == Ended.ABORTED


def test_a_discard_while_holding_marks_the_episode_aborted(practising):
    practising.tick(3)
    practising.silent = {"vla"}
    practising.tick(HORIZON + 5)
    practising.controller.end_episode(Ended.ABORTED)
    practising.tick()
    assert practising.column("ended")[-1] == Ended.ABORTED


# --- whatever happens -----------------------------------------------------------------------------------------------------

events = st.lists(
    st.sampled_from(
        ["tick", "tick", "tick", "lose vla", "lose pose", "back", "ahead", "enable", "disable", "stop", "reset", "critical", "over",
         "success", "human", "push", "garbage chunk", "vla mode", "nan weights"]
    ),
    max_size=60,
)  # fmt: skip


@run(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events, st.sampled_from(["delta", "absolute"]))
def test_whatever_happens_every_command_keeps_every_limit(events, action_type):
    box = {"workspace_min": [0.35, -0.2, 0.05], "workspace_max": [0.45, 0.05, 0.15]}  # narrower than the limits of position, but for one
    arm = Arm(mode="actor", action_type=action_type, hold_timeout=0.2, episode_time_limit=0.5, **box)
    controller, limits = arm.controller, arm.controller.filter.limits
    np.testing.assert_array_equal([limits.position_min, limits.position_max], [[0.35, -0.1, 0.05], [0.45, 0.05, 0.15]])
    controller.actor.weights = small_robot.make_weights(residual=0.9)
    arm.enable()
    before, velocity = arm.position, np.zeros(3)
    for event in events:
        arm.silent = {"vla"} if event == "lose vla" else {"pose"} if event == "lose pose" else set()
        if event in ("back", "ahead"):
            arm.now += SECOND if event == "ahead" else -SECOND
        elif event == "enable":
            try:
                was = controller.enabled
                arm.enable()
                if not was:  # it begins at rest where it is measured
                    before, velocity = arm.position, np.zeros(3)
            except Refused:
                pass
        elif event == "human":
            controller.proposals.set_human(arm.now, np.array([1.0, -1.0, 1e200]))
        elif event == "push":
            arm.position = np.clip(arm.position + [0.01, -0.01, 0.01], limits.position_min, limits.position_max)
        elif event == "garbage chunk":
            controller.proposals.set_chunk(Chunk(arm.now + 1, PERIOD, np.full((HORIZON, 3), 1e308)), arm.now)
        elif event == "vla mode":
            controller.change(small_robot.settings(action_type=action_type))
        elif event == "nan weights" and controller.actor.weights is not None:  # None: they were left
            controller.actor.weights.tensors["b2"][:] = np.nan
        elif event in ("critical", "over"):
            controller.set_critical(event == "critical", arm.now)
        elif event == "success":
            controller.end_episode(Ended.SUCCESS)
        elif event in ("disable", "stop", "reset"):
            {"disable": controller.disable, "stop": lambda: controller.stop("test"), "reset": controller.reset_stop}[event]()
        command = arm.tick(5 if event.startswith("lose") else 1)
        for given_command in arm.commands[-5 if event.startswith("lose") else -1 :]:
            if given_command is not None:
                velocity = within_limits(before, given_command.position, velocity, limits, 0.02)
                before = given_command.position
        assert command is not None or not controller.enabled
    assert arm.column("seq") == list(range(len(arm.rows)))
