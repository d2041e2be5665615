"""The operator's node beside a real control_node: keys through a terminal, joystick, leader arm and SpaceMouse over their topics."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import threading
import time

import numpy as np
import pytest
import small_robot
from geometry_msgs.msg import TwistStamped
from sensor_msgs.msg import JointState, Joy
from world import World

from rl_token_ros.interfaces.codes import Ended, Source
from rl_token_ros.nodes.control_node import ControlNode
from rl_token_ros.nodes.operator_node import OperatorNode
from rl_token_ros.operator.terminal import Terminal


class Tty:
    """Both ends of a terminal: keys go in, the newest screen comes out."""

    def __init__(self) -> None:
        self.ours, theirs = pty.openpty()
        self.theirs = os.fdopen(theirs, "r+b", buffering=0)
        self.before = termios.tcgetattr(theirs)
        self._seen = ""

    def terminal(self) -> Terminal:
        return Terminal(self.theirs.fileno())

    def press(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    @property
    def screen(self) -> str:
        """The newest picture, as text."""
        while select.select([self.ours], [], [], 0.0)[0]:
            self._seen += os.read(self.ours, 65536).decode()
        newest = self._seen.rpartition("\x1b[H")[2]
        return re.sub(r"\x1b\[\??\w+", "", newest)


@pytest.fixture
def control(graph, models):
    values = small_robot.control(vla_model=str(models["vla"]), token_encoder=str(models["encoder"]), state_timeout=2.0)
    return graph.add(ControlNode, values={**values, "intervention_timeout": 1.0})


@pytest.fixture
def world(graph, control):
    made = graph.add(World)
    graph.wait_for(lambda: not control.controller.not_ready(control._now()), "every input fresh")
    return made


@pytest.fixture
def tty():
    return Tty()


@pytest.fixture
def operator(graph, world, tty):
    node = graph.add(OperatorNode, tty.terminal, values=small_robot.shared(device_timeout=2.0))
    graph.wait_for(lambda: "none judged yet" in tty.screen, "control_node's state on the screen")
    graph.wait_for(lambda: all(client.service_is_ready() for client in node._calls.values()), "control_node's services")
    return node


def enable(graph, control, tty, operator) -> None:
    """Press the key until it is: at the pace of a person. At every spin, requests would come faster than the one executor takes anything else."""
    pressed = 0.0

    def enabled() -> bool:
        nonlocal pressed
        if not control.controller.enabled and time.monotonic() - pressed > 0.3:
            tty.press("e")
            pressed = time.monotonic()
        graph.executor.spin_once(timeout_sec=0.1)
        return control.controller.enabled

    graph.wait_for(enabled, "enabled by its key")
    graph.wait_for(lambda: operator.screen.may_move(operator._now()), "the operator knows")  # else a hand is refused


def test_keys_enable_judge_stop_and_reset(graph, control, world, operator, tty):
    assert "DISABLED" in tty.screen and "mode      vla" in tty.screen
    enable(graph, control, tty, operator)
    graph.wait_for(lambda: "ENABLED: the arm may move" in tty.screen, "that on the screen")
    for judgement, code in (("s", Ended.SUCCESS), ("f", Ended.FAILURE), ("x", Ended.ABORTED), ("c", Ended.ABORTED)):
        tty.press("c")
        graph.wait_for(lambda: "ON, episode" in tty.screen, "the critical phase on the screen")
        count = len(world.endings)
        tty.press(judgement)
        graph.wait_for(lambda: len(world.endings) > count and not control.controller.episode.active, "its end")
        assert world.endings[-1] == code
        graph.wait_for(lambda: "phase     off" in tty.screen, "its end on the screen")
    assert "aborted; 1 of the last 2 succeeded (50 %)" in tty.screen
    tty.press(" ")
    graph.wait_for(lambda: "STOPPED" in tty.screen and "4 latched stop" in tty.screen, "the stop on the screen")
    assert control.controller.stop_reason == "~/stop was called"
    tty.press("e")
    graph.wait_for(lambda: "enabled: refused" in tty.screen, "the refusal on the screen")
    tty.press("r")
    graph.wait_for(lambda: not control.controller.stop_reason, "the stop cleared")


def test_a_hand_by_keys_is_recorded_as_human_and_handed_back(graph, control, world, operator, tty):
    tty.press("t")
    graph.wait_for(lambda: "the arm may not move: enable it first" in tty.screen, "the refusal")
    enable(graph, control, tty, operator)
    tty.press("ct")
    graph.wait_for(lambda: "HUMAN (keys)" in tty.screen, "the human's hand")
    begin = world.position.copy()

    def moved() -> bool:
        tty.press("\x1b[D")  # left: y
        return world.position[1] > begin[1] + 0.002

    graph.wait_for(moved, "the arm moved by a key")
    tty.press("t")
    graph.wait_for(lambda: "acts      VLA" in tty.screen, "the VLA again")
    tty.press("s")
    graph.wait_for(lambda: world.endings, "the end")
    sources = [int(row["source"]) for row in world.rows]
    assert sources.count(Source.HUMAN) > 3 and sources[-1] == Source.VLA
    steps = np.diff([[m.pose.position.x, m.pose.position.y, m.pose.position.z] for m in world.commands], axis=0)
    assert (np.abs(steps) <= 0.1 * 0.02 + 1e-9).all()


def test_a_hand_that_corrects_adds_to_the_vla_within_the_residuals_bounds(graph, control, world, operator, tty):
    enable(graph, control, tty, operator)
    tty.press("c")
    graph.wait_for(lambda: control.controller.episode.active, "the critical phase")
    tty.press("g")
    graph.wait_for(lambda: "a hand now corrects the VLA, within residual_scale" in tty.screen, "that on the screen")
    tty.press("t")
    graph.wait_for(lambda: "VLA, corrected by HUMAN (keys)" in tty.screen, "the hand on the screen")
    tty.press("g")
    graph.wait_for(lambda: "hand back first" in tty.screen, "the refusal")

    def corrected() -> bool:
        if operator.teleoperation.active:
            tty.press("\x1b[A")
        rows = [row for row in world.rows if row["source"] == Source.HUMAN]
        bound = np.array(control.settings.step_residual_scale)
        residuals = [(row["action"] - row["reference"].reshape(-1, len(bound))[0]) / bound for row in rows]
        assert all((np.abs(residual) < 1.01).all() for residual in residuals)
        return any(residual[0] > 0.99 for residual in residuals)

    graph.wait_for(corrected, "a step with the whole residual forward")
    tty.press("t")
    graph.wait_for(lambda: "acts      VLA\n" in tty.screen or "acts      VLA\r" in tty.screen, "the VLA alone again")


def test_the_joysticks_deadman_acts_while_held_and_silence_takes_it_off(graph, control, world, operator, tty):
    enable(graph, control, tty, operator)
    joy = world.create_publisher(Joy, "joy", 10)
    state = {"pressed": [], "axis": 0.0}

    def send() -> None:
        message = Joy(axes=[0.0] * 6, buttons=[int(i in state["pressed"]) for i in range(11)])
        message.axes[0] = state["axis"]
        joy.publish(message)

    timer = world.create_timer(0.02, send)
    graph.wait_for(lambda: operator.joystick._before is not None, "the joystick heard")
    state.update(pressed=[4], axis=-1.0)
    begin = world.position.copy()
    graph.wait_for(lambda: control.controller.source == Source.HUMAN and world.position[1] < begin[1] - 0.002, "the arm moved")
    state.update(pressed=[])
    graph.wait_for(lambda: not operator.teleoperation.active and control.controller.source == Source.VLA, "handed back")
    state.update(pressed=[4], axis=0.0)
    graph.wait_for(lambda: operator.teleoperation.held_by == ["joy"], "taken over again")
    world.destroy_timer(timer)
    graph.wait_for(lambda: not operator.teleoperation.active, "the silence noticed")
    assert "the joystick is silent: handed back" in operator.screen.told
    graph.wait_for(lambda: control.controller.source == Source.VLA, "the VLA again")


def test_a_leader_arm_and_a_spacemouse(graph, control, world, operator, tty):
    enable(graph, control, tty, operator)
    twist = world.create_publisher(TwistStamped, "twist", 10)
    message = TwistStamped()
    message.twist.linear.z = 1.0
    begin = world.position.copy()

    def lifted() -> bool:
        twist.publish(message)
        return world.position[2] > begin[2] + 0.002

    graph.wait_for(lifted, "lifted by the SpaceMouse")
    assert operator.teleoperation.held_by == ["twist"]
    graph.wait_for(lambda: not operator.teleoperation.active, "let go")  # it says no more

    leader = world.create_publisher(JointState, "leader/joint_states", 10)
    at = {"x": 1.0}

    def lead() -> None:
        leader.publish(JointState(name=["x", "y", "z"], position=[at["x"], 0.0, 0.0]))

    world.create_timer(0.02, lead)
    graph.wait_for(lambda: operator.teleoperation._leader is not None, "the leader heard")
    tty.press("t")
    graph.wait_for(lambda: operator.teleoperation.held_by == ["keys"], "taken over")
    graph.wait_for(lambda: control.controller.source == Source.HUMAN, "the human acts")
    begin = world.position.copy()
    at["x"] = 1.02
    graph.wait_for(lambda: world.position[0] > begin[0] + 0.018, "it follows the leader")
    assert world.position[0] < begin[0] + 0.025


def test_when_control_node_is_gone_it_says_so_and_asks_in_vain(graph, domain, tty):
    node = graph.add(OperatorNode, tty.terminal, values=small_robot.shared())
    graph.wait_for(lambda: "NOT HEARD: no ticks from /control_node" in tty.screen, "the screen")
    graph.wait_for(lambda: not node._calls["enable"].service_is_ready(), "the control_node of before gone")
    tty.press("e")
    graph.wait_for(lambda: "nobody serves '/control_node/enable'" in tty.screen, "the answer")
    node.close()
    assert termios.tcgetattr(tty.theirs) == tty.before


def test_the_verb_draws_on_a_terminal_and_gives_it_back(domain):
    tty = Tty()
    environment = {**os.environ, "ROS_DOMAIN_ID": str(domain), "TERM": "dumb"}
    process = subprocess.Popen(
        [sys.executable, "-m", "rl_token_ros.cli", "operator", "--config", "sim", "--namespace", "left"],
        stdin=tty.theirs, stdout=tty.theirs, stderr=subprocess.PIPE, env=environment,
    )  # fmt: skip
    deadline = time.monotonic() + 60.0
    while "no ticks from /left/control_node" not in tty.screen:
        assert process.poll() is None and time.monotonic() < deadline, process.stderr.read().decode()
        select.select([tty.ours], [], [], 1.0)
    tty.press("q")
    assert process.wait(60.0) == 0
    assert termios.tcgetattr(tty.theirs) == tty.before


def test_the_verb_without_a_terminal_says_that_keys_will_not_work(domain):
    process = subprocess.Popen(
        [sys.executable, "-m", "rl_token_ros.cli", "operator", "--config", "sim"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, "ROS_DOMAIN_ID": str(domain)}, text=True,
    )  # fmt: skip
    said, patience = "", threading.Timer(60.0, process.kill)
    patience.start()
    try:
        while "no terminal on standard input and output: keys do not work" not in said:
            line = process.stderr.readline()
            assert line, f"it ended without: {said}"
            said += line
        process.send_signal(signal.SIGTERM)
        assert process.wait(60.0) == 0
    finally:
        patience.cancel()
        process.kill()
        process.stderr.close()


def test_the_verb_refuses_a_file_that_is_not_there():
    result = subprocess.run([sys.executable, "-m", "rl_token_ros.cli", "operator", "--config", "nosuch"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 2 and "error: no parameter file 'nosuch'" in result.stderr
