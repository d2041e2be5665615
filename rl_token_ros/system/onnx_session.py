"""How onnxruntime is used here: on a robot one thread, no spinning; on the machine with the GPU all there is."""

from __future__ import annotations

from pathlib import Path

import onnxruntime


def session(path: str | Path) -> onnxruntime.InferenceSession:
    """An onnxruntime session on one CPU thread that does not spin: the robot's other nodes need the cores."""
    options = _options()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def server_session(path: str | Path) -> onnxruntime.InferenceSession:
    """An onnxruntime session on CUDA where this machine's onnxruntime can, else on all its cores.

    Without TF32: a token must be the same as on a robot's CPU.
    """
    cuda = [("CUDAExecutionProvider", {"use_tf32": "0"})] if "CUDAExecutionProvider" in onnxruntime.get_available_providers() else []
    return onnxruntime.InferenceSession(str(path), _options(), providers=[*cuda, "CPUExecutionProvider"])


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # between two runs the cores are for others
    options.log_severity_level = 3
    return options
