"""What an installation consists of: metadata that agrees, and a wheel whose files ROS tools find."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

import rl_token_ros
from rl_token_ros.cli import VERBS
from rl_token_ros.system import extras

ROOT = Path(__file__).resolve().parents[2]
EXECUTABLES = sorted(VERBS.keys() - {"up"})
DATA = f"rl_token_ros-{rl_token_ros.__version__}.data/data/"


def manifest() -> ElementTree.Element:
    return ElementTree.parse(ROOT / "package.xml").getroot()


def test_versions_agree():
    assert manifest().findtext("version") == rl_token_ros.__version__


@pytest.mark.parametrize(
    "module, extra",
    [("control.pipeline", ""), ("vla.onnx", ""), ("launching.compositions", ""), ("commands.report", "report"), ("commands.train_token", "token"),
     ("commands.train_phase", "bags"), ("commands.replay_bag", "bags"), ("commands.vla_server", "vla"), ("learning.learner", "learner")],
)  # fmt: skip
def test_what_an_extra_does_not_bring_is_not_needed(module, extra):
    """Control and VLA run on robots without torch; nobody needs a simulator to read a bag."""
    mine = set(extras.EXTRAS.get(extra, ()))
    mine |= {"PIL"} if "matplotlib" in mine else set()  # which needs it
    others = {name for modules in extras.EXTRAS.values() for name in modules} - mine
    code = f"import sys; sys.modules.update(dict.fromkeys({sorted(others)}))\nimport rl_token_ros.{module}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel of the source tree, built in a copy: building leaves files behind."""
    pytest.importorskip("setuptools", minversion="70.1")  # older ones need the package `wheel`
    folder = tmp_path_factory.mktemp("wheel")
    ignore = shutil.ignore_patterns(".*", "build", "install", "log", "runs", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, folder / "source", ignore=ignore, symlinks=True)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--wheel-dir", folder, folder / "source"], check=True)
    (path,) = folder.glob("*.whl")
    return path


def test_wheel_holds_what_ros_tools_look_for(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    data = {name[len(DATA) :] for name in names if name.startswith(DATA)}
    assert "share/ament_index/resource_index/packages/rl_token_ros" in data
    assert "share/rl_token_ros/package.xml" in data
    assert {f"share/rl_token_ros/launch/{name}.launch.py" for name in ("sim", "robot", "learner")} <= data
    assert {f"share/rl_token_ros/config/{path.name}" for path in (ROOT / "config").glob("*.yaml")} <= data
    assert "share/rl_token_ros/config/large_messages.fastdds.xml" in data  # for drivers
    assert {f"lib/rl_token_ros/{name}" for name in EXECUTABLES} <= data
    models = {path.relative_to(ROOT).as_posix() for path in (ROOT / "rl_token_ros" / "models").glob("*.onnx")}
    assert models and models <= names
    assert not [name for name in names if name.startswith(("test", "benchmark"))]


def test_installed_wheel_runs(wheel, tmp_path):
    """In an environment with neither ROS nor NumPy: commands answer, executables find their Python, configs are found."""
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=False, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet", "--no-deps", "--no-index"]
    # --ignore-installed: pip would see a source tree on PYTHONPATH as installed.
    subprocess.run([*pip, "--ignore-installed", "--no-compile", wheel], check=True, cwd=tmp_path)
    # Not in there: the parent's ROS, and what its wheels leave in the environment (PYTHONPATH, LD_LIBRARY_PATH and their guard).
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}

    def run(*command: object) -> subprocess.CompletedProcess:
        return subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=60)

    assert "control_node" in run(folder / "bin" / "rl_token", "--help").stdout
    assert not {"control_node", "demo"} & {path.name for path in (folder / "bin").iterdir()}
    for name in ("control_node", "vla_node"):
        result = run(folder / "lib" / "rl_token_ros" / name)
        assert result.returncode == 2
        assert f"rl_token {name}: " in result.stderr and "is not installed" in result.stderr
    config = run(folder / "bin" / "python", "-c", "from rl_token_ros.settings.files import config_file; print(config_file('sim'))")
    assert Path(config.stdout.strip()) == folder.resolve() / "share" / "rl_token_ros" / "config" / "sim.yaml"
