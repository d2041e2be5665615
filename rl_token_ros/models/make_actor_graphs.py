"""Writes the actor's ONNX graphs: an MLP whose weights are inputs, so one small file serves every robot.

    python -m rl_token_ros.models.make_actor_graphs

Needs the package `onnx` (extra `train`); the files it writes are part of the package.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

NORMALISED_LIMIT = 10.0  # inputs far outside what was seen in warm-up must not saturate the network


def graph(layers: int) -> onnx.ModelProto:
    """tanh(MLP(clip((observation - mean) * scale))) with ``layers`` hidden ReLU layers."""
    inputs = [helper.make_tensor_value_info("observation", TensorProto.FLOAT, [1, "inputs"])]
    inputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["inputs"]) for name in ("input_mean", "input_scale")]
    nodes = [
        helper.make_node("Sub", ["observation", "input_mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "input_scale"], ["scaled"]),
        helper.make_node("Clip", ["scaled", "low", "high"], ["h0"]),
    ]
    for i in range(layers + 1):
        last = i == layers
        rows, columns = "inputs" if i == 0 else "hidden", "outputs" if last else "hidden"
        inputs.append(helper.make_tensor_value_info(f"w{i}", TensorProto.FLOAT, [rows, columns]))
        inputs.append(helper.make_tensor_value_info(f"b{i}", TensorProto.FLOAT, [columns]))
        nodes.append(helper.make_node("Gemm", [f"h{i}", f"w{i}", f"b{i}"], [f"z{i}"]))
        nodes.append(helper.make_node("Tanh" if last else "Relu", [f"z{i}"], ["residual" if last else f"h{i + 1}"]))
    bounds = [
        helper.make_tensor("low", TensorProto.FLOAT, [], [-NORMALISED_LIMIT]),
        helper.make_tensor("high", TensorProto.FLOAT, [], [NORMALISED_LIMIT]),
    ]
    output = helper.make_tensor_value_info("residual", TensorProto.FLOAT, [1, "outputs"])
    model = helper.make_model(
        helper.make_graph(nodes, "residual_actor", inputs, [output], bounds),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,  # read by every onnxruntime since 1.15
    )
    onnx.checker.check_model(model)
    return model


if __name__ == "__main__":
    for count in (2, 3):
        onnx.save(graph(count), Path(__file__).parent / f"actor_{count}_layers.onnx")
