"""The documentation says what the code does: generated pages are fresh, links lead somewhere, commands and parameters exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from rl_token_ros.cli import VERBS
from rl_token_ros.settings import node_settings

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.glob("*.md"))


@pytest.fixture(scope="module")
def reference():
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_parameters_are_those_of_the_code(reference):
    assert (DOCS / "parameters.md").read_text() == reference.parameters_page(), "run python docs/make_reference.py"


def test_topics_are_those_of_the_table(reference):
    assert (DOCS / "topics.md").read_text() == reference.topics_page(), "run python docs/make_reference.py"


def test_policies_are_those_of_the_table(reference):
    written = {path.stem: path.read_text() for path in (DOCS.parent / "config" / "sros2").glob("*.xml")}
    assert written == {node: reference.policy(node) for node in reference.NODES}, "run python docs/make_reference.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert target.startswith("http") or (DOCS / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_are_verbs(page):
    for verb in re.findall(r"(?m)^\s*(?:rl_token|ros2 run rl_token_ros) (\w+)", page.read_text()):
        assert verb in VERBS, verb


@pytest.mark.parametrize("page", ["your_arm", "your_simulation", "your_vla", "tuning", "troubleshooting"])
def test_parameters_that_are_written_exist(page):
    """Entries of YAML examples, which users copy."""
    known = node_settings.known_names() | {"ros__parameters", "use_sim_time"}
    for block in re.findall(r"```yaml\n(.*?)```", (DOCS / f"{page}.md").read_text(), re.DOTALL):
        for name in re.findall(r"(?m)^\s*([a-z]\w*):", block):
            assert name in known, name


@pytest.mark.parametrize("page", ["architecture", "method"])
def test_paths_exist(page):
    """What stands in backticks and names a file or folder of the repository."""
    found = re.findall(r"`([\w.]+(?:/[\w.]+)*(?:/|\.py))`", (DOCS / f"{page}.md").read_text())
    paths = [path for path in found if "/" in path or path == "setup.py"]
    assert len(paths) > 20
    missing = [path for path in paths if not (DOCS.parent / path).exists()]
    assert not missing, f"docs/{page}.md names what is not there: {', '.join(missing)}"
