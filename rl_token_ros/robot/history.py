"""What was measured at a moment that has passed, as that of a picture: a short history, interpolated between the samples around a stamp."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import pi

import numpy as np

from rl_token_ros.robot.readings import Reading
from rl_token_ros.settings.proprioception_groups import source

SPAN_NS = 1_000_000_000
MOST = 10_000  # samples of one joint or topic


@dataclass(frozen=True)
class Moment:
    """The state at a stamp.

    Attributes:
        values: float64 by group.
        off_ns: how far the stamp lies outside of what is held, at the joint or topic where it is the farthest, whose nearest value then
            stands in; 0: all is of that stamp, measured or interpolated.
        sample_ns: from the stamp to the nearest sample, at the joint or topic where it is the farthest.
    """

    values: dict[str, np.ndarray]
    off_ns: int
    sample_ns: int

    def vector(self, groups: list[str]) -> np.ndarray:
        """Proprioception float32 [P], groups in the given order."""
        return np.concatenate([np.zeros(0), *(self.values[group] for group in groups)]).astype(np.float32)


class StateHistory:
    """Samples of each joint and topic by stamp. Each joint by itself: drivers may each bring a part, and their stamps cross.

    What is not newer than the newest of its joint or topic is left out, as by `RobotState`.

    Args:
        joints: number of joints.
        span_ns: how far back it reaches from the newest sample of a joint or topic.
    """

    def __init__(self, joints: int, span_ns: int = SPAN_NS) -> None:
        self._span_ns = span_ns
        self._tracks: dict[str, list[deque[tuple[int, np.ndarray]]]] = {
            topic: [deque(maxlen=MOST) for _ in range(count)]
            for topic, count in (("joint_states", joints), ("ee_pose", 1), ("wrench", 1), ("extra", 1))
        }
        self._sizes: dict[str, dict[str, int]] = {}  # by topic: groups in the order in which samples hold them, and values of each

    def accept(self, reading: Reading) -> None:
        """Keep what a message says."""
        if not reading.groups:
            return
        tracks, of_joints = self._tracks[reading.topic], reading.topic == "joint_states"
        self._sizes[reading.topic] = {group: 1 if of_joints else values.size for group, values in reading.groups.items()}
        samples = np.stack(list(reading.groups.values()), axis=1) if of_joints else [np.concatenate(list(reading.groups.values()))]
        for place, sample in zip(range(len(tracks)) if reading.joints is None else reading.joints, samples):
            track = tracks[place]
            if track and reading.stamp_ns <= track[-1][0]:
                continue
            track.append((reading.stamp_ns, sample))
            while reading.stamp_ns - track[0][0] > self._span_ns:
                track.popleft()

    def forget(self) -> None:
        """Drop everything, as after a jump of the clock."""
        for track in (track for tracks in self._tracks.values() for track in tracks):
            track.clear()

    def at(self, stamp_ns: int, groups: list[str]) -> Moment | None:
        """The state at a stamp, None where nothing is held of a joint or topic. Nothing is extrapolated; a sample of that stamp stays as it is."""
        values: dict[str, np.ndarray] = {}
        offs, distances = [0], [0]
        for topic in {topic for group in groups if (topic := source(group))}:
            tracks = self._tracks[topic]
            if not (tracks and all(tracks)):
                return None
            rows = []
            for track in tracks:
                row, off, distance = _at(track, stamp_ns, topic, self._sizes[topic])
                rows.append(row)
                offs.append(off)
                distances.append(distance)
            columns, begin = np.stack(rows), 0
            for group, size in self._sizes[topic].items():
                values[group] = columns[:, begin : begin + size].reshape(-1)
                begin += size
        return Moment(values, max(offs), max(distances))


def _at(track: deque[tuple[int, np.ndarray]], stamp_ns: int, topic: str, sizes: dict[str, int]) -> tuple[np.ndarray, int, int]:
    """A row of values, how far the stamp lies outside of the samples, and how far from the nearest."""
    after = None
    for sample in reversed(track):  # what is asked for is hardly ever old
        if sample[0] <= stamp_ns:
            before = sample
            break
        after = sample
    else:
        assert after is not None
        return after[1], after[0] - stamp_ns, after[0] - stamp_ns
    behind = stamp_ns - before[0]
    if after is None or behind == 0:
        return before[1], behind, behind
    ahead = after[0] - stamp_ns
    return _between(before[1], after[1], behind / (behind + ahead), topic, sizes), 0, min(behind, ahead)


def _between(before: np.ndarray, after: np.ndarray, weight: float, topic: str, sizes: dict[str, int]) -> np.ndarray:
    if topic == "ee_pose" and before[3:] @ after[3:] < 0.0:
        after = np.concatenate([after[:3], -after[3:]])  # the same orientation, the short way
    row: np.ndarray = before + weight * (after - before)
    if topic == "ee_pose":
        row[3:] /= np.linalg.norm(row[3:])
    elif "joint_position" in sizes and abs(after[0] - before[0]) > pi:  # it went over from pi to -pi: half-way there is no zero
        row[0] = (after if weight > 0.5 else before)[0]
    return row
