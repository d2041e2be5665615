"""Synchronises cameras and robot state into one observation for the VLA, by stamps."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from rl_token_ros.interfaces import measurements
from rl_token_ros.robot.history import SPAN_NS, Moment, StateHistory
from rl_token_ros.robot.proprioception import RobotState
from rl_token_ros.robot.readings import Reading
from rl_token_ros.settings.vla import Vla
from rl_token_ros.system.timing import Percentiles
from rl_token_ros.vla.backend import Observation
from rl_token_ros.vla.picture_sets import PictureHistory, PictureSet


class Synchroniser:
    """Says which pictures and which state make an observation, of short histories of both.

    The newest set of pictures whose spread is below half a period of the fastest camera, and the state at the stamp of its oldest picture,
    never one of another moment. A newer picture whose fellow, or whose state, is about to come is waited for, half a period long; then an
    older set is taken. A set of larger spread, up to `sync_slop`, is taken where nothing better has come for a period. No set is given out
    twice, nor one that is older than the last.

    Attributes:
        state: the newest measurements.
        task: language instruction of the next observation.
        waiting: there is a picture that no observation was made of: :meth:`observation` is to be asked with the next measurement too.
    """

    def __init__(self, settings: Vla) -> None:
        self.settings = settings
        self.state = RobotState(settings.joint_names, settings.measured_groups)
        self.task = settings.task
        self.waiting = False
        self._slop_ns, self._timeout_ns = settings.sync_slop * 1e9, settings.image_timeout * 1e9
        self._history = StateHistory(len(settings.joint_names), max(SPAN_NS, round(self._timeout_ns)))
        self._pictures = PictureHistory(settings.cameras)
        self._asked_ns = self._passed_ns = -1
        self._since_ns: int | None = None  # when an observation could have been given for the first time
        self._spread_passed = self._state_passed = self._waited = 0
        self._spread, self._sample, self._wait = (Percentiles() for _ in range(3))

    def set_image(self, camera: str, stamp_ns: int, picture: Any) -> None:
        """A picture, decoded or not; one that is not newer than the newest of its camera is ignored."""
        self._pictures.add(camera, stamp_ns, picture)
        self.waiting = True

    def measure(self, topic: str, message: Any, now_ns: int) -> None:
        """A measurement of one of `measurements.TYPES`.

        Raises:
            StateError: it cannot be used.
        """
        if (reading := measurements.read(self.state.reader, topic, message, now_ns)) is not None:
            self.accept(reading)

    def accept(self, reading: Reading) -> None:
        """Believe a measurement."""
        self.state.accept(reading)
        self._history.accept(reading)

    @property
    def picture_period_ns(self) -> float:
        """Between two pictures of the fastest camera; 0 before it is known."""
        return self._pictures.period_ns() or 0.0

    def forget(self) -> None:
        """Drop everything, as after a jump of the clock."""
        self._pictures.forget()
        self._history.forget()
        self.state.forget()
        self._asked_ns = self._passed_ns = -1
        self._since_ns = None

    def observation(self, now_ns: int) -> tuple[Observation | None, str]:
        """The newest observation that was not given out before, its pictures as they came, or None and why there is none.

        None without a reason: nothing new has come, or what has will be better in a moment.
        """
        self.waiting = False
        if why := self._lacks(now_ns):
            return None, why
        sets = self._pictures.sets()
        enough = self._pictures.enough_ns(sets)
        new = [each for each in sets if each.stamp_ns > self._asked_ns and now_ns - each.stamp_ns <= self._timeout_ns]
        usable = [each for each in new if each.spread_ns <= self._slop_ns]
        if not usable:
            self._since_ns = None
            if not new:
                return None, ""
            self._pass_over(new, enough)
            least = min(each.spread_ns for each in new) * 1e-9
            return None, f"the cameras' stamps lie {least:.3f} s apart; sync_slop is {self.settings.sync_slop:g} s"
        if self._since_ns is None:
            self._since_ns = now_ns
        waited, best = now_ns - self._since_ns, self._best(usable, enough)
        if best is None or waited < min(best[0], self._slop_ns):
            self.waiting = True
            return None, self._late(usable[0]) if best is None and waited > self._slop_ns else ""
        _, chosen, moment = best
        self._pass_over([each for each in new if each.stamp_ns > chosen.stamp_ns], enough)
        self._waited += waited > 0
        for percentiles, figure in ((self._spread, chosen.spread_ns), (self._sample, moment.sample_ns), (self._wait, waited)):
            percentiles.add(figure * 1e-9)
        self._asked_ns, self._since_ns = chosen.stamp_ns, None
        proprio, orientation = moment.vector(self.settings.vla_proprioception), moment.values.get("ee_orientation")
        return Observation(chosen.stamp_ns, chosen.pictures, proprio, self.task, orientation), ""

    def report(self) -> dict[str, str]:
        """For `/diagnostics`: sets newer than the one given that were passed over for their spread, or because the state did not reach them
        yet; observations that were waited for; and of all spread, time from the stamp to the nearest sample of the state, and waiting."""
        return {
            "passed_over_for_spread": str(self._spread_passed),
            "passed_over_for_state": str(self._state_passed),
            "waited": str(self._waited),
            **self._spread.report("spread_ms", 1e3),
            **self._sample.report("state_sample_ms", 1e3),
            **self._wait.report("wait_ms", 1e3),
        }

    def _lacks(self, now_ns: int) -> str:
        """What is absent or too old, as a sentence."""
        groups = self.settings.measured_groups
        newest = {camera: self._pictures.newest_ns(camera) for camera in self.settings.cameras}
        for camera, stamp in newest.items():
            if stamp is None:
                return f"no image on 'camera/{camera}/image_raw' yet"
        if why := self.state.why_missing(groups):
            return why
        age, oldest = max(((now_ns - stamp, camera) for camera, stamp in newest.items() if stamp is not None), key=itemgetter(0))
        if age > self._timeout_ns:
            return f"the newest image on 'camera/{oldest}/image_raw' is {age * 1e-9:.2f} s old"
        if (age := self.state.age_ns(groups, now_ns)) > self._timeout_ns:
            return f"the newest measurement of {self.state.oldest(groups)} is {age * 1e-9:.2f} s old"
        return ""

    def _late(self, newest: PictureSet) -> str:
        """Why no set has a state of its moment."""
        groups = self.settings.measured_groups
        if (behind := self.state.age_ns(groups, newest.stamp_ns)) <= 0:
            return ""  # it has begun after the pictures
        oldest = self.state.oldest(groups)
        return f"the newest measurement of {oldest} is {behind * 1e-9:.3f} s older than the pictures; is its driver slow, or do the clocks differ?"

    def _best(self, usable: list[PictureSet], enough: float) -> tuple[float, PictureSet, Moment] | None:
        """Of what has a state of its moment: for how many ns better is waited for before it is given, the set, and the state."""
        period = self._pictures.period_ns() or self._slop_ns
        good = [each for each in usable if each.spread_ns < enough]
        others = sorted((each for each in usable if each.spread_ns >= enough), key=lambda each: each.spread_ns)
        for each in (*good, *others):
            moment = self._history.at(each.stamp_ns, self.settings.measured_groups)
            if moment is None or moment.off_ns:
                continue
            if each.spread_ns >= enough:
                return period, each, moment
            newest = each is good[0] and not self._pictures.completing(enough)
            return 0.0 if newest else period / 2, each, moment
        return None

    def _pass_over(self, sets: list[PictureSet], enough: float) -> None:
        """Count these, each once."""
        for each in sets:
            if each.stamp_ns > self._passed_ns:
                self._spread_passed += each.spread_ns >= enough
                self._state_passed += each.spread_ns < enough
        self._passed_ns = max([self._passed_ns, *(each.stamp_ns for each in sets)])
