"""Publishes a bag as live topics with `/clock`, for machines without `ros2 bag`."""

from __future__ import annotations

import sys
import time

import rclpy
import yaml
from rclpy.duration import Duration
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock

from rl_token_ros.bags.bag_progress import BagProgress
from rl_token_ros.bags.in_order import in_order
from rl_token_ros.bags.playback import Selection
from rl_token_ros.bags.reader import Bag, Topic
from rl_token_ros.nodes.discovery import use_profile
from rl_token_ros.nodes.ros_topics import interface_class
from rl_token_ros.nodes.running import on_signal

CLOCK = "/clock"
CLOCK_PERIOD_NS = 10_000_000
LONGEST_PAUSE_NS = 5_000_000_000  # of a bag; longer gaps are jumps of a clock, and nobody waits for those


def play(bag: Bag, selection: Selection, rate: float) -> int:
    """Play what was selected of a bag at ``rate`` times its speed, until its end or Ctrl-C; what is left out is said before."""
    for text in selection.left_out:
        print(f"note: {text}", file=sys.stderr)
    for text in selection.warnings:
        print(f"warning: {text}", file=sys.stderr, flush=True)
    use_profile()
    rclpy.init(args=None, signal_handler_options=SignalHandlerOptions.NO)
    ended = on_signal()
    node = rclpy.create_node("replay_bag")
    try:
        publishers: dict[str, Publisher] = {}
        for topic in selection.topics:
            try:
                publishers[topic.name] = node.create_publisher(interface_class(topic.type), topic.name, _qos(topic))
            except (ImportError, AttributeError, ValueError):
                print(f"note: '{topic.name}' is left out: its type '{topic.type}' is not installed here", file=sys.stderr)
        clock = None if CLOCK in publishers else node.create_publisher(Clock, CLOCK, 10)
        progress = BagProgress(bag, "play")
        last_ns: int | None = None
        clocked_ns: int | None = None
        due_ns = 0
        for record in in_order(bag.read(set(publishers))):
            if ended():
                break
            if last_ns is None:
                due_ns = time.monotonic_ns()
            else:
                due_ns += round(min(record.stamp_ns - last_ns, LONGEST_PAUSE_NS) / rate)
            last_ns = record.stamp_ns
            while (wait := due_ns - time.monotonic_ns()) > 0 and not ended():
                time.sleep(min(wait * 1e-9, 0.1))
            if clock is not None and (clocked_ns is None or record.stamp_ns - clocked_ns >= CLOCK_PERIOD_NS):
                message = Clock()
                message.clock.sec, message.clock.nanosec = divmod(record.stamp_ns, 1_000_000_000)
                clock.publish(serialize_message(message))
                clocked_ns = record.stamp_ns
            publishers[record.topic].publish(record.data)
            progress()
        for publisher in publishers.values():
            publisher.wait_for_all_acked(Duration(seconds=1.0))  # what listens reliably has it
        for text in bag.problems:
            print(f"note: {text}", file=sys.stderr)
        return 0
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def _qos(topic: Topic) -> QoSProfile:
    """As it was offered, as far as that decides who may listen."""
    try:
        profiles = yaml.safe_load(topic.qos) or []
    except yaml.YAMLError:
        profiles = []
    latched = any(profile.get("durability") in (1, "transient_local") for profile in profiles)
    best_effort = any(profile.get("reliability") in (2, "best_effort") for profile in profiles)
    return QoSProfile(
        depth=100 if not latched else max([profile.get("depth", 1) for profile in profiles]) or 1,
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )
