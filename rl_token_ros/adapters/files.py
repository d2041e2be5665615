"""Files of a checkpoint: their fingerprint, and those that hold a map."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rl_token_ros.settings.parameters import ParameterError

PIECE = 1 << 22  # bytes read at once


def digest(files: Iterable[Path], folder: Path) -> str:
    """SHA-256 over files below a folder. Names and contents count, order does not."""
    total = hashlib.sha256()
    for path in sorted(files):
        one = hashlib.sha256()
        with path.open("rb") as file:
            while piece := file.read(PIECE):  # they may be larger than the memory
                one.update(piece)
        total.update(f"{path.relative_to(folder).as_posix()} {one.hexdigest()}\n".encode())
    return total.hexdigest()


def read_map(path: Path) -> dict[str, Any]:
    """What a JSON file holds.

    Raises:
        ParameterError: it is not there, or holds no map.
    """
    try:
        found = json.loads(path.read_text())
    except OSError:
        raise ParameterError(f"there is no '{path}'") from None
    except ValueError as error:
        raise ParameterError(f"'{path}' cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise ParameterError(f"'{path}' holds no map")
    return found
