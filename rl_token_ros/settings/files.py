"""Files that parameters and command lines name: parameter files of robots, models of the package."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

PACKAGE = "rl_token_ros"


def resolve_path(path: str) -> Path:
    """A file named in a parameter: ``package://rl_token_ros/...`` is a file of this package, ``~`` the home folder."""
    prefix = "package://rl_token_ros/"
    if path.startswith(prefix):
        return Path(__file__).parents[1] / path[len(prefix) :]
    return Path(path).expanduser()


def config_file(name: str | Path) -> Path:
    """The parameter file of a robot: a path to it, or the name of one in this package's `config` folder, with or without .yaml.

    Raises:
        FileNotFoundError: neither exists; the message lists the names that do.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path.resolve()
    folder = share_folder() / "config"
    known = {file.stem: file for file in sorted(folder.glob("*.yaml"))}
    stem = str(name).removesuffix(".yaml")
    if stem in known:
        return known[stem]
    near = difflib.get_close_matches(stem, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"write the path of a file or one of: {', '.join(known) or '(none installed)'}"
    raise FileNotFoundError(f"no parameter file '{name}' here or in {folder}; {hint}")


def share_folder() -> Path:
    """The folder that holds `config` and `launch`: the source tree if this runs from one, else the installation's `share`.

    Raises:
        FileNotFoundError: the package was copied without its share folder.
    """
    here = Path(__file__).resolve()
    if (here.parents[2] / "package.xml").is_file():  # a source tree or an editable installation: what the user edits counts
        return here.parents[2]
    for prefix in (*here.parents, Path(sys.prefix)):  # <prefix>/lib/pythonX.Y/site-packages/rl_token_ros/settings/files.py
        if (prefix / "share" / PACKAGE / "package.xml").is_file():
            return prefix / "share" / PACKAGE
    raise FileNotFoundError(f"no share/{PACKAGE} above {here}; install the package with pip or colcon")
