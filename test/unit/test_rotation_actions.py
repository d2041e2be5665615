"""rx, ry, rz as actions: parameters, measured, commanded and read back, and what would be ambiguous refused with what to write."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import small_robot
import turning
from builtin_interfaces.msg import Time
from small_robot import CHUNK, HOME, TOKEN
from turning import ASKEW, NAMES, angle_between, matrix, of_quaternion, turn_between

from rl_token_ros.bags.command_reader import CommandReader
from rl_token_ros.control.arming import Refused
from rl_token_ros.control.chunk import Chunk
from rl_token_ros.control.command import Command
from rl_token_ros.control.controller import Controller
from rl_token_ros.interfaces.codes import Source
from rl_token_ros.learning.batch import Batch
from rl_token_ros.learning.replay_buffer import ReplayBuffer
from rl_token_ros.nodes.command_writer import CommandWriter
from rl_token_ros.operator.teleoperation import Teleoperation
from rl_token_ros.policy.actor import ResidualActor
from rl_token_ros.resimulation.compare import Wire
from rl_token_ros.robot import action_space, rotations
from rl_token_ros.robot.plausibility import LeapError, Plausibility
from rl_token_ros.robot.proprioception import RobotState
from rl_token_ros.settings import parameters
from rl_token_ros.settings.control import Control
from rl_token_ros.settings.operator import Operator

PERIOD, START = 20_000_000, 10**12


def settings(**changes) -> Control:
    return parameters.build(Control, turning.control(**changes))


@pytest.mark.parametrize(
    "change, says",
    [
        ({"tool_orientation": []}, "'tool_orientation' is empty but action_names has rx, ry, rz; write the orientation x, y, z, w"),
        ({"position_max": [0.5, 0.1, 0.2, 1.0, 1.0, 1.0]}, "'position_max' has 6 numbers; write 3, one for each of .x, y, z.: rx, ry, rz are"),
        ({"velocity_limit": [0.1, 0.1, 0.1, 0.8, 0.8, 0.7]}, "'velocity_limit' of rx, ry, rz is 0.8, 0.8, 0.7; write the same number three times"),
        ({"lead_limit": [0.01] * 3 + [0.1, 0.2, 0.1]}, "'lead_limit' of rx, ry, rz"),
        ({"measured_velocity_limit": [1.0] * 3 + [1.0, 2.0, 1.0]}, "'measured_velocity_limit' of rx, ry, rz"),
        ({"acceleration_limit": [2.0] * 4}, "'acceleration_limit' has 4 numbers; write 6"),
        ({"action_names": ["x", "y", "z", "rx", "ry", "yaw"]}, "has yaw and rx, ry, rz, which turn the tool already; write one or the other"),
        ({"action_names": ["x", "y", "rx", "ry"]}, "write rx, ry, rz one after the other: a rotation takes all three"),
        ({"action_names": ["x", "y", "z", "rz", "ry", "rx"]}, "write rx, ry, rz one after the other"),
        ({"action_names": ["x", "y", "z", "rx", "ry", "roll"]}, "write joint names, or some of x, y, z, yaw for the tool, or x, y, z, rx, ry, rz"),
        ({"command_interface": "forward"}, "write pose or twist for x, y, z and yaw or rx, ry, rz"),
        ({"rotation_limit": 0.0}, "'rotation_limit' is 0; write a finite number from 0.001 to 4 rad"),
        ({"residual_scale": [0.001] * 3}, "'residual_scale' has 3 numbers; write 6"),
    ],
)  # fmt: skip
def test_what_would_be_ambiguous_is_refused_with_what_to_write(change, says):
    names = change.get("action_names", NAMES)
    sized = {"residual_scale": [0.001] * len(names)} | change
    with pytest.raises(parameters.ParameterError, match=says):
        settings(**sized)


def test_a_limit_of_rotations_that_are_no_actions_is_refused():
    with pytest.raises(parameters.ParameterError, match="'rotation_limit' is 1, but action_names has no rx, ry, rz; leave it out"):
        small_robot.settings(rotation_limit=1.0)


@pytest.mark.parametrize("limit, cone", [(0.5, 0.5), (3.1, 3.1), (3.14, math.pi), (3.14159, math.pi), (3.2, math.pi)])
def test_whoever_writes_about_pi_means_any(limit, cone):
    assert settings(rotation_limit=limit).cone == cone and settings().cone == math.pi


def test_names_units_and_limits():
    made = settings(workspace_min=[0.35, -0.05, 0.01], workspace_max=[0.45, 0.05, 0.1])
    assert (made.cartesian, made.turns, made.rotation_at) == (True, False, 3)
    assert [made.unit(name) for name in made.action_names] == ["m"] * 3 + ["rad"] * 3
    assert made.command_range == ([0.35, -0.05, 0.01], [0.45, 0.05, 0.1])
    limits = {name: values[3:] for name, values in turning.control().items() if name.endswith("_limit")}
    alone = settings(action_names=NAMES[3:], residual_scale=[0.01] * 3, position_min=[], position_max=[], **limits)
    assert alone.rotation_at == 0 and Controller(alone, ResidualActor(TOKEN, 9, CHUNK, 3, layers=2)).filter.limits.velocity.tolist() == [0.8] * 3


def test_joints_of_these_names_are_joints():
    state = RobotState(["rx", "ry", "rz"], ["joint_position"])
    state.update_joints(1, ["rx", "ry", "rz"], [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(state.measured(["rz", "rx"]), [0.3, 0.1])
    made = small_robot.settings(action_names=["rx", "ry", "rz"], joint_names=["rx", "ry", "rz"], command_interface="forward")
    assert not made.cartesian and made.rotation_at is None


def test_a_rotation_is_measured_from_the_tool_orientation_in_axes_of_the_base_frame(random):
    for _ in range(50):
        turn = random.uniform(-1.8, 1.8, 3)
        state = RobotState([], ["ee_position"], list(ASKEW))
        state.update_pose(1, (0.4, 0.1, 0.2), rotations.times(rotations.exp(turn.tolist()), ASKEW))
        found = state.measured(["z", "rx", "ry", "rz", "x"])
        np.testing.assert_allclose(found[[0, 4]], [0.2, 0.4])
        np.testing.assert_allclose(matrix(found[1:4]) @ of_quaternion(ASKEW), matrix(turn) @ of_quaternion(ASKEW), atol=1e-12)


@pytest.mark.parametrize("names", [NAMES, [*NAMES[3:], "z"], NAMES[3:]])
def test_a_pose_is_read_back_as_the_command_that_it_was(random, names):
    sized = {key: [value[NAMES.index(name)] for name in names] for key, value in turning.control().items() if key.endswith(("_limit", "_scale"))}
    boxed = {key: [small_robot.control()[key]["xyz".index(name)] for name in names if name in "xyz"] for key in ("position_min", "position_max")}
    made = settings(**sized, **boxed, action_names=names)
    writer, reader = CommandWriter(made), CommandReader(made, lambda message: message)
    pose, wire, space = (np.array([0.4, 0.0, 0.1]), np.array(ASKEW)), Wire(reader), action_space.of_positions(made)
    at = made.rotation_at
    for number in range(1, 201):
        position = random.uniform(-2.5, 2.5, len(names))
        if number % 4 == 0:
            position[at : at + 3] *= math.pi / np.linalg.norm(position[at : at + 3])
        message = writer.message(Command(position, np.zeros(len(names)), False, pose), Time(sec=number))
        q = message.pose.orientation
        wanted = matrix(position[at : at + 3]) @ of_quaternion(ASKEW)
        np.testing.assert_allclose(of_quaternion((q.x, q.y, q.z, q.w)), wanted, atol=1e-12)
        stamp, read = reader.read(message)
        assert stamp == number * 10**9
        np.testing.assert_allclose(space.difference(read, position), 0.0, atol=1e-12)
        wire.take(SimpleNamespace(data=message))
        wire.add(SimpleNamespace(commands=True, now_ns=stamp, command=position))
    assert (wire.equal, wire.unequal) == (200, 0)  # bit for bit


def test_the_quaternion_that_is_sent_does_not_change_its_sign():
    writer = CommandWriter(settings())
    pose, before = (HOME, np.array(ASKEW)), np.array(ASKEW)
    for angle in np.linspace(0.0, 7.0, 200):
        turn = rotations.moved(np.array([0.0, angle, 0.0]), np.zeros(3))
        q = writer.message(Command(np.array([*HOME, *turn]), np.zeros(6), False, pose), Time(sec=1)).pose.orientation
        now = np.array([q.x, q.y, q.z, q.w])
        assert np.linalg.norm(now - before) < 0.02
        before = now


def test_a_twist_turns_about_the_axes_of_the_base_frame_and_is_read_back():
    made = settings(command_interface="twist")
    writer, reader = CommandWriter(made), CommandReader(made, lambda message: message)
    velocity = np.array([0.1, -0.2, 0.3, -0.4, 0.5, 0.6])
    message = writer.message(Command(np.zeros(6), velocity, False), Time(sec=1))
    linear, angular = message.twist.linear, message.twist.angular
    assert (linear.x, linear.y, linear.z, angular.x, angular.y, angular.z) == tuple(velocity)
    np.testing.assert_array_equal(reader.speed(message)[1], velocity)


def test_a_measurement_that_turned_faster_than_any_tool_is_not_believed():
    judge, state = Plausibility(settings()), RobotState([], ["ee_position"], list(ASKEW))
    state.update_pose(START, HOME, ASKEW)
    fast = rotations.times(rotations.exp((0.0, 0.0, 0.5)), ASKEW)
    slow = rotations.times(rotations.exp((0.0, 0.0, 0.05)), ASKEW)
    judge.judge(state.reader.pose(START + PERIOD, HOME, slow), state, START + PERIOD, START + PERIOD)
    with pytest.raises(LeapError, match="the tool's orientation went from 0.000 to 0.500 rad in 20.0 ms"):
        judge.judge(state.reader.pose(START + PERIOD, HOME, fast), state, START + PERIOD, START + PERIOD)


class Turning:
    """A controller under whose commands the tool is at once."""

    def __init__(self, turn=(0.0, 0.0, 0.0), action=(0.0,) * 6, residual: float | None = None, **changes) -> None:
        self.settings = settings(**{"mode": "vla" if residual is None else "actor", "replan_interval": 1, "rollout_ramp": 0.0, **changes})
        self.controller = Controller(self.settings, ResidualActor(TOKEN, 12, CHUNK, 6, layers=2))
        if residual is not None:
            architecture = small_robot.actor_weights.Architecture(TOKEN, 12, CHUNK, 6, 8, 2)
            tensors = {name: np.zeros(shape, np.float32) for name, shape in architecture.shapes().items()}
            tensors["b2"][:] = np.arctanh(residual)
            self.controller.actor.weights = small_robot.make_weights(5, architecture=architecture, tensors=tensors)
        self.now, self.position, self.action = START, np.array([*HOME, *turn]), np.array(action)
        self.sense()

    def sense(self) -> None:
        self.now += PERIOD
        controller = self.controller
        orientation = rotations.times(rotations.exp(self.position[3:].tolist()), ASKEW)
        controller.state.update_pose(self.now, self.position[:3], orientation)
        controller.state.update_wrench(self.now, (0, 0, 0), (0, 0, 0))
        controller.proposals.set_chunk(Chunk(self.now, PERIOD, np.tile(self.action, (small_robot.HORIZON, 1))), self.now)
        controller.proposals.set_token(self.now, np.zeros(TOKEN, np.float32), self.now)

    def tick(self, count: int) -> np.ndarray:
        commands = []
        for _ in range(count):
            self.sense()
            self.position = self.controller.tick(self.now).position
            commands.append(self.position)
        return np.array(commands)


@pytest.mark.parametrize("action_type", ["delta", "absolute"])
def test_the_first_command_is_the_measured_orientation_whatever_it_is(action_type):
    turn = (1.9, -1.5, 1.2)
    tool = Turning(turn, action_type=action_type, action=(*HOME, *turn) if action_type == "absolute" else (0.0,) * 6)
    tool.controller.enable(tool.now)
    (first,) = tool.tick(1)
    assert angle_between(matrix(first[3:]), matrix(turn)) < 1e-9


def test_outside_the_cone_it_is_not_enabled():
    tool = Turning((0.0, 0.8, 0.0), rotation_limit=0.7)
    with pytest.raises(Refused, match="turned by 0.800 rad from tool_orientation; rotation_limit is 0.7 rad"):
        tool.controller.enable(tool.now)
    assert not tool.controller.enabled


def test_a_disabled_or_stopped_tool_comes_to_rest_where_it_is_measured():
    for end in (lambda c: c.disable(), lambda c: c.stop("enough")):
        tool = Turning((0.0, 3.0, 0.0), action=(0.0, 0.0, 0.0, 0.0, 0.016, 0.0))
        tool.controller.enable(tool.now)
        tool.tick(20)
        at = tool.position.copy()
        end(tool.controller)
        while (command := tool.controller.tick(tool.now + PERIOD)) is not None and command.velocity.any():
            tool.position = command.position
            tool.sense()
        assert angle_between(matrix(tool.position[3:]), matrix(at[3:])) < 0.05


@pytest.mark.parametrize("action_type", ["delta", "absolute"])
def test_the_residual_turns_in_the_tangent_space_within_its_own_bound(action_type):
    """Also where the reference lies at half a turn: of an absolute one the residual is a turn from there."""
    reference = np.array([*HOME, 0.0, math.pi - 0.002, 0.0]) if action_type == "absolute" else np.array([0.0, 0.0, 0.0, 0.0, 0.002, 0.0])
    tool = Turning((0.0, math.pi - 0.002, 0.0), reference, residual=0.5, action_type=action_type)
    tool.controller.enable(tool.now)
    tool.controller.set_critical(True, tool.now)
    before = tool.tick(30)
    assert tool.controller.source == Source.ACTOR
    if action_type == "absolute":
        turn = turn_between(matrix(before[-1][3:]), matrix(reference[3:]))
        np.testing.assert_allclose(turn, [0.002, 0.002, 0.002], atol=1e-6)  # half of residual_scale, about each axis
    else:
        turn = turn_between(matrix(before[-1][3:]), matrix(before[-2][3:]))
        np.testing.assert_allclose(turn, [0.002, 0.004, 0.002], atol=1e-6)
    tool.controller.episode.end(1)
    rows = tool.controller.episode.take()[0]
    assert len(rows) == 30
    action = rows[-1]["action"][0]
    if action_type == "delta":
        np.testing.assert_allclose(action[3:], turn, atol=1e-6)
        leads = np.concatenate([row["proprio"][:, 3:9] for row in rows])
        assert np.abs(leads).max() < 1e-6, "command_lead of a tool that is where it is commanded to be, over pi"
    residual = action_space.of_actions(tool.settings).difference(action, rows[-1]["reference"][0][:6])
    np.testing.assert_allclose(residual / tool.settings.step_residual_scale, 0.5, atol=2e-3)


def test_the_lead_over_half_a_turn_is_the_shortest_way():
    tool = Turning((0.0, math.pi - 0.01, 0.0), residual=0.0)
    tool.controller.enable(tool.now)
    tool.controller.set_critical(True, tool.now)
    tool.controller.filter.command = np.array([*HOME, 0.0, -math.pi + 0.01, 0.0])
    tool.tick(1)
    tool.controller.episode.end(1)
    np.testing.assert_allclose(tool.controller.episode.take()[0][0]["proprio"][0][3:9], [0.0, 0.0, 0.0, 0.0, 0.02, 0.0], atol=1e-6)


def test_the_learner_sees_the_residual_and_windows_without_a_jump(random):
    made = settings(action_type="absolute")
    row = Controller(made, ResidualActor(TOKEN, 12, CHUNK, 6, layers=2)).row_dtype
    replay = ReplayBuffer(
        row, CHUNK, made.step_residual_scale, stride=1, gamma=0.99, transitions=1000, max_bytes=1 << 20, space=action_space.of_actions(made)
    )
    rows, wanted = np.zeros(40, row), random.uniform(-1.0, 1.0, (40, 6))
    angle = np.linspace(math.pi - 0.2, math.pi + 0.2, 40 + CHUNK)
    turns = rotations.moved(angle[:, None] * np.array([0.6, 0.0, 0.8]), np.zeros(3))
    for i in range(40):
        window = np.hstack([np.tile(HOME, (CHUNK, 1)), turns[i : i + CHUNK]])
        rows[i]["seq"], rows[i]["episode"], rows[i]["step"] = i, 1, i
        rows[i]["reference"] = window.ravel()
        rows[i]["action"] = action_space.of_actions(made).moved(window[0], wanted[i] * made.step_residual_scale)
    replay.add(rows)
    batch = replay.sample(random, Batch.empty(64, TOKEN, 12, CHUNK, 6))
    assert np.abs(batch.residual[:, 0]).max() < 1.05, "a residual over pi must not seem to be a whole turn"
    for seen in (batch.reference, batch.next_reference, replay.states()[2]):
        steps = np.diff(seen.reshape(-1, CHUNK, 6), axis=1)
        assert np.linalg.norm(steps, axis=2).max() < 0.02


@pytest.mark.parametrize("action_type", ["delta", "absolute"])
def test_a_human_turns_the_tool_past_half_a_turn(action_type):
    """A SpaceMouse about y, at full deflection."""
    hand = Teleoperation(parameters.build(Operator, turning.shared(action_type=action_type, jog_speed=[0.05] * 3 + [0.5] * 3)))
    assert [axis for _, axis, _ in hand.settings.axes("twist_axes")] == [f"{kind}.{axis}" for kind in ("linear", "angular") for axis in "xyz"]
    home = (0.0, 2.9, 0.0)
    tool = Turning(home, (*HOME, *home) if action_type == "absolute" else (0.0,) * 6, action_type=action_type)
    tool.controller.enable(tool.now)
    tool.tick(2)
    hand.commanded(tool.position)
    assert hand.take_over("twist", tool.now) == ""
    turned = []
    for _ in range(100):
        hand.deflect("twist", tool.now, np.array([0.0, 0.0, 0.0, 0.0, 1.0, 0.0]))
        tool.controller.proposals.set_human(tool.now + PERIOD, hand.action(tool.now))
        before = matrix(tool.position[3:])
        tool.tick(1)
        turned.append(turn_between(matrix(tool.position[3:]), before))
        hand.commanded(tool.position)
    assert tool.controller.source == Source.HUMAN
    np.testing.assert_allclose(turned[50:], np.tile([0.0, 0.01, 0.0], (50, 1)), atol=1e-4)
    assert sum(np.linalg.norm(turn) for turn in turned) > 0.8
