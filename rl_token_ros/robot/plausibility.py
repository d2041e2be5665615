"""Which measurements are believed: a position that no arm can have reached since the last one is not where the arm is.

Two drivers on one topic, an encoder that misreads, a driver that says zeros before it has read anything: what the arm does follows from
where it is measured, so that a false measurement would move it.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np

from rl_token_ros.robot.proprioception import NEVER, RobotState
from rl_token_ros.robot.readings import Reading, StateError
from rl_token_ros.settings.control import Control
from rl_token_ros.settings.proprioception_groups import AXES, ROTATION, YAW

LONGEST_JITTER = 0.1  # s between two messages of a driver, beyond which an arm that is commanded went no further than it was told to
SPEED_FACTOR = 4.0  # of velocity_limit, where measured_velocity_limit is empty: an arm overshoots, is pushed, and stamps jitter
TOOL_SPEED, TOOL_TURN = 5.0, 12.0  # m/s and rad/s of a tool whose own limits are not known: no arm of a lab is faster
WINDOW_NS = 1_000_000_000  # over which it is judged whether leaps persist
IN_A_ROW = 3  # leaps that follow each other are no misreading
MOST = 0.05  # share of leaps in the window that is borne, but for fewer than IN_A_ROW
AGREEING = 5  # measurements in a row that must agree before the arm may be enabled


class LeapError(StateError):
    """A measurement that cannot be true if the one before was."""


@dataclass
class _Track:
    """What was thought of the messages of one topic: ``heard`` (time in ns, whether it leapt) within the window, ``leaps`` of them."""

    heard: deque[tuple[int, bool]] = field(default_factory=deque)
    leaps: int = 0
    agreeing: int = 0  # in a row
    leaping: int = 0  # in a row
    frozen: bool = False
    why: str = ""  # of the newest leap

    def add(self, now_ns: int, leapt: bool) -> None:
        if self.heard and now_ns < self.heard[-1][0]:  # the clock went back
            self.heard.clear()
            self.leaps = 0
        self.heard.append((now_ns, leapt))
        self.leaps += leapt
        self.agreeing, self.leaping = (0, self.leaping + 1) if leapt else (self.agreeing + 1, 0)
        self.trim(now_ns)

    def trim(self, now_ns: int) -> None:
        while self.heard and now_ns - self.heard[0][0] > WINDOW_NS:
            self.leaps -= self.heard.popleft()[1]

    @property
    def persists(self) -> bool:
        return self.leaping >= IN_A_ROW or (self.leaps >= IN_A_ROW and self.leaps > MOST * len(self.heard))


class Plausibility:
    """Judges each message by the last that was believed.

    The longer ago that is, the further the arm may have come: what has really leapt, as after a driver's restart, is believed in the end,
    unless the arm is commanded, be it to hold. Commands stay within `lead_limit` of what is measured, so that a false position would lead even
    an arm that is stopped: the false one of two drivers must not once the true one has died. Then a topic that leaps persistently stops the
    arm and is not believed until it is disabled.

    Args:
        settings: parameters of `control_node`.
        simulated: time is. Simulations leap where a scene begins anew; they are judged only if `measured_velocity_limit` is given.

    Attributes:
        leaps: messages that were not believed, by topic.
    """

    def __init__(self, settings: Control, simulated: bool = False) -> None:
        self._judging = not simulated or bool(settings.measured_velocity_limit)
        self.leaps: Counter[str] = Counter()
        self._joint_names = settings.joint_names
        self._resolution = settings.measured_resolution
        self._slower = 1.0 if settings.measured_velocity_limit else SPEED_FACTOR
        speeds = dict(zip(settings.action_names, settings.measured_velocity_limit or [SPEED_FACTOR * limit for limit in settings.velocity_limit]))
        tool = [speeds[axis] for axis in AXES if settings.cartesian and axis in speeds]
        # A joint that is no action moves by nobody's command, and how fast is not known.
        self._joint_speeds = np.array([math.inf if settings.cartesian else speeds.get(name, math.inf) for name in settings.joint_names])
        self._axis_speeds = np.array([speeds[axis] if settings.cartesian and axis in speeds else max(tool, default=TOOL_SPEED) for axis in AXES])
        turn = YAW if settings.turns else ROTATION[0] if settings.rotation_at is not None else ""
        self._turn_speed = speeds.get(turn, TOOL_TURN)
        self._all = range(len(settings.joint_names))
        self._tracks: dict[str, _Track] = {}

    def judge(self, reading: Reading, state: RobotState, now_ns: int, moved_ns: int | None = None) -> None:
        """Whether to believe it.

        Args:
            reading: of any topic.
            state: what was believed.
            now_ns: time of arrival.
            moved_ns: when a command last moved the arm that is commanded, be it to hold; None: nobody commands it.

        Raises:
            LeapError: it is not to be believed.
        """
        track = self._tracks.setdefault(reading.topic, _Track())
        track.frozen &= moved_ns is not None
        why = track.why if track.frozen else self._leap(reading, state, moved_ns) if self._judging else ""
        track.add(now_ns, bool(why))
        if why:
            track.why = why
            self.leaps[reading.topic] += 1
            raise LeapError(why)

    def persisting(self, commanded: bool) -> str:
        """The sentence about leaps for which an arm that is commanded must stop, or nothing. Topics that leap are not believed from then on."""
        found = [(topic, track) for topic, track in self._tracks.items() if track.leaps and commanded and (track.frozen or track.persists)]
        for _, track in found:
            track.frozen = True
        return self._told(*found[0]) if found else ""

    def disagreements(self, now_ns: int) -> list[str]:
        """What keeps an arm from being enabled, a sentence each: the newest measurements of each topic must agree."""
        reasons = []
        for topic, track in self._tracks.items():
            track.trim(now_ns)
            if track.leaps and (track.persists or track.agreeing < AGREEING):
                reasons.append(self._told(topic, track))
            elif track.agreeing < AGREEING:
                reasons.append(
                    f"'{topic}' has brought {track.agreeing} measurements in a row, and {AGREEING} must agree; enable it again in a moment"
                )
        return reasons

    def _told(self, topic: str, track: _Track) -> str:
        return f"{track.why} ({track.leaps} of the last {len(track.heard)} messages on '{topic}' were not believed)"

    def _leap(self, reading: Reading, state: RobotState, moved_ns: int | None) -> str:
        if reading.topic == "joint_states":
            return self._joint_leap(reading, state, moved_ns)
        if reading.topic == "ee_pose" and "ee_position" in state.values:
            return self._pose_leap(reading, state, moved_ns)
        return ""

    def _seconds(self, before_ns: int, stamp_ns: int, moved_ns: int | None) -> float:
        """For how long the arm may have gone at the largest speed between two stamps.

        One that is commanded goes no longer than it is told to, and no faster, but for what stamps jitter and an arm lags.
        """
        seconds = (stamp_ns - before_ns) * 1e-9
        if moved_ns is None or seconds <= LONGEST_JITTER:
            return seconds
        return (LONGEST_JITTER + min(max((moved_ns - before_ns) * 1e-9, 0.0), seconds)) / self._slower

    def _joint_leap(self, reading: Reading, state: RobotState, moved_ns: int | None) -> str:
        position, held = reading.groups.get("joint_position"), state.brought("joint_position")
        if position is None or held is None:
            return ""
        joints = self._all if reading.joints is None else reading.joints
        before = held if reading.joints is None else held[list(joints)]
        if float(np.abs(position - before).max()) <= self._resolution:
            return ""  # mostly; NaN, of a joint that has not come yet, compares false
        for i, joint in enumerate(joints):
            since_ns = reading.stamp_ns - state.joint_stamps[joint]
            if state.joint_stamps[joint] == NEVER or since_ns <= 0:
                continue
            seconds = self._seconds(state.joint_stamps[joint], reading.stamp_ns, moved_ns)
            if abs(position[i] - held[joint]) > self._joint_speeds[joint] * seconds + self._resolution:
                return self._sentence(reading, self._joint_names[joint], held[joint], position[i], since_ns)
        return ""

    def _pose_leap(self, reading: Reading, state: RobotState, moved_ns: int | None) -> str:
        since_ns = reading.stamp_ns - state.stamps[reading.topic]
        if since_ns <= 0:
            return ""
        seconds = self._seconds(state.stamps[reading.topic], reading.stamp_ns, moved_ns)
        position, held = reading.groups["ee_position"], state.values["ee_position"]
        for axis, speed, new, old in zip(AXES, self._axis_speeds, position, held):
            if abs(new - old) > speed * seconds + self._resolution:
                return self._sentence(reading, f"{axis} of the tool", old, new, since_ns, "m")
        cosine = abs(float(reading.groups["ee_orientation"] @ state.values["ee_orientation"]))  # q and -q are one orientation
        turn = 2.0 * math.acos(min(cosine, 1.0))
        if turn > self._turn_speed * seconds + max(self._resolution, 0.05):
            return self._sentence(reading, "the tool's orientation", 0.0, turn, since_ns)
        return ""

    @staticmethod
    def _sentence(reading: Reading, what: str, old: float, new: float, since_ns: int, unit: str = "rad") -> str:
        return (
            f"'{reading.topic}' says that {what} went from {old:.3f} to {new:.3f} {unit} in {since_ns * 1e-6:.1f} ms; does a second driver publish "
            "it, or an encoder misread? An arm that is as fast needs a larger 'measured_velocity_limit'"
        )
