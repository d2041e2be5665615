"""Ordinary pictures from a driver without any profile, best effort and all cameras at one moment: all of them arrive."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from graph import ENVIRONMENT

from rl_token_ros.nodes import camera_transport, discovery

CAMERAS, MOMENTS = 3, 10

DRIVER = """
import sys, time
import numpy as np, rclpy
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image
from rl_token_ros.interfaces import images
cameras, moments = map(int, sys.argv[1:])
rclpy.init()
node = rclpy.create_node("driver")
topics = [node.create_publisher(Image, f"camera/c{i}/image_raw", qos_profile_sensor_data) for i in range(cameras)]
picture = bytes(serialize_message(images.from_rgb(np.zeros((480, 640, 3), np.uint8), Image())))
sys.stdin.readline()
while not all(topic.get_subscription_count() for topic in topics):
    time.sleep(0.02)
for _ in range(moments):
    for topic in topics:
        topic.publish(picture)
    time.sleep(0.25)  # a listener that has no time for two moments has room for them
time.sleep(60.0)
"""

LISTENER = """
import json, sys, time
import rclpy
from rl_token_ros.interfaces.topics import IMAGE
from rl_token_ros.nodes import camera_transport
from rl_token_ros.nodes.camera_topic import CameraTopic
cameras, moments = map(int, sys.argv[1:])
camera_transport.use_profile()
rclpy.init()
node = rclpy.create_node("listener")
topics = [CameraTopic(node, f"camera/c{i}/image_raw", IMAGE, lambda _: None) for i in range(cameras)]
while not all(topic._subscription.get_publisher_count() for topic in topics):
    rclpy.spin_once(node, timeout_sec=0.05)
print("ready", flush=True)
end, quiet = time.monotonic() + 60.0, time.monotonic() + 60.0
received = lambda: [topic.stream.received for topic in topics]
while time.monotonic() < min(end, quiet) and received() != [moments] * cameras:
    before = received()
    rclpy.spin_once(node, timeout_sec=0.1)
    if received() != before:
        quiet = time.monotonic() + 5.0
print(json.dumps([camera_transport.remedy(), received(), [topic.stream.lost for topic in topics]]), flush=True)
"""


def test_every_picture_arrives():
    if discovery.profile_variable() is None:
        pytest.skip("another middleware than Fast DDS")
    if camera_transport.receive_buffer(camera_transport.RECEIVE_BYTES) < camera_transport.ENOUGH_BYTES:
        pytest.skip("a socket holds too little here: sysctl -w net.core.rmem_max=33554432")
    environment = {name: value for name, value in os.environ.items() if name not in discovery.VARIABLES.values()} | ENVIRONMENT
    numbers = [str(CAMERAS), str(MOMENTS)]
    with (
        subprocess.Popen([sys.executable, "-c", DRIVER, *numbers], env=environment, stdin=subprocess.PIPE, text=True) as driver,
        subprocess.Popen([sys.executable, "-c", LISTENER, *numbers], env=environment, stdout=subprocess.PIPE, text=True) as listener,
    ):
        try:
            assert listener.stdout.readline() == "ready\n"
            print("go", file=driver.stdin, flush=True)
            remedy, received, lost = json.loads(listener.stdout.readline())
        finally:
            driver.kill()
            listener.kill()
    assert not remedy
    assert received == [MOMENTS] * CAMERAS and not any(lost)
