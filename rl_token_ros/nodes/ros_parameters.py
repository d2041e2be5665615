"""Declares a group of parameters on a node and reads it back checked."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node

from rl_token_ros.settings import node_settings, parameters
from rl_token_ros.settings.parameters import Group, ParameterError

# Declared by rclpy itself on every node.
OF_RCLPY = {"use_sim_time", "start_type_description_service"}


def declare(node: Node, group: type[Group]) -> Group:
    """Declare the fields of ``group`` and return them as given by files, command line or defaults.

    Raises:
        ParameterError: a bad value, or an override that no node of this package declares.
    """
    overrides = node._parameter_overrides  # rclpy has no public way to see overrides of undeclared parameters
    given = [name for name in overrides if name not in OF_RCLPY and not name.startswith("qos_overrides.")]
    parameters.refuse_unknown(given, node_settings.known_names(), node.get_fully_qualified_name())
    values = {}
    for name, (kind, default, metadata) in parameters.fields(group).items():
        value = overrides[name].value if name in overrides else default
        values[name] = parameters.check(name, kind, metadata, value)
        node.declare_parameter(name, values[name], _descriptor(kind, metadata), ignore_override=True)
    return parameters.build(group, values)


def on_change(node: Node, current: Group, apply: Callable[[Group], None]) -> None:
    """Checks changes of live parameters while the node runs and hands the new group to ``apply``."""
    declared = parameters.fields(type(current))
    held = current

    def changed(changes: list[Any]) -> SetParametersResult:
        nonlocal held
        values = {name: getattr(held, name) for name in declared}
        try:
            for change in changes:
                if change.name == "use_sim_time":
                    raise ParameterError("parameter 'use_sim_time' is read when the node starts; write it in its parameter file")
                if change.name in declared:
                    values[change.name] = change.value
            held = parameters.build(type(held), values)
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        apply(held)
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(changed)


def _descriptor(kind: Any, metadata: dict) -> ParameterDescriptor:
    """The descriptor `ros2 param describe` shows. dynamic_typing: 10 is as good as 10.0, our own check decides."""
    unit = f" [{metadata['unit']}]" if metadata["unit"] else ""
    descriptor = ParameterDescriptor(
        description=metadata["description"] + unit,
        additional_constraints=f"one of {', '.join(metadata['choices'])}" if metadata["choices"] else "",
        read_only=not metadata["live"],
        dynamic_typing=True,
    )
    low, high = metadata["low"], metadata["high"]
    if kind is float and math.isfinite(low) and math.isfinite(high):
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high))]
    if kind is int and math.isfinite(low) and math.isfinite(high):
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
    return descriptor
