"""A listener on a ROS domain of its own, for tests that start the nodes as processes."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import domains
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from onlooker import Operator
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import qos_profile_sensor_data

from rl_token_ros.settings.files import config_file

DOMAIN = domains.PROCESSES  # nobody else's nodes, and none of a second test run beside this one
ENVIRONMENT = {"ROS_DOMAIN_ID": str(DOMAIN), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}

STALLED = ("stopped: the newest measurement of ", "stopped: no control step for ", "stopped: no usable chunk ")


def quick_learner(folder: Path) -> Path:
    """The simulated robot's parameter file with a learner that sends its first learned weights after one episode."""
    # As text: PyYAML would write the action name 'y' without quotes, which ROS's parser reads as true.
    quick = {
        "run_directory": folder / "learner",
        "base_episodes": 1,
        "warmup_episodes": 1,
        "pretrain_updates": "20\n    push_updates: 20",
    }
    content = config_file("sim").read_text()
    for name, value in quick.items():
        content, count = re.subn(rf"( {name}): .*", rf"\1: {value}", content)
        assert count == 1, name
    path = folder / "quick.yaml"
    path.write_text(content)
    return path


class Listener:
    """Subscribes to topics and remembers what came. Use as a context manager, with ENVIRONMENT set.

    It is the operator, too: a simulation on a machine that stalls is stopped rightly, and nobody else is there to reset that.
    """

    def __init__(self, topics: dict[str, type]) -> None:
        self.messages: dict[str, list] = {topic: [] for topic in topics}
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=DOMAIN)
        self._node = rclpy.create_node("listener", context=self._context)
        for topic, message_type in topics.items():
            self._node.create_subscription(message_type, topic, self.messages[topic].append, qos_profile_sensor_data)
        self._operators: dict[str, Operator] = {}  # by control_node
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._operate, 10)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)

    def __enter__(self) -> "Listener":
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)

    def wait(self, condition: Callable[[], object], what: str, timeout: float = 90.0) -> None:
        """Spin until the condition holds; fail with ``what`` after ``timeout`` seconds, which a passing test never needs."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not within {timeout:g} s; came: {self.counts()}; said: {self._said()}"
            self._executor.spin_once(timeout_sec=0.1)

    def _operate(self, message: DiagnosticArray, info: dict) -> None:
        """Go on after a stall, and after nothing else."""
        for status in message.status:
            if status.name.endswith("/control_node"):
                if status.message.startswith(STALLED) and status.name not in self._operators:
                    self._operators[status.name] = Operator(self._node, status.name)
                operator = self._operators.get(status.name)
                if operator is not None and info["source_timestamp"] * 1e-9 > operator.changed_at:
                    operator.operate(status.message)

    def counts(self) -> dict[str, int]:
        """Number of messages by topic."""
        return {topic: len(messages) for topic, messages in self.messages.items()}

    def _said(self) -> dict[str, str]:
        """The newest sentence of each node on `/diagnostics`, for failures."""
        return {status.name: status.message for array in self.messages.get("/diagnostics", []) for status in array.status}

    def reporting(self, topic: str = "/diagnostics") -> set[str]:
        """Full names of the nodes that have reported on `/diagnostics`."""
        return {status.name for array in self.messages[topic] for status in array.status}
