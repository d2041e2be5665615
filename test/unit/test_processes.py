"""What the nodes of a composition are started with, for launch files and runner alike."""

from pathlib import Path

import pytest
import yaml

from rl_token_ros.launching.compositions import COMPOSITIONS, NodeProcess, compose
from rl_token_ros.settings.files import config_file, share_folder
from rl_token_ros.settings.parameters import read_file


def test_bare_node_has_no_ros_arguments():
    assert NodeProcess("vla_node").command()[1:] == ["-m", "rl_token_ros.cli", "vla_node"]


def test_every_field_becomes_a_ros_argument():
    process = NodeProcess(
        "control_node",
        (Path("a.yaml"), Path("b.yaml")),
        namespace="left/arm/",
        use_sim_time=True,
        log_level="debug",
        remappings=(("command", "/servo/command"),),
    )
    command = process.command()
    arguments = command[command.index("--ros-args") + 1 :]
    pairs = list(zip(arguments[::2], arguments[1::2]))
    assert pairs[:2] == [("--params-file", "a.yaml"), ("--params-file", "b.yaml")]
    assert ("-r", "__ns:=/left/arm") in pairs
    assert ("-r", "command:=/servo/command") in pairs
    assert ("--log-level", "debug") in pairs
    values = {name: yaml.safe_load(text) for flag, pair in pairs if flag == "-p" for name, text in [pair.split(":=", 1)]}
    assert values == {"use_sim_time": True}


def test_further_parameters_win_over_the_files_section_for_that_node(tmp_path):
    process = NodeProcess("control_node", (Path("a.yaml"),)).with_parameters({"mode": "vla"}, tmp_path)
    assert process.parameter_files[0] == Path("a.yaml")
    assert read_file(process.parameter_files[1], "control_node") == {"mode": "vla"}
    assert read_file(process.parameter_files[1], "vla_node") == {}


def test_control_node_is_started_last_so_that_it_ends_first():
    assert all(nodes[-1] == "control_node" for nodes in COMPOSITIONS.values() if "control_node" in nodes)


def test_a_simulation_is_a_robot_and_a_learner_and_an_arm():
    for name, arm in (("sim", "sim_node"), ("gym", "gym_node")):
        assert set(COMPOSITIONS[name]) == {*COMPOSITIONS["robot"], *COMPOSITIONS["learner"], arm}


def test_all_nodes_of_a_composition_read_the_same_file(tmp_path):
    path = tmp_path / "my_robot.yaml"
    path.write_text("/**: {ros__parameters: {}}")
    processes = compose("robot", path, namespace="left")
    assert [process.executable for process in processes] == ["vla_node", "control_node"]
    assert {process.parameter_files for process in processes} == {(path,)}
    assert {process.ros_namespace for process in processes} == {"/left"}


def test_config_by_name_with_and_without_extension():
    assert config_file("sim") == config_file("sim.yaml") == share_folder() / "config" / "sim.yaml"


def test_unknown_config_is_refused_with_the_nearest_name():
    with pytest.raises(FileNotFoundError, match="no parameter file 'simm'.*did you mean 'sim'?"):
        config_file("simm")


def test_unknown_composition_config_lists_what_there_is():
    with pytest.raises(FileNotFoundError, match="write the path of a file or one of: .*sim"):
        compose("robot", "zzz")
