"""Starts a node, spins it, and ends it so that its last words still go out."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.system import memory

EXIT_BAD_INPUT = 2


def _warn_without_security(node: Node) -> None:
    if os.environ.get("ROS_SECURITY_ENABLE", "").lower() != "true":
        node.get_logger().warning(
            "no security: whoever reaches this ROS domain can command the arm and send it weights; docs/security.md says how to turn it on"
        )


def on_signal() -> Callable[[], bool]:
    """From now on SIGINT and SIGTERM only leave word; what is given says whether one has come."""
    came = False

    def note(*_: object) -> None:
        nonlocal came
        came = True

    signal.signal(signal.SIGINT, note)
    signal.signal(signal.SIGTERM, note)
    return lambda: came


def run(make: Callable[[], Node], args: list[str] | None = None) -> int:
    """Run a node until SIGINT or SIGTERM; returns the exit status.

    rclpy's own signal handlers are off: with them the context is dead before a last command could be sent (docs/architecture.md).
    A node may have ``close()``, which is called while publishing still works.
    """
    memory.keep()
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except rclpy_implementation.RCLError as error:  # a parameter file that rcl cannot parse
        print(f"error: {error}", file=sys.stderr, flush=True)
        return EXIT_BAD_INPUT
    ended = on_signal()
    node = None
    try:
        node = make()
        _warn_without_security(node)
        # What start-up left is never garbage; without this a full collection walks all of it, milliseconds within a control tick.
        gc.collect()
        gc.freeze()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        wake = node.create_timer(0.1, lambda: None, clock=Clock(clock_type=ClockType.STEADY_TIME))  # a signal alone does not end a wait
        while rclpy.ok() and not ended():
            executor.spin_once(timeout_sec=1.0)
        node.destroy_timer(wake)
        return 0
    except ParameterError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return EXIT_BAD_INPUT
    except ExternalShutdownException:
        return 0
    finally:
        if node is not None:
            if hasattr(node, "close"):
                node.close()
            node.destroy_node()
        rclpy.try_shutdown()


def log_at(logger: Any, level: str, text: str) -> None:
    """Log at info, warn or error. Each has a line of its own: rclpy refuses to log from one line at several levels."""
    if level == "error":
        logger.error(text)
    elif level == "warn":
        logger.warning(text)
    else:
        logger.info(text)
