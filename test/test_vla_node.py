"""vla_node on real topics with a real model: chunk and embeddings under the observation's stamp; bad input does not end it."""

from __future__ import annotations

import numpy as np
import pytest
import small_robot
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import Image
from trajectory_msgs.msg import JointTrajectory

from rl_token_ros import chunk, images
from rl_token_ros.actor import session
from rl_token_ros.chunk import stamp_to_ns
from rl_token_ros.nodes.vla_node import VlaNode

PICTURE = np.arange(small_robot.IMAGE**2 * 3, dtype=np.uint8).reshape(small_robot.IMAGE, small_robot.IMAGE, 3)


class Robot(Node):
    """A camera and an arm that do not move, and what the VLA answers."""

    def __init__(self, **options) -> None:
        super().__init__("robot", **options)
        self.picture: np.ndarray | None = PICTURE
        self.stamps: list[int] = []
        self.chunks: list[chunk.Chunk] = []
        self.embeddings: list[Image] = []
        self.image = self.create_publisher(Image, "camera/base/image_raw", 2)
        self.pose = self.create_publisher(PoseStamped, "ee_pose", 5)
        self.create_subscription(JointTrajectory, "vla/reference", self._on_reference, 10)
        self.create_subscription(Image, "vla/embedding", self.embeddings.append, 10)
        self.create_timer(0.05, self._publish)

    def _on_reference(self, message: JointTrajectory) -> None:
        self.chunks.append(chunk.from_trajectory(message, ["x", "y", "z"], small_robot.PERIOD))

    def _publish(self) -> None:
        now = self.get_clock().now()
        pose = PoseStamped()
        pose.header.stamp = now.to_msg()
        pose.pose.position.x, pose.pose.position.y, pose.pose.position.z = small_robot.HOME.tolist()
        self.pose.publish(pose)
        if self.picture is not None:
            self.stamps.append(now.nanoseconds)
            self.send(images.from_rgb(self.picture, Image()), now.to_msg())

    def send(self, message: Image, stamp) -> None:
        message.header.stamp = stamp
        self.image.publish(message)


@pytest.fixture
def vla(graph, models):
    values = small_robot.shared(vla_model=str(models["vla"]), vla_proprioception=["ee_position"], query_rate=100.0, image_timeout=5.0)
    return graph.add(VlaNode, values=values)


@pytest.fixture
def robot(graph, vla):
    made = graph.add(Robot)
    graph.wait_for(lambda: len(made.chunks) > 1 and len(made.embeddings) > 1, "answers")
    return made


def test_the_answer_is_the_models_under_the_stamp_of_the_observation(robot, models):
    model = session(models["vla"])
    seen = {"image_base": PICTURE[None], "proprio": small_robot.HOME.astype(np.float32)[None]}
    actions, embeddings = model.run(["actions", "embeddings"], seen)
    answer, embedding = robot.chunks[-1], robot.embeddings[-1]
    np.testing.assert_allclose(answer.actions, actions[0], rtol=1e-6)
    np.testing.assert_allclose(images.to_matrix(embedding, "t"), embeddings[0], rtol=1e-5)
    assert answer.stamp_ns in robot.stamps
    pairs = {stamp_to_ns(message.header.stamp) for message in robot.embeddings} & {c.stamp_ns for c in robot.chunks}
    assert pairs and pairs <= set(robot.stamps)


def test_no_observation_is_asked_about_twice(robot):
    stamps = [c.stamp_ns for c in robot.chunks]
    assert len(set(stamps)) == len(stamps) and stamps == sorted(stamps)


def test_bad_images_are_counted_and_good_ones_go_on(graph, vla, robot):
    robot.picture = None
    now = robot.get_clock().now().to_msg()
    late = robot.get_clock().now().to_msg()
    late.sec += 100
    for message, stamp in [
        (Image(), now),
        (Image(encoding="rgb8", height=2**32 - 1, width=1, step=3), now),
        (Image(encoding="yuv422", height=1, width=1, step=3), now),
        (images.from_rgb(PICTURE, Image()), late),
    ]:
        before = vla.bad_images

        def refused(message=message, stamp=stamp, before=before) -> bool:
            robot.send(message, stamp)
            return vla.bad_images > before

        graph.wait_for(refused, "a bad image counted")
    robot.picture = PICTURE
    count = len(robot.chunks)
    graph.wait_for(lambda: len(robot.chunks) > count + 2, "answers after bad images")


def test_a_camera_that_changes_its_size_is_a_failed_query_with_the_reason(graph, vla, robot):
    robot.picture = np.zeros((4, 4, 3), np.uint8)
    graph.wait_for(lambda: vla.failures > 0, "a failure")
    assert "'camera/base/image_raw' is (4, 4), the VLA takes [8, 8]" in vla._message
    robot.picture = PICTURE
    count = len(robot.chunks)
    graph.wait_for(lambda: len(robot.chunks) > count, "answers again")


def test_a_clock_that_goes_back_does_not_keep_new_images_out(graph, vla, robot):
    vla.synchroniser.forget()
    later = robot.get_clock().now().nanoseconds + 1_000_000_000_000
    vla._newest_ns = later  # the node has lived in a time that is then taken back
    vla.synchroniser.set_image("base", later, PICTURE)
    count = len(robot.chunks)
    graph.wait_for(lambda: len(robot.chunks) > count + 2, "answers")
