"""The parameters that a run had, as a bag's `~/settings` says."""

from __future__ import annotations

import json
from typing import Any

from rl_token_ros.bags import message_types
from rl_token_ros.bags.reader import Bag
from rl_token_ros.bags.topic_names import Names
from rl_token_ros.interfaces.topics import SETTINGS
from rl_token_ros.settings import parameters
from rl_token_ros.settings.control import Control


class NoSettings(ValueError):
    """A bag that does not say its run's parameters; the message says what to do."""


def first_settings(bag: Bag, names: Names) -> dict:
    """What a bag's first readable message of `~/settings` says, as :func:`read_settings`.

    Raises:
        NoSettings: there is no such message.
    """
    topic = names.find(SETTINGS)
    if topic is None:
        raise NoSettings(f"{names.missing(SETTINGS)}; name the robot's parameter file with --config")
    decode = message_types.decoder(topic.type, topic.definition, topic.encoding)
    for record in bag.read({topic.name}):
        try:
            return read_settings(decode(record.data))
        except ValueError:
            continue  # damaged; the next one may be whole
    raise NoSettings(f"no message of '{topic.name}' can be read; name the robot's parameter file with --config")


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
    then = {parameters.RENAMED.get(name, name): value for name, value in settings["parameters"].items()}  # a bag of before is run again
    values = {**then, "vla_model": "", "vla_sha256": settings.get("vla_sha256", ""), **changes}
    return parameters.build(Control, values)
