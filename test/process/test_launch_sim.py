"""The launch files, run by ROS's launch where it is installed: the nodes talk, end with status 0, and a death ends the launch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

launch_pytest = pytest.importorskip("launch_pytest")
launch_ros = pytest.importorskip("launch_ros")
pytest.importorskip("mujoco")
pytest.importorskip("torch")

from ament_index_python.packages import (
    PackageNotFoundError,
    get_package_share_directory,
)
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from graph import ENVIRONMENT, Listener, quick_learner
from launch import LaunchDescription, LaunchService
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
from sensor_msgs.msg import PointCloud2

from rl_token_ros.launching.compositions import COMPOSITIONS
from rl_token_ros.settings.files import config_file

LAUNCH_FILES = Path(__file__).resolve().parents[2] / "launch"
FILE_ARGUMENT = {"sim": "params_file", "gym": "params_file", "robot": "robot", "learner": "robot"}

try:
    get_package_share_directory("rl_token_ros")
except (OSError, PackageNotFoundError):
    pytest.skip("rl_token_ros is not in the ament index: install it and source its prefix", allow_module_level=True)


@pytest.fixture(autouse=True)
def own_domain(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def include(composition: str, **arguments: str) -> IncludeLaunchDescription:
    source = PythonLaunchDescriptionSource(str(LAUNCH_FILES / f"{composition}.launch.py"))
    return IncludeLaunchDescription(source, launch_arguments=arguments.items())


exit_codes: dict[str, int] = {}


@launch_pytest.fixture
def simulation(tmp_path):
    os.environ.update(ENVIRONMENT)  # launch's event loop may start before function fixtures
    exit_codes.clear()
    note = OnProcessExit(on_exit=lambda event, context: exit_codes.__setitem__(event.process_name, event.returncode))
    simulated = include("sim", params_file=str(quick_learner(tmp_path)), namespace="left", log_level="warn")
    return LaunchDescription([RegisterEventHandler(note), simulated, launch_pytest.actions.ReadyToTest()])


@pytest.mark.launch(fixture=simulation)
def test_simulation_runs_and_ends_cleanly():
    topics = {"/left/command": PoseStamped, "/left/replay": PointCloud2, "/diagnostics": DiagnosticArray}
    nodes = {f"/left/{node}" for node in COMPOSITIONS["sim"]}
    with Listener(topics) as listener:
        listener.wait(lambda: exit_codes or all(listener.counts().values()), "commands and replay")
        listener.wait(lambda: exit_codes or nodes <= listener.reporting(), "diagnostics of every node")
    assert exit_codes == {}
    yield  # launch stops the nodes here
    assert sorted(exit_codes.values()) == [0] * len(nodes), exit_codes


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_arguments_have_descriptions(composition):
    source = PythonLaunchDescriptionSource(str(LAUNCH_FILES / f"{composition}.launch.py"))
    service = LaunchService(noninteractive=True)
    arguments = source.get_launch_description(service.context).get_launch_arguments()
    assert [argument.name for argument in arguments] == [FILE_ARGUMENT[composition], "namespace", "remap", "use_sim_time", "record", "log_level"]
    assert all(isinstance(argument, DeclareLaunchArgument) and len(argument.description) > 20 for argument in arguments)


RUN_LAUNCH_FILE = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
service = LaunchService(noninteractive=True)
arguments = [tuple(argument.split(":=")) for argument in sys.argv[2:]]
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(PythonLaunchDescriptionSource(sys.argv[1]), launch_arguments=arguments)])
)
sys.exit(service.run())
"""


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_a_node_that_dies_ends_the_launch_with_its_reason(composition, tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text(config_file("sim").read_text().replace("control_rate:", "controll_rate:"))
    command = [sys.executable, "-c", RUN_LAUNCH_FILE, str(LAUNCH_FILES / f"{composition}.launch.py")]
    result = subprocess.run([*command, f"{FILE_ARGUMENT[composition]}:={bad}"], capture_output=True, text=True, timeout=120)
    written = result.stdout + result.stderr
    assert result.returncode == 1, written
    assert "unknown parameter 'controll_rate'; did you mean 'control_rate'?" in written, written
    assert "ended with exit status 2; see its output above" in written, written
