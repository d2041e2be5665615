"""Which topics of a bag a VLA needs to be asked about its pictures."""

from __future__ import annotations

from rl_token_ros.bags.reader import Topic
from rl_token_ros.bags.topic_names import Names
from rl_token_ros.interfaces import measurements
from rl_token_ros.interfaces.topics import COMPRESSED, IMAGE
from rl_token_ros.settings.vla import Vla


def find(names: Names, vla: Vla) -> tuple[dict[str, Topic], list[str]]:
    """Our names -> topics: pictures of each camera, raw or compressed, the task, and the measurements of an observation.

    And sentences about what is missing; the task may.
    """
    found: dict[str, Topic] = {}
    absent = []
    for camera in vla.cameras:
        for ours, kind in ((f"camera/{camera}/image_raw", IMAGE), (f"camera/{camera}/image_raw/compressed", COMPRESSED)):
            if (topic := names.find(ours, kind)) is not None:
                found[ours] = topic
                break
        else:
            absent.append(names.missing(f"camera/{camera}/image_raw", IMAGE))
    for ours in measurements.topics(vla.measured_groups):
        if (topic := names.find(ours)) is not None:
            found[ours] = topic
        else:
            absent.append(names.missing(ours))
    if (task := names.find("task")) is not None:
        found["task"] = task
    return found, absent
