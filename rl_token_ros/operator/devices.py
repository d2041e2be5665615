"""Keys of a terminal, and buttons and axes of a joystick: what they ask for, and how far they are deflected."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rl_token_ros.settings.operator import Operator

# key -> request of settings.operator.REQUESTS. `critical_phase` and `take_over` are switches: the same key turns them off again.
KEYS = {
    "e": "enable", "d": "disable", " ": "stop", "r": "reset_stop", "c": "critical_phase", "s": "success", "f": "failure", "x": "discard",
    "b": "rollback", "t": "take_over", "g": "correct", "q": "quit",
}  # fmt: skip
JOG = {"up": (0, 1.0), "down": (0, -1.0), "left": (1, 1.0), "right": (1, -1.0), "pageup": (2, 1.0), "pagedown": (2, -1.0)}
SEQUENCES = {b"\x1b[A": "up", b"\x1b[B": "down", b"\x1b[C": "right", b"\x1b[D": "left", b"\x1b[5~": "pageup", b"\x1b[6~": "pagedown",
             b"\x1bOA": "up", b"\x1bOB": "down", b"\x1bOC": "right", b"\x1bOD": "left"}  # fmt: skip


def keys(data: bytes) -> list[str]:
    """The keys in what a terminal sent: letters as themselves, arrows and page keys by name; what is unknown is left out."""
    found = []
    while data:
        sequence = next((s for s in SEQUENCES if data.startswith(s)), None)
        if sequence is not None:
            found.append(SEQUENCES[sequence])
            data = data[len(sequence) :]
        elif data[:1] == b"\x1b":
            break  # another key's sequence: its letters must not be taken for keys
        else:
            found.append(chr(data[0]).lower())
            data = data[1:]
    return found


class Keyboard:
    """Arrows and page keys move three of the actions, at full speed; a digit says from which action on.

    A terminal tells no release of a key: each press moves for as long as the caller lets its deflection live.
    """

    def __init__(self, settings: Operator) -> None:
        self._size = settings.action_size
        self.first = 0

    def choose(self, key: str) -> bool:
        """A digit: 1 is the first action, 0 the tenth. False for another key, or where there is no such action."""
        chosen = (int(key) - 1) % 10 if key.isdecimal() else -1
        if not 0 <= chosen < self._size:
            return False
        self.first = chosen
        return True

    def deflection(self, pressed: Sequence[str]) -> np.ndarray | None:
        """Deflection [A] in -1 to 1 of the jog keys among these, or None without any."""
        found = np.zeros(self._size)
        moved = False
        for key in pressed:
            if key in JOG and self.first + JOG[key][0] < self._size:
                found[self.first + JOG[key][0]] = JOG[key][1]
                moved = True
        return found if moved else None


class Joystick:
    """Presses of buttons, whether the deadman is held, and the deflection of the axes.

    What is held when the first message comes counts only after it was let go: a controller that lies on a button does nothing.
    """

    def __init__(self, settings: Operator) -> None:
        self._buttons = settings.buttons
        self._axes = [(action, int(axis), sign) for action, axis, sign in settings.axes("joy_axes")]
        self._size, self._dead_zone = settings.action_size, settings.dead_zone
        self._before: list[bool] | None = None
        self.held = False  # the deadman
        self.deflection = np.zeros(self._size)

    def take(self, axes: Sequence[float], buttons: Sequence[int]) -> list[str]:
        """One message; gives the requests whose buttons were pressed since the last one, the deadman excepted.

        Raises:
            ValueError: it has fewer axes or buttons than the parameters name.
        """
        most_axes, most_buttons = max((axis for _, axis, _ in self._axes), default=-1), max(self._buttons, default=-1)
        if len(axes) <= most_axes or len(buttons) <= most_buttons:
            raise ValueError(
                f"'joy' has {len(axes)} axes and {len(buttons)} buttons; parameters 'joy_axes' and 'joy_buttons' name axis {most_axes} and "
                f"button {most_buttons}: write those that it has"
            )
        now = [bool(value) for value in buttons]
        before = self._before if self._before is not None else [True] * len(now)
        self._before = now
        pressed = [request for index, request in self._buttons.items() if now[index] and not before[index]]
        deadman = [index for index, request in self._buttons.items() if request == "take_over"]
        self.held = (self.held and any(now[index] for index in deadman)) or "take_over" in pressed
        self.deflection = np.zeros(self._size)
        for action, axis, sign in self._axes:
            self.deflection[action] += sign * beyond(axes[axis], self._dead_zone)
        return [request for request in pressed if request != "take_over"]

    def let_go(self) -> None:
        """The deadman counts as released until it is pressed anew."""
        self.held = False

    def silent(self) -> None:
        """It is not heard any more: whatever is held must be pressed anew."""
        self._before, self.held = None, False


class SpaceMouse:
    """The deflection in a twist."""

    def __init__(self, settings: Operator) -> None:
        self._axes = [(action, axis.split("."), sign) for action, axis, sign in settings.axes("twist_axes")]
        self._size, self._dead_zone, self._full, self._frame = settings.action_size, settings.dead_zone, settings.twist_full, settings.base_frame

    def take(self, frame: str, twist: object) -> np.ndarray:
        """Deflection [A] in -1 to 1 for a geometry_msgs/Twist in a frame.

        Raises:
            ValueError: another frame than `base_frame`, or no part of it moves an action.
        """
        if frame not in ("", self._frame):
            raise ValueError(f"'twist' is in frame '{frame}'; send it in base_frame '{self._frame}', or without a frame")
        if not self._axes:
            raise ValueError("'twist' moves none of the actions; say with parameter 'twist_axes' which part moves which")
        found = np.zeros(self._size)
        for action, (kind, part), sign in self._axes:
            found[action] += sign * beyond(getattr(getattr(twist, kind), part) / self._full, self._dead_zone)
        return np.clip(found, -1.0, 1.0)


def beyond(value: float, dead_zone: float) -> float:
    """A deflection in -1 to 1, counted from the edge of the dead zone on; what is not finite is none."""
    if not abs(value) > dead_zone:  # also NaN
        return 0.0
    return float(np.sign(value) * (min(abs(value), 1.0) - dead_zone) / (1.0 - dead_zone))
