"""When the action server of a gripper gets a goal, and what became of it: a VLA commands at every tick, and a goal at every tick is none."""

from __future__ import annotations

ANSWER_NS = 2_000_000_000  # after which a goal that nobody has accepted or rejected is given up
RETRY_NS = 500_000_000  # until the next try where the server is absent or rejects
SUCCEEDED, CANCELED, ABORTED = 4, 5, 6  # as in action_msgs/GoalStatus


class GripperGoals:
    """Goals of one gripper, one on its way at a time. The server replaces its goal by the next one.

    A goal that was aborted is not sent again until the command changes: the gripper may hold a part, which is what some servers abort for.

    Args:
        action: full name, for texts.
        deadband: least change of the command, m or rad, for which there is a new goal.

    Attributes:
        sent, rejected, aborted, stalled, unanswered: counts of goals; ``absent`` of times that one was due and no server was there.
        trouble: a sentence, until a goal is accepted again.
    """

    def __init__(self, action: str, deadband: float) -> None:
        self.sent = self.rejected = self.aborted = self.stalled = self.unanswered = self.absent = 0
        self.trouble = ""
        self._action, self._deadband = action, deadband
        self._target: float | None = None  # of the newest goal
        self._sent_ns: int | None = None  # of the goal that is on its way
        self._wait_ns: int | None = None  # since when it is not tried again

    def forget(self) -> None:
        """Somebody else may have moved the gripper: the next command is a goal, whatever the last one was."""
        self._target = None

    def due(self, position: float, now_ns: int) -> bool:
        """Whether this command, m or rad, is to be sent as a goal now."""
        if self._sent_ns is not None:
            if 0 <= now_ns - self._sent_ns < ANSWER_NS:
                return False
            self.unanswered += 1
            self._failed(f"'{self._action}' has not answered to the goal {self._target:g}", now_ns)
        if self._wait_ns is not None and 0 <= now_ns - self._wait_ns < RETRY_NS:
            return False
        return self._target is None or abs(position - self._target) > self._deadband

    def no_server(self, now_ns: int) -> None:
        """A goal was due, and nobody would have taken it."""
        self.absent += 1
        self._failed(f"nobody serves '{self._action}': start the gripper's controller, or remap gripper/command", now_ns)

    def begin(self, position: float, now_ns: int) -> int:
        """A goal is sent; gives its number."""
        self.sent += 1
        self._target, self._sent_ns, self._wait_ns = position, now_ns, None
        return self.sent

    def answered(self, number: int, accepted: bool, now_ns: int) -> None:
        """The server has accepted or rejected a goal."""
        if number != self.sent or self._sent_ns is None:
            return  # given up meanwhile
        if accepted:
            self._sent_ns, self.trouble = None, ""
            return
        self.rejected += 1
        self._failed(f"'{self._action}' rejects the goal {self._target:g}: is its controller active, and is that a position of the gripper?", now_ns)

    def ended(self, number: int, status: int, stalled: bool) -> None:
        """How an accepted goal ended, as in action_msgs/GoalStatus, and whether against something. One that was replaced ends as its server likes."""
        if number != self.sent:
            return
        if stalled:
            self.stalled += 1  # a grip, which with allow_stalling false is aborted
        elif status == ABORTED:
            self.aborted += 1
            self.trouble = f"'{self._action}' has aborted the goal {self._target:g}; it is sent again when the command changes"

    def _failed(self, trouble: str, now_ns: int) -> None:
        self.trouble, self._target, self._sent_ns, self._wait_ns = trouble, None, None, now_ns
