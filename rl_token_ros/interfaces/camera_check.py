"""What is to be said about a camera: what comes of its pictures, what does not, and what to do about it."""

from __future__ import annotations

from rl_token_ros.interfaces.camera_stream import CameraStream
from rl_token_ros.interfaces.graph_check import FAIL, OK, WARN, Finding

SEGMENT_BYTES = 512 * 1024  # of shared memory, by default, for what one process sends over Fast DDS
LOST_SHARE = 0.01  # more is worth a word


def judge(finding: Finding, stream: CameraStream, longest: float, driver_setting: str, remedy: str) -> Finding:
    """A finding about a camera's topic with what its pictures say.

    Args:
        finding: by what is known of any topic.
        stream: the pictures that came.
        longest: s between two pictures, beyond which no observation is made.
        driver_setting: what stands before a driver's command so that its pictures fit into its shared memory.
        remedy: what is to be done here so that they do not come through there; empty: they do not.
    """
    if not stream.received:
        advice = f"; if its pictures are above 0.5 MB: {_any_of(driver_setting, remedy)}" if remedy and "nothing came" in finding.text else ""
        return Finding(finding.level, finding.topic, finding.text + advice)
    lost = "losses unknown" if stream.lost is None else f"{stream.lost} lost"
    text = f"{finding.text}; {stream.kind}, {stream.size / 1e6:.2f} MB each, {lost}, longest gap {stream.longest_gap:.2f} s"
    share = (stream.lost or 0) / (stream.received + (stream.lost or 0))
    if finding.level == FAIL or (share <= LOST_SHARE and stream.longest_gap <= longest):
        return Finding(finding.level, finding.topic, text)
    if remedy and stream.size > SEGMENT_BYTES:
        advice = f"pictures above 0.5 MB do not fit into a driver's shared memory: {_any_of(driver_setting, remedy)}"
    else:
        advice = "is this machine, the driver or the network too slow for them? publish compressed or smaller pictures, or fewer, or reliably"
    return Finding(WARN if finding.level == OK else finding.level, finding.topic, f"{text}; {advice}")


def _any_of(driver_setting: str, remedy: str) -> str:
    return f"start the driver with {driver_setting}, or {remedy}, or publish compressed pictures (image_transport: compressed)"
