"""What moves grippers: messages on `gripper/command`, or goals of the action of that name."""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.action import ActionClient
from rclpy.node import Node

from rl_token_ros.control.gripper_goals import GripperGoals
from rl_token_ros.interfaces.topics import GRIPPER_ACTIONS
from rl_token_ros.nodes.command_writer import CommandWriter
from rl_token_ros.nodes.ros_topics import interface_class, publisher
from rl_token_ros.settings.control import Control
from rl_token_ros.settings.parameters import ParameterError


class GripperTopic:
    """One message for all grippers, at every tick."""

    def __init__(self, node: Node, settings: Control) -> None:
        self._writer = CommandWriter(settings)
        self._publisher = publisher(node, "gripper/command", interface=settings.gripper_interface)

    def send(self, positions: np.ndarray, stamp: Time) -> None:
        """Positions [G], m or rad."""
        self._publisher.publish(self._writer.gripper_message(positions, stamp))

    def forget(self) -> None:
        """Somebody else may have moved them."""

    def figures(self) -> dict[str, Any]:
        """For `/diagnostics`."""
        return {}

    def close(self) -> None:
        """The node goes, and its publishers with it."""


class GripperActions:
    """A goal for each gripper whose command has changed. Nothing waits: what the server says comes as a callback of the node.

    Raises:
        ParameterError: the action's type is not installed.
    """

    def __init__(self, node: Node, settings: Control) -> None:
        self._node, self._settings = node, settings
        self._type = action_class(settings)
        # Resolved here: before Kilted, rules of remapping do not reach the names of actions.
        names = [node.resolve_topic_name(name) for name in settings.gripper_actions]
        self._clients: list[Any] = [ActionClient(node, self._type, name) for name in names]
        self._goals = [GripperGoals(name, settings.gripper_deadband) for name in names]

    def send(self, positions: np.ndarray, stamp: Time) -> None:
        """Positions [G], m or rad."""
        for i, position in enumerate(positions.tolist()):
            goals, client, now = self._goals[i], self._clients[i], self._now()
            if not goals.due(position, now):
                continue
            if client.server_is_ready():
                number = goals.begin(position, now)
                client.send_goal_async(self._goal(i, position)).add_done_callback(functools.partial(self._answered, goals, number))
            else:
                goals.no_server(now)
            self._say(goals)

    def _goal(self, i: int, position: float) -> Any:
        goal, effort = self._type.Goal(), self._settings.gripper_max_effort
        if self._settings.gripper_interface == "gripper_command":
            goal.command.position, goal.command.max_effort = position, effort
        else:
            goal.command.name, goal.command.position = [self._settings.gripper_names[i]], [position]
            goal.command.effort = [effort] if effort else []
        return goal

    def _answered(self, goals: GripperGoals, number: int, future: Any) -> None:
        handle = future.result()
        goals.answered(number, handle.accepted, self._now())
        if handle.accepted:
            handle.get_result_async().add_done_callback(functools.partial(self._ended, goals, number))
        self._say(goals)

    def _ended(self, goals: GripperGoals, number: int, future: Any) -> None:
        response = future.result()
        goals.ended(number, response.status, response.result.stalled)
        self._say(goals)

    def _say(self, goals: GripperGoals) -> None:
        if goals.trouble:
            self._node.get_logger().error(goals.trouble, throttle_duration_sec=2.0)

    def _now(self) -> int:
        return self._node.get_clock().now().nanoseconds

    def forget(self) -> None:
        """Somebody else may have moved them."""
        for goals in self._goals:
            goals.forget()

    def figures(self) -> dict[str, Any]:
        """For `/diagnostics`: counts of all grippers, and what is wrong."""
        counts = ("sent", "rejected", "aborted", "stalled", "unanswered", "absent")
        return {
            **{f"gripper_goals_{name}": sum(getattr(goals, name) for goals in self._goals) for name in counts},
            "gripper": "; ".join(goals.trouble for goals in self._goals if goals.trouble),
        }

    def close(self) -> None:
        """A node that is destroyed stays in the graph as long as it has a client of an action."""
        for client in self._clients:
            client.destroy()


def action_class(settings: Control) -> Any:
    """The action of `gripper_interface`.

    Raises:
        ParameterError: it is not installed.
    """
    kind = GRIPPER_ACTIONS[settings.gripper_interface]
    try:
        return interface_class(kind)
    except (ImportError, AttributeError):
        raise ParameterError(
            f"parameter 'gripper_interface' is {settings.gripper_interface}, but there is no {kind} here; "
            f"install ros-{os.environ.get('ROS_DISTRO', '<distro>')}-control-msgs, or write forward, trajectory or joint_state"
        ) from None


def gripper_command(node: Node, settings: Control) -> GripperTopic | GripperActions:
    """What the parameter `gripper_interface` names."""
    return (GripperActions if settings.grips_by_action else GripperTopic)(node, settings)
