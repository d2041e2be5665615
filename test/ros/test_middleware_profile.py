"""The profile is in force with the Fast DDS that is there, also where no ROS is sourced: pictures arrive, and who is killed is forgotten."""

import os
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("rclpy")
import rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from rl_token_ros.nodes import discovery

if discovery.profile_variable() is None:
    pytest.skip("another middleware than Fast DDS", allow_module_level=True)

# As from a shell in which nothing was sourced or set.
CHOSEN = ("ROS_DISTRO", discovery.TRANSPORTS, *discovery.VARIABLES.values())
PICTURES = 60  # of each of two cameras, at one moment, 30 times a second
CAMERAS = """
import sys, time
from rl_token_ros.nodes.discovery import use_profile
use_profile()
import rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node("cameras")
publishers = [node.create_publisher(Image, f"camera_{i}", qos_profile_sensor_data) for i in range(2)]
picture = Image(height=480, width=640, encoding="rgb8", step=1920)
picture.data.frombytes(bytes(640 * 480 * 3))
print("ready", flush=True)
sys.stdin.readline()
for i in range(int(sys.argv[1])):
    for publisher in publishers:
        publisher.publish(picture)
    time.sleep(1 / 30)
print("sent", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def cameras(domain):
    """A process that publishes on two topics when it gets a line."""
    environment = {name: value for name, value in os.environ.items() if name not in CHOSEN} | {"ROS_DOMAIN_ID": str(domain)}
    command = [sys.executable, "-c", CAMERAS, str(PICTURES)]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_pictures_larger_than_the_usual_segment_arrive(graph, cameras):
    node = graph.add(rclpy.create_node, "eyes")
    received = [[], []]
    subscriptions = [node.create_subscription(Image, f"camera_{i}", received[i].append, qos_profile_sensor_data, raw=True) for i in range(2)]
    graph.wait_for(lambda: all(subscription.get_publisher_count() for subscription in subscriptions), "both cameras")
    cameras.stdin.write("\n")
    cameras.stdin.flush()
    graph.wait_for(lambda: min(map(len, received)) >= 0.9 * PICTURES, f"pictures, of which {PICTURES} are sent", timeout=15.0)


def test_a_killed_process_is_soon_forgotten(graph, cameras):
    node = graph.add(rclpy.create_node, "mourner")
    graph.wait_for(lambda: node.count_publishers("camera_0"), "the camera")
    cameras.send_signal(signal.SIGKILL)
    begun = time.monotonic()
    graph.wait_for(lambda: not node.count_publishers("camera_0"), "nobody there")
    assert time.monotonic() - begun < 12.0  # 20 s by default


@pytest.fixture
def environment(monkeypatch):
    for name in CHOSEN:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize("name", discovery.VARIABLES.values())
def test_a_profile_of_the_users_own_is_left_alone(environment, name):
    environment.setenv(name, "mine.xml")
    discovery.use_profile()
    assert {variable: os.environ[variable] for variable in discovery.VARIABLES.values() if variable in os.environ} == {name: "mine.xml"}


def test_transports_of_the_users_own_are_left_alone(environment):
    environment.setenv(discovery.TRANSPORTS, "UDPv4")
    discovery.use_profile()
    assert os.environ[discovery.profile_variable()] == str(discovery.SHORT_LEASE)


def test_where_shared_memory_is_short_it_is_said(environment, capsys):
    environment.setattr(discovery, "ROOM_BYTES", 10**18)
    discovery.use_profile()
    assert os.environ[discovery.profile_variable()] == str(discovery.SHORT_LEASE)
    assert "MB are free in /dev/shm, too few" in capsys.readouterr().err


def test_a_driver_is_told_where_the_profile_is():
    name, _, path = discovery.driver_setting().partition("=")
    assert name in discovery.VARIABLES.values() and os.path.isabs(path) and os.path.isfile(path)
