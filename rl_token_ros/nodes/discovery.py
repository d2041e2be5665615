"""How soon others notice that a node has died, where the middleware can be told: Fast DDS."""

from __future__ import annotations

import os
from pathlib import Path

# Fast DDS 2 (Humble, Jazzy) knows the first name only, Fast DDS 3 warns of it.
OLD_VARIABLE, VARIABLE = "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"
OLD_RELEASES = ("humble", "jazzy")


def use_short_lease() -> None:
    """For who says or hears `command`: killed, it is forgotten soon, and does not keep the arm from starting.

    A profile beside this file, unless the user has one of his own. Before ROS is started in this process.
    """
    if OLD_VARIABLE in os.environ or VARIABLE in os.environ:
        return
    old = os.environ.get("ROS_DISTRO", "") in OLD_RELEASES
    os.environ[OLD_VARIABLE if old else VARIABLE] = str(Path(__file__).with_name("short_lease.fastdds.xml"))
