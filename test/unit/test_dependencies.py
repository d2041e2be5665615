"""What the package imports is what its installation brings: setup.py, package.xml and the sentences about missing extras agree."""

from __future__ import annotations

import ast
import re
import runpy
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from rl_token_ros.cli import VERBS
from rl_token_ros.system import extras

ROOT = Path(__file__).parents[2]
PACKAGE_OF = {"PIL": "pillow", "yaml": "pyyaml", "tf2_ros": "tf2_ros_py"}  # where a package is not called as its module
NO_WHEELS = {"launch", "launch_ros", "tf2_ros"}  # imported by launch files, which a ROS installation runs, or where a parameter asks for it
FRAMEWORKS = {
    "huggingface_hub",
    "jax",
    "lerobot",
    "openpi",
}  # an adapter runs in the environment of its framework, which is there before this package


def _imports(folder: Path) -> set[str]:
    """Top-level names of the modules that files below a folder import, those of this package and of Python left out."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module)
    return {name.partition(".")[0] for name in found} - sys.stdlib_module_names - {"rl_token_ros"}


IMPORTS = _imports(ROOT / "rl_token_ros") | _imports(ROOT / "launch")


def _is_ros(module: str) -> bool:
    return module in {"rclpy", "std_srvs", *NO_WHEELS} or module.endswith(("_msgs", "_interfaces"))


def _names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w-]+", requirement)[0] for requirement in requirements}


@pytest.fixture
def declared(monkeypatch):
    """What setup.py says: extra -> names of packages; '' without an extra."""
    setuptools = pytest.importorskip("setuptools")
    told = {}
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: told.update(arguments))
    runpy.run_path("setup.py")
    return {"": _names(told["install_requires"]), **{extra: _names(packages) for extra, packages in told["extras_require"].items()}}


def test_setup_py_declares_every_package_that_is_imported(declared):
    everything = set().union(*declared.values())
    assert {PACKAGE_OF.get(module, module) for module in IMPORTS - FRAMEWORKS if not _is_ros(module)} <= everything
    ros = {f"ros-{module.replace('_', '-')}" for module in IMPORTS if _is_ros(module) and module not in NO_WHEELS}
    assert ros <= declared["ros"] and ros <= declared["ros-jazzy"]


def test_package_xml_depends_on_every_ros_package_that_is_imported():
    depends = {depend.text for depend in ElementTree.parse(ROOT / "package.xml").getroot().iter("exec_depend")}
    imported = {PACKAGE_OF.get(module, module) for module in IMPORTS if _is_ros(module)}
    assert "rclpy" in imported and imported <= depends


def test_the_modules_of_an_extra_are_those_it_installs(declared):
    for extra, modules in extras.EXTRAS.items():
        assert {PACKAGE_OF.get(module, module) for module in modules} == declared[extra], extra
    assert set(extras.EXTRAS) | {"", "ros", "ros-jazzy", "test", "dev"} >= set(declared)
    assert extras.OF_VERB.keys() <= VERBS.keys() and set(extras.OF_VERB.values()) <= extras.EXTRAS.keys()


@pytest.mark.parametrize(
    "module, verb, extra",
    [
        ("torch.nn", "", "learner"), ("torch", "train_token", "token"), ("onnx", "clone", "token"),
        ("mujoco", "sim_node", "sim"), ("mujoco", "demo", "demo"),
        ("mcap.reader", "replay_bag", "bags"), ("mcap", "report", "report"), ("zstandard", "learner_node", "learner"), ("PIL", "report", "vla"),
        ("rclpy.node", "report", "ros"), ("std_msgs.msg", "", "ros"), ("builtin_interfaces", "", "ros"),
    ],
)  # fmt: skip
def test_a_missing_module_is_answered_with_what_to_install(module, verb, extra):
    assert f"rl_token_ros[{extra}]'" in extras.missing(module, verb)


def test_a_module_that_no_extra_brings_is_only_named():
    assert extras.missing("nobody.knows", "report") == "module 'nobody.knows' is not installed"
