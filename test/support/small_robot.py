"""A small robot for tests: parameters, real ONNX models, actor weights, and a graph of nodes in this process."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from rl_token_ros.interfaces.stamps import ns_to_stamp
from rl_token_ros.policy import actor_weights
from rl_token_ros.settings import parameters
from rl_token_ros.settings.control import Control

TOKEN, CHUNK, HORIZON, ROWS, WIDTH, IMAGE, PERIOD = 4, 4, 20, 3, 5, 8, 0.02
HOME = np.array([0.4, 0.0, 0.1])  # m
DOWN = (1.0, 0.0, 0.0, 0.0)
STEP = np.array([0.0002, 0.0, -0.0001])  # m, every action of the small VLA


def shared(**changes: Any) -> dict[str, Any]:
    """Parameters that all nodes of the small robot share."""
    return {
        "cameras": ["base"],
        "action_names": ["x", "y", "z"],
        "proprioception": ["ee_position", "command_lead", "wrench_force"],
        "chunk_length": CHUNK,
        "token_size": TOKEN,
        "residual_scale": [0.0008, 0.0008, 0.0008],
        **changes,
    }


def control(**changes: Any) -> dict[str, Any]:
    """Parameters of its control_node."""
    own = {
        "command_interface": "pose",
        "position_min": [0.3, -0.1, 0.0],
        "position_max": [0.5, 0.1, 0.2],
        "velocity_limit": [0.1, 0.1, 0.1],
        "acceleration_limit": [2.0, 2.0, 2.0],
        "lead_limit": [0.01, 0.01, 0.01],
        "replan_interval": CHUNK,
        "exploration_sigma": 0.0,
    }
    return shared(**{**own, **changes})


def settings(**changes: Any) -> Control:
    """The same, checked."""
    return parameters.build(Control, control(**changes))


def write_vla(path: Path, *, image_type: int | None = None, step: np.ndarray = STEP, **metadata: Any) -> Path:
    """A VLA: brightness and position go through to the embeddings, every action is ``step``."""
    from onnx import TensorProto, helper

    image_type = image_type or TensorProto.UINT8
    actions = np.tile(step.astype(np.float32), (1, HORIZON, 1))
    spread = np.random.default_rng(0).normal(size=(6, ROWS * WIDTH)).astype(np.float32)
    constants = [
        helper.make_tensor("steps", TensorProto.FLOAT, actions.shape, actions.ravel()),
        helper.make_tensor("spread", TensorProto.FLOAT, spread.shape, spread.ravel()),
        helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("shape", TensorProto.INT64, [3], [1, ROWS, WIDTH]),
    ]
    nodes = [
        helper.make_node("Identity", ["steps"], ["actions"]),
        helper.make_node("Cast", ["image_base"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["colour"], keepdims=0),
        helper.make_node("Concat", ["colour", "proprio"], ["seen"], axis=1),
        helper.make_node("MatMul", ["seen", "spread"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["embeddings"]),
    ]
    inputs = [
        helper.make_tensor_value_info("image_base", image_type, [1, IMAGE, IMAGE, 3]),
        helper.make_tensor_value_info("proprio", TensorProto.FLOAT, [1, 3]),
    ]
    outputs = [
        helper.make_tensor_value_info("actions", TensorProto.FLOAT, [1, HORIZON, len(step)]),
        helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, [1, ROWS, WIDTH]),
    ]
    return _save(path, helper.make_graph(nodes, "vla", inputs, outputs, constants), {"dt": PERIOD, "action_names": ["x", "y", "z"], **metadata})


def write_encoder(path: Path, vla: Path | None, *, token: int = TOKEN, rows: int | str = ROWS, size: int = ROWS * WIDTH) -> Path:
    """A token encoder, a random projection, made for a VLA's file or for nobody's; ``size`` is that of its ``rows`` of embeddings."""
    from onnx import TensorProto, helper

    weight = np.random.default_rng(1).normal(0.0, 0.01, (size, token)).astype(np.float32)
    constants = [helper.make_tensor("weight", TensorProto.FLOAT, weight.shape, weight.ravel())]
    nodes = [helper.make_node("Flatten", ["embeddings"], ["flat"]), helper.make_node("MatMul", ["flat", "weight"], ["token"])]
    inputs = [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, [1, rows, size // rows if isinstance(rows, int) else WIDTH])]
    outputs = [helper.make_tensor_value_info("token", TensorProto.FLOAT, [1, token])]
    made_for = "0" * 64 if vla is None else hashlib.sha256(vla.read_bytes()).hexdigest()
    return _save(path, helper.make_graph(nodes, "encoder", inputs, outputs, constants), {"vla_sha256": made_for})


def _save(path: Path, graph: Any, metadata: dict[str, Any]) -> Path:
    import onnx
    from onnx import helper

    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()})
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def reference(stamp_ns: int, actions: np.ndarray, names: tuple[str, ...] = ("x", "y", "z"), dt_ns: int = 20_000_000) -> SimpleNamespace:
    """A `vla/reference` with actions [H, A], as the fields that are read."""
    points = [SimpleNamespace(positions=action.tolist(), time_from_start=ns_to_stamp(i * dt_ns)) for i, action in enumerate(actions)]
    return SimpleNamespace(header=SimpleNamespace(stamp=ns_to_stamp(stamp_ns)), joint_names=list(names), points=points)


def architecture(hidden: int = 8) -> actor_weights.Architecture:
    """Of the small robot's actor."""
    return actor_weights.Architecture(TOKEN, 9, CHUNK, 3, hidden, 2)


def identity(**changes: Any) -> actor_weights.Identity:
    """What the small robot's weights are for; fingerprints are made up unless given."""
    own = {
        "action_names": ["x", "y", "z"],
        "action_type": "delta",
        "proprioception": ["ee_position", "command_lead", "wrench_force"],
        "residual_scale": [0.0008, 0.0008, 0.0008],
        "encoder_sha256": "e" * 64,
        "vla_sha256": "f" * 64,
    }
    return actor_weights.Identity(**{**own, **changes})


def make_weights(version: int = 1, residual: float = 0.0, **changes: Any) -> actor_weights.ActorWeights:
    """Weights whose every residual is ``residual`` (in (-1, 1)), whatever is seen."""
    tensors = {name: np.zeros(shape, np.float32) for name, shape in architecture().shapes().items()}
    tensors["b2"][:] = np.arctanh(residual)
    values = {"updates": 100 * version, "architecture": architecture(), "identity": identity(), "tensors": tensors, "created_ns": time.time_ns()}
    return actor_weights.ActorWeights(**{"version": version, **values, **changes})


class Graph:
    """Nodes in this process on a domain of their own, spun by :meth:`wait_for`. Use as a context manager."""

    def __init__(self, domain: int) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.nodes: list[Any] = []

    def __enter__(self) -> Graph:
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            if hasattr(node, "close"):
                node.close()
            node.destroy_node()
        self.executor.shutdown()
        self.context.try_shutdown()

    def add(self, make: Any, *arguments: Any, values: dict[str, Any] | None = None) -> Any:
        """Make a node with these parameters and spin it from now on."""
        from rclpy.parameter import Parameter

        given = [Parameter(name, value=value) for name, value in (values or {}).items()]
        node = make(*arguments, context=self.context, parameter_overrides=given)
        self.nodes.append(node)
        self.executor.add_node(node)
        return node

    def wait_for(self, condition: Any, what: str, timeout: float = 60.0) -> Any:
        """Spin until the condition holds and return what it gave; fail with ``what`` after a time no passing test needs."""
        deadline = time.monotonic() + timeout
        while not (found := condition()):
            assert time.monotonic() < deadline, f"{what}: not within {timeout:g} s"
            self.executor.spin_once(timeout_sec=0.05)
        return found

    def call(self, client: Any, request: Any) -> Any:
        """The answer of a service."""
        self.wait_for(client.service_is_ready, f"service {client.srv_name}")
        future = client.call_async(request)
        self.wait_for(future.done, f"answer of {client.srv_name}")
        return future.result()
