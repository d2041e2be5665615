"""Parameters of `operator`."""

from __future__ import annotations

from dataclasses import dataclass

from rl_token_ros.settings.parameters import ParameterError, parameter
from rl_token_ros.settings.proprioception_groups import ROTATION, YAW
from rl_token_ros.settings.robot import CARTESIAN, Robot, per_action

# What an operator can ask for: of control_node, and of this node itself (the last two).
REQUESTS = (
    "enable", "disable", "stop", "reset_stop", "critical_phase", "success", "failure", "discard", "rollback", "take_over", "correct", "quit",
)  # fmt: skip
TWIST_AXES = ("linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z")
SPEEDS = {"m": 0.03, "rad": 0.2}  # per second, of a hand's device at full deflection


@dataclass(frozen=True)
class Operator(Robot):
    """Parameters of `operator`."""

    jog_speed: list[float] = parameter(
        [],
        "Speed of keyboard, joystick and twist at full deflection for each action name; empty: 0.03 m/s, 0.2 rad/s.",
        unit="m/s or rad/s",
        low=1e-6,
        high=10.0,
    )
    joy_axes: list[str] = parameter([], 'Axes of `joy` that move the arm, each "ACTION: [-]INDEX"; empty: 1, 0, 4 for the first three action names.')
    joy_buttons: list[str] = parameter(
        [
            "take_over: 4", "success: 0", "failure: 1", "critical_phase: 2", "discard: 3", "stop: 5", "disable: 6", "enable: 7", "reset_stop: 8",
        ],
        "Buttons of `joy`, each \"REQUEST: INDEX\". take_over is a deadman: the human acts while it is held. The default is that of an Xbox "
        "controller: A, B, X, Y judge, LB takes over, RB stops.",
    )  # fmt: skip
    twist_axes: list[str] = parameter(
        [],
        'Parts of `twist` that move the arm, each "ACTION: [-]linear.x"; empty: linear x, y, z for the actions of these names, and angular ones for '
        "yaw or rx, ry, rz.",
    )
    twist_full: float = parameter(1.0, "Number in `twist` that is full deflection.", low=1e-6, high=1e6)
    twist_takes_over: bool = parameter(True, "A deflected SpaceMouse takes over by itself, and hands back when it is let go.")
    dead_zone: float = parameter(0.1, "Deflection below which joystick and twist stand still, as a share of the full one.", low=0.0, high=0.9)
    leader_names: list[str] = parameter(
        [], "Joints in `leader/joint_states` that lead each of action_names, and then of gripper_names; empty: those of the same names."
    )
    leader_scale: list[float] = parameter(
        [], "Factor from the leader's joint to ours, in that order; negative where it turns the other way; empty: 1.", low=-1e3, high=1e3
    )
    leader_follow: str = parameter(
        "relative",
        "relative: the arm follows how far the leader has moved since the human took over; absolute: the arm goes to where the leader is.",
        choices=("relative", "absolute"),
    )
    follow_seconds: float = parameter(
        0.1, "With action_type delta: time in which the command catches up with the leader.", unit="s", low=0.02, high=5.0
    )
    hand_moves: str = parameter(
        "arm",
        "arm: who takes over moves the arm in the VLA's place; residual: corrects the VLA, at most by residual_scale, all of which can be learned. "
        "The request `correct` switches between them.",
        choices=("arm", "residual"),
    )
    leader_full: float = parameter(
        0.1,
        "With hand_moves residual: how far a leader's joint has to be moved from where it was at the take-over for the whole of residual_scale.",
        unit="m or rad",
        low=1e-4,
        high=10.0,
    )
    device_timeout: float = parameter(
        0.3, "Silence of the device that moves the arm after which the human's hand counts as gone.", unit="s", low=0.02, high=5.0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.jog_speed:
            per_action(self, "jog_speed")
        leads = [*self.action_names, *self.gripper_names]
        for name in ("leader_names", "leader_scale"):
            count = len(getattr(self, name))
            if count not in (0, len(leads)):
                raise ParameterError(f"parameter '{name}' has {count} entries; write {len(leads)}, one for each of [{', '.join(leads)}], or none")
        self.axes("joy_axes")
        self.axes("twist_axes")
        self.buttons  # noqa: B018  refuses what cannot be read

    @property
    def speeds(self) -> list[float]:
        """Speed at full deflection for each action name."""
        return self.jog_speed or [SPEEDS["m" if name in CARTESIAN else "rad"] for name in self.action_names]

    @property
    def buttons(self) -> dict[int, str]:
        """Request by index of the button.

        Raises:
            ParameterError: an entry that cannot be read.
        """
        found: dict[int, str] = {}
        for entry in self.joy_buttons:
            request, _, index = (part.strip() for part in entry.partition(":"))
            if request not in REQUESTS or not index.isdecimal():
                raise ParameterError(f"parameter 'joy_buttons' has '{entry}'; write REQUEST: INDEX with one of {', '.join(REQUESTS)}")
            if int(index) in found:
                raise ParameterError(f"parameter 'joy_buttons' uses button {index} twice, for {found[int(index)]} and {request}; write each once")
            found[int(index)] = request
        return found

    def axes(self, name: str) -> list[tuple[int, str, float]]:
        """(index of the action, axis, sign) of each entry of `joy_axes` or `twist_axes`, or of their default.

        Raises:
            ParameterError: an entry that cannot be read.
        """
        entries = getattr(self, name)
        if not entries and name == "joy_axes":
            entries = [f"{action}: {index}" for action, index in zip(self.action_names, (1, 0, 4))]
        elif not entries:
            entries = [f"{action}: linear.{action}" for action in self.action_names if action in CARTESIAN]
            entries += [f"{YAW}: angular.z"] if self.turns else []
            entries += [f"{name}: angular.{name[1]}" for name in ROTATION if self.rotation_at is not None]
        found = []
        for entry in entries:
            action, _, axis = (part.strip() for part in entry.partition(":"))
            bare = axis.removeprefix("-")
            if action not in self.action_names or not (bare.isdecimal() if name == "joy_axes" else bare in TWIST_AXES):
                example = "ACTION: INDEX, as in" if name == "joy_axes" else "ACTION: PART, as in"
                some = f"{self.action_names[0]}: {'-1' if name == 'joy_axes' else '-linear.x'}"
                raise ParameterError(f"parameter '{name}' has '{entry}'; write {example} '{some}', with one of [{', '.join(self.action_names)}]")
            found.append((self.action_names.index(action), bare, -1.0 if axis.startswith("-") else 1.0))
        return found
