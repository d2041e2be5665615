"""How onnxruntime is used here: one thread, no spinning."""

from __future__ import annotations

from pathlib import Path

import onnxruntime


def session(path: str | Path) -> onnxruntime.InferenceSession:
    """An onnxruntime session on one CPU thread that does not spin: the robot's other nodes need the cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
