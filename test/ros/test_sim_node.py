"""sim_node on real topics, in this process: what it publishes, what it obeys, and what does not break it."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco")

from geometry_msgs.msg import PoseStamped, WrenchStamped
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Bool, UInt8

from rl_token_ros.interfaces import images
from rl_token_ros.interfaces.stamps import stamp_to_ns
from rl_token_ros.nodes.sim_node import DOWN, SimNode
from rl_token_ros.robot.yaw import turned, yaw_of
from rl_token_ros.settings.parameters import ParameterError

TOPICS = {
    "joint_states": JointState,
    "ee_pose": PoseStamped,
    "wrench": WrenchStamped,
    "camera/base/image_raw": Image,
    "camera/wrist/image_raw": Image,
    "critical_phase": Bool,
    "outcome": Bool,
    "/clock": Clock,
}
SMALL = {"render_backend": "raycast", "image_size": 16, "camera_rate": 5.0, "reset_time": 1.0}


class Listener(Node):
    """Keeps the newest message of each topic; commands the arm."""

    def __init__(self, **options) -> None:
        super().__init__("listener", **options)
        self.newest: dict[str, object] = {}
        self.counts = dict.fromkeys(TOPICS, 0)
        for topic, kind in TOPICS.items():
            self.create_subscription(kind, topic, lambda message, topic=topic: self._keep(topic, message), 10)
        self.command = self.create_publisher(PoseStamped, "command", 1)
        self.ended = self.create_publisher(UInt8, "episode_ended", 10)

    def _keep(self, topic: str, message: object) -> None:
        self.newest[topic] = message
        self.counts[topic] += 1

    @property
    def tool(self) -> np.ndarray:
        p = self.newest["ee_pose"].pose.position
        return np.array([p.x, p.y, p.z])

    def go(self, position, frame: str = "base_link", orientation=(0.0, 0.0, 0.0, 1.0)) -> None:
        message = PoseStamped()
        message.header.frame_id = frame
        message.pose.position.x, message.pose.position.y, message.pose.position.z = map(float, position)
        q = message.pose.orientation
        q.x, q.y, q.z, q.w = map(float, orientation)
        self.command.publish(message)


@pytest.fixture
def sim(graph):
    return graph.add(SimNode, values=SMALL)


@pytest.fixture
def listener(graph, sim):
    made = graph.add(Listener)
    expected = set(TOPICS) - {"critical_phase", "outcome", "/clock"}
    graph.wait_for(lambda: expected <= made.newest.keys(), "every topic")
    return made


def test_it_publishes_what_its_configuration_promises(sim, listener):
    assert listener.newest["joint_states"].name == [f"joint_{i}" for i in range(1, 7)]
    assert len(listener.newest["joint_states"].position) == 6
    for camera in ("base", "wrist"):
        assert images.to_rgb(listener.newest[f"camera/{camera}/image_raw"]).shape == (16, 16, 3)
    assert listener.newest["ee_pose"].header.frame_id == "base_link"
    assert "/clock" not in listener.newest


def test_the_arm_goes_where_it_is_told(graph, sim, listener):
    goal = listener.tool + [0.004, -0.003, 0.002]

    def there() -> bool:
        listener.go(goal)
        return np.abs(listener.tool - goal).max() < 0.0015

    graph.wait_for(there, "the tool at its goal")


def test_commands_that_make_no_sense_do_not_move_or_break_it(graph, sim, listener):
    here = listener.tool
    listener.go(here + [0.001, 0.0, 0.0])
    target = graph.wait_for(lambda: [] if sim._target is None else [sim._target.copy()], "a command")[0]
    for position, frame in [([np.nan] * 3, "base_link"), ([0.4, np.inf, 0.1], "base_link"), (here + 0.01, "world"), (here + 0.01, "")]:
        count = listener.counts["ee_pose"]
        listener.go(position, frame)
        graph.wait_for(lambda count=count: listener.counts["ee_pose"] > count + 3, "the simulation goes on")
        np.testing.assert_array_equal(sim._target, target)


def test_a_huge_finite_command_leaves_the_physics_finite(graph, sim, listener):
    for _ in range(20):
        count = listener.counts["ee_pose"]
        listener.go([1e300, -1e300, 1e300])
        graph.wait_for(lambda count=count: listener.counts["ee_pose"] > count, "the simulation goes on")
    joints = listener.newest["joint_states"]
    assert np.isfinite([*joints.position, *joints.velocity, *listener.tool]).all()


def test_the_end_of_an_episode_resets_the_scene(graph, sim, listener):
    listener.ended.publish(UInt8(data=2))
    graph.wait_for(lambda: sim.timed.resetting and sim.simulation.resetting, "the reset")
    assert sim.episodes == 1
    graph.wait_for(lambda: not sim.timed.resetting, "the end of the reset")


def test_a_plug_is_turned_by_the_command_s_orientation(graph):
    sim = graph.add(SimNode, values={**SMALL, "task": "plug", "rotation_stiffness": 10.0})
    listener = graph.add(Listener)
    graph.wait_for(lambda: {"ee_pose", "joint_states"} <= listener.newest.keys(), "the arm")
    assert len(listener.newest["joint_states"].name) == 7
    here, yaw = listener.tool, sim.simulation.tool_pose[3]

    def measured() -> float:
        q = listener.newest["ee_pose"].pose.orientation
        return yaw_of((q.x, q.y, q.z, q.w), DOWN)

    assert measured() == pytest.approx(yaw, abs=0.01)
    for orientation in ((0.0, 0.0, 0.0, 1.0), (0.0, 0.0, 0.0, 0.0), (np.nan, 0.0, 0.0, 0.0)):  # upright, and none at all
        count = listener.counts["ee_pose"]
        listener.go(here, orientation=orientation)
        graph.wait_for(lambda count=count: listener.counts["ee_pose"] > count + 3, "the simulation goes on")
        assert sim._target is None

    def there() -> bool:
        listener.go(here, orientation=turned(DOWN, yaw + 0.1))
        return abs(measured() - yaw - 0.1) < 0.005

    graph.wait_for(there, "the tool at its yaw")
    np.testing.assert_allclose(listener.tool, here, atol=1e-3)


def test_with_simulated_time_it_is_the_clock_and_time_is_stamped_by_it(graph):
    sim = graph.add(SimNode, values={**SMALL, "use_sim_time": True, "real_time_factor": 2.0})
    listener = graph.add(Listener)
    graph.wait_for(lambda: listener.counts["/clock"] > 20 and "ee_pose" in listener.newest, "the clock")
    assert abs(stamp_to_ns(listener.newest["ee_pose"].header.stamp) - stamp_to_ns(listener.newest["/clock"].clock)) < 1_000_000_000
    assert stamp_to_ns(listener.newest["/clock"].clock) < sim.timed.time_ns + 2_000_000_000


def test_a_speed_other_than_real_time_needs_simulated_time(graph):
    with pytest.raises(ParameterError, match="write use_sim_time: true"):
        graph.add(SimNode, values={**SMALL, "real_time_factor": 2.0})
