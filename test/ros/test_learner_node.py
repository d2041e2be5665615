"""learner_node over ROS: rows on `replay` become weights on `actor/weights`, and it says what it was given wrongly."""

import array

import numpy as np
import pytest

pytest.importorskip("rclpy")
import small_robot
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import QoSProfile
from sensor_msgs.msg import PointCloud2, PointField

from rl_token_ros.interfaces import replay_table
from rl_token_ros.interfaces.codes import Ended
from rl_token_ros.nodes.learner_node import LearnerNode
from rl_token_ros.nodes.ros_topics import subscription
from rl_token_ros.policy import actor_weights
from rl_token_ros.settings.parameters import ParameterError

ROW = replay_table.row_dtype(small_robot.TOKEN, 9, small_robot.CHUNK, 3)


def values(models, folder, **changes):
    own = {
        "vla_model": str(models["vla"]), "token_encoder": str(models["encoder"]), "run_directory": str(folder), "warmup_episodes": 2,
        "pretrain_updates": 10, "push_updates": 50, "batch_size": 8, "hidden_size": 16, "repeat_seconds": 0.2,
    }  # fmt: skip
    return small_robot.shared(**{**own, **changes})


def episode_messages(number, seq, length=20):
    """`replay` as control_node sends it: a message per step."""
    random = np.random.default_rng(number)
    rows = np.zeros(length, ROW)
    rows["seq"], rows["episode"], rows["step"] = seq + np.arange(length), number, np.arange(length)
    rows["stamp_sec"], rows["stamp_nanosec"] = 10 * number, np.arange(length) * 20_000_000
    for name in ("token", "proprio", "reference", "action"):
        rows[name] = random.normal(size=rows[name].shape) * 1e-3
    rows["ended"][-1], rows["reward"][-1] = Ended.SUCCESS, 1.0
    return [replay_table.encode(rows[i : i + 1], PointCloud2(), PointField) for i in range(length)]


class Robot:
    """What stands at the other end of the topics."""

    def __init__(self, graph, namespace=None):
        import rclpy

        self.node = rclpy.create_node("robot", context=graph.context, namespace=namespace)
        graph.nodes.append(self.node)
        graph.executor.add_node(self.node)
        self.blobs, self.figures = [], {}
        self.replay = self.node.create_publisher(PointCloud2, "replay", QoSProfile(depth=1000))
        subscription(self.node, "actor/weights", lambda m: self.blobs.append(bytes(m.data)))
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._figures, 10)

    def _figures(self, message):
        for status in message.status:
            self.figures = {value.key: value.value for value in status.values} | {"level": status.level, "message": status.message}

    @property
    def versions(self):
        return [actor_weights.decode(blob).version for blob in self.blobs]


def test_two_robots_feed_one_learner_and_get_the_same_weights(graph, models, tmp_path):
    graph.add(LearnerNode, values=values(models, tmp_path, robots=["left", "right"]))
    left, right = Robot(graph, "left"), Robot(graph, "right")
    for robot in (left, right):
        graph.wait_for(lambda robot=robot: robot.replay.get_subscription_count(), "replay matched")
    for number in range(4):
        for pair in zip(episode_messages(number, 20 * number), episode_messages(number, 20 * number)):
            for robot, message in zip((left, right), pair):
                robot.replay.publish(message)
    graph.wait_for(lambda: left.figures.get("steps") == "160" and left.figures.get("updates_owed") == "0", "all rows learned from")
    assert left.figures["rows_received_left"] == left.figures["rows_received_right"] == "80"
    assert left.figures["episodes"] == "8" and left.figures["gaps"] == left.figures["rows_lost"] == "0"
    graph.wait_for(lambda: left.blobs and right.blobs and left.blobs[-1] == right.blobs[-1], "the same weights for both")


def test_rows_become_weights_and_a_restarted_node_goes_on(graph, models, tmp_path):
    learner = graph.add(LearnerNode, values=values(models, tmp_path))
    robot = Robot(graph)
    graph.wait_for(lambda: robot.replay.get_subscription_count(), "replay matched")
    for number in range(6):
        for message in episode_messages(number, 20 * number):
            robot.replay.publish(message)
    graph.wait_for(lambda: robot.figures.get("steps") == "120" and robot.figures.get("updates_owed") == "0", "all rows learned from")
    first = actor_weights.decode(robot.blobs[0])
    expected = small_robot.identity(encoder_sha256=actor_weights.fingerprint(models["encoder"]), vla_sha256=actor_weights.fingerprint(models["vla"]))
    actor_weights.refuse_mismatch(first, small_robot.architecture(), expected)  # control_node would let them in
    assert first.version == 1 and robot.versions == sorted(robot.versions)
    assert robot.figures["message"] == "training" and robot.figures["rows_refused"] == "0"

    broken = episode_messages(9, 900)[0]
    broken.data = array.array("B", bytes(broken.data)[:-1])
    robot.replay.publish(broken)
    graph.wait_for(lambda: robot.figures.get("rows_refused") == "1", "the broken row refused")

    count = len(robot.blobs)
    graph.wait_for(lambda: len(robot.blobs) > count + 1, "weights repeated")
    last, updates = robot.versions[-1], robot.figures["updates"]
    graph.executor.remove_node(learner)
    graph.nodes.remove(learner)
    learner.close()
    learner.destroy_node()

    robot.blobs.clear()
    robot.figures.clear()
    graph.add(LearnerNode, values=values(models, tmp_path))
    graph.wait_for(lambda: robot.blobs, "the last weights, from disk")
    assert robot.versions[0] == last
    graph.wait_for(lambda: robot.figures.get("steps") == "120", "the replay, from disk")
    assert robot.figures["updates"] == updates


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"token_encoder": "nowhere.onnx"}, "'token_encoder' names 'nowhere.onnx'"),
        ({"return_max": 0.0}, "write the smaller one first"),
        ({"encoder_sha256": "abc"}, "write the 64 hex digits"),
        ({"encoder_sha256": "0" * 64}, "leave 'encoder_sha256' empty"),
        ({"bc_weight_ende": 0.1}, "did you mean 'bc_weight_end'"),
        ({"beta_end": 0.1}, "parameter 'beta_end' is now 'bc_weight_end'"),
    ],
)
def test_bad_parameters_are_refused_with_what_to_write(graph, models, tmp_path, changes, found):
    with pytest.raises(ParameterError, match=found):
        graph.add(LearnerNode, values=values(models, tmp_path, **changes))


def test_an_encoder_for_another_vla_is_refused(graph, models, tmp_path):
    with pytest.raises(ParameterError, match="was made for a VLA"):
        graph.add(LearnerNode, values=values(models, tmp_path, token_encoder=str(models["stranger"])))
