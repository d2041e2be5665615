"""The parameters that a run had, as a bag's `~/settings` says."""

from __future__ import annotations

import json
from typing import Any

from rl_token_ros.bags import message_types
from rl_token_ros.interfaces.topics import SETTINGS
from rl_token_ros.settings import parameters
from rl_token_ros.settings.control import Control


def read_settings(message: Any) -> dict:
    """What a message of `~/settings` says.

    Raises:
        NotDecoded: it is not what control_node writes.
    """
    try:
        told = json.loads(message.data)
        return {**told, "number": int(told.get("number", 0)), "parameters": dict(told["parameters"])}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise message_types.NotDecoded(f"a message of '{SETTINGS}' is not what control_node writes ({type(error).__name__}: {error})") from None


def control_of(settings: dict, **changes: Any) -> Control:
    """The parameters in a message of `~/settings`; the VLA's file need not be at hand, its fingerprint is there.

    Raises:
        ParameterError: a value that this version does not take.
    """
    values = {**settings["parameters"], "vla_model": "", "vla_sha256": settings.get("vla_sha256", ""), **changes}
    return parameters.build(Control, values)
