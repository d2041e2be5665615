"""The control loop without ROS: newest measurements in, one safe command per tick out.

This is the degrade ladder of docs/architecture.md: fresh chunk -> remaining steps of the old chunk -> hold the measured position ->
latched stop. The same object runs live, from a bag and faster than real time; time comes in as an argument.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from rl_token_ros.control import safety_filter
from rl_token_ros.control.arming import Arming, Refused, second_publisher
from rl_token_ros.control.command import Choice, Command
from rl_token_ros.control.command_filter import make_filter
from rl_token_ros.control.episode import Episode
from rl_token_ros.control.handshake import PATIENCE, Handshake
from rl_token_ros.control.holding import Holding
from rl_token_ros.control.phase_switch import PhaseWatch
from rl_token_ros.control.proposals import Proposals
from rl_token_ros.control.tick_record import INPUTS
from rl_token_ros.interfaces import replay_table
from rl_token_ros.interfaces.codes import Ended, Source
from rl_token_ros.policy.actor import ResidualActor
from rl_token_ros.policy.exploration import Exploration
from rl_token_ros.policy.residual_policy import ResidualPolicy
from rl_token_ros.policy.rollout import Rollout
from rl_token_ros.robot import action_space
from rl_token_ros.robot.proprioception import RobotState
from rl_token_ros.settings.control import Control
from rl_token_ros.settings.proprioception_groups import measured_group, size, source

CLOCK_STEP_NS = 50_000_000  # a clock set back by less is being corrected, not changed: time stands still until it has caught up
LONGEST_PAUSE_NS = 1_000_000_000  # between two control steps of an enabled arm


class Controller:
    """State: the newest inputs, whether the arm may move, the running episode.

    Args:
        settings: parameters of `control_node`.
        actor: the residual actor; :attr:`rollout` decides which weights it has.
        policy: class of what acts.
        encoder_sha256: fingerprint of the token encoder, which a model of the critical phase must know.

    Raises:
        ParameterError: that model cannot be used.
    """

    def __init__(self, settings: Control, actor: ResidualActor, policy: type[ResidualPolicy] = ResidualPolicy, encoder_sha256: str = "") -> None:
        self.settings = settings
        self.period_ns = round(1e9 / settings.control_rate)
        self.actor = actor
        self.needed = settings.needed_groups
        self.state = RobotState(settings.joint_names, self.needed, settings.tool_orientation)
        self.filter, self.space = make_filter(settings), action_space.of_positions(settings)
        self.holding, self.handshake = Holding(settings, self.filter), Handshake(settings.control_rate)
        self.proposals = Proposals(settings)
        self.arming = Arming(settings, self.state, self.needed)
        self.rollout = Rollout(actor, settings)
        self.policy = policy(
            self.rollout, np.array(settings.step_residual_scale), Exploration(settings), settings.replan_interval, action_space.of_actions(settings)
        )
        proprio = size(settings.proprioception, len(settings.joint_names), settings.action_size)
        self.row_dtype = replay_table.row_dtype(settings.token_size, proprio, settings.chunk_length, settings.action_size)
        self.episode = Episode(self.row_dtype, round(settings.episode_time_limit * 1e9))
        self.enabled, self.stop_reason = False, ""
        self.counts: Counter[str] = Counter()
        self.source, self.clipped = int(Source.NONE), 0  # who made the last tick's command, and why the filter changed it
        self.counted_ns = 0
        self.moved_ns = -1  # when a command last moved; what was measured before that is not where the arm is
        self._step_inputs: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self._pose: tuple[np.ndarray, np.ndarray] | None = None  # of the tool when the arm was enabled
        self.phase = PhaseWatch(settings, encoder_sha256) if settings.phase_model else None

    # --- episodes and parameters ------------------------------------------------------------------------------------------

    def set_critical(self, critical: bool, now_ns: int) -> None:
        """The critical phase: True begins an episode when the arm is enabled, False aborts one that has no outcome yet."""
        if not critical:
            if self.phase is not None:
                self.phase.switch.refuse()  # the operator wins
            self.end_episode(Ended.ABORTED)
        elif self.enabled and not self.stop_reason and not self.episode.active:
            self.policy.begin(now_ns)
            self.episode.begin(now_ns)

    def watch_phase(self, now_ns: int) -> None:
        """The critical phase begins by itself where the operator began it before."""
        if self.phase is not None and self.phase.look(self.proposals.token, self.state, self.moving, self.episode.active):
            self.set_critical(True, now_ns)

    def end_episode(self, code: int) -> None:
        """The running episode, if any, ends with a code of :class:`Ended`."""
        if self.episode.active:
            self.rollout.episode_ended(code)
        self.episode.end(code)

    def change(self, settings: Control) -> None:
        """Take over changed live parameters: mode, replan_interval, exploration."""
        if settings.mode == "actor" and self.settings.mode != "actor":
            self.rollout.begin()
        self.settings = settings
        self.policy.replan_interval = settings.replan_interval
        self.policy.exploration.change(settings)

    # --- the switch ---------------------------------------------------------------------------------------------------

    def not_ready(self, now_ns: int) -> list[str]:
        """What keeps the arm from being enabled, a sentence each; empty when it may be."""
        return self.arming.not_ready(now_ns, self.proposals.base(now_ns) is not None, self.stop_reason)

    def enable(self, now_ns: int, other_publishers: Sequence[str] = ()) -> None:
        """Let the arm move, beginning at rest at the measured position. Nothing changes if it may already: it could be moving.

        Args:
            now_ns: time.
            other_publishers: names of other nodes that publish `command`.

        Raises:
            Refused: an input is missing or old, someone else publishes `command`, or the arm is outside its limits.
        """
        if self.enabled and not self.stop_reason:
            return
        reasons = self.not_ready(now_ns)
        if other_publishers:
            reasons.append(second_publisher(other_publishers))
        if (self.holding.leaving and self.filter.moving) or self._measured_ns <= self.moved_ns:
            reasons.append("the arm is coming to rest; enable it again in a moment")
        if not reasons:
            reasons += self.arming.turned()
        if not reasons:
            try:
                self.filter.seed(self.state.measured(self.settings.action_names))
            except ValueError as error:
                reasons.append(str(error))
        if reasons:
            raise Refused("; ".join(reasons))
        self._remember_pose()
        self.policy.reset()
        self.holding.release()
        self.enabled = True

    def _remember_pose(self) -> None:
        """Axes and orientation that are no action stay as they are measured now."""
        if self.settings.cartesian:
            values, wanted = self.state.values, self.settings.tool_orientation
            self._pose = values["ee_position"].copy(), np.array(wanted) if wanted else values["ee_orientation"]

    def await_handshake(self) -> None:
        """Nothing moves from now on, until :meth:`shaken` says that commands arrive."""
        self.handshake.steps = 1

    def shaken(self) -> None:
        """Commands arrive: the first that moves goes on from the last that arrived, which said where the arm was measured."""
        self.handshake.steps = 0

    def disable(self) -> None:
        """Stop commanding: the ticks that follow bring the arm to rest where it is measured now, then there are no more commands.

        A running episode is aborted.
        """
        self.end_episode(Ended.ABORTED)
        if self.enabled:
            self.holding.leave(self._measured())
        self.enabled, self.handshake.steps = False, 0

    def stop(self, reason: str) -> None:
        """Latched: hold the measured position until ~/reset_stop, whatever the inputs say. A running episode is aborted."""
        self.end_episode(Ended.ABORTED)
        self.stop_reason = self.stop_reason or reason
        if self.enabled:
            self.holding.release()

    def reset_stop(self) -> None:
        """Clear a latched stop. The arm is disabled then: moving again takes an enable."""
        self.disable()
        self.stop_reason = ""

    @property
    def stopped(self) -> bool:
        """Whether a stop is latched."""
        return bool(self.stop_reason)

    @property
    def moving(self) -> bool:
        """Whether the arm may move now."""
        return self.enabled and not self.stop_reason

    @property
    def input_stamps(self) -> list[int]:
        """Stamp in ns of each of tick_record.INPUTS; 0 for what is not held."""
        return [*(self.state.stamps.get(topic, 0) for topic in INPUTS[:3]), *self.proposals.stamps]

    # --- the tick -----------------------------------------------------------------------------------------------------

    def tick(self, now_ns: int) -> Command | None:
        """One control step; None while the arm is disabled."""
        command = self._step(now_ns)
        if command is not None and command.velocity.any():
            self.moved_ns = self.counted_ns
        return command

    def _step(self, now_ns: int) -> Command | None:
        back_ns = self.counted_ns - now_ns
        if 0 < back_ns <= CLOCK_STEP_NS:
            self.counts["clock_corrections"] += 1
            now_ns = self.counted_ns
        elif back_ns > 0:
            self._clock_jumped(back_ns)
        paused_ns = now_ns - self.counted_ns if self.counted_ns else 0
        self.counted_ns = now_ns
        self.source, self.clipped = Source.NONE, 0
        self.rollout.take(acting=self.episode.active and self.enabled)
        if not self.enabled:
            return self._resting(*self.holding.last(self._measured())) if self.holding.leaving else None
        if self.episode.over_time(now_ns):
            self.end_episode(Ended.TIME_LIMIT)
        if not self.stop_reason and (reason := self.arming.unsafe(now_ns)):
            self.stop(reason)
        if not self.stop_reason and paused_ns > LONGEST_PAUSE_NS:  # what is measured may be fresh again: that must not hide it
            self.stop(f"no control step for {paused_ns * 1e-9:.1f} s: the clock leapt ahead, or control_node stood still")
        measured = self._measured()
        if self.handshake.steps and not self.stop_reason:
            return self._await(now_ns, measured)
        choice = None if self.stop_reason else self._choose(now_ns, measured)
        if choice is None:
            return self._hold_measured(now_ns, measured)
        self.holding.release()
        return self._execute(now_ns, measured, choice)

    @property
    def _measured_ns(self) -> int:
        """Stamp of the measured position; 0 without one."""
        return self.state.stamps.get(source(measured_group(self.settings.cartesian)) or "", 0)

    def _measured(self) -> np.ndarray:
        """The measured position [A]; the last command after a jump of the clock, until the next measurement."""
        if self.state.missing([measured_group(self.settings.cartesian)]):
            return self.filter.command
        return self.state.measured(self.settings.action_names)

    def _choose(self, now_ns: int, measured: np.ndarray) -> Choice | None:
        """The human while fresh, else base plus residual inside the critical phase, else the base."""
        self._step_inputs = None
        rate = self.settings.action_rate
        if self.episode.active:
            self._step_inputs = self._observe(now_ns, measured)
        residual = None
        if self._step_inputs is not None and self.settings.mode != "vla" and self.actor.weights is not None:
            residual = self.policy.act(*self._step_inputs)  # in shadow mode computed and reported, not executed
        if (human := self.proposals.human(now_ns)) is not None:
            self.policy.reset()
            return Choice(human * rate, Source.HUMAN)
        if residual is not None and self.settings.mode == "actor":
            return Choice(residual, Source.ACTOR)
        self.policy.reset()
        base = self.proposals.base(now_ns)
        return None if base is None else Choice(base * rate, Source.VLA)

    def _execute(self, now_ns: int, measured: np.ndarray, choice: Choice) -> Command:
        """Filter, send, and record what was really sent."""
        before = self.filter.command
        delta = self.settings.action_type == "delta"
        target = self.space.moved(before, choice.action) if delta else choice.action
        command, clipped = self.filter.step(target, measured, stop_at_target=not delta)
        self.source, self.clipped = choice.source, clipped
        if choice.source == Source.ACTOR:
            self.rollout.acted(clipped)
        self.counts["ticks_" + ("vla", "actor", "human")[choice.source]] += 1
        if clipped:
            for bit, count in safety_filter.COUNTS:
                if clipped & bit:
                    self.counts[count] += 1
        if self.episode.active:
            if self._step_inputs is None:
                self.episode.skip(self.proposals.unseen)
            else:
                token, proprio, window = self._step_inputs
                self.episode.record(
                    now_ns,
                    weights_version=self.policy.version if choice.source == Source.ACTOR else 0,
                    source=choice.source,
                    clipped=clipped,
                    token=token,
                    proprio=proprio,
                    reference=window,
                    action=self.space.difference(command, before) if delta else command,
                )
        return Command(command, self.filter.velocity, False, self._pose)

    def _await(self, now_ns: int, measured: np.ndarray) -> Command | None:
        """Say where the arm is measured, now and then, and nothing else."""
        if self.handshake.overdue:
            self.stop(f"a subscriber of 'command' has not acknowledged it for {PATIENCE:g} s; end or restart what no longer listens")
            return self._hold_measured(now_ns, measured)
        if self.episode.active:
            self.episode.skip()
        if not self.handshake.step():
            return None
        try:
            self.filter.seed(measured)
        except ValueError as error:
            self.stop(str(error))
            return self._hold_measured(now_ns, measured)
        self._remember_pose()  # it says where the arm is, as if it had been enabled this moment
        return self._resting(self.filter.command, 0)

    def _hold_measured(self, now_ns: int, measured: np.ndarray) -> Command:
        """Brake to and stay at the position measured when holding began."""
        if self.holding.position is None:
            self.holding.begin(measured, now_ns)
            self.policy.reset()
        elif not self.stop_reason and self.holding.overdue(now_ns):
            self.stop(f"no usable chunk on 'vla/reference' for {self.settings.hold_timeout:g} s")
            self.holding.position = measured.copy()
        self.counts["ticks_stopped" if self.stop_reason else "ticks_holding"] += 1
        if self.episode.active:
            self.episode.skip()
        return self._resting(*self.holding.rest(measured))

    def _resting(self, command: np.ndarray, clipped: int) -> Command:
        self.source, self.clipped = Source.HOLD, clipped
        return Command(command, self.filter.velocity, True, self._pose)

    def _observe(self, now_ns: int, measured: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Token [Dz], proprioception [P] and reference window [C, A] of this tick, or None while one is missing or old."""
        settings = self.settings
        if (seen := self.proposals.seen(now_ns, self.period_ns, settings.chunk_length)) is None:
            return None
        token, window = seen
        proprio = self.state.vector(settings.proprioception, self.space.difference(self.filter.command, measured))
        return token, proprio, window * settings.action_rate

    def _clock_jumped(self, back_ns: int) -> None:
        """After a step back, stamps of before mean nothing: forget every input; stop if the arm was moving."""
        self.counts["clock_jumps"] += 1
        self.moved_ns = -1
        self.proposals.forget()
        if self.enabled:
            self.stop(f"the clock went back by {back_ns * 1e-9:.3f} s")
        self.state.forget()
