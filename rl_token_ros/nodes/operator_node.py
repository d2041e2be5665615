"""operator: the human's keyboard, joystick, leader arm or SpaceMouse, and a screen that says what the robot is doing."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
from rclpy.client import Client
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import JointState, Joy, PointCloud2
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from rl_token_ros.control.tick_record import Event
from rl_token_ros.interfaces import correction, replay_table
from rl_token_ros.interfaces.topics import SERVICES, SETTINGS, TICKS
from rl_token_ros.launching.compositions import NodeProcess, parse_remaps
from rl_token_ros.nodes.ros_parameters import declare
from rl_token_ros.nodes.ros_topics import interface_class, publisher, subscription
from rl_token_ros.nodes.running import run
from rl_token_ros.operator.devices import KEYS, Joystick, Keyboard, SpaceMouse
from rl_token_ros.operator.screen import Screen, columns, read
from rl_token_ros.operator.teleoperation import Teleoperation
from rl_token_ros.operator.terminal import Terminal
from rl_token_ros.settings.files import config_file
from rl_token_ros.settings.operator import Operator

DRAW_SECONDS = 0.1
ANSWER_SECONDS = 2.0
CLOCKS_APART = 200_000_000  # ns between a tick and its arrival here, which is more than a message takes


class OperatorNode(Node):
    """Asks control_node by its services; moves the arm by `intervention` alone, which control_node filters like everything else.

    Args:
        terminal: makes keyboard and screen; None: joystick and devices only, and the log.
    """

    def __init__(self, terminal: Callable[[], Terminal] | None = None, **options: Any) -> None:
        super().__init__("operator", **options)
        self.settings = settings = declare(self, Operator)
        self.teleoperation, self.screen = Teleoperation(settings), Screen()
        self.joystick, self.keyboard, self.spacemouse = Joystick(settings), Keyboard(settings), SpaceMouse(settings)
        self._columns = columns(settings.action_size)
        self._joy_heard_ns = self._deflected_ns = 0
        self._waiting: dict[str, int] = {}  # what was asked and not answered yet, and when
        self._intervention = publisher(self, "intervention")
        subscription(self, TICKS, self._on_ticks)
        subscription(self, SETTINGS, self._on_settings)
        subscription(self, "/diagnostics", self._on_diagnostics)
        subscription(self, "episode_ended", lambda message: self.screen.ended(message.data))
        subscription(self, "joy", self._on_joy)
        subscription(self, "leader/joint_states", self._on_leader)
        subscription(self, "twist", self._on_twist)
        self._calls: dict[str, Client] = {
            service.name: self.create_client(interface_class(service.type), f"control_node/{service.name}") for service in SERVICES
        }
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0 / settings.control_rate, self._step, clock=steady)
        self.terminal = None if terminal is None else terminal()  # last: what fails before it is said on the terminal as it was
        if self.terminal is not None:
            self.create_timer(DRAW_SECONDS, self._draw, clock=steady)
        else:
            self.get_logger().warning("no terminal on standard input and output: keys do not work; joystick, leader arm and SpaceMouse do")

    def _now(self) -> int:
        return self.get_clock().now().nanoseconds

    def _tell(self, text: str) -> None:
        self.screen.tell(text)
        if self.terminal is None and text:
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
            self.screen.ticked(row, self._now())
            if abs(self._now() - row.now_ns) > CLOCKS_APART:
                off = (row.now_ns - self._now()) * 1e-9
                self._tell(f"control_node's clock is {off:+.1f} s off: it takes no intervention older than intervention_timeout")
            if row.event == Event.TICK:
                self.teleoperation.commanded(row.command if row.enabled and not row.stopped and np.isfinite(row.command).all() else None)

    def _on_settings(self, message: String) -> None:
        parameters = json.loads(message.data)["parameters"]
        self.screen.mode, self.screen.episode_time_limit = parameters["mode"], parameters["episode_time_limit"]

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        wanted = self.resolve_service_name("control_node/enable").rpartition("/")[0]
        for status in message.status:
            if status.name == wanted:
                self.screen.message = status.message
                self.screen.control = {pair.key: pair.value for pair in status.values}

    def ask(self, request: str) -> None:
        """Do what a key or button asks for, one of settings.operator.REQUESTS."""
        if request == "quit":
            signal.raise_signal(signal.SIGINT)
        elif request == "take_over":
            self._switch_teleoperation()
        elif request == "correct":
            refused = self.teleoperation.switch()
            moves = "corrects the VLA, within residual_scale" if self.teleoperation.corrects else "moves the arm in the VLA's place"
            self._tell(refused or f"a hand now {moves}")
        elif request in ("enable", "disable"):
            self._call("enable", request == "enable", f"{request}d")
        elif request == "critical_phase":
            on = not (self.screen.row is not None and self.screen.row.critical)
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

    def _switch_teleoperation(self) -> None:
        if "keys" in self.teleoperation.held_by:
            self.teleoperation.hand_back("keys")
            self._tell("handed back")
        else:
            self._take_over("keys")

    def _take_over(self, by: str) -> None:
        refused = self.teleoperation.take_over(by, self._now())
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
        self.teleoperation.deflect("joy", now, self.joystick.deflection)
        if self.joystick.held and "joy" not in self.teleoperation.held_by:
            self._take_over("joy")
        elif not self.joystick.held:
            self.teleoperation.hand_back("joy")
        for request in requests:
            self.ask(request)

    def _on_leader(self, message: JointState) -> None:
        try:
            self.teleoperation.lead(self._now(), message.name, message.position)
        except ValueError as error:
            self._tell(str(error))

    def _on_twist(self, message: TwistStamped) -> None:
        try:
            deflection = self.spacemouse.take(message.header.frame_id, message.twist)
        except ValueError as error:
            self._tell(str(error))
            return
        now = self._now()
        self.teleoperation.deflect("twist", now, deflection)
        if deflection.any():
            self._deflected_ns = now
            if self.settings.twist_takes_over and "twist" not in self.teleoperation.held_by:
                self._take_over("twist")

    def _press(self, terminal: Terminal) -> None:
        try:
            pressed = terminal.keys()
        except EOFError:
            self.teleoperation.hand_back("keys")
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
        if self.teleoperation.active:
            self.teleoperation.deflect("keys", self._now(), deflection)
        else:
            self._tell("press t to take over before the arrow keys move the arm")

    def _step(self) -> None:
        """Every control step: keys, silence, and the intervention."""
        if self.terminal is not None:
            self._press(self.terminal)
        now, silence = self._now(), self.settings.device_timeout * 1e9
        if not self.screen.heard(now):
            self.teleoperation.commanded(None)
        for request, since in list(self._waiting.items()):
            if now - since > ANSWER_SECONDS * 1e9:
                del self._waiting[request]
                self._tell(f"{request}: no answer")
        if self.joystick.held and now - self._joy_heard_ns > silence:
            self.joystick.silent()
            self.teleoperation.hand_back("joy")
            self._tell("the joystick is silent: handed back")
        if "twist" in self.teleoperation.held_by and now - self._deflected_ns > silence:
            self.teleoperation.hand_back("twist")
        self._publish(now)

    def _publish(self, now: int) -> None:
        names = self.teleoperation.names
        action = self.teleoperation.action(now)
        if self.teleoperation.ended:
            self._tell(f"handed back: {self.teleoperation.ended}")
            self.teleoperation.ended = ""
            self.joystick.let_go()
        if action is None:
            return
        message = JointState(name=names[: len(action)], position=np.asarray(action, float).tolist())
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(now, 1_000_000_000)
        if self.teleoperation.corrects:
            message.header.frame_id = correction.FRAME
        self._intervention.publish(message)

    def _draw(self) -> None:
        if self.terminal is None:
            return
        self.screen.held_by, self.screen.corrects = self.teleoperation.held_by, self.teleoperation.corrects
        names = self.settings.action_names[self.keyboard.first : self.keyboard.first + 3]
        self.screen.jogs = ", ".join(names)
        where = self.resolve_service_name("control_node/enable").rpartition("/")[0]
        self.terminal.draw([f"rl_token operator of {where}", "", *self.screen.lines(self._now(), where)])

    def close(self) -> None:
        """Hand back, and give the terminal back."""
        for device in list(self.teleoperation.held_by):
            self.teleoperation.hand_back(device)
        self._publish(self._now())
        if self.terminal is not None:
            self.terminal.close()
            self.terminal = None


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
