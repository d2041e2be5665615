"""Fixtures of the tests of logic and nodes: an own ROS domain per file, and small but real ONNX models."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import domains
import numpy as np
import pytest
import small_robot

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell started this in the background; processes of the tests are to heed Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"  # before any rclpy.init
os.environ["ROS_DOMAIN_ID"] = str(domains.PROCESSES)


@pytest.fixture(autouse=True)
def _denormals() -> Iterator[None]:
    """A tool that trains flushes them to zero in what is its own process elsewhere; here hypothesis would refuse to draw numbers."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(scope="module")
def domain() -> int:
    """A ROS domain that no other file of this run uses."""
    return domains.of_a_file()


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> dict[str, Path]:
    """Files: ``vla``, ``encoder`` made for it, ``stranger``, an encoder made for another VLA."""
    folder = tmp_path_factory.mktemp("models")
    vla = small_robot.write_vla(folder / "vla.onnx")
    return {
        "vla": vla,
        "encoder": small_robot.write_encoder(folder / "encoder.onnx", vla),
        "stranger": small_robot.write_encoder(folder / "stranger.onnx", None),
    }


@pytest.fixture
def random() -> np.random.Generator:
    """A random generator with a fixed seed."""
    return np.random.default_rng(0)


@pytest.fixture
def graph(domain):
    """A ROS context of its own with an executor, see :class:`small_robot.Graph`."""
    with small_robot.Graph(domain) as made:
        yield made
