"""Drivers that behave as real ones do, around a real control_node: parts of the joints from several, false measurements, misreadings."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import fake_drivers
import pytest
from fake_drivers import LEAD, Arm, Second
from std_srvs.srv import SetBool, Trigger

from rl_token_ros.launching.compositions import NodeProcess
from rl_token_ros.launching.runner import Runner

DOUBLED = "two publishers bring j1 and 3 more on 'joint_states', "
LEAPT = "'joint_states' says that j1 went from"
MOTION = 0.01  # rad; the arm stands: further than that nothing may take it


class Bench:
    """A graph with the drivers, and control_node as a process."""

    def __init__(self, graph, arm: Arm) -> None:
        self.graph, self.arm = graph, arm
        self.second: Second | None = None

    def begin(self, kind: str) -> None:
        """The second driver begins."""
        self.second = self.graph.add(Second, kind, self.arm)

    def enable(self) -> str:
        """Why it is refused; nothing when it is not."""
        answer = self.graph.call(self.arm.enable, SetBool.Request(data=True))
        return "" if answer.success else answer.message

    def enabled(self) -> None:
        """Enable it as soon as that can be, and see commands arrive."""
        self.graph.wait_for(lambda: not self.enable(), "enabled")
        count = self.arm.commands
        self.graph.wait_for(lambda: self.arm.commands > count + 50, "commands")

    def stopped(self) -> str:
        """Wait for a stop; the sentence."""
        return self.graph.wait_for(
            lambda: (m := self.arm.report.get("message", "")).startswith("stopped: ") and m.removeprefix("stopped: "), "a stop"
        )

    def hear(self, messages: int = 200) -> None:
        """Let the first driver say so many more."""
        counter = itertools.count()
        self.graph.wait_for(lambda: next(counter) > messages, "messages", 90.0)


@pytest.fixture
def bench(tmp_path, domain, graph, request) -> Iterator[Bench]:
    """With a second driver of the parameter's kind from the beginning, if there is one."""
    kind = getattr(request, "param", "")
    path = tmp_path / "arm.yaml"
    path.write_text(json.dumps({"/**": {"ros__parameters": fake_drivers.PARAMETERS}}))
    environment = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_DOMAIN_ID": str(domain)}
    runner = Runner({"control_node": NodeProcess("control_node", (path,)).command()}, tmp_path / "logs", environment)
    runner.start()
    made = Bench(graph, graph.add(Arm, fake_drivers.names(kind)))
    if kind:
        made.begin(kind)
    try:
        graph.wait_for(lambda: made.arm.report, "a report of control_node")
        yield made
    finally:
        runner.stop()


@pytest.mark.parametrize("bench", ["gripper", "halves"], indirect=True)
def test_a_part_of_the_joints_from_each_of_two_drivers_runs(bench):
    bench.enabled()
    bench.hear()
    assert bench.arm.report["message"].startswith("enabled") or not bench.enable()
    assert bench.arm.farthest < MOTION and bench.arm.report["refused_inputs"] == "0"


@pytest.mark.parametrize("bench", ["zeros"], indirect=True)
def test_a_second_driver_of_the_same_joints_keeps_the_arm_from_being_enabled(bench):
    bench.graph.wait_for(lambda: DOUBLED in bench.enable(), "the refusal that names both")
    assert "/broadcaster" in bench.enable() and "/joint_state_publisher" in bench.enable()
    bench.hear()
    assert bench.enable() and not bench.arm.commands
    bench.second.destroy_node()
    bench.graph.nodes.remove(bench.second)
    bench.enabled()
    assert bench.arm.farthest < MOTION


def test_a_second_driver_that_begins_later_stops_a_moving_arm(bench):
    bench.enabled()
    bench.begin("zeros")
    assert any(reason in bench.stopped() for reason in (DOUBLED, LEAPT))
    bench.arm.silent = True  # the true one dies: the other must not lead the arm
    bench.hear(400)
    assert bench.arm.farthest < MOTION < LEAD
    assert bench.graph.call(bench.arm.reset_stop, Trigger.Request()).success
    bench.arm.silent = False
    bench.graph.wait_for(lambda: DOUBLED in bench.enable(), "the refusal")


def test_an_encoder_that_misreads_now_and_then_is_counted_and_stops_the_arm_when_it_persists(bench):
    bench.enabled()
    count = itertools.count(1)
    bench.arm.misreads = lambda position: position + (0.6 if next(count) % 50 == 0 else 0.0)
    bench.graph.wait_for(lambda: int(bench.arm.report.get("joint_states_not_believed", 0)) >= 3, "misreadings")
    assert bench.arm.report["message"].startswith("enabled") and bench.arm.farthest < MOTION
    bench.arm.misreads = lambda position: position + 0.6
    assert LEAPT in bench.stopped()
    bench.hear(400)
    assert bench.arm.farthest < MOTION


def test_check_names_both_and_fails(bench, tmp_path, domain, models):
    """And passes before there are two, but for what this arm lacks: a camera."""

    def told() -> str:
        environment = {**os.environ, "ROS_DOMAIN_ID": str(domain)}
        command = [sys.executable, "-m", "rl_token_ros.cli", "check", "--config", str(tmp_path / "arm.yaml"), "--seconds", "2"]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        bench.graph.wait_for(lambda: process.poll() is not None, "check")
        assert process.returncode == 1
        return next(line for line in process.communicate()[0].splitlines() if " joint_states " in line)

    assert told().split()[0] in ("ok", "warn")
    bench.begin("zeros")
    line = told()
    assert line.split()[0] == "FAIL" and DOUBLED in line and "/broadcaster" in line and "/joint_state_publisher" in line
