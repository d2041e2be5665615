"""A simulated tool, under the whole pipeline, turns through and beyond half a turn about every axis: no jump, live and from its bag."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import turning
from small_robot import CHUNK, HOME, HORIZON, ROWS, TOKEN, WIDTH
from turning import ASKEW, AXES, NAMES, matrix, turn_between

pytest.importorskip("rosbags")

from builtin_interfaces.msg import Time
from test_bag_pipeline import STORE, M, by_stamp, embedding, header, intervention, reference, replayed, table, wrench

from rl_token_ros.bags import message_types
from rl_token_ros.bags.command_reader import CommandReader
from rl_token_ros.bags.reader import Bag
from rl_token_ros.bags.writer import BagWriter
from rl_token_ros.commands import replay_bag
from rl_token_ros.control.pipeline import Pipeline
from rl_token_ros.control.tick_record import Event
from rl_token_ros.interfaces.codes import Source
from rl_token_ros.interfaces.topics import COMMAND_TYPES, SETTINGS, TICKS, TYPES
from rl_token_ros.nodes.command_writer import CommandWriter
from rl_token_ros.policy import actor_weights
from rl_token_ros.policy.actor_weights import ActorWeights, Architecture, Identity
from rl_token_ros.resimulation.compare import Wire
from rl_token_ros.robot import action_space, rotations
from rl_token_ros.settings import parameters
from rl_token_ros.settings.control import Control

PERIOD, START = 20_000_000, 1_700_000_000_123_456_789
SPEED, ACCELERATION = 3.0, 40.0  # rad/s, rad/s^2
STEP = 0.75 * SPEED * 0.02  # rad per control step
FAST = {"velocity_limit": [0.1] * 3 + [SPEED] * 3, "acceleration_limit": [2.0] * 3 + [ACCELERATION] * 3, "lead_limit": [0.01] * 3 + [0.2] * 3}
ASIDE = np.array([0.5, -0.4, 0.3])  # rad
ARCHITECTURE = Architecture(TOKEN, 12, CHUNK, 6, 8, 2)


class Tool:
    """A tool that is, a moment late, where `command` says, or turns as it says; what it does goes into a bag."""

    def __init__(self, folder: Path, models: dict, axis: np.ndarray, *, start: float = 0.0, **changes) -> None:
        values = turning.control(token_encoder=str(models["encoder"]), exploration_sigma=0.5, replan_interval=2, rollout_ramp=0.0, **FAST, **changes)
        self.settings = parameters.build(Control, values)
        self.pipeline, self.writer = Pipeline(self.settings, self._refused), CommandWriter(self.settings)
        self.random, self.axis = np.random.default_rng(0), axis
        self.now, self.place = START, HOME.copy()
        self.ahead = start  # rad that the VLA has turned it by
        self.orientation = rotations.times(rotations.exp(self._turned(start).tolist()), ASKEW)
        self.seen, self.commanded, self.sources, self.rows = [], [], [], []
        self.pulling = False
        self.bag = BagWriter(folder)
        self._write(SETTINGS, M["std_msgs/msg/String"](self.pipeline.settings_text()))

    @staticmethod
    def _refused(error: Exception) -> None:
        raise error

    def _write(self, ours: str, message, kind: str = "") -> None:
        kind = kind or TYPES[ours]
        self.bag.write(f"/{ours}", kind, self.now + int(self.random.integers(0, 3_000_000)), bytes(STORE.serialize_cdr(message, kind)))

    def _turned(self, angles: np.ndarray | float) -> np.ndarray:
        """Rotation vectors of the tool turned that far about its axis, from where it began: turned about another one."""
        return rotations.moved(np.broadcast_to(ASIDE, np.shape(angles * self.axis)), angles * self.axis)

    def learn(self, version: int) -> None:
        """Weights that give any residual."""
        identity = Identity.of(self.settings, self.pipeline.encoder.sha256, self.pipeline.encoder.vla_sha256)
        tensors = {name: self.random.normal(0, 0.3, shape).astype(np.float32) for name, shape in ARCHITECTURE.shapes().items()}
        tensors["input_scale"] = np.abs(tensors["input_scale"])
        blob = actor_weights.encode(ActorWeights(version, 1, ARCHITECTURE, identity, tensors, created_ns=1))
        self._write("actor/weights", M["std_msgs/msg/UInt8MultiArray"](M["std_msgs/msg/MultiArrayLayout"]([], 0), np.frombuffer(blob, np.uint8)))
        self.pipeline.admit(blob)

    def call(self, event: Event):
        outputs = self.pipeline.step(event, self.now)
        self.rows += outputs.rows
        for raw in outputs.ticks:
            self._write(TICKS, table(self.pipeline.layout, raw))
        return outputs

    def tick(self, count: int) -> None:
        """So many control steps, each after a measurement and the VLA's newest chunk."""
        for _ in range(count):
            self.now += PERIOD
            self._sense()
            self.seen.append(rotations.log(rotations.times(self.orientation, rotations.inverse(ASKEW))))
            self._propose()
            if not self.pipeline.controller.enabled:
                self.call(Event.ENABLE)
            command = self.call(Event.TICK).command
            self.commanded.append(command.position[3:])
            self.sources.append(self.pipeline.controller.source)
            self._obey(self.writer.message(command, Time(sec=self.now // 10**9, nanosec=self.now % 10**9)))

    def _sense(self) -> None:
        point, turn = M["geometry_msgs/msg/Point"](*self.place.tolist()), M["geometry_msgs/msg/Quaternion"](*self.orientation)
        message = M[TYPES["ee_pose"]](header(self.now - 1), M["geometry_msgs/msg/Pose"](point, turn))
        for topic, said in (("ee_pose", message), ("wrench", wrench(self.now - 2, self.random.normal(size=3)))):
            self._write(topic, said)
            self.pipeline.measure(topic, said, self.now)

    def _propose(self) -> None:
        still = np.zeros((HORIZON, 3))
        if self.settings.action_type == "delta":
            actions = np.hstack([still, np.tile(STEP * self.axis, (HORIZON, 1))])
        else:
            self.ahead += STEP
            ahead = self.ahead + STEP * np.arange(HORIZON)
            actions = np.hstack([still + HOME, self._turned(ahead[:, None])])
        message = reference(self.now, actions, tuple(NAMES))
        self._write("vla/reference", message)
        self.pipeline.propose(message, self.now)
        seen = embedding(self.now, self.random.normal(size=(ROWS, WIDTH)))
        self._write("vla/embedding", seen)
        self.pipeline.encode(seen)
        if self.pulling:
            pulled = intervention(self.now, actions[0], tuple(NAMES))
            self._write("intervention", pulled)
            self.pipeline.intervene(pulled, self.now)

    def _obey(self, message) -> None:
        of, head = self.settings.command_interface, header(self.now)
        vector = M["geometry_msgs/msg/Vector3"]
        if of == "pose":
            p, q = message.pose.position, message.pose.orientation
            self.place, self.orientation = np.array([p.x, p.y, p.z]), (q.x, q.y, q.z, q.w)
            body = M["geometry_msgs/msg/Pose"](M["geometry_msgs/msg/Point"](p.x, p.y, p.z), M["geometry_msgs/msg/Quaternion"](q.x, q.y, q.z, q.w))
        else:
            v, w = message.twist.linear, message.twist.angular
            self.place = self.place + 0.02 * np.array([v.x, v.y, v.z])
            self.orientation = rotations.times(rotations.exp((0.02 * w.x, 0.02 * w.y, 0.02 * w.z)), self.orientation)
            body = M["geometry_msgs/msg/Twist"](vector(v.x, v.y, v.z), vector(w.x, w.y, w.z))
        self._write("command", M[COMMAND_TYPES[of]](head, body), COMMAND_TYPES[of])

    def turns(self) -> np.ndarray:
        """The tool's turn from each measurement to the next, [n, 3]."""
        turned = matrix(np.array(self.seen))
        return turn_between(turned[1:], turned[:-1])


def unlike(folder: Path, tool: Tool) -> tuple[list, Wire]:
    """What a run of the bag makes otherwise, and its commands beside those that were sent."""
    steps, rows = replayed(folder, lost=lambda record: record.topic == "/command")
    assert len(steps) > len(tool.seen) and by_stamp(rows) == by_stamp(tool.rows)
    wire = Wire(CommandReader(tool.settings, message_types.decoder(COMMAND_TYPES[tool.settings.command_interface], "", "cdr")))
    for record in Bag(folder).read({"/command"}):
        wire.take(record)
    for step in steps:
        if step.row.event == Event.TICK:
            wire.add(step.row)
    return [(step.row.seq, step.unchecked, step.differs) for step in steps if step.unchecked or step.differs], wire


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("action_type, interface", [("delta", "pose"), ("absolute", "pose"), ("delta", "twist")])
@pytest.mark.slow
def test_it_turns_one_and_a_half_times_without_a_jump_live_and_again(models, tmp_path, axis, action_type, interface):
    way = np.array(AXES[axis])
    tool = Tool(tmp_path / "bag", models, way, action_type=action_type, command_interface=interface)
    tool.tick(round(3.0 * math.pi / STEP))
    tool.bag.close()
    turns = tool.turns()
    numbers = np.linalg.norm(np.diff(np.array(tool.commanded), axis=0), axis=1)
    assert numbers.max() > 6.0, "the numbers never jumped at pi: it did not get there"
    assert turns.sum(axis=0) @ way > 2.8 * math.pi
    np.testing.assert_allclose(turns[30:], np.tile(STEP * way, (len(turns) - 30, 1)), atol=1e-6)
    unlikely, wire = unlike(tmp_path / "bag", tool)
    assert unlikely == [] and (wire.equal, wire.unequal) == (len(tool.commanded), 0)


@pytest.mark.parametrize("action_type", ["delta", "absolute"])
@pytest.mark.slow
def test_actor_and_human_take_turns_over_half_a_turn_within_every_limit_and_again(models, tmp_path, action_type, capsys, monkeypatch):
    tool = Tool(tmp_path / "bag", models, np.array(AXES["slanted"]), start=1.5, action_type=action_type, mode="actor")
    tool.learn(1)
    tool.tick(5)
    tool.call(Event.CRITICAL)
    tool.tick(40)
    tool.pulling = True
    tool.tick(20)
    tool.pulling = False
    tool.learn(2)
    tool.tick(30)
    tool.call(Event.SUCCESS)
    tool.tick(5)
    tool.call(Event.STOP)
    tool.tick(30)
    tool.bag.close()
    assert {Source.VLA, Source.ACTOR, Source.HUMAN, Source.HOLD} <= set(tool.sources)
    turns = tool.turns() / 0.02
    assert np.linalg.norm(turns, axis=1).max() <= SPEED * (1 + 1e-6)
    assert np.linalg.norm(np.diff(turns, axis=0), axis=1).max() <= ACCELERATION * 0.02 * (1 + 1e-6) + 1e-7
    assert np.linalg.norm(turns[-5:]) < 1e-6, "stopped, it does not rest"
    space = action_space.of_actions(tool.settings)
    acted = [row for row in tool.rows if row["source"][0] == Source.ACTOR]
    assert len(acted) > 50
    apart = [np.linalg.norm(space.difference(row["action"][0], row["reference"][0][:6])[3:]) for row in acted]
    assert max(apart) < 0.5, "what is executed seems to be a whole turn from the reference"
    unlikely, wire = unlike(tmp_path / "bag", tool)
    assert unlikely == [] and wire.unequal == 0 and wire.equal > 100
    monkeypatch.setattr("sys.argv", ["replay_bag", str(tmp_path / "bag")])
    assert replay_bag.main() == 0
    assert "commands identical, bit for bit" in capsys.readouterr().out


def test_a_tool_that_differs_by_little_over_half_a_turn_differs_by_little():
    from rl_token_ros.resimulation.figures import Figures
    from rl_token_ros.resimulation.resimulator import Step

    made = parameters.build(Control, turning.control())
    over = [np.array([*HOME, 0.0, sign * (math.pi - 0.01), 0.0]) for sign in (1.0, -1.0)]
    rows = [
        SimpleNamespace(event=Event.TICK, now_ns=1, command=command, commands=True, source=0, clipped=0, inputs={}, gripper=np.zeros(0))
        for command in over
    ]
    figures = Figures(made, 0.03, [])
    figures.add(Step(rows[0], rows[1], "", ["command"], {}))
    np.testing.assert_allclose(figures.largest, [0.0, 0.0, 0.0, 0.0, 0.02, 0.0], atol=1e-12)
    assert figures.within == 1
