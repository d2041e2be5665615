"""Real-time priority for a node's threads, as ros2_control asks for its own."""

from __future__ import annotations

import os
import sys

GIL_SWITCH = 0.0005  # s; Python lets another thread wait 5 ms for its turn, a quarter of a control period at 50 Hz


def prioritise(priority: int) -> str:
    """Run every thread of this process, and those it starts later, under SCHED_FIFO; says what came of it.

    Args:
        priority: 1 to 99; 0 leaves the scheduling alone.
    """
    sys.setswitchinterval(GIL_SWITCH)
    if priority == 0:
        return "no real-time priority asked for"
    if not hasattr(os, "sched_setscheduler"):
        return "no real-time scheduling on this system"
    try:
        for thread in os.listdir("/proc/self/task"):
            os.sched_setscheduler(int(thread), os.SCHED_FIFO, os.sched_param(priority))
    except PermissionError:
        return (
            f"no permission for real-time priority {priority}: ticks may come late on a busy machine; allow it with a line "
            "'@realtime - rtprio 99' in /etc/security/limits.conf, or write realtime_priority: 0"
        )
    except OSError as error:
        return f"no real-time priority: {error}"
    return f"real-time priority {priority}"
