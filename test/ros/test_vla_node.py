"""vla_node on real topics with a real model: chunk and embeddings under the observation's stamp; bad input does not end it."""

from __future__ import annotations

import io
import threading

import numpy as np
import pytest
import small_robot
from geometry_msgs.msg import PoseStamped
from policy_servers import OpenPi, Policy, running
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from trajectory_msgs.msg import JointTrajectory

from rl_token_ros.control import chunk
from rl_token_ros.interfaces import images
from rl_token_ros.interfaces.stamps import stamp_to_ns
from rl_token_ros.nodes.vla_node import VlaNode
from rl_token_ros.system.onnx_session import session
from rl_token_ros.vla.backend import Answer, Observation

PICTURE = np.arange(small_robot.IMAGE**2 * 3, dtype=np.uint8).reshape(small_robot.IMAGE, small_robot.IMAGE, 3)


class Robot(Node):
    """A camera and an arm that do not move by themselves, and what the VLA answers."""

    def __init__(self, **options) -> None:
        super().__init__("robot", **options)
        self.picture: np.ndarray | None = PICTURE
        self.speed = 0.0  # of the tool along x, m/s
        self.begun_ns = self.get_clock().now().nanoseconds
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
        if self.speed:
            pose.pose.position.x = (now.nanoseconds - self.begun_ns) * 1e-9 * self.speed
        self.pose.publish(pose)
        if self.picture is not None:
            self.stamps.append(now.nanoseconds)
            self.send(images.from_rgb(self.picture, Image()), now.to_msg())

    def send(self, message: Image, stamp) -> None:
        message.header.stamp = stamp
        self.image.publish(message)


def asked_about(vla: VlaNode) -> list[Observation]:
    """The observations that it asks about from now on."""
    seen, query = [], vla.backend.query

    def noted(observation: Observation) -> Answer:
        seen.append(observation)
        return query(observation)

    vla.backend.query = noted
    return seen


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


def test_the_state_is_that_of_the_moment_of_the_picture(graph, vla, robot):
    """Twenty poses a second of a tool that goes 1 m/s, and pictures between them: each is asked about once the pose after it is known."""
    seen = asked_about(vla)
    robot.picture, robot.speed = None, 1.0
    since = robot.get_clock().now().nanoseconds + 100_000_000  # the pose before the picture is of the moving tool

    def sent() -> bool:
        if robot.get_clock().now().nanoseconds > since:
            robot.send(images.from_rgb(PICTURE, Image()), robot.get_clock().now().to_msg())
        return any(observation.stamp_ns > since for observation in seen)

    graph.wait_for(sent, "an observation")
    for observation in (each for each in seen if each.stamp_ns > since):
        assert observation.proprio[0] == pytest.approx((observation.stamp_ns - robot.begun_ns) * 1e-9, abs=1e-4)
    assert int(vla.synchroniser.report()["waited"]) > 0


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


@pytest.fixture
def remote(graph):
    """Makes a vla_node that asks a policy server, and its robot."""

    def make(url: str, **changes):
        values = small_robot.shared(
            backend="openpi", server=url, vla_proprioception=["ee_position"], query_rate=100.0, image_timeout=5.0, image_height=0,
            query_timeout=30.0, warmup_timeout=30.0, **changes,
        )  # fmt: skip
        return graph.add(VlaNode, values=values), graph.add(Robot)

    return make


def test_a_policy_server_dies_and_comes_back(graph, remote):
    policy = Policy()
    with running(OpenPi(policy)) as server:
        vla, robot = remote(server.url)
        graph.wait_for(lambda: len(robot.chunks) > 2 and robot.embeddings, "answers of the server")
        np.testing.assert_allclose(robot.chunks[-1].actions, policy.answer["actions"])
        assert vla.added.count > 0 and robot.chunks[-1].stamp_ns in robot.stamps
        port = server.port
    graph.wait_for(lambda: vla.failures > 0 and "nothing listens there" in vla._message, "the failure to be noticed")
    count = len(robot.chunks)
    with running(OpenPi(policy), port):
        graph.wait_for(lambda: len(robot.chunks) > count + 2, "answers again")
        vla.close()


def test_the_next_query_begins_as_soon_as_the_last_is_answered(graph, remote):
    """It waits neither for the chunk to be executed nor for another image."""
    policy, release = Policy(), threading.Event()
    policy.before = lambda: release.wait(60.0) and None
    with running(OpenPi(policy)) as server:
        vla, robot = remote(server.url)
        graph.wait_for(lambda: len(policy.requests) == 1, "the first query")
        asked = vla.synchroniser._asked_ns
        graph.wait_for(lambda: vla.synchroniser._pictures.newest_ns("base") > asked, "a newer image")
        robot.picture = None
        release.set()
        graph.wait_for(lambda: len(policy.requests) == 2, "the next query, from the image that came meanwhile")
        vla.close()


def test_closing_the_node_ends_a_query_under_way(graph, remote):
    policy, release = Policy(), threading.Event()
    policy.before = lambda: release.wait(60.0) and None
    with running(OpenPi(policy)) as server:
        vla, _ = remote(server.url)
        graph.wait_for(lambda: policy.requests, "a query")
        vla.close()  # would wait for as long as the server thinks
        assert not release.is_set()
        release.set()


def test_without_token_there_is_no_embedding(graph, remote):
    policy = Policy()
    del policy.answer["embeddings"]
    with running(OpenPi(policy)) as server:
        vla, robot = remote(server.url, token_size=0)
        graph.wait_for(lambda: len(robot.chunks) > 2, "answers")
        assert not robot.embeddings and vla.failures == 0
        vla.close()


def test_without_token_embeddings_are_for_whoever_records_them(graph, remote):
    """There is no encoder before there are embeddings to make it of."""
    policy = Policy()
    with running(OpenPi(policy)) as server:
        vla, robot = remote(server.url, token_size=0)
        graph.wait_for(lambda: robot.embeddings, "embeddings")
        np.testing.assert_array_equal(images.to_matrix(robot.embeddings[-1], "t"), policy.answer["embeddings"])
        (listens,) = [each for each in robot.subscriptions if each.topic_name == "/vla/embedding"]
        robot.destroy_subscription(listens)
        graph.wait_for(lambda: vla.count_subscribers("vla/embedding") == 0, "nobody")
        count, answered = len(robot.embeddings), len(robot.chunks)
        graph.wait_for(lambda: len(robot.chunks) > answered + 2, "answers")
        assert len(robot.embeddings) == count and vla.failures == 0
        vla.close()


def test_an_episodes_end_resets_a_policy_with_memory(graph, remote):
    from std_msgs.msg import UInt8

    policy = Policy()
    with running(OpenPi(policy, endpoints=True)) as server:
        vla, robot = remote(server.url, dialect="endpoint")
        ended = robot.create_publisher(UInt8, "episode_ended", 10)
        graph.wait_for(lambda: robot.chunks and ended.get_subscription_count(), "the first answer")
        ended.publish(UInt8(data=1))
        graph.wait_for(lambda: policy.resets == 1, "the reset")
        vla.close()


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_compressed_images_are_decoded(graph, models, kind):
    pillow = pytest.importorskip("PIL.Image")
    coarse = np.repeat(np.repeat(np.arange(4, dtype=np.uint8)[:, None, None] * 60, 2, 0), 8, 1).repeat(3, 2)  # bands: JPEG keeps them
    data = io.BytesIO()
    pillow.fromarray(coarse).save(data, kind.upper(), quality=95)
    values = small_robot.shared(vla_model=str(models["vla"]), vla_proprioception=["ee_position"], query_rate=100.0, image_timeout=5.0)
    vla = graph.add(VlaNode, values={**values, "image_transport": "compressed"})
    seen = asked_about(vla)
    robot = graph.add(Robot)
    publisher = robot.create_publisher(CompressedImage, "camera/base/image_raw/compressed", 2)

    def send(content: bytes) -> None:
        message = CompressedImage(format=f"rgb8; {kind} compressed bgr8", data=content)
        message.header.stamp = robot.get_clock().now().to_msg()
        publisher.publish(message)

    def answered() -> int:
        send(data.getvalue())
        return len(robot.chunks)

    graph.wait_for(answered, "an answer")
    np.testing.assert_allclose(seen[-1].images["base"].astype(int), coarse, atol=12)

    def refused() -> int:
        send(data.getvalue()[:40])
        return vla.bad_images

    graph.wait_for(refused, "a broken picture counted")
    count = len(robot.chunks)
    graph.wait_for(lambda: answered() > count, "answers after it")
