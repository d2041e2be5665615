"""Graphs of real processes to which faults are done (damage.py), with this process as the arm or beside it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scripted_arm
import small_robot
from audit import CommandAudit, JournalAudit
from geometry_msgs.msg import PoseStamped
from onlooker import Onlooker
from scripted_arm import HORIZON, ScriptedArm

from rl_token_ros.control.safety_filter import Limits
from rl_token_ros.launching.compositions import NodeProcess
from rl_token_ros.launching.runner import Runner
from rl_token_ros.settings import node_settings

PATIENCE = 90.0  # s; a passing test needs a few


@dataclass
class Outcome:
    """What a fault came to. ``recovery``: s from the end of the fault to the arm's moving again; None where it never ceased to move."""

    arm: str
    lost: str = "nothing"
    recovery: float | None = None


class FaultBench:
    """control_node, vla_node and learner_node around a scripted arm. Use as a context manager.

    Args:
        folder: for files and logs.
        domain: of ROS.
        environment: of the nodes, beside this process's.
    """

    nodes: tuple[str, ...] = ("learner_node", "vla_node", "control_node")
    sim_time = False

    def __init__(self, folder: Path, domain: int, environment: dict[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.domain = folder, domain
        self.run_directory = folder / "run"
        self.parameters = self._write_parameters()
        self._started_at = dict.fromkeys(self.nodes, 0.0)  # system time
        self.expected_dead: set[str] = set()
        self.journal = JournalAudit(self.run_directory / "replay", scripted_arm.DTYPE)
        environment = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", **(environment or {}), "ROS_DOMAIN_ID": str(domain)}
        self.runner = Runner({name: self.command(name) for name in self.nodes}, folder / "logs", environment)

    def _write_parameters(self) -> Path:
        values = scripted_arm.parameters(scripted_arm.write_models(self.folder), self.run_directory)
        return scripted_arm.write_parameters(self.folder / "arm.yaml", values)

    def _make_arm(self, **options) -> Onlooker:
        arm = ScriptedArm(self.sim_time, **options)
        if "vla_node" not in self.nodes:
            arm.speak = circling(arm)
        return arm

    def command(self, executable: str, name: str = "") -> list[str]:
        """The command line of a node, under another name if one is given."""
        remappings = (("__node", name),) if name else ()
        return NodeProcess(executable, (self.parameters,), use_sim_time=self.sim_time or None, remappings=remappings).command()

    def __enter__(self) -> FaultBench:
        self.runner.start()
        self._graph = small_robot.Graph(self.domain)
        try:
            self.arm = self._graph.add(self._make_arm)
            self.moves_again()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.stop()
        self._graph.__exit__()

    # --- waiting and looking ------------------------------------------------------------------------------------------

    def wait(self, condition: Callable[[], object], what: str, practising: bool = False) -> float:
        """Let time go on until the condition holds; s that it took. A node that ends by itself fails.

        Args:
            condition: whether to go on.
            what: is waited for.
            practising: be the operator meanwhile, who resets a stop: this machine may stall, and then the arm rightly stops.
        """
        begun = time.monotonic()

        def held() -> object:
            dead = [ended for ended in self.runner.ended() if ended.name not in self.expected_dead]
            assert not dead, "\n".join(ended.report() for ended in dead)
            if practising:
                self.arm.operator.operate(self._message())
            return condition()

        try:
            self._graph.wait_for(held, what, PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"{error}; control_node: {self.report('control_node').get('message')}") from None
        return time.monotonic() - begun

    def spin(self, seconds: float, practising: bool = False) -> None:
        """Let time go on."""
        end = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() >= end, "time to go on", practising)

    def send(self, publisher, messages) -> int:
        """Publish messages one after the other while time goes on; how many."""
        sent = 0
        for message in messages:
            publisher.publish(message)
            self._graph.executor.spin_once(timeout_sec=0.002)
            sent += 1
        return sent

    def report(self, node: str) -> dict[str, str]:
        """The newest figures of a node since it was started."""
        report = self.arm.reports.get(node, {})
        return report if report and float(report["at"]) > self._started_at.get(node, 0.0) else {}

    def moves(self, commands: int = 10) -> bool:
        """Whether the newest commands of this moment move the arm."""
        audit = self.arm.audit
        newest = audit.commands[max([len(audit.commands) - commands, *audit.begins[-1:]]) :]
        fresh = len(newest) == commands and time.monotonic() - audit.arrivals[-1] < 0.5
        return fresh and bool(np.ptp([position for _, position in newest], axis=0).max() > 1e-4)

    def rests(self, commands: int = 10) -> bool:
        """Whether the newest commands hold the arm."""
        newest = [position for _, position in self.arm.audit.commands[-commands:]]
        return bool(np.ptp(newest, axis=0).max() < 1e-9)

    def stopped(self) -> str:
        """The reason of a latched stop, as control_node reports it."""
        message = self._message()
        return message.removeprefix("stopped: ") if message.startswith("stopped: ") else ""

    def _message(self) -> str:
        """What control_node says of its state, since the operator last changed that."""
        report = self.report("control_node")
        return report["message"] if report and float(report["at"]) > self.arm.operator.changed_at else ""

    def audited(self) -> None:
        """Fail if any command broke a limit or followed what was too old.

        What a command followed was sent before it, and may be heard after it: on several topics messages wait side by side.
        """
        now_ns = time.time_ns()
        self.spin(0.5)
        self.arm.audit.finish(now_ns)

    def moves_again(self) -> float:
        """Wait until the arm moves, as an operator who resets a stop; s that it took."""
        took = self.wait(lambda: self.moves() and not self.arm.operator.busy, "the arm moves again", practising=True)
        self.arm.operator.changed_at = time.time()
        return took

    # --- processes ----------------------------------------------------------------------------------------------------

    def ended(self, name: str) -> bool:
        """Whether a process has ended."""
        return name in [ended.name for ended in self.runner.ended()]

    def end(self, name: str, number: signal.Signals) -> None:
        """Send a signal and wait for the end."""
        self.expected_dead = self.expected_dead | {name}
        self.runner.send(name, number)
        self.wait(lambda: self.ended(name), f"{name} ends")

    def kill(self, name: str) -> None:
        """kill -9."""
        self.end(name, signal.SIGKILL)

    def restart(self, name: str) -> None:
        """Start it again."""
        self._started_at[name] = time.time()
        if name == "control_node":
            self.arm.operator.forget()
        self.runner.restart(name)
        self.expected_dead = self.expected_dead - {name}

    def workers(self, name: str) -> list[int]:
        """Process numbers of what a node started."""
        pid = self.runner.pid(name)
        return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]


class ClockBench(FaultBench):
    """control_node alone around a scripted arm that is its VLA and its clock."""

    nodes = ("control_node",)
    sim_time = True


class SimulatorBench(FaultBench):
    """sim_node as the arm, vla_node and control_node, with the robot's own parameter file; this process looks on."""

    nodes = ("sim_node", "vla_node", "control_node")

    def _write_parameters(self) -> Path:
        from test_processes_run import write_config

        return write_config(self.folder)

    def _make_arm(self, **options) -> Onlooker:
        control = node_settings.load("control_node", self.parameters)
        limits = (*control.command_range, control.velocity_limit, control.acceleration_limit, control.lead_limit)
        anywhere = np.full(control.action_size, np.nan)  # the first command says where the arm is
        audit = CommandAudit(Limits(*map(np.array, limits)), 1.0 / control.control_rate, anywhere, {})
        return Onlooker("onlooker", audit, PoseStamped, _position, **options)


def _position(message: PoseStamped) -> np.ndarray:
    p = message.pose.position
    return np.array([p.x, p.y, p.z])


def circling(arm: ScriptedArm, horizon: int = HORIZON) -> Callable[[int], tuple[np.ndarray, int]]:
    """What the VLA says, said by the arm itself."""
    step = scripted_arm.TURN

    def speak(_: int) -> tuple[np.ndarray, int]:
        x, y, _z = arm.position
        return np.tile([-step * y, step * x, 0.0], (horizon, 1)), 0

    return speak
