"""What `check` thinks of the measurements that it hears: whether control_node could use them, and would believe them."""

from __future__ import annotations

from typing import Any

from rl_token_ros.interfaces import measurements
from rl_token_ros.interfaces.measurements import StampError
from rl_token_ros.robot.plausibility import LeapError, Plausibility
from rl_token_ros.robot.proprioception import RobotState
from rl_token_ros.robot.readings import StateError
from rl_token_ros.robot.writers import Writers
from rl_token_ros.settings.control import Control


class MeasurementCheck:
    """Takes the messages of one topic in, as control_node would.

    Args:
        control: parameters of `control_node`.
        topic: one of `measurements.TYPES`.
        groups: of proprioception that are needed.
    """

    def __init__(self, control: Control, topic: str, groups: list[str]) -> None:
        self._topic = topic
        self._groups = [group for group in groups if topic in measurements.topics([group])]
        self._state = RobotState(control.joint_names, self._groups, control.tool_orientation)
        self._plausibility = Plausibility(control)
        self._refused = self._leap = ""
        self.writers = Writers()

    def hear(self, message: Any, now_ns: int, monotonic: float, info: dict[str, Any]) -> None:
        """A message; the times are those of its arrival, in ns and s."""
        reader = self._state.reader
        self.writers.hear(measurements.brings(reader, self._topic, message), monotonic, *measurements.writer(info))
        try:
            if (reading := measurements.read(reader, self._topic, message, now_ns)) is not None:
                self._plausibility.judge(reading, self._state, now_ns)
                self._state.accept(reading)
        except LeapError as error:
            self._leap = str(error)
        except (StampError, StateError) as error:
            self._refused = str(error)

    @property
    def complaint(self) -> str:
        """Why the arm could not be enabled with what came, or nothing."""
        return self._refused or self._state.why_missing(self._groups) or self._plausibility.persisting(True)

    @property
    def remark(self) -> str:
        """What an operator should know of it, or nothing."""
        return f"{self._plausibility.leaps[self._topic]} messages would not be believed: {self._leap}" if self._leap else ""
