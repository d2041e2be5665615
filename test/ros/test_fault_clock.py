"""A /clock that goes back: the control loop does not wait for its time to come again, it notices."""

from __future__ import annotations

import small_robot
from rclpy.node import Node
from rosgraph_msgs.msg import Clock

from rl_token_ros.nodes.control_node import ControlNode


def test_the_loop_ticks_on_when_the_clock_goes_back(graph, models):
    values = small_robot.control(vla_model=str(models["vla"]), token_encoder=str(models["encoder"]))
    control = graph.add(ControlNode, values={**values, "use_sim_time": True})
    source = graph.add(lambda **options: Node("clock", **options))
    publisher = source.create_publisher(Clock, "/clock", 1)
    seconds = 1000.0

    def advance() -> bool:
        nonlocal seconds
        seconds += 0.02
        message = Clock()
        message.clock.sec, message.clock.nanosec = int(seconds), int(seconds % 1.0 * 1e9)
        publisher.publish(message)
        return True

    def ticks(count: int) -> None:
        before = control.ticks.ticks
        graph.wait_for(lambda: advance() and control.ticks.ticks >= before + count, f"{count} ticks")

    ticks(10)
    seconds = 100.0
    ticks(10)
    assert control.controller.counts["clock_jumps"] == 1
    assert seconds < 900.0  # long before the first time came again
