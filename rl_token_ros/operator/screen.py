"""What the operator's screen shows: the state of control_node in a dozen lines, from its ticks, diagnostics and endings."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from rl_token_ros.control.tick_record import INPUTS, Event
from rl_token_ros.interfaces.codes import Clipped, Ended, Source

SECOND = 1_000_000_000
SILENT_SECONDS = 1.0  # without a tick: control_node is not heard
TOLD = 4  # newest lines for the human
RECENT = 20  # episodes of the success rate
CORRECTED, JUDGED, GOOD = 5, 5, 0.8  # episodes that a hand corrects; those after which it is suggested, if fewer than this share succeeded
STALE = 1.5  # a chunk this much older than chunks were when they were replaced: its remaining steps are being executed
HELP = (
    "e enable      d disable     SPACE stop    r reset stop",
    "c critical phase on/off     s success     f failure     x discard",
    "t take over / hand back     arrows, page up/down move   1-9 which actions",
    "g hand moves arm / corrects VLA      b rollback weights          q quit",
)


class Tick(NamedTuple):
    """What the operator needs of a row of `~/ticks`; ``command`` is NaN without one, ``chunk_ns`` the stamp of the chunk in use, 0 for none."""

    event: int
    now_ns: int
    chunk_ns: int
    enabled: bool
    stopped: bool
    source: int
    clipped: int
    weights_version: int
    share: float
    critical: bool
    episode: int
    begun_ns: int
    command: np.ndarray


def columns(action: int) -> np.dtype:
    """The columns of `~/ticks` that :func:`read` takes, for ``action`` values in an action."""
    inputs = (len(INPUTS),)
    return np.dtype(
        [
            ("event", "u1"), ("stamp_sec", "<i4"), ("stamp_nanosec", "<u4"), ("input_sec", "<i4", inputs), ("input_nanosec", "<u4", inputs),
            ("enabled", "u1"), ("stopped", "u1"), ("source", "u1"), ("clipped", "u1"), ("weights_version", "<u4"), ("share", "<f4"),
            ("critical", "u1"), ("episode", "<u4"), ("begun_sec", "<i4"), ("begun_nanosec", "<u4"), ("command", "<f8", (action,)),
        ]
    )  # fmt: skip


def read(row: np.void) -> Tick:
    """A row of :func:`columns`."""

    def stamp(name: str) -> int:
        return int(row[f"{name}_sec"]) * SECOND + int(row[f"{name}_nanosec"])

    chunk = INPUTS.index("vla/reference")
    return Tick(
        int(row["event"]), stamp("stamp"), int(row["input_sec"][chunk]) * SECOND + int(row["input_nanosec"][chunk]), bool(row["enabled"]),
        bool(row["stopped"]), int(row["source"]), int(row["clipped"]), int(row["weights_version"]), float(row["share"]), bool(row["critical"]),
        int(row["episode"]), stamp("begun"), row["command"],
    )  # fmt: skip


@dataclass
class Screen:
    """The newest of everything, and its text.

    ``control`` and ``message``: values and sentence of control_node's diagnostics. ``held_by``: the devices by which a human holds the arm.
    """

    episode_time_limit: float = 0.0
    mode: str = "?"
    message: str = ""
    control: dict[str, str] = field(default_factory=dict)
    held_by: list[str] = field(default_factory=list)
    corrects: bool = False  # whether a hand adds to what the VLA does
    jogs: str = ""  # the actions that the arrow keys move
    row: Tick | None = None
    heard_ns: int = 0
    endings: deque[int] = field(default_factory=lambda: deque(maxlen=RECENT))
    last_ending: int = 0
    told: deque[str] = field(default_factory=lambda: deque(maxlen=TOLD))
    corrected: set[int] = field(default_factory=set)  # episodes that this program's hand has corrected
    _replaced: deque[int] = field(default_factory=lambda: deque(maxlen=RECENT))  # ages of chunks when a newer one came, ns

    # --- what is heard ------------------------------------------------------------------------------------------------

    def ticked(self, row: Tick, now_ns: int) -> None:
        """A row of `~/ticks`."""
        if self.row is not None and row.event == Event.TICK and 0 < self.row.chunk_ns < row.chunk_ns:
            self._replaced.append(row.now_ns - self.row.chunk_ns)
        if row.event == Event.TICK or self.row is None:
            self.row = row
        if row.critical and row.source == Source.HUMAN and self.held_by and self.corrects:
            self.corrected.add(row.episode)
        self.heard_ns = now_ns

    def ended(self, code: int) -> None:
        """An episode ended with a code of :class:`Ended`."""
        self.last_ending = code
        if code != Ended.ABORTED:
            self.endings.append(code)

    def tell(self, text: str) -> None:
        """A line for the human: an answer, a refusal. The same line twice in a row is shown once."""
        if text and (not self.told or self.told[-1] != text):
            self.told.append(text)

    # --- what it means ------------------------------------------------------------------------------------------------

    def heard(self, now_ns: int) -> bool:
        """Whether control_node is there."""
        return self.row is not None and now_ns - self.heard_ns <= SILENT_SECONDS * SECOND

    def may_move(self, now_ns: int) -> bool:
        """Whether the arm may move."""
        return self.row is not None and self.heard(now_ns) and self.row.enabled and not self.row.stopped

    def ladder(self, row: Tick) -> str:
        """The level of the degrade ladder at a tick: how near the arm is to standing still."""
        if row.stopped:
            return "4 latched stop"
        if not row.enabled:
            return "- disabled"
        if row.source == Source.HOLD:
            return "3 holding the measured position"
        if row.source == Source.HUMAN:
            return "- a human acts"
        age = row.now_ns - row.chunk_ns
        old = self._replaced and age > STALE * max(self._replaced)
        return f"{'2 remaining steps of an old chunk' if old else '1 fresh chunk'}, {age / 1e6:.0f} ms old"

    def lines(self, now_ns: int, target: str = "control_node") -> list[str]:
        """The screen, a line each."""
        told = [f"  > {text}" for text in self.told]
        if self.row is None or not self.heard(now_ns):
            state = [f"  arm       NOT HEARD: no ticks from {target}; does it run?"]
        else:
            state = self._state(self.row)
        return [
            *state,
            *self._advice(),
            "",
            *told,
            *[""] * (TOLD - len(told)),
            *[f"  {line}" for line in HELP],
            f"  arrows and page keys move: {self.jogs}",
        ]

    @property
    def _wins(self) -> int:
        """Successes among the newest endings."""
        return sum(code == Ended.SUCCESS for code in self.endings)

    def _advice(self) -> list[str]:
        """A line about the hand, while a few corrections would help most."""
        if self.mode != "actor" or len(self.corrected) >= CORRECTED or len(self.endings) < JUDGED or self._wins >= GOOD * len(self.endings):
            return []
        so_far = f"; {len(self.corrected)} so far" if self.corrected else ""
        return [f"  advice    correct {CORRECTED} episodes (g, then t and the arrows): worth ten minutes of practice{so_far}"]

    def _state(self, row: Tick) -> list[str]:
        control = self.control
        if row.stopped or not row.enabled:
            known = self.message.startswith("stopped" if row.stopped else "disabled")
            arm = self.message if known else ("stopped" if row.stopped else "disabled")
            arm = arm.upper().split(":")[0] + arm[len(arm.split(":")[0]) :]
        else:
            arm = "ENABLED: the arm may move"
        limits = ", ".join(bit.label for bit in Clipped if row.clipped & bit)
        phase = "off"
        if row.critical:
            limit = f" of {self.episode_time_limit:g}" if self.episode_time_limit else ""
            phase = f"ON, episode {row.episode}, {(row.now_ns - row.begun_ns) / SECOND:.1f}{limit} s"
        if "phase_probability" in control:
            phase += f"; the classifier says {100 * float(control['phase_probability']):.0f} %"
        wins = self._wins
        rate = f"{wins} of the last {len(self.endings)} succeeded ({100 * wins / len(self.endings):.0f} %)" if self.endings else "none judged yet"
        refusal = control.get("last_refusal", "")
        return [
            f"  arm       {arm}",
            f"  acts      {self._actor(row)}{f', limited by {limits}' if limits else ''}",
            f"  mode      {self.mode}",
            f"  ladder    {self.ladder(row)}",
            f"  phase     {phase}",
            f"  outcome   {Ended(self.last_ending).label if self.last_ending else 'none yet'}; {rate}",
            f"  weights   version {row.weights_version}, {control.get('weights_accepted', '?')} accepted, "
            f"{control.get('weights_refused', '?')} refused{f': {refusal}' if refusal else ''}",
            f"  refused   {control.get('refused_inputs', '?')} inputs, {control.get('missed_ticks', '?')} ticks missed",
        ]

    def _actor(self, row: Tick) -> str:
        source = Source(row.source)
        if source == Source.HUMAN:
            hand = f"HUMAN ({', '.join(self.held_by)})" if self.held_by else "HUMAN (another's hand)"
            return f"VLA, corrected by {hand}" if self.held_by and self.corrects else hand
        if source == Source.ACTOR:
            share = f", {100 * row.share:.0f} % of the residual" if row.share < 1.0 else ""
            return f"actor, weights {row.weights_version}{share}"
        names = {Source.VLA: "VLA", Source.HOLD: "nobody, it holds", Source.NONE: "nobody"}
        waiting = f"; a hand ({', '.join(self.held_by)}) is on it" if self.held_by else ""
        return names[source] + waiting
