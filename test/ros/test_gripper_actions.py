"""Grippers that are action servers, with the real types where they are installed: goals when the command changes, and what a server may do."""

from __future__ import annotations

import functools
import sys
import threading

import pytest
import small_robot
from rclpy.action import ActionServer, GoalResponse
from rclpy.node import Node
from world import World, trajectory

from rl_token_ros.interfaces.graph_check import FAIL, OK, Finding
from rl_token_ros.interfaces.topics import GRIPPER_ACTIONS
from rl_token_ros.nodes import command_topic
from rl_token_ros.nodes.control_node import ControlNode
from rl_token_ros.nodes.graph_inspection import look
from rl_token_ros.nodes.ros_topics import interface_class
from rl_token_ros.settings import parameters
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.vla import Vla

INTERFACES = list(GRIPPER_ACTIONS)

VLA = parameters.build(Vla, small_robot.shared(cameras=["base"], vla_proprioception=["ee_position"]))


class Hand(Node):
    """Serves actions of grippers; what becomes of a goal is as it is told."""

    def __init__(self, interface: str, actions: list[str], **options) -> None:
        super().__init__("hand", **options)
        self.goals: dict[str, list] = {action: [] for action in actions}
        self.rejects = self.aborts = self.stalls = False
        kind = interface_class(GRIPPER_ACTIONS[interface])
        self.servers = [ActionServer(self, kind, name, functools.partial(self._execute, kind, name), goal_callback=self._accept) for name in actions]

    def _accept(self, _goal) -> GoalResponse:
        return GoalResponse.REJECT if self.rejects else GoalResponse.ACCEPT

    def _execute(self, kind, name: str, handle):
        self.goals[name].append(handle.request.command)
        handle.abort() if self.aborts else handle.succeed()
        return kind.Result(stalled=self.stalls)

    def close(self) -> None:
        for server in self.servers:
            server.destroy()

    def positions(self, name: str) -> list[float]:
        return [goal.position if isinstance(goal.position, float) else goal.position[0] for goal in self.goals[name]]


class Gripping(World):
    """Its VLA commands grippers, too."""

    grips: dict[str, float]

    def _answer(self) -> None:
        message = trajectory(self.get_clock().now().to_msg())
        message.joint_names += list(self.grips)
        for point in message.points:
            point.positions.extend(self.grips.values())
        self.reference.publish(message)


def robot(interface: str, **changes) -> dict:
    grippers = {"gripper_names": ["finger"], "gripper_min": [0.0], "gripper_max": [0.08], "gripper_interface": interface}
    return small_robot.control(token_size=0, state_timeout=2.0, **{**grippers, **changes})


class Bench:
    """control_node, what moves about it, and perhaps a hand."""

    def __init__(self, graph, interface: str, *arguments: str, **changes) -> None:
        self.graph, self.interface = graph, interface
        make = functools.partial(ControlNode, cli_args=["--ros-args", *arguments]) if arguments else ControlNode
        values = robot(interface, **changes)
        self.control = graph.add(make, values=values)
        self.world = graph.add(Gripping)
        self.world.grips = dict.fromkeys(values["gripper_names"], 0.04)

    def hand(self, *actions: str) -> Hand:
        return self.graph.add(functools.partial(Hand, self.interface, list(actions or ["/gripper/command"])))

    def enable(self) -> None:
        self.graph.wait_for(lambda: self.world.call(self.graph, "enable", True).success, "enabled")
        self.moved(5)

    def moved(self, count: int) -> None:
        begin = len(self.world.commands)
        self.graph.wait_for(lambda: len(self.world.commands) >= begin + count, "commands")

    def reported(self, **values: object) -> None:
        """Wait until /diagnostics says so; of a sentence a part."""
        wanted = {name: str(value) for name, value in values.items()}
        self.graph.wait_for(lambda: all(value in self.world.report.get(name, "") for name, value in wanted.items()), f"{wanted} in /diagnostics")


@pytest.fixture
def bench(graph, monkeypatch):
    pytest.importorskip("control_msgs")
    monkeypatch.setattr(command_topic, "DISCOVERY_SECONDS", 0.1)
    return functools.partial(Bench, graph)


@pytest.mark.parametrize("interface", INTERFACES)
def test_a_goal_is_sent_when_the_command_has_changed(graph, bench, interface):
    made = bench(interface, gripper_max_effort=20.0)
    hand = made.hand()
    made.enable()
    graph.wait_for(lambda: hand.positions("/gripper/command") == [0.04], "the first goal")
    made.moved(30)
    made.world.grips["finger"] = 0.043  # within the deadband
    made.moved(30)
    assert hand.positions("/gripper/command") == [0.04]
    made.world.grips["finger"] = 1.0
    graph.wait_for(lambda: hand.positions("/gripper/command") == [0.04, 0.08], "the second, within gripper_max")
    goal = hand.goals["/gripper/command"][-1]
    if interface == "gripper_command":
        assert goal.max_effort == 20.0
    else:
        assert (list(goal.name), list(goal.effort), list(goal.velocity)) == (["finger"], [20.0], [])
    made.reported(gripper_goals_sent=2, gripper_goals_rejected=0, gripper_goals_aborted=0)
    assert made.world.report["gripper"] == ""


def test_a_stopped_arm_keeps_its_grip_and_an_enabled_one_says_its_own_again(graph, bench):
    made = bench("gripper_command")
    hand = made.hand()
    made.enable()
    graph.wait_for(lambda: len(hand.goals["/gripper/command"]) == 1, "the first goal")
    assert made.world.call(graph, "stop").success
    made.world.grips["finger"] = 0.0
    ticks = made.control.ticks.ticks
    graph.wait_for(lambda: made.control.ticks.ticks > ticks + 30, "ticks")
    assert len(hand.goals["/gripper/command"]) == 1
    made.world.grips["finger"] = 0.04
    assert made.world.call(graph, "reset_stop").success
    made.enable()
    graph.wait_for(lambda: hand.positions("/gripper/command") == [0.04, 0.04], "a goal, for others may have moved it")


@pytest.mark.parametrize("interface", INTERFACES)
def test_a_server_that_is_absent_rejects_or_aborts_is_said_and_does_not_hold_up_the_arm(graph, bench, interface):
    made = bench(interface)
    made.enable()
    made.reported(gripper="nobody serves '/gripper/command'")
    hand = made.hand()
    hand.rejects = True
    made.reported(gripper="'/gripper/command' rejects the goal 0.04: is its controller active")
    assert int(made.world.report["gripper_goals_rejected"]) >= 1 and int(made.world.report["gripper_goals_absent"]) >= 1
    hand.rejects, hand.aborts = False, True
    graph.wait_for(lambda: hand.goals["/gripper/command"], "the goal, sent again")
    made.reported(gripper="'/gripper/command' has aborted the goal 0.04", gripper_goals_aborted=1)
    made.moved(60)
    assert hand.positions("/gripper/command") == [0.04], "it may hold a part"
    hand.stalls = True  # against a part: a grip
    made.world.grips["finger"] = 0.0
    graph.wait_for(lambda: hand.positions("/gripper/command") == [0.04, 0.0], "the next goal")
    made.reported(gripper_goals_stalled=1, gripper_goals_aborted=1)
    assert made.world.report["gripper"] == ""
    assert made.control.controller.enabled


def test_several_grippers_have_an_action_each_and_names_are_remapped(graph, bench):
    grippers = {"gripper_names": ["left", "right"], "gripper_min": [0.0, 0.0], "gripper_max": [0.08, 0.08]}
    made = bench("parallel_gripper", "-r", "gripper/right/command:=/right_hand/gripper_cmd", **grippers)
    hand = made.hand("/gripper/left/command", "/right_hand/gripper_cmd")
    made.world.grips["right"] = 0.02
    made.enable()
    graph.wait_for(lambda: all(hand.goals.values()), "both goals")
    assert [list(goals[0].name) + list(goals[0].position) for goals in hand.goals.values()] == [["left", 0.04], ["right", 0.02]]
    made.world.grips["left"] = 0.0
    graph.wait_for(lambda: len(hand.goals["/gripper/left/command"]) == 2, "another goal for one")
    assert len(hand.goals["/right_hand/gripper_cmd"]) == 1


class Check:
    """`look` in a thread, while the graph is spun."""

    def __init__(self, graph, interface: str, remaps: dict[str, str] | None = None) -> None:
        findings: list[Finding] = []
        settings = small_robot.settings(**robot(interface))
        thread = threading.Thread(target=lambda: findings.extend(look([], settings, VLA, "", remaps or {}, 1.0, context=graph.context)))
        thread.start()
        graph.wait_for(lambda: not thread.is_alive(), "the findings")
        (self.found,) = findings


def test_check_says_whether_the_action_is_served(graph, bench):
    made = bench("gripper_command")  # a client, which is no server
    found = Check(graph, "gripper_command").found
    assert found.level == FAIL and "nobody serves it" in found.text and "no server of control_msgs/action/GripperCommand" in found.text
    made.hand("/hand/gripper_cmd")
    found = Check(graph, "gripper_command").found
    assert found.level == FAIL and found.text.endswith("remap gripper/command:=/hand/gripper_cmd")
    remaps = {"gripper/command": "/hand/gripper_cmd"}
    found = Check(graph, "gripper_command", remaps).found
    assert (found.level, found.topic, found.text) == (OK, "/hand/gripper_cmd", "served by /hand as GripperCommand")
    found = Check(graph, "parallel_gripper", remaps).found
    assert found.level == FAIL and found.text.endswith(
        "expected control_msgs/action/ParallelGripperCommand; write 'gripper_interface: gripper_command'"
    )


@pytest.mark.parametrize("interface", INTERFACES)
def test_without_the_types_it_says_what_to_install(graph, monkeypatch, interface):
    for name in ("control_msgs", "control_msgs.action"):
        monkeypatch.setitem(sys.modules, name, None)  # as where it is not installed
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    says = f"there is no {GRIPPER_ACTIONS[interface]} here; install ros-jazzy-control-msgs, or write forward, trajectory or joint_state"
    with pytest.raises(ParameterError, match=says):
        graph.add(ControlNode, values=robot(interface))
    found = Check(graph, interface).found
    assert found.level == FAIL and says in found.text
