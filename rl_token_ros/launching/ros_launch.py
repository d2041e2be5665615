"""What the launch files have in common: their arguments, and the nodes of `compositions` as launch actions. Needs ROS's launch."""

from __future__ import annotations

import tempfile
from pathlib import Path

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.events.process import ProcessExited
from launch.launch_context import LaunchContext
from launch.launch_description import LaunchDescription
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from rl_token_ros.launching.compositions import NodeProcess, compose, parse_remaps, recorded
from rl_token_ros.settings.files import PACKAGE


def describe(composition: str, file_argument: str, about_file: str, default_file: str | None = None) -> LaunchDescription:
    """A launch description of one composition.

    Args:
        composition: a key of `compositions.COMPOSITIONS`.
        file_argument: name of the argument that takes the parameter file; ``about_file`` describes it.
        default_file: what it is when it is not given; None makes the argument required.
    """
    arguments = [
        DeclareLaunchArgument(file_argument, default_value=default_file, description=about_file),
        DeclareLaunchArgument("namespace", default_value="", description="Namespace of all nodes, to tell several robots apart."),
        DeclareLaunchArgument("remap", default_value="", description="Topics' names on your robot: FROM:=TO, separated by spaces."),
        DeclareLaunchArgument(
            "use_sim_time",
            default_value="",
            choices=["", "true", "false"],
            description="Whether the nodes take their time from /clock; empty: as the parameter file says.",
        ),
        DeclareLaunchArgument(
            "record", default_value="", description="Folder of a bag into which the run is recorded; empty: it is not. One that exists is continued."
        ),
        DeclareLaunchArgument(
            "log_level", default_value="", description="debug, info, warn, error or fatal, or LOGGER:=LEVEL; empty: as ROS is set up."
        ),
    ]

    def start(context: LaunchContext) -> list[Node]:
        def value(name: str) -> str:
            return LaunchConfiguration(name).perform(context)

        use_sim_time = {"": None, "true": True, "false": False}[value("use_sim_time")]
        processes = compose(
            composition,
            value(file_argument),
            namespace=value("namespace"),
            use_sim_time=use_sim_time,
            log_level=value("log_level"),
            remappings=parse_remaps(value("remap").split()),
        )
        if bag := value("record"):
            processes = recorded(processes, str(Path(bag).expanduser().absolute()), Path(tempfile.mkdtemp(prefix=f"{PACKAGE}_")))
        return [action(process) for process in processes]

    return LaunchDescription([*arguments, OpaqueFunction(function=start)])


def action(process: NodeProcess) -> Node:
    """The launch action that starts the node and ends the launch when the node ends."""
    return Node(
        package=PACKAGE,
        executable=process.executable,
        namespace=process.ros_namespace,
        parameters=[*map(str, process.parameter_files), *([process.parameters] if process.parameters else [])],
        remappings=list(process.remappings),
        ros_arguments=["--log-level", process.log_level] if process.log_level else [],
        output="screen",
        sigterm_timeout="10",  # s; a learner writes its checkpoint
        on_exit=_end_launch,
    )


def _end_launch(event: ProcessExited, context: LaunchContext) -> None:
    """One node gone is no robot. Raised, because that is what makes `ros2 launch` return non-zero and print the reason."""
    if not context.is_shutdown:
        raise RuntimeError(f"{event.process_name} ended with exit status {event.returncode}; see its output above")
