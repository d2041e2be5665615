"""operator: the human's keyboard, joystick, leader arm or SpaceMouse, and a screen that says what the robot is doing."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from typing import Any, Callable, Protocol

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import JointState, Joy, PointCloud2
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from rl_token_ros.control.tick_record import Event
from rl_token_ros.interfaces import replay_table
from rl_token_ros.interfaces.topics import SERVICES, SETTINGS, TICKS
from rl_token_ros.launching.compositions import NodeProcess, parse_remaps
from rl_token_ros.nodes.ros_parameters import declare
from rl_token_ros.nodes.ros_topics import interface_class, publisher, subscription
from rl_token_ros.nodes.running import run
from rl_token_ros.operator.devices import KEYS, Joystick, Keyboard, SpaceMouse
from rl_token_ros.operator.screen import View, columns, read
from rl_token_ros.operator.teleoperation import Hand
from rl_token_ros.operator.terminal import Terminal
from rl_token_ros.settings.files import config_file
from rl_token_ros.settings.operator import Operator

DRAW_SECONDS = 0.1
ANSWER_SECONDS = 2.0
CLOCKS_APART = 200_000_000  # ns between a tick and its arrival here, which is more than a message takes


class Screen(Protocol):
    """What `Terminal` does."""

    def keys(self) -> list[str]: ...

    def draw(self, lines: list[str]) -> None: ...

    def close(self) -> None: ...


class OperatorNode(Node):
    """Asks control_node by its services; moves the arm by `intervention` alone, which control_node filters like everything else.

    Args:
        screen: makes keyboard and screen; None: joystick and devices only, and the log.
    """

    def __init__(self, screen: Callable[[], Screen] | None = None, **options: Any) -> None:
        super().__init__("operator", **options)
        self.settings = settings = declare(self, Operator)
        self.hand, self.view = Hand(settings), View()
        self.joystick, self.keyboard, self.spacemouse = Joystick(settings), Keyboard(settings), SpaceMouse(settings)
        self._columns = columns(settings.action_size)
        self._joy_heard_ns = self._deflected_ns = 0
        self._waiting: dict[str, int] = {}  # what was asked and not answered yet, and when
        self._intervention = publisher(self, "intervention")
        subscription(self, TICKS, self._on_ticks)
        subscription(self, SETTINGS, self._on_settings)
        subscription(self, "/diagnostics", self._on_diagnostics)
        subscription(self, "episode_ended", lambda message: self.view.ended(message.data))
        subscription(self, "joy", self._on_joy)
        subscription(self, "leader/joint_states", self._on_leader)
        subscription(self, "twist", self._on_twist)
        self._calls = {service.name: self.create_client(interface_class(service.type), f"control_node/{service.name}") for service in SERVICES}
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0 / settings.control_rate, self._step, clock=steady)
        self.screen = None if screen is None else screen()  # last: what fails before it is said on the terminal as it was
        if self.screen is not None:
            self.create_timer(DRAW_SECONDS, self._draw, clock=steady)

    def _now(self) -> int:
        return self.get_clock().now().nanoseconds

    def _tell(self, text: str) -> None:
        self.view.tell(text)
        if self.screen is None and text:
            self.get_logger().info(text, throttle_duration_sec=1.0)

    # --- control_node -------------------------------------------------------------------------------------------------

    def _on_ticks(self, message: PointCloud2) -> None:
        try:
            rows = replay_table.decode_table(message, self._columns, TICKS)
        except replay_table.ReplayError as error:
            self._tell(str(error))
            return
        for row in rows:
            row = read(row)
            self.view.ticked(row, self._now())
            if abs(self._now() - row.now_ns) > CLOCKS_APART:
                self._tell(f"control_node's clock is {(row.now_ns - self._now()) * 1e-9:+.1f} s off: it takes no intervention older than intervention_timeout")
            if row.event == Event.TICK:
                self.hand.commanded(row.command if row.enabled and not row.stopped and np.isfinite(row.command).all() else None)

    def _on_settings(self, message: String) -> None:
        parameters = json.loads(message.data)["parameters"]
        self.view.mode, self.view.episode_time_limit = parameters["mode"], parameters["episode_time_limit"]

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        wanted = self.resolve_service_name("control_node/enable").rpartition("/")[0]
        for status in message.status:
            if status.name == wanted:
                self.view.message = status.message
                self.view.control = {pair.key: pair.value for pair in status.values}

    def ask(self, request: str) -> None:
        """Do what a key or button asks for, one of settings.operator.REQUESTS."""
        if request == "quit":
            signal.raise_signal(signal.SIGINT)
        elif request == "take_over":
            self._switch_hand()
        elif request in ("enable", "disable"):
            self._call("enable", request == "enable", f"{request}d")
        elif request == "critical_phase":
            on = not (self.view.row is not None and self.view.row.critical)
            self._call("critical_phase", on, f"critical phase {'on' if on else 'off'}")
        else:
            self._call(request, None, request.replace("_", " "))

    def _call(self, service: str, data: bool | None, done: str) -> None:
        client = self._calls[service]
        if not client.service_is_ready():
            self._tell(f"{done}: nobody serves '{self.resolve_service_name(client.srv_name)}'")
            return
        future = client.call_async(Trigger.Request() if data is None else SetBool.Request(data=data))

        self._waiting[done] = self._now()

        def answered(future: Any) -> None:
            self._waiting.pop(done, None)
            answer = future.result()
            what = done if answer.success else f"{done}: refused"
            self._tell(f"{what}{f': {answer.message}' if answer.message else ''}")

        future.add_done_callback(answered)

    # --- the human's hand ---------------------------------------------------------------------------------------------

    def _switch_hand(self) -> None:
        if "keys" in self.hand.by:
            self.hand.hand_back("keys")
            self._tell("handed back")
        else:
            self._take_over("keys")

    def _take_over(self, by: str) -> None:
        refused = self.hand.take_over(by, self._now())
        self._tell(refused or f"taken over by {by}")
        if refused:
            self.joystick.let_go()

    def _on_joy(self, message: Joy) -> None:
        try:
            requests = self.joystick.take(message.axes, message.buttons)
        except ValueError as error:
            self._tell(str(error))
            return
        now = self._joy_heard_ns = self._now()
        self.hand.deflect("joy", now, self.joystick.deflection)
        if self.joystick.held and "joy" not in self.hand.by:
            self._take_over("joy")
        elif not self.joystick.held:
            self.hand.hand_back("joy")
        for request in requests:
            self.ask(request)

    def _on_leader(self, message: JointState) -> None:
        try:
            self.hand.lead(self._now(), message.name, message.position)
        except ValueError as error:
            self._tell(str(error))

    def _on_twist(self, message: TwistStamped) -> None:
        try:
            deflection = self.spacemouse.take(message.header.frame_id, message.twist)
        except ValueError as error:
            self._tell(str(error))
            return
        now = self._now()
        self.hand.deflect("twist", now, deflection)
        if deflection.any():
            self._deflected_ns = now
            if self.settings.twist_takes_over and "twist" not in self.hand.by:
                self._take_over("twist")

    def _press(self) -> None:
        try:
            pressed = self.screen.keys()
        except EOFError:
            self.hand.hand_back("keys")
            signal.raise_signal(signal.SIGINT)
            return
        for key in pressed:
            if key in KEYS:
                self.ask(KEYS[key])
            else:
                self.keyboard.choose(key)
        deflection = self.keyboard.deflection(pressed)
        if deflection is None:
            return
        if self.hand.active:
            self.hand.deflect("keys", self._now(), deflection)
        else:
            self._tell("press t to take over before the arrow keys move the arm")

    def _step(self) -> None:
        """Every control step: keys, silence, and the intervention."""
        if self.screen is not None:
            self._press()
        now, silence = self._now(), self.settings.device_timeout * 1e9
        if not self.view.heard(now):
            self.hand.commanded(None)
        for request, since in list(self._waiting.items()):
            if now - since > ANSWER_SECONDS * 1e9:
                del self._waiting[request]
                self._tell(f"{request}: no answer")
        if self.joystick.held and now - self._joy_heard_ns > silence:
            self.joystick.silent()
            self.hand.hand_back("joy")
            self._tell("the joystick is silent: handed back")
        if "twist" in self.hand.by and now - self._deflected_ns > silence:
            self.hand.hand_back("twist")
        self._publish(now)

    def _publish(self, now: int) -> None:
        names = self.hand.names
        action = self.hand.action(now)
        if self.hand.ended:
            self._tell(f"handed back: {self.hand.ended}")
            self.hand.ended = ""
            self.joystick.let_go()
        if action is None:
            return
        message = JointState(name=names[: len(action)], position=np.asarray(action, float).tolist())
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(now, 1_000_000_000)
        self._intervention.publish(message)

    def _draw(self) -> None:
        self.view.hand = self.hand.by
        names = self.settings.action_names[self.keyboard.first : self.keyboard.first + 3]
        self.view.jogs = ", ".join(names)
        where = self.resolve_service_name("control_node/enable").rpartition("/")[0]
        self.screen.draw([f"rl_token operator of {where}", "", *self.view.lines(self._now(), where)])

    def close(self) -> None:
        """Hand back, and give the terminal back."""
        for device in list(self.hand.by):
            self.hand.hand_back(device)
        self._publish(self._now())
        if self.screen is not None:
            self.screen.close()
            self.screen = None


def main() -> None:
    """Entry point of `operator`; without `--config` it takes ROS's own arguments, as every node."""
    parser = argparse.ArgumentParser(prog="rl_token operator", description=__doc__)
    parser.add_argument("--config", help="the robot's parameter file: a path, or the name of one in the package's config folder")
    parser.add_argument("--namespace", default="", help="namespace of the robot's nodes")
    parser.add_argument("--remap", action="append", default=[], metavar="FROM:=TO", help="may be repeated")
    options, rest = parser.parse_known_args()
    arguments = [sys.argv[0], *rest]
    if options.config:
        try:
            node = NodeProcess("operator", (config_file(options.config),), namespace=options.namespace, remappings=parse_remaps(options.remap))
        except (FileNotFoundError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        command = node.command()
        arguments += command[command.index("--ros-args") :]
    sys.exit(run(lambda: OperatorNode(Terminal if Terminal.there() else None), arguments))


if __name__ == "__main__":
    main()
