"""control_node on real topics, in this process: services, parameters, weights, and messages that are not what they should be."""

from __future__ import annotations

import array
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import small_robot
from geometry_msgs.msg import PoseStamped
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState
from world import World, trajectory

from rl_token_ros.interfaces import images
from rl_token_ros.interfaces.codes import Ended, Source
from rl_token_ros.nodes import command_topic
from rl_token_ros.nodes.control_node import ControlNode


@pytest.fixture
def control(graph, models, monkeypatch):
    monkeypatch.setattr(command_topic, "DISCOVERY_SECONDS", 0.1)  # within one process
    return graph.add(
        ControlNode,
        values=small_robot.control(vla_model=str(models["vla"]), token_encoder=str(models["encoder"]), state_timeout=2.0, hold_timeout=60.0),
    )


@pytest.fixture
def world(graph, control):
    made = graph.add(World)
    graph.wait_for(lambda: not control.controller.not_ready(control._now()), "every input fresh")
    return made


@pytest.fixture
def moving(graph, world):
    """An enabled arm that has moved."""
    enable(graph, world)
    graph.wait_for(lambda: len(world.commands) > 5, "commands")
    return world


def enable(graph, world: World) -> None:
    """Enable it as soon as it lets itself; on a busy machine an input may be old now and then."""
    graph.wait_for(lambda: world.call(graph, "enable", True).success, "enabled")


def positions(world: World) -> np.ndarray:
    return np.array([[m.pose.position.x, m.pose.position.y, m.pose.position.z] for m in world.commands])


def more_commands(graph, world: World, count: int = 5) -> list[PoseStamped]:
    """The next commands from now on."""
    begin = len(world.commands)
    graph.wait_for(lambda: len(world.commands) >= begin + count, "more commands")
    return world.commands[begin:]


def practise(graph, control, world) -> None:
    """Mode actor, weights 1 with residual 0.5, in the critical phase."""
    assert world.change(graph, mode="actor")[0].successful
    world.push(control, 1, residual=0.5)
    graph.wait_for(lambda: control.controller.actor.version == 1, "weights in use")
    assert world.call(graph, "critical_phase", True).success


def test_it_starts_disarmed_and_commands_nothing(graph, control, world):
    ticks = control.ticks.ticks
    graph.wait_for(lambda: control.ticks.ticks > ticks + 20, "ticks")
    assert world.commands == []
    graph.wait_for(lambda: "disabled: call ~/enable" in world.message, "the reason in /diagnostics")


def test_without_token_it_asks_for_no_embeddings(graph):
    node = graph.add(ControlNode, values=small_robot.control(token_size=0))
    assert "/vla/embedding" not in [each.topic_name for each in node.subscriptions]


def test_enabled_it_moves_from_the_measured_position_with_a_bounded_first_step(graph, world):
    enable(graph, world)
    graph.wait_for(lambda: len(world.commands) > 30, "commands")
    assert np.abs(positions(world)[0] - small_robot.HOME).max() <= 0.02 * 0.02 * 2.0 + 1e-9
    assert positions(world)[-1][0] > small_robot.HOME[0]
    assert world.commands[0].header.frame_id == "base_link"


def test_it_refuses_to_be_enabled_beside_another_publisher_and_says_so(graph, control, world):
    other = world.create_publisher(PoseStamped, "command", 1)
    graph.wait_for(control._command_topic.others, "the other publisher seen")
    answer = world.call(graph, "enable", True)
    assert not answer.success and "'command' is also published by /world; stop that first" in answer.message
    assert world.commands == []
    world.destroy_publisher(other)
    graph.wait_for(lambda: not control._command_topic.others(), "the other publisher gone")
    enable(graph, world)


def test_it_is_not_enabled_before_another_publisher_would_be_known(graph, control, world, monkeypatch):
    """Two that begin to move in the moment in which neither knows of the other would each hold the arm somewhere else afterwards."""
    monkeypatch.setattr(command_topic, "DISCOVERY_SECONDS", 1e9)
    graph.wait_for(lambda: control._command_topic.taken, "somebody who takes commands")
    answer = world.call(graph, "enable", True)
    assert not answer.success and "is not known yet" in answer.message
    monkeypatch.setattr(command_topic, "DISCOVERY_SECONDS", 0.0)
    enable(graph, world)


def test_it_is_not_enabled_while_nobody_takes_its_commands(graph, control, world):
    world.destroy_subscription(world.command_subscription)
    graph.wait_for(lambda: not control._command.get_subscription_count(), "nobody there")
    graph.wait_for(lambda: not control.controller.not_ready(control._now()), "all inputs")
    answer = world.call(graph, "enable", True)
    assert not answer.success and answer.message == "nobody takes 'command'; start the arm's controller"


DEAF = """
import rclpy
from rl_token_ros.nodes.discovery import use_profile
use_profile()
from geometry_msgs.msg import PoseStamped
rclpy.init()
node = rclpy.create_node("deaf")
node.create_subscription(PoseStamped, "command", lambda _: None, 10)
print("listening", flush=True)
rclpy.spin(node)
"""


@pytest.fixture
def deaf(graph, domain, control, world):
    """A process that subscribes to `command` beside the robot, and is there."""
    graph.wait_for(lambda: control._command.get_subscription_count() == 1, "the robot alone, nobody of the test before")
    environment = {**os.environ, "ROS_DOMAIN_ID": str(domain)}
    with subprocess.Popen([sys.executable, "-c", DEAF], env=environment, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline()
            graph.wait_for(lambda: control._command.get_subscription_count() == 2, "both there")
            yield process
        finally:
            process.kill()


def test_it_does_not_move_before_every_subscriber_has_acknowledged_where_it_starts(graph, control, world, deaf):
    """A subscriber that is there and receives nothing, as one that has not found the publisher yet."""
    deaf.send_signal(signal.SIGSTOP)
    enable(graph, world)
    graph.wait_for(lambda: len(world.commands) >= 5, "commands")
    assert np.ptp(positions(world), axis=0).max() == 0.0 and not control.controller.stop_reason
    graph.wait_for(lambda: "waiting until 'command' is acknowledged" in world.message, "the reason in /diagnostics")
    held = positions(world)[-1]
    deaf.send_signal(signal.SIGCONT)
    graph.wait_for(lambda: np.ptp(positions(world), axis=0).max() > 0.0, "it moves")
    first = next(position for position in positions(world) if (position != held).any())
    assert np.abs(first - held).max() <= 0.02 * 0.02 * 2.0 + 1e-9


def test_a_killed_subscriber_with_a_short_lease_is_forgotten_before_the_arm_gives_up(graph, control, world, deaf):
    """As sim_node and record are; with the lease that DDS gives by default the arm would have been stopped first."""
    deaf.kill()
    deaf.wait()
    enable(graph, world)
    graph.wait_for(lambda: (len(world.commands) > 1 and np.ptp(positions(world), axis=0).max() > 0.0) or control.controller.stop_reason, "it moves")
    assert not control.controller.stop_reason


def test_it_moves_for_who_does_not_acknowledge_too(graph, control, world):
    world.destroy_subscription(world.command_subscription)
    world.create_subscription(PoseStamped, "command", world._on_command, qos_profile_sensor_data)
    graph.wait_for(lambda: control._command_topic.taken and control._command_topic.silent, "the new subscription")
    enable(graph, world)
    graph.wait_for(lambda: len(world.commands) > 10, "commands")
    assert np.abs(np.diff(positions(world)[:10], axis=0)).max() <= 0.1 * 0.02 + 1e-9


def test_an_arm_that_no_longer_takes_its_commands_is_stopped(graph, control, moving):
    moving.destroy_subscription(moving.command_subscription)
    graph.wait_for(lambda: control.controller.stop_reason, "the stop")
    assert control.controller.stop_reason == "nobody takes 'command' any more; start the arm's controller"


def test_another_publisher_that_appears_while_it_moves_stops_it(graph, control, moving):
    other = moving.create_publisher(PoseStamped, "command", 1)
    graph.wait_for(lambda: control.controller.stop_reason, "the stop")
    assert control.controller.stop_reason == "'command' is also published by /world; stop that first"
    moving.destroy_publisher(other)
    assert moving.call(graph, "reset_stop").success
    graph.wait_for(lambda: not control._command_topic.others(), "the other publisher gone")
    enable(graph, moving)


def test_disabled_it_comes_to_rest_and_says_no_more(graph, control, moving):
    assert moving.call(graph, "enable", False).success
    assert not control.controller.enabled
    ticks = control.ticks.ticks
    graph.wait_for(lambda: control.ticks.ticks > ticks + 20, "ticks")
    count = len(moving.commands)
    graph.wait_for(lambda: control.ticks.ticks > ticks + 40, "ticks")
    assert len(moving.commands) == count
    assert np.abs(np.diff(positions(moving)[-2:], axis=0)).max() <= 1e-9


def test_stop_latches_until_reset_and_reset_leaves_it_disabled(graph, control, moving):
    assert moving.call(graph, "stop").success
    graph.wait_for(lambda: control.controller.counts["ticks_stopped"] > 30, "stopped ticks")
    before, after = more_commands(graph, moving, 2)
    assert before.pose == after.pose
    assert "call ~/reset_stop first" in moving.call(graph, "enable", True).message
    assert moving.call(graph, "reset_stop").success
    assert not control.controller.enabled
    enable(graph, moving)


def test_a_change_of_state_is_in_diagnostics_before_the_next_report_is_due(graph, control, moving):
    next(timer for timer in control.timers if timer.timer_period_ns == 1_000_000_000).cancel()
    for service, says in (("stop", "stopped: ~/stop was called"), ("reset_stop", "disabled")):
        assert moving.call(graph, service).success
        graph.wait_for(lambda says=says: moving.message.startswith(says), says)
    enable(graph, moving)
    graph.wait_for(lambda: moving.message == "enabled, mode vla", "enabled")


def test_enabling_it_twice_changes_nothing(graph, control, moving):
    pose = control.controller._pose
    assert moving.call(graph, "enable", True).success
    assert control.controller._pose is pose


@pytest.mark.parametrize("how", ["success", "failure", "discard", "topic success", "topic failure", "phase over"])
def test_every_way_to_end_an_episode_ends_it(graph, control, moving, how):
    practise(graph, control, moving)
    graph.wait_for(lambda: len(moving.rows) > 5, "replay rows")
    if how.startswith("topic"):
        moving.outcome.publish(type_of(moving.outcome, data=how == "topic success"))
    elif how == "phase over":
        moving.critical.publish(type_of(moving.critical, data=False))
    else:
        assert moving.call(graph, how).success
    code = {"success": Ended.SUCCESS, "failure": Ended.FAILURE}.get(how.split()[-1], Ended.ABORTED)
    graph.wait_for(lambda: moving.endings == [code], "episode_ended")
    graph.wait_for(lambda: moving.rows[-1]["ended"] == code, "the last row")
    assert [row["seq"] for row in moving.rows] == list(range(len(moving.rows)))
    assert moving.rows[-1]["source"] == Source.ACTOR
    assert not control.controller.episode.active


def type_of(publisher, **values):
    return publisher.msg_type(**values)


def test_the_mode_changes_live_and_a_bad_change_leaves_it(graph, control, moving):
    assert moving.change(graph, mode="shadow")[0].successful
    assert control.controller.settings.mode == "shadow"
    for name, value in {"mode": "act", "replan_interval": 50, "exploration_sigma": 2.0, "control_rate": 100.0, "use_sim_time": True}.items():
        assert not moving.change(graph, **{name: value})[0].successful, name
    assert control.controller.settings == control.settings
    assert (control.settings.mode, control.settings.control_rate) == ("shadow", 50.0)
    more_commands(graph, moving)


def test_a_rollback_returns_to_the_weights_before_at_once(graph, control, moving):
    assert "no previous weights" in moving.call(graph, "rollback").message
    practise(graph, control, moving)
    moving.push(control, 2, residual=-0.5)
    graph.wait_for(lambda: control.controller.actor.version == 2, "new weights in use")
    answer = moving.call(graph, "rollback")
    assert answer.success and "version 2 left, version 1 is running" in answer.message
    count = len(moving.rows)
    graph.wait_for(lambda: len(moving.rows) > count + small_robot.CHUNK, "rows")
    assert moving.rows[-1]["weights_version"] == 1


def test_bad_weights_are_refused_with_the_reason_and_the_old_ones_stay(graph, control, moving, random):
    practise(graph, control, moving)
    for i in range(50):
        moving.send_weights(random.bytes(int(random.integers(0, 500))))
        refused = control.gate.refused
        graph.wait_for(lambda: control.gate.refused > refused or not control.beside.blobs, f"message {i} looked at")
    graph.wait_for(lambda: int(moving.report.get("weights_refused", 0)) > 0, "the refusals in /diagnostics")
    assert moving.report["last_refusal"]
    assert control.controller.actor.version == 1
    moving.push(control, 2)
    graph.wait_for(lambda: control.controller.actor.version == 2, "good weights after bad ones")


def test_a_human_takes_over_and_gives_back(graph, control, moving):
    practise(graph, control, moving)

    def sources() -> set[int]:
        return {int(row["source"]) for row in moving.rows[-5:]}

    def human() -> bool:
        message = JointState(name=["z", "x", "y"], position=[0.0001, 0.0, 0.0])
        message.header.stamp = moving.get_clock().now().to_msg()
        moving.intervention.publish(message)
        return sources() == {Source.HUMAN}

    graph.wait_for(human, "rows of the human")
    assert moving.rows[-1]["action"][2] > 0.0
    graph.wait_for(lambda: sources() == {Source.ACTOR}, "rows of the actor again")


def test_malformed_messages_are_counted_and_do_not_stop_the_control(graph, control, moving, random):
    now = moving.get_clock().now().to_msg()
    late = moving.get_clock().now().to_msg()
    late.sec += 100
    nan = trajectory(now)
    nan.points[3].positions[1] = float("nan")
    ragged = trajectory(now)
    ragged.points[7].positions = array.array("d", [1.0])
    other = trajectory(now)
    other.joint_names = ["a", "b", "c"]
    future = images.from_matrix(np.ones((small_robot.ROWS, small_robot.WIDTH), np.float32), Image())
    future.header.stamp = late
    bad = {
        moving.reference: [trajectory(now, 0), trajectory(late), nan, ragged, other],
        moving.embedding: [
            Image(),
            future,
            images.from_matrix(np.ones((2, 2), np.float32), Image()),
            images.from_matrix(np.full((small_robot.ROWS, small_robot.WIDTH), np.nan, np.float32), Image()),
            Image(encoding="32FC1", height=2**32 - 1, width=2**32 - 1, step=2**32 - 1),
        ],
        moving.intervention: [JointState(), JointState(name=["x"], position=[1.0]), JointState(name=["x", "y", "z"], position=[np.nan] * 3)],
        moving.pose: [PoseStamped()],
        moving.wrench: [moving.wrench.msg_type()],
    }
    bad[moving.pose][0].header.stamp = late
    bad[moving.wrench][0].wrench.force.x = float("inf")
    moving.silent = {"vla"}  # so that only the newest of a queue of one is what is sent here
    for publisher, messages in bad.items():
        for message in messages:
            before = control.refused_inputs + control._state_topics.refused

            def refused(publisher=publisher, message=message, before=before) -> bool:
                publisher.publish(message)
                return control.refused_inputs + control._state_topics.refused > before

            graph.wait_for(refused, f"{publisher.topic_name} refused")
    moving.silent = set()
    graph.wait_for(lambda: more_commands(graph, moving, 1)[0] is not None and control.controller.proposals.chunk is not None, "commands")
    assert control.controller.stop_reason == ""


def test_a_state_that_goes_silent_stops_the_arm_with_the_reason_in_diagnostics(graph, control, moving):
    moving.silent = {"pose"}
    graph.wait_for(lambda: "state_timeout" in control.controller.stop_reason, "the stop")
    graph.wait_for(lambda: moving.message.startswith("stopped: the newest measurement of 'ee_pose' is"), "the reason in /diagnostics")


def test_closing_it_says_a_last_command_and_the_ending_of_the_episode(graph, control, moving):
    practise(graph, control, moving)
    graph.wait_for(lambda: len(moving.rows) > 3, "rows")
    count = len(moving.commands)
    control.close()
    graph.wait_for(lambda: moving.endings == [Ended.ABORTED], "episode_ended")
    graph.wait_for(lambda: moving.rows[-1]["ended"] == Ended.ABORTED, "the last row")
    graph.wait_for(lambda: len(moving.commands) > count, "a last command")


def test_tokens_and_weights_from_the_worker_meet_the_tick_unharmed(graph, control, moving):
    """Pushes and embeddings as fast as they go while the loop runs: nothing is lost, nothing is torn."""
    practise(graph, control, moving)
    for version in range(2, 60):
        moving.push(control, version, residual=0.5)
        moving._answer()
        graph.executor.spin_once(timeout_sec=0.01)
    graph.wait_for(lambda: control.controller.actor.version == 59, "the newest weights")
    moving.call(graph, "success")
    graph.wait_for(lambda: moving.rows and moving.rows[-1]["ended"] == Ended.SUCCESS, "the last row")
    versions = [int(row["weights_version"]) for row in moving.rows if row["source"] == Source.ACTOR]
    assert versions == sorted(versions)
    assert control.gate.refused == 0
