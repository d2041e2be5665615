"""A bag of the small robot with pictures, whose colours move, and poses, and the parameter file by which a VLA is asked about it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import small_robot
import yaml
from small_robot import DOWN, HOME, IMAGE, ROWS, WIDTH

from rl_token_ros.bags import message_types
from rl_token_ros.bags.writer import BagWriter
from rl_token_ros.interfaces.topics import IMAGE as PICTURE
from rl_token_ros.interfaces.topics import SETTINGS, TYPES

START, FRAME, COUNT = 1_700_000_000_000_000_000, 33_333_333, 240  # ns; eight seconds at 30 Hz
STORE = message_types.known()
M = STORE.types


def colour(frame: float) -> np.ndarray:
    """uint8 [h, w, 3]: what the camera shows in a frame."""
    return np.broadcast_to((128 + 100 * np.sin(frame * np.array([0.05, 0.08, 0.13]))).astype(np.uint8), (IMAGE, IMAGE, 3))


def place(seconds: float) -> np.ndarray:
    """[3], m: where the tool is."""
    return HOME + 0.05 * np.sin(seconds * np.array([1.0, 1.7, 2.3]))


def write_bag(folder: Path, leave_out: str = "", embeddings: bool = False, broken: int = -1) -> Path:
    """Pictures at 30 Hz, poses at 60 Hz.

    Args:
        leave_out: a topic that is not there.
        embeddings: whether some are, at 30 Hz.
        broken: frame whose picture is of an unknown encoding.
    """
    random = np.random.default_rng(1)
    with BagWriter(folder) as writer:

        def write(ours: str, ns: int, message: Any, kind: str = "") -> None:
            if ours != leave_out:
                writer.write(f"/{ours}", kind or TYPES[ours], ns, bytes(STORE.serialize_cdr(message, kind or TYPES[ours])))

        told = {"number": 0, "vla_sha256": "d" * 64, "parameters": dataclasses.asdict(small_robot.settings())}
        write(SETTINGS, START, M["std_msgs/msg/String"](json.dumps(told)))
        for i in range(COUNT):
            ns = START + i * FRAME
            for half in (ns, ns + FRAME // 2):
                point = M["geometry_msgs/msg/Point"](*map(float, place((half - START) * 1e-9)))
                turn = M["geometry_msgs/msg/Quaternion"](*DOWN)
                write("ee_pose", half, M[TYPES["ee_pose"]](_header(half), M["geometry_msgs/msg/Pose"](point, turn)))
            pixels = np.frombuffer(colour(i).tobytes(), np.uint8)
            encoding = "jpeg" if i == broken else "rgb8"
            write("camera/base/image_raw", ns, M[PICTURE](_header(ns), IMAGE, IMAGE, encoding, 0, 3 * IMAGE, pixels), PICTURE)
            if embeddings:
                values = random.normal(size=(ROWS, WIDTH)).astype("<f4").view(np.uint8).ravel()
                write("vla/embedding", ns, M[PICTURE](_header(ns), ROWS, WIDTH, "32FC1", 0, 4 * WIDTH, values))
    return folder


def write_config(path: Path, vla: Path, **changes: Any) -> Path:
    """The robot's parameter file; its VLA is a model on this machine, unless ``changes`` say otherwise."""
    own = {"vla_proprioception": ["ee_position"], "backend": "onnx", "query_rate": 10.0, **changes}
    values = small_robot.shared(vla_model=str(vla), token_encoder="none.onnx", **own)
    path.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
    return path


def _header(ns: int) -> Any:
    return M["std_msgs/msg/Header"](M["builtin_interfaces/msg/Time"](ns // 10**9, ns % 10**9), "base_link")
