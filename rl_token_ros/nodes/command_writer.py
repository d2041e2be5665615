"""The message on `command`, for each kind of controller that may listen to it."""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import PoseStamped, TwistStamped
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from rl_token_ros.control.command import Command
from rl_token_ros.robot.rotations import exp, times
from rl_token_ros.robot.yaw import turned
from rl_token_ros.settings.control import Control
from rl_token_ros.settings.proprioception_groups import AXES, YAW


class CommandWriter:
    """Builds command messages. What becomes of the arm when they cease is the controller's affair, and differs:

    forward positions, joint_state and pose: the last one is held. trajectory: the last point is reached and held. twist: MoveIt Servo
    stops after its incoming_command_timeout. forward velocities: the last one goes on. Hence a node that ends says "at rest" first.

    Axes and orientation that are not actions stay as they were when the arm was enabled (`Command.pose`). Of the two quaternions of a rotation
    the one nearer to the last is sent: a controller may turn by their numbers."""

    def __init__(self, settings: Control) -> None:
        self.settings = settings
        names = settings.action_names if settings.cartesian else []
        self._moved = [i for i, name in enumerate(names) if name in AXES]
        self._axes = [AXES.index(names[i]) for i in self._moved]
        self._yaw = names.index(YAW) if settings.turns else None
        self._turn = None if (at := settings.rotation_at) is None else slice(at, at + 3)
        self._last = tuple(settings.tool_orientation)  # orientation sent

    def message(self, command: Command, stamp: Time):
        """The message for one command."""
        return getattr(self, "_" + self.settings.command_interface)(command, stamp)

    def gripper_message(self, position: np.ndarray, stamp: Time):
        """The message for positions [G] of the grippers."""
        names, positions = self.settings.gripper_names, position.tolist()
        if self.settings.gripper_interface == "forward":
            return Float64MultiArray(data=positions)
        if self.settings.gripper_interface == "joint_state":
            message = JointState(name=names, position=positions)
            message.header.stamp = stamp
            return message
        point = JointTrajectoryPoint(positions=positions, time_from_start=_duration(self.settings.gripper_seconds))
        return JointTrajectory(joint_names=names, points=[point])

    def _forward(self, command: Command, stamp: Time) -> Float64MultiArray:
        values = command.velocity if self.settings.commands_velocity else command.position
        return Float64MultiArray(data=values.tolist())

    def _trajectory(self, command: Command, stamp: Time) -> JointTrajectory:
        # A zero stamp means "start now" to the joint trajectory controller; a real one may already be past. No velocities: since Iron
        # it refuses a trajectory that does not end at rest (allow_nonzero_velocity_at_trajectory_end).
        point = JointTrajectoryPoint(positions=command.position.tolist(), time_from_start=_duration(1.0 / self.settings.control_rate))
        return JointTrajectory(joint_names=self.settings.action_names, points=[point])

    def _joint_state(self, command: Command, stamp: Time) -> JointState:
        message = JointState(name=self.settings.action_names, position=command.position.tolist())
        message.header.stamp = stamp
        return message

    def _twist(self, command: Command, stamp: Time) -> TwistStamped:
        message = TwistStamped()
        message.header.stamp, message.header.frame_id = stamp, self.settings.base_frame
        velocity = command.velocity.tolist()
        for axis, i in zip(self._axes, self._moved):
            setattr(message.twist.linear, AXES[axis], velocity[i])
        angular = message.twist.angular
        if self._yaw is not None:
            angular.z = velocity[self._yaw]
        if self._turn is not None:
            angular.x, angular.y, angular.z = velocity[self._turn]
        return message

    def _pose(self, command: Command, stamp: Time) -> PoseStamped:
        message = PoseStamped()
        message.header.stamp, message.header.frame_id = stamp, self.settings.base_frame
        assert command.pose is not None  # Cartesian actions have one
        at, turn = command.pose[0].copy(), command.pose[1]
        at[self._axes] = command.position[self._moved]
        position, orientation = message.pose.position, message.pose.orientation
        position.x, position.y, position.z = at.tolist()
        wanted = turn.tolist()
        if self._yaw is not None:
            wanted = turned(wanted, float(command.position[self._yaw]))
        if self._turn is not None:
            wanted = times(exp(command.position[self._turn].tolist()), self.settings.tool_orientation)
            if sum(a * b for a, b in zip(wanted, self._last)) < 0.0:
                wanted = tuple(-value for value in wanted)
            self._last = wanted
        orientation.x, orientation.y, orientation.z, orientation.w = wanted
        return message


def _duration(seconds: float) -> Duration:
    whole, nanoseconds = divmod(round(seconds * 1e9), 1_000_000_000)
    return Duration(sec=whole, nanosec=nanoseconds)
