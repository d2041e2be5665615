"""Writes a network as an ONNX file with metadata: what the nodes run, without torch."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch


def write(model: torch.nn.Module, inputs: dict[str, torch.Tensor], outputs: list[str], path: Path, **metadata: Any) -> None:
    """Trace the model with example inputs (their shapes become the file's) and save it.

    Args:
        inputs: example by input name, in the order of `forward`.
        outputs: names.
        path: the file; its folder is created.
        metadata: values are stored as JSON, strings as they are.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # The newer exporter needs a package more (onnxscript) and makes larger graphs.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(model, tuple(inputs.values()), str(path), input_names=list(inputs), output_names=outputs, opset_version=17, dynamo=False)
    graph = onnx.load(str(path))
    for key, value in metadata.items():
        graph.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    onnx.checker.check_model(graph)
    onnx.save(graph, str(path))
