"""`/diagnostics` messages from plain values."""

from __future__ import annotations

from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

LEVELS = {"ok": DiagnosticStatus.OK, "warn": DiagnosticStatus.WARN, "error": DiagnosticStatus.ERROR, "stale": DiagnosticStatus.STALE}


def status(name: str, level: str, message: str, values: dict[str, Any]) -> DiagnosticStatus:
    """One status; ``level`` is ok, warn, error or stale. Floats are rounded to six significant digits."""
    text = {key: f"{value:.6g}" if isinstance(value, float) else str(value) for key, value in values.items()}
    return DiagnosticStatus(name=name, level=LEVELS[level], message=message, values=[KeyValue(key=k, value=v) for k, v in text.items()])


def array(stamp: Any, *statuses: DiagnosticStatus) -> DiagnosticArray:
    """A DiagnosticArray with a builtin_interfaces/Time."""
    message = DiagnosticArray(status=list(statuses))
    message.header.stamp = stamp
    return message
