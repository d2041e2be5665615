"""Observations out of streams as real cameras and drivers give them: lost frames, other rates and phases, late measurements, jumps of the clock."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field

import numpy as np
import pytest
import small_robot
from hypothesis import given
from hypothesis import strategies as st

from rl_token_ros.settings import parameters
from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla.observation import Synchroniser
from rl_token_ros.vla.query_scheduler import QueryScheduler

MS = 1_000_000
SECOND = 1000 * MS
FRAME = SECOND // 30
SPEED = np.array([1.0, -2.0, 0.5])  # of the joints, rad/s


def vla(cameras: list[str], **changes) -> Vla:
    own = {"cameras": cameras, "joint_names": ["a", "b", "c"], "action_names": ["a", "b", "c"], "vla_proprioception": ["joint_position"]}
    return parameters.build(Vla, small_robot.shared(**{**own, **changes}))


@dataclass
class Given:
    """An observation, when it was given, and how far its state is from where the arm was at its stamp, in time of the motion."""

    now_ns: int
    stamp_ns: int
    spread_ns: int
    state_error_ns: float


@dataclass
class Rig:
    """Drives a synchroniser as vla_node does: asks when a picture or a measurement that is waited for comes, or the last answer."""

    settings: Vla
    answer_ns: int = 30 * MS
    given: list[Given] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.synchroniser, self.scheduler = Synchroniser(self.settings), QueryScheduler(self.settings)
        self._events: list[tuple[int, int, str, int]] = []
        self._count = itertools.count()

    def add(self, source: str, arrival_ns: float, stamp_ns: float) -> None:
        heapq.heappush(self._events, (round(arrival_ns), next(self._count), source, round(stamp_ns)))

    def stream(self, source, period_ns, *, phase_ns=0.0, delay_ns=5 * MS, jitter_ns=0.0, lost=lambda k: False, end_ns=10 * SECOND, seed=0) -> None:
        rng = np.random.default_rng(seed)
        for k in range(int((end_ns - phase_ns) / period_ns)):
            stamp = SECOND + phase_ns + k * period_ns + rng.uniform(-jitter_ns, jitter_ns)
            if not lost(k):
                self.add(source, stamp + delay_ns, stamp)

    def run(self) -> list[Given]:
        reader = self.synchroniser.state.reader
        while self._events:
            now, _, source, stamp = heapq.heappop(self._events)
            if source == "answer":
                self.scheduler.answered()
                self._ask(now)
            elif source in self.settings.cameras:
                self.synchroniser.set_image(source, stamp, (source, stamp))
                self._ask(now)
            else:
                names = source.split()
                position = dict(zip(self.settings.joint_names, SPEED * (stamp - SECOND) * 1e-9))
                self.synchroniser.accept(reader.joints(stamp, names, [position[name] for name in names]))
                if self.synchroniser.waiting:
                    self._ask(now)
        return self.given

    def _ask(self, now: int) -> None:
        if not self.scheduler.due(now):
            return
        observation, why = self.synchroniser.observation(now)
        if observation is None:
            self.reasons += [why] if why else []
            return
        stamps = [stamp for _, stamp in observation.images.values()]
        assert [camera for camera, _ in observation.images.values()] == list(observation.images) == self.settings.cameras
        error = np.abs(observation.proprio - SPEED * (observation.stamp_ns - SECOND) * 1e-9) / np.abs(SPEED) * 1e9
        assert observation.stamp_ns == min(stamps)
        self.given.append(Given(now, observation.stamp_ns, max(stamps) - min(stamps), float(error.max())))
        self.scheduler.asked(now)
        self.add("answer", now + self.answer_ns, 0)


def percent(values, q: float) -> float:
    return float(np.percentile(list(values), q))


def check(rig: Rig, least_rate: float, most_spread_ns: float = FRAME / 2, most_age_ns: float = 2 * FRAME, most_gap_ns: float = 0.2 * SECOND) -> None:
    """Ten observations a second without a gap, none older than the one before, of pictures that belong together and a state of their moment."""
    given = [each for each in rig.run() if each.now_ns < 10 * SECOND]  # before the streams end
    stamps = [each.stamp_ns for each in given]
    assert all(a < b for a, b in itertools.pairwise(stamps))
    seconds = (given[-1].now_ns - given[0].now_ns) * 1e-9
    assert len(given) / seconds >= least_rate, len(given) / seconds
    assert max(b.now_ns - a.now_ns for a, b in itertools.pairwise(given)) <= most_gap_ns
    assert percent((each.spread_ns for each in given), 99) < most_spread_ns
    assert percent((each.state_error_ns for each in given), 99) < 0.01 * MS
    assert percent((each.now_ns - each.stamp_ns for each in given), 99) <= most_age_ns


def test_cameras_at_one_moment():
    rig = Rig(vla(["base", "wrist"]))
    rig.stream("base", FRAME)
    rig.stream("wrist", FRAME, delay_ns=8 * MS)  # its picture comes after the other's, and is waited for
    rig.stream("a b c", 10 * MS)
    check(rig, 9.5, most_spread_ns=1, most_age_ns=20 * MS)
    assert rig.synchroniser.report()["passed_over_for_spread"] == "0"


def test_a_camera_that_loses_every_fourth_frame():
    rig = Rig(vla(["base", "wrist"]))
    rig.stream("base", FRAME, jitter_ns=MS)
    rig.stream("wrist", FRAME, jitter_ns=MS, lost=lambda k: k % 4 == 3, seed=1)
    rig.stream("a b c", 10 * MS)
    check(rig, 9.0, most_spread_ns=3 * MS, most_age_ns=75 * MS)
    assert int(rig.synchroniser.report()["passed_over_for_spread"]) > 0


@pytest.mark.parametrize("query_rate, answer_ms", [(10.0, 30), (10.0, 95), (100.0, 5), (100.0, 150)])
@pytest.mark.parametrize("phase_ms", [0.0, 5.0, 12.0, 20.0, 28.0])
def test_cameras_that_run_freely(phase_ms, query_rate, answer_ms):
    rig = Rig(vla(["base", "wrist"], query_rate=query_rate), answer_ms * MS)
    rig.stream("base", FRAME, jitter_ns=MS)
    rig.stream("wrist", FRAME, phase_ns=phase_ms * MS, jitter_ns=MS, seed=1)
    rig.stream("a b c", 10 * MS)
    check(rig, min(9.0, 0.8e3 / answer_ms), most_age_ns=60 * MS)


def test_cameras_that_drift_past_each_other():
    rig = Rig(vla(["base", "wrist"]))
    rig.stream("base", FRAME, jitter_ns=MS)
    rig.stream("wrist", FRAME * 1.01, jitter_ns=MS, seed=1)
    rig.stream("a b c", 10 * MS)
    check(rig, 9.0, most_age_ns=60 * MS)


def test_three_cameras_that_never_come_within_half_a_frame():
    rig = Rig(vla(["base", "wrist", "side"]))
    for i, camera in enumerate(rig.settings.cameras):
        rig.stream(camera, FRAME, phase_ns=i * FRAME / 3, jitter_ns=MS, seed=i)
    rig.stream("a b c", 10 * MS)
    check(rig, 8.5, most_spread_ns=2 * FRAME / 3 + 3 * MS, most_age_ns=90 * MS)


@pytest.mark.parametrize("rate", [10, 15, 60])
def test_cameras_of_different_rates(rate):
    rig = Rig(vla(["base", "wrist"]))
    rig.stream("base", FRAME, jitter_ns=MS)
    rig.stream("wrist", SECOND / rate, phase_ns=3 * MS, jitter_ns=MS, seed=1)
    rig.stream("a b c", 10 * MS)
    check(rig, 8.0, most_spread_ns=min(FRAME, SECOND / rate) / 2, most_age_ns=0.15 * SECOND, most_gap_ns=0.25 * SECOND)


def test_arm_and_gripper_of_drivers_with_their_own_rates():
    rig = Rig(vla(["base"]))
    rig.stream("base", FRAME, delay_ns=0)
    rig.stream("a b", 10 * MS, delay_ns=0)
    rig.stream("c", 13 * MS, delay_ns=7 * MS)
    check(rig, 9.0)
    assert rig.synchroniser.report()["passed_over_for_state"] == "0"


@pytest.mark.parametrize("rate", [20, 10, 5])
def test_a_slow_state_is_waited_for(rate):
    """Between samples so far apart interpolation is as good as the motion is even; it is of the moment of the pictures all the same."""
    rig = Rig(vla(["base"]))
    rig.stream("base", FRAME)
    rig.stream("a b c", SECOND / rate)
    check(rig, min(9.0, 0.8 * rate), most_age_ns=0.2 * SECOND, most_gap_ns=0.3 * SECOND)


def test_no_observation_has_a_state_of_another_moment():
    rig = Rig(vla(["base"], query_rate=30.0, image_timeout=5.0), MS)
    rig.stream("base", FRAME, end_ns=2 * SECOND)
    rig.stream("a b", 10 * MS, end_ns=2 * SECOND)
    rig.stream("c", 10 * MS, end_ns=SECOND)
    given = rig.run()
    assert 1.9 * SECOND < given[-1].stamp_ns < 2 * SECOND and max(each.state_error_ns for each in given) < 0.01 * MS
    assert rig.reasons[-1].startswith("the newest measurement of joint c is 0.97") and "older than the pictures" in rig.reasons[-1]


def test_stamps_of_another_clock_are_waited_for_and_not_paired_with_a_state_of_another_moment():
    rig = Rig(vla(["base"]))
    rig.stream("base", FRAME, phase_ns=80 * MS, delay_ns=-75 * MS)  # its clock is ahead by more than sync_slop
    rig.stream("a b c", 10 * MS)
    check(rig, 6.0, most_age_ns=0.1 * SECOND)


def test_a_jump_of_the_clock_forgets():
    rig = Rig(vla(["base", "wrist"]))
    for source, period in (("base", FRAME), ("wrist", FRAME), ("a b c", 10 * MS)):
        rig.stream(source, period, end_ns=2 * SECOND)
    before = rig.run()[-1]
    rig.synchroniser.forget()
    assert rig.synchroniser.observation(SECOND)[1] == "no image on 'camera/base/image_raw' yet"
    rig.given = []
    for source, period in (("base", FRAME), ("wrist", FRAME), ("a b c", 10 * MS)):
        rig.stream(source, period, end_ns=SECOND)
    assert rig.run()[0].stamp_ns < before.stamp_ns
    check_again = [each.state_error_ns for each in rig.given]
    assert len(rig.given) >= 8 and max(check_again) < 0.01 * MS


pictures = st.lists(st.tuples(st.sampled_from(["base", "wrist", "side"]), st.integers(0, 12), st.booleans()), min_size=1, max_size=30)


@given(pictures, st.sampled_from([["base"], ["base", "wrist"], ["base", "wrist", "side"]]))
def test_whatever_comes_no_observation_is_older_than_the_last_nor_worse_than_need_be(events, cameras):
    """Pictures in steps of 5 ms, late by up to 60 ms; the state of the moment is always there."""
    synchroniser = Synchroniser(vla(cameras, vla_proprioception=["wrench_force"]))
    kept: dict[str, list[int]] = {camera: [] for camera in cameras}
    now, last, begun = SECOND, -1, SECOND + 5 * MS
    for camera, late, ask in events:
        now += 5 * MS
        synchroniser.accept(synchroniser.state.reader.wrench(now, (now, 0, 0), (0, 0, 0)))
        stamp = now - late * 5 * MS
        if camera in cameras:
            synchroniser.set_image(camera, stamp, stamp)
            if not kept[camera] or stamp > kept[camera][-1]:
                kept[camera] = [*kept[camera], stamp][-8:]
        observation = synchroniser.observation(now)[0] if ask else None
        if observation is None:
            continue
        chosen = dict(observation.images)
        assert all(chosen[each] in kept[each] for each in cameras)
        assert observation.stamp_ns == min(chosen.values()) > last
        assert observation.proprio[0] == np.float32(observation.stamp_ns)
        sets = {}  # by the oldest picture: the smallest spread
        for combination in itertools.product(*kept.values()):
            oldest, spread = min(combination), max(combination) - min(combination)
            sets[oldest] = min(spread, sets.get(oldest, spread))
        periods = [np.median(np.diff(stamps)) for stamps in kept.values() if len(stamps) > 1]
        least, enough = min(sets.values()), 1
        if periods:
            enough = min(periods) / 2 if least < min(periods) / 2 else least + min(periods) / 10
        usable = {oldest: each for oldest, each in sets.items() if oldest > max(last, begun - 1) and each <= 50 * MS}
        close = [oldest for oldest, each in usable.items() if each < enough]
        spread = max(chosen.values()) - min(chosen.values())
        assert spread == usable[observation.stamp_ns]
        assert observation.stamp_ns == max(close) if close else spread == min(usable.values())
        last = observation.stamp_ns
