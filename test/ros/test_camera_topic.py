"""A camera's subscription finds its driver, whatever it offers and whenever it comes; what came is counted."""

from __future__ import annotations

import time

import numpy as np
import pytest
import small_robot
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from rl_token_ros.interfaces import image_cdr, images
from rl_token_ros.interfaces.camera_stream import BEST_EFFORT, RELIABLE
from rl_token_ros.interfaces.graph_check import OK, Expected, Finding, Seen
from rl_token_ros.interfaces.topics import COMPRESSED, IMAGE
from rl_token_ros.nodes.camera_inspection import CameraInspection, is_camera
from rl_token_ros.nodes.camera_topic import CameraTopic
from rl_token_ros.nodes.vla_node import VlaNode

TOPIC = "camera/base/image_raw"


class Driver(Node):
    """Publishes a picture whenever it is told to."""

    def __init__(self, reliability: str = "reliable", kind: type = Image, topic: str = TOPIC, **options) -> None:
        super().__init__("driver", **options)
        self.pictures = self.create_publisher(kind, topic, QoSProfile(depth=5, reliability=ReliabilityPolicy[reliability.upper()]))
        self.pose = self.create_publisher(PoseStamped, "ee_pose", 5)

    def send(self, size: int = small_robot.IMAGE, encoding: str = "rgb8") -> None:
        message = images.from_rgb(np.zeros((size, size, 3), np.uint8), Image())
        message.encoding, message.header.stamp = encoding, self.get_clock().now().to_msg()
        self.pictures.publish(message)
        pose = PoseStamped()
        pose.header.stamp = message.header.stamp
        self.pose.publish(pose)


@pytest.fixture
def listener(graph):
    """A node with the subscription, and what it was given."""
    node = graph.add(lambda **options: Node("listener", **options))
    node.taken = []
    node.camera = CameraTopic(node, TOPIC, IMAGE, node.taken.append)
    return node


def receive(graph, listener, driver) -> None:
    """Two more pictures."""
    count = len(listener.taken)

    def came() -> bool:
        driver.send()
        return len(listener.taken) > count + 1

    graph.wait_for(came, "pictures")


def remove(graph, listener, driver) -> None:
    graph.nodes.remove(driver)
    graph.executor.remove_node(driver)
    driver.destroy_node()
    graph.wait_for(lambda: listener.count_publishers(TOPIC) == 0, "the driver's end")


@pytest.mark.parametrize("first, second", [(BEST_EFFORT, RELIABLE), (RELIABLE, BEST_EFFORT)])
def test_a_driver_that_starts_later_and_is_restarted_with_another_quality(graph, listener, first, second):
    for quality in (first, second):
        driver = graph.add(Driver, quality)
        graph.wait_for(lambda: listener.camera.publishers == 1 and listener.camera.reliability == quality, f"a {quality} subscription")
        receive(graph, listener, driver)
        remove(graph, listener, driver)
    assert listener.camera.stream.received == len(listener.taken)
    assert listener.camera.stream.lost == 0


def test_two_drivers_of_different_quality_are_both_heard(graph, listener):
    drivers = [graph.add(Driver, RELIABLE), graph.add(Driver, BEST_EFFORT)]
    graph.wait_for(lambda: listener.camera.publishers == 2, "both")
    assert listener.camera.reliability == BEST_EFFORT
    for driver in drivers:
        receive(graph, listener, driver)


def test_what_is_there_already_is_asked_for_at_once(graph):
    driver = graph.add(Driver, RELIABLE)
    node = graph.add(lambda **options: Node("listener", **options))
    graph.wait_for(lambda: node.get_publishers_info_by_topic(TOPIC), "the driver")
    assert CameraTopic(node, TOPIC, IMAGE, lambda _: None).reliability == RELIABLE
    assert driver.pictures.topic_name == f"/{TOPIC}"


def test_messages_are_handed_over_as_they_came(graph, listener):
    driver = graph.add(Driver)
    receive(graph, listener, driver)
    assert image_cdr.read(listener.taken[-1], TOPIC).encoding == "rgb8"
    assert listener.camera.stream.size == len(listener.taken[-1])


def test_compressed_pictures_are_counted_too(graph):
    node = graph.add(lambda **options: Node("listener", **options))
    taken: list[CompressedImage] = []
    camera = CameraTopic(node, f"{TOPIC}/compressed", COMPRESSED, taken.append)
    driver = graph.add(Driver, RELIABLE, CompressedImage, f"{TOPIC}/compressed")
    graph.wait_for(lambda: camera.publishers == 1, "the driver")  # before it, Jazzy does not say whose number a message has

    def came() -> bool:
        driver.pictures.publish(CompressedImage(format="jpeg", data=bytes(77)))
        return len(taken) > 1

    graph.wait_for(came, "pictures")
    assert (camera.stream.kind, camera.stream.size, camera.stream.lost) == ("jpeg", 77, 0)


def test_a_camera_that_changes_its_kind_goes_on_and_it_is_said_once(graph, capfd):
    """vla_node with a policy of any size of picture."""
    from policy_servers import OpenPi, Policy, running

    pytest.importorskip("PIL")
    policy = Policy()
    with running(OpenPi(policy)) as server:
        values = small_robot.shared(
            backend="openpi", server=server.url, vla_proprioception=["ee_position"], token_size=0, query_rate=100.0, query_timeout=30.0
        )
        vla, driver = graph.add(VlaNode, values=values), graph.add(Driver)

        def answered(**picture) -> None:
            count, sent = vla.queries, 0.0

            def more() -> bool:
                nonlocal sent
                if time.monotonic() - sent > 0.03:  # as drivers do: in full queues of different length pictures and poses part
                    sent = time.monotonic()
                    driver.send(**picture)
                return vla.queries > count + 2

            graph.wait_for(more, f"answers with {picture}")

        answered(size=8)
        answered(size=16, encoding="bgr8")
        answered(size=16, encoding="bgr8")
        assert vla.bad_images == 0 and vla.failures == 0
        vla.close()
    said = [line for line in capfd.readouterr().err.splitlines() if "from now on; it was" in line]
    assert len(said) == 1 and "is bgr8 16 x 16 from now on; it was rgb8 8 x 8" in said[0]


def test_what_vla_node_says_of_its_cameras(graph, models):
    values = small_robot.shared(vla_model=str(models["vla"]), vla_proprioception=["ee_position"])
    vla, driver = graph.add(VlaNode, values=values), graph.add(Driver)
    camera = vla.cameras[0]
    graph.wait_for(lambda: camera.reliability == RELIABLE and driver.pictures.get_subscription_count() == 1, "the driver")
    for number in range(1, 8):  # one at a time: none waits while newer ones come
        driver.send()
        graph.wait_for(lambda: camera.stream.received == number, "a picture")
    said = camera.report()
    assert int(said[f"{TOPIC}/received"]) > 5 and float(said[f"{TOPIC}/rate"]) > 0 and float(said[f"{TOPIC}/longest_gap"]) > 0
    assert (said[f"{TOPIC}/lost"], said[f"{TOPIC}/kind"], said[f"{TOPIC}/reliability"]) == ("0", "rgb8 8 x 8", "reliable")


def test_what_check_hears_of_a_camera(graph):
    expected = Expected(TOPIC, IMAGE, "in", oldest=5.0)
    assert is_camera(expected) and not is_camera(Expected("vla/embedding", IMAGE, "in"))
    node, driver, seen = graph.add(lambda **options: Node("check", **options)), graph.add(Driver), Seen()
    inspection = CameraInspection(node, expected, f"/{TOPIC}", seen)

    def heard() -> bool:
        driver.send()
        return seen.messages > 2

    graph.wait_for(heard, "pictures")
    assert seen.age is not None and 0 <= seen.age < 60 and not seen.complaint
    finding = inspection.judge(Finding(OK, TOPIC, "20 Hz"))
    assert finding.text.startswith("20 Hz; rgb8 8 x 8, 0.00 MB each, ") and " lost, longest gap " in finding.text
    driver.send(encoding="bayer_rggb16")
    graph.wait_for(lambda: seen.complaint, "the complaint")
    assert "set the driver to 8 bits, as bayer_rggb8" in seen.complaint
