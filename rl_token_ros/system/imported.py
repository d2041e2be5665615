"""Python objects that a user names: ``module:name``, of a module that is installed or lies in the present folder."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from rl_token_ros.settings.parameters import ParameterError


def imported(what: str, write: str) -> Any:
    """The object ``module:name``.

    Args:
        write: what to write in place of a text without a colon, for the error.

    Raises:
        ParameterError: there is none.
    """
    module, colon, name = what.partition(":")
    if not (module and colon and name):
        raise ParameterError(f"'{what}' is no MODULE:NAME; write {write}")
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ParameterError(f"'{what}' cannot be imported: {error}") from None
