"""Parameters declared once: name, type, default, unit, range and a sentence, for ROS, for YAML files and for the documentation.

A group of parameters is a frozen dataclass whose fields are made by :func:`parameter`. The same class is filled from a ROS node
(`nodes/ros_parameters.py`) or, without ROS, from a ROS parameter file (:func:`load`). Both refuse a bad or misspelt value with a
sentence that says what to write instead.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml

Group = TypeVar("Group")

# The parameter types of ROS 2 that we use, by annotation.
TYPES = {
    bool: "bool",
    int: "integer",
    float: "number",
    str: "string",
    list[str]: "list of strings",
    list[float]: "list of numbers",
}

# What a parameter was called before -> what it is called now. An old name is refused, not taken: a file says what it means.
RENAMED = {
    "authority_ramp": "rollout_ramp",
    "residual_knots": "temporal_basis_size",
    "return_share": "monte_carlo_mix",
    "beta_start": "bc_weight_start",
    "beta_end": "bc_weight_end",
    "beta_anneal_seconds": "bc_weight_anneal_seconds",
}


class ParameterError(ValueError):
    """A parameter that cannot be used. The message names it, says what was found and what to write."""


def parameter(
    default: Any,
    description: str,
    *,
    unit: str = "",
    low: float = -math.inf,
    high: float = math.inf,
    choices: tuple[str, ...] = (),
    live: bool = False,
) -> Any:
    """A dataclass field that is a ROS parameter.

    ``low`` and ``high`` bound a number, or every element of a list, inclusively. ``live`` parameters may be changed while the
    node runs; all others are read-only.
    """
    metadata = dict(description=description, unit=unit, low=low, high=high, choices=choices, live=live)
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def fields(group: type) -> dict[str, tuple[Any, Any, dict[str, Any]]]:
    """``{name: (type, default, metadata)}`` of a group, in order of declaration."""
    hints = get_type_hints(group)
    found = {}
    for field in dataclasses.fields(group):
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        found[field.name] = (hints[field.name], default, dict(field.metadata))
    return found


def check(name: str, kind: Any, metadata: dict[str, Any], value: Any) -> Any:
    """The value in its declared type.

    Raises:
        ParameterError: wrong type, out of range, not finite, or none of the choices.
    """
    if kind in (list[str], list[float]):
        if not isinstance(value, (list, tuple)) and not hasattr(value, "tolist"):
            raise ParameterError(f"parameter '{name}' is {value!r}; write a {TYPES[kind]}, as in [a, b]")
        element = str if kind == list[str] else float
        return [check(f"{name}[{i}]", element, metadata, item) for i, item in enumerate(value)]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        raise ParameterError(f"parameter '{name}' is {value!r}, a {type(value).__name__}; write a {TYPES[kind]}")
    if kind in (int, float):
        low, high = metadata.get("low", -math.inf), metadata.get("high", math.inf)
        if not (low <= value <= high and math.isfinite(value)):  # also refuses NaN
            unit = f" {metadata['unit']}" if metadata.get("unit") else ""
            bounds = f" from {low:g} to {high:g}" if math.isfinite(low) or math.isfinite(high) else ""
            raise ParameterError(f"parameter '{name}' is {value:g}; write a finite {TYPES[kind]}{bounds}{unit}")
    choices = metadata.get("choices", ())
    if choices and value not in choices:
        raise ParameterError(f"parameter '{name}' is '{value}'; write one of {', '.join(choices)}")
    return value


def build(group: type[Group], values: dict[str, Any]) -> Group:
    """A checked instance of a group; names that are not in ``values`` keep their default.

    A group's own ``__post_init__`` checks what concerns several parameters at once.
    """
    declared = fields(group)
    checked = {}
    for name, (kind, _, metadata) in declared.items():
        if name in values:
            checked[name] = check(name, kind, metadata, values[name])
    return group(**checked)


def refuse_unknown(names: list[str], known: set[str], where: str) -> None:
    """Raise for the first name that no node of this package declares, with what it is called now, else with the nearest name that one does.

    Raises:
        ParameterError: there is such a name.
    """
    for name in names:
        if name in known:
            continue
        if name in RENAMED:
            raise ParameterError(f"{where}: parameter '{name}' is now '{RENAMED[name]}'")
        near = difflib.get_close_matches(str(name), sorted(known), n=1, cutoff=0.7)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ParameterError(f"{where}: unknown parameter '{name}'{hint}")


def read_file(path: str | Path, node: str, namespace: str = "/") -> dict[str, Any]:
    """What a ROS parameter file says to one node: its wildcard section, then its own, later sections winning as in ROS.

    Args:
        path: a YAML file of the form ``<node>: {ros__parameters: {...}}``.
        node: the node's name, e.g. ``control_node``.
        namespace: the node's namespace; sections may be written ``/ns/node``, ``node`` or with the wildcards ``/**`` and ``/*``.
    """
    path = Path(path)
    try:
        document = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ParameterError(f"parameter file '{path}' does not exist") from None
    except OSError as error:
        raise ParameterError(f"parameter file '{path}' cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParameterError(f"parameter file '{path}' is no YAML: {error}") from None
    if not isinstance(document, dict):
        raise ParameterError(f"parameter file '{path}' is empty; write '/**: {{ros__parameters: {{...}}}}'")
    full_name = f"{namespace.rstrip('/')}/{node}"
    sections = {"/**": 0, "/*": 1, f"/**/{node}": 2, f"/*/{node}": 2, node: 3, f"/{node}": 3, full_name: 4}
    values: dict[str, Any] = {}
    for section in sorted((s for s in document if s in sections), key=lambda s: sections[s]):
        body = document[section]
        if not isinstance(body, dict) or not isinstance(body.get("ros__parameters"), (dict, type(None))) or "ros__parameters" not in body:
            raise ParameterError(f"{path}: section '{section}' has no 'ros__parameters'; indent the parameters below it")
        values.update(body["ros__parameters"] or {})
    return values


def load(group: type[Group], path: str | Path, node: str, known: set[str], overrides: dict[str, Any] | None = None) -> Group:
    """A group from a parameter file, without ROS. ``known`` are the names that any node of the package declares."""
    values = {**read_file(path, node), **(overrides or {})}
    values.pop("use_sim_time", None)
    refuse_unknown(list(values), known, str(path))
    return build(group, values)
