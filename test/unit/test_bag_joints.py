"""A bag of an arm whose joints come from several drivers, some of them false now and then, makes every command again, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_robot import HORIZON, ROWS, WIDTH
from test_bag_pipeline import PERIOD, START, M, Run, checked, embedding, header, reference, replayed

from rl_token_ros.bags.reader import Bag
from rl_token_ros.interfaces.topics import TICKS
from rl_token_ros.robot.readings import StateError

JOINTS = ("j1", "j2", "j3")


def joint_state(ns: int, names: tuple[str, ...], position: np.ndarray):
    return M["sensor_msgs/msg/JointState"](header(ns), list(names), np.array(position, np.float64), np.zeros(0), np.zeros(0))


class JointRun(Run):
    """Three joints: two of the arm's driver and one of another, whose stamps cross, or are the same; both go silent, and misread, at times."""

    def __init__(self, folder: Path, models: dict, seed: int) -> None:
        self.refused = 0
        super().__init__(
            folder, models, seed, joint_names=[*JOINTS], action_names=[*JOINTS], proprioception=["joint_position"], command_interface="joint_state",
            workspace_min=[], workspace_max=[], tool_orientation=[], position_min=[-3.0] * 3, position_max=[3.0] * 3,
        )  # fmt: skip

    def _sense(self) -> None:
        random, now = self.random, self.now
        arm_ns = now - int(random.integers(1, 5_000_000))
        other_ns = arm_ns if random.random() < 0.3 else now - int(random.integers(1, 15_000_000))
        for names, ns, position in ((JOINTS[:2], arm_ns, self.position[:2]), (("finger", JOINTS[2]), other_ns, [0.1, self.position[2]])):
            if random.random() < 0.1:
                continue
            if random.random() < 0.02:
                position = np.array(position) + 0.5  # an encoder misreads
            message = joint_state(ns, names, position)
            self._write("joint_states", message)
            try:
                self.pipeline.measure("joint_states", message, now)
            except StateError:
                self.refused += 1
        if random.random() < 0.3:
            actions = random.normal(0, 0.0005, (HORIZON, 3))
            for topic, message in (
                ("vla/reference", reference(now - 2 * PERIOD, actions, JOINTS)),
                ("vla/embedding", embedding(now - 2 * PERIOD, random.normal(size=(ROWS, WIDTH)))),
            ):
                self._write(topic, message)
                self.pipeline.propose(message, now) if topic == "vla/reference" else self.pipeline.encode(message)


@pytest.fixture(scope="module")
def run(tmp_path_factory, models) -> tuple[Path, JointRun]:
    folder = tmp_path_factory.mktemp("joints") / "bag"
    made = JointRun(folder, models, seed=0)
    made.go(600)
    return folder, made


def test_parts_of_several_drivers_come_out_the_same(run):
    folder, made = run
    steps, _ = replayed(folder)
    assert made.refused > 5 and made.now > START
    assert len(steps) == sum(1 for _ in Bag(folder).read({f"/{TICKS}"}))
    assert [(step.row.seq, step.unchecked, step.differs) for step in steps if step.unchecked or step.differs] == []
    assert sum(step.row.commands for step in steps) > 100
    assert len({step.row.joint_ns for step in steps if len(set(step.row.joint_ns)) > 1}) > 100  # the stamps do differ


def test_a_part_that_was_lost_leaves_only_the_steps_unchecked_that_used_it(run):
    random = np.random.default_rng(1)
    steps, _ = replayed(run[0], lambda record: record.topic == "/joint_states" and random.random() < 0.05)
    sure = checked(steps)
    assert any("the bag lacks what it used of joint_states" in step.unchecked for step in steps)
    assert [(step.row.seq, step.differs) for step in sure if step.differs] == []
    assert len(sure) > 0.7 * len(steps)
