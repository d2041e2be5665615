"""What other threads have to say is logged at the level that they name, one after the other from one line of code."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy")

from rclpy.logging import get_logger

from rl_token_ros.nodes.running import log_at


def test_one_line_of_code_logs_at_any_level():
    """rclpy refuses a call that changes its level: after its first word a learner could not say that its process had died."""
    logger = get_logger("test_logging")
    for level in ("info", "error", "warn", "info"):
        log_at(logger, level, f"this is {level}")


def test_rclpy_itself_still_refuses_it():
    """Else `log_at` is needed no longer."""
    logger = get_logger("test_logging")
    with pytest.raises(ValueError, match="severity"):
        for level in ("info", "error"):
            getattr(logger, level)("refused")
