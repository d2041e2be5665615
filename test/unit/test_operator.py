"""The operator's keys, buttons and axes, and the text of its screen, without ROS."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import small_robot

from rl_token_ros.control.tick_record import Event
from rl_token_ros.interfaces.codes import Ended, Source
from rl_token_ros.operator.devices import (
    JOG,
    KEYS,
    Joystick,
    Keyboard,
    SpaceMouse,
    beyond,
    keys,
)
from rl_token_ros.operator.screen import Screen, Tick
from rl_token_ros.settings import parameters
from rl_token_ros.settings.operator import REQUESTS, Operator

SECOND = 1_000_000_000
AXES, BUTTONS = 6, 11


def operator(**changes) -> Operator:
    return parameters.build(Operator, small_robot.shared(**changes))


def twist(**parts: float) -> SimpleNamespace:
    values = dict.fromkeys(("x", "y", "z"), 0.0)
    linear = SimpleNamespace(**{**values, **{name: value for name, value in parts.items() if name in values}})
    return SimpleNamespace(linear=linear, angular=SimpleNamespace(**{**values, "z": parts.get("yaw", 0.0)}))


def buttons(*pressed: int) -> list[int]:
    return [int(i in pressed) for i in range(BUTTONS)]


def axes(**values: float) -> list[float]:
    return [values.get(f"a{i}", 0.0) for i in range(AXES)]


# --- keyboard -------------------------------------------------------------------------------------------------------------------------


def test_keys_and_their_sequences_are_told_apart():
    assert keys(b"eT \x1b[A\x1b[5~c") == ["e", "t", " ", "up", "pageup", "c"]
    assert keys(b"\x1bOD") == ["left"]


def test_letters_of_an_unknown_sequence_are_no_keys():
    assert keys(b"\x1b[1;5C") == []  # Ctrl-Right; its C must not switch the critical phase
    assert keys(b"s\x1b[15~") == ["s"]


def test_every_key_asks_for_something_that_exists_and_none_is_a_jog_key_or_a_digit():
    assert set(KEYS.values()) == set(REQUESTS)
    assert not set(KEYS) & (set(JOG) | set("0123456789"))


def test_arrows_move_the_first_three_actions_and_a_digit_says_from_which_on():
    joints = [f"j{i}" for i in range(1, 6)]
    keyboard = Keyboard(operator(action_names=joints, joint_names=joints, residual_scale=[0.1] * 5, proprioception=["joint_position"]))
    assert keyboard.deflection(["s"]) is None
    np.testing.assert_array_equal(keyboard.deflection(["up", "right"]), [1, -1, 0, 0, 0])
    assert keyboard.choose("4") and not keyboard.choose("6") and not keyboard.choose("0") and not keyboard.choose("x")
    np.testing.assert_array_equal(keyboard.deflection(["down", "left"]), [0, 0, 0, -1, 1])
    assert keyboard.deflection(["pageup"]) is None  # there is no sixth action


# --- joystick -------------------------------------------------------------------------------------------------------------------------


def test_a_button_asks_once_however_long_it_is_held():
    joystick = Joystick(operator())
    joystick.take(axes(), buttons())
    assert joystick.take(axes(), buttons(0)) == ["success"]
    assert joystick.take(axes(), buttons(0)) == []
    assert joystick.take(axes(), buttons(0, 5)) == ["stop"]
    assert joystick.take(axes(), buttons()) == []
    assert joystick.take(axes(), buttons(0)) == ["success"]


def test_what_is_held_when_the_joystick_appears_counts_only_after_it_was_let_go():
    joystick = Joystick(operator())
    assert joystick.take(axes(), buttons(4, 7)) == [] and not joystick.held
    assert joystick.take(axes(), buttons(7)) == []
    assert joystick.take(axes(), buttons(4, 7)) == [] and joystick.held


def test_the_deadman_is_held_until_it_is_released_or_the_joystick_falls_silent():
    joystick = Joystick(operator())
    joystick.take(axes(), buttons())
    for pressed, held in (((4,), True), ((4, 0), True), ((), False), ((4,), True)):
        joystick.take(axes(), buttons(*pressed))
        assert joystick.held == held
    joystick.silent()
    joystick.take(axes(), buttons(4))
    assert not joystick.held
    joystick.take(axes(), buttons())
    joystick.take(axes(), buttons(4))
    assert joystick.held
    joystick.let_go()
    joystick.take(axes(), buttons(4))
    assert not joystick.held


def test_axes_have_a_dead_zone_signs_and_names():
    joystick = Joystick(operator(joy_axes=["x: -3", "z: 0"], dead_zone=0.2))
    joystick.take(axes(a3=0.2, a0=-1.0, a1=1.0), buttons())
    np.testing.assert_allclose(joystick.deflection, [0.0, 0.0, -1.0])
    joystick.take(axes(a3=0.6), buttons())
    np.testing.assert_allclose(joystick.deflection, [-0.5, 0.0, 0.0])
    np.testing.assert_allclose(Joystick(operator()).deflection, 0.0)


def test_a_joystick_with_fewer_buttons_is_refused_with_the_parameters():
    with pytest.raises(ValueError, match="'joy' has 2 axes and 4 buttons; parameters 'joy_axes' and 'joy_buttons' name axis 4 and button 8"):
        Joystick(operator()).take([0.0, 0.0], [0, 0, 0, 0])


def test_the_dead_zone_leaves_no_step():
    assert beyond(0.1, 0.1) == 0.0 and beyond(-0.1, 0.1) == 0.0 and beyond(float("nan"), 0.1) == 0.0
    assert beyond(0.1001, 0.1) < 1e-3
    assert beyond(1.0, 0.1) == 1.0 and beyond(-7.0, 0.1) == -1.0


# --- SpaceMouse -----------------------------------------------------------------------------------------------------------------------


def test_a_twist_moves_the_tool_as_its_axes_say():
    mouse = SpaceMouse(operator(dead_zone=0.0, twist_full=0.5))
    np.testing.assert_allclose(mouse.take("base_link", twist(x=0.25, z=-9.0)), [0.5, 0.0, -1.0])
    turned = SpaceMouse(operator(dead_zone=0.0, twist_axes=["x: -linear.y", "z: angular.z"]))
    np.testing.assert_allclose(turned.take("", twist(y=0.25, yaw=0.5)), [-0.25, 0.0, 0.5])


def test_a_twist_in_another_frame_or_for_no_action_is_refused():
    with pytest.raises(ValueError, match="'twist' is in frame 'tool0'; send it in base_frame 'base_link'"):
        SpaceMouse(operator()).take("tool0", twist(x=1.0))
    joints = operator(action_names=["a", "b", "c"], joint_names=["a", "b", "c"], proprioception=["joint_position"])
    with pytest.raises(ValueError, match="say with parameter 'twist_axes'"):
        SpaceMouse(joints).take("", twist(x=1.0))


# --- parameters -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, says",
    [
        ({"joy_axes": ["w: 1"]}, r"'joy_axes' has 'w: 1'; write ACTION: INDEX, as in 'x: -1', with one of \[x, y, z\]"),
        ({"joy_axes": ["x: up"]}, "'joy_axes' has 'x: up'"),
        ({"twist_axes": ["x: 1"]}, "'twist_axes' has 'x: 1'; write ACTION: PART, as in 'x: -linear.x'"),
        ({"joy_buttons": ["jump: 1"]}, "'joy_buttons' has 'jump: 1'; write REQUEST: INDEX with one of enable, "),
        ({"joy_buttons": ["success: 1", "stop: 1"]}, "uses button 1 twice, for success and stop"),
        ({"leader_names": ["a"]}, r"'leader_names' has 1 entries; write 3, one for each of \[x, y, z\]"),
        ({"jog_speed": [0.1]}, "'jog_speed' has 1 numbers; write 3"),
    ],
)
def test_bad_parameters_are_refused_with_what_to_write(change, says):
    with pytest.raises(parameters.ParameterError, match=says):
        operator(**change)


# --- the screen -----------------------------------------------------------------------------------------------------------------------


def row(now_ns: int, **changes) -> Tick:
    still = Tick(Event.TICK, now_ns, now_ns, True, False, Source.VLA, 0, 5, 0.25, False, 7, now_ns - 3 * SECOND, np.zeros(3))
    return still._replace(**changes)


def shown(screen: Screen, now_ns: int) -> str:
    return "\n".join(screen.lines(now_ns))


def test_it_says_when_control_node_is_not_heard():
    screen = Screen()
    assert "NOT HEARD: no ticks from /left/control_node" in "\n".join(screen.lines(0, "/left/control_node"))
    screen.ticked(row(SECOND), SECOND)
    assert "ENABLED" in shown(screen, SECOND + SECOND // 2) and screen.may_move(SECOND + SECOND // 2)
    assert "NOT HEARD" in shown(screen, 3 * SECOND) and not screen.may_move(3 * SECOND)


@pytest.mark.parametrize(
    "state, message, says",
    [
        ({"enabled": False}, "disabled: no measurement of ee_position yet", "DISABLED: no measurement of ee_position yet"),
        ({"stopped": True}, "stopped: ~/stop was called", "STOPPED: ~/stop was called"),
        ({"stopped": True}, "enabled, mode vla", "STOPPED"),  # the diagnostics of a second ago
        ({"source": Source.ACTOR}, "", "actor, weights 5, 25 % of the residual"),
        ({"source": Source.HUMAN}, "", "HUMAN (another's hand)"),
        ({"source": Source.HOLD}, "", "3 holding the measured position"),
        ({"clipped": 4 | 8}, "", "limited by lead, velocity"),
        ({"critical": True}, "", "ON, episode 7, 3.0 of 20 s"),
    ],
)
def test_it_says_what_the_robot_does(state, message, says):
    screen = Screen(message=message, mode="actor", episode_time_limit=20.0)
    screen.ticked(row(SECOND, **state), SECOND)
    assert says in shown(screen, SECOND)


def test_the_ladder_tells_a_fresh_chunk_from_the_rest_of_an_old_one():
    screen = Screen()
    period, chunk = SECOND // 50, SECOND
    for tick in range(100):
        now = SECOND + tick * period
        if tick % 5 == 0:
            chunk = now - 2 * period  # every five ticks, of two ticks before
        screen.ticked(row(now, chunk_ns=chunk), now)
        assert screen.ladder(screen.row).startswith("1 fresh chunk")
    levels = []
    for tick in range(100, 115):
        screen.ticked(row(SECOND + tick * period, chunk_ns=chunk), SECOND)
        levels.append(screen.ladder(screen.row)[0])
    assert levels[0] == "1" and levels[-1] == "2" and levels == sorted(levels)


def test_the_success_rate_leaves_out_what_was_discarded():
    screen = Screen()
    screen.ticked(row(SECOND), SECOND)
    assert "none yet; none judged yet" in shown(screen, SECOND)
    for code in (Ended.SUCCESS, Ended.FAILURE, Ended.ABORTED, Ended.TIME_LIMIT, Ended.SUCCESS):
        screen.ended(code)
    assert "success; 2 of the last 4 succeeded (50 %)" in shown(screen, SECOND)
    screen.ended(Ended.ABORTED)
    assert "aborted; 2 of the last 4" in shown(screen, SECOND)


def test_answers_are_shown_newest_last_and_repeats_once():
    screen = Screen()
    for text in ("one", "two", "two", "three", "four", "five"):
        screen.tell(text)
    assert list(screen.told) == ["two", "three", "four", "five"]
    height = len(Screen().lines(0))
    assert len(screen.lines(0)) == height  # the screen does not jump


def test_it_suggests_corrections_while_practice_fails_until_some_were_made():
    screen = Screen(mode="actor", heard_ns=SECOND, row=row(SECOND))
    advice = "correct 5 episodes (g, then t and the arrows): worth ten minutes of practice"
    for count in range(5):
        assert not any("advice" in line for line in screen.lines(SECOND)), count
        screen.ended(Ended.SUCCESS if count < 3 else Ended.TIME_LIMIT)
    assert any(advice in line for line in screen.lines(SECOND))
    screen.held_by = ["keys"]
    screen.ticked(row(SECOND, critical=True, source=Source.HUMAN, episode=9), SECOND)
    assert not screen.corrected  # a hand that moves the arm
    screen.corrects = True
    for episode in range(5):
        for _ in range(2):
            screen.ticked(row(SECOND, critical=True, source=Source.HUMAN, episode=episode), SECOND)
        assert any(f"{episode + 1} so far" in line for line in screen.lines(SECOND)) == (episode < 4)
    assert not any("advice" in line for line in screen.lines(SECOND))
    practised = Screen(mode="actor", heard_ns=SECOND, row=row(SECOND))
    for _ in range(20):
        practised.ended(Ended.SUCCESS)
    assert not any("advice" in line for line in practised.lines(SECOND))
