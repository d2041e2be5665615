"""The table of topics: nodes have what it says, in type and quality too, and what it says about names and about moving an arm."""

from __future__ import annotations

import pytest
from test_security import control, gym, learner, operator, sim, vla

from rl_token_ros.interfaces import topics
from rl_token_ros.interfaces.topics import ACTIONS, BY_NAME, POSE, SERVICES, TABLE, Topic, our_name, row
from rl_token_ros.nodes.ros_topics import interface_class, profile
from rl_token_ros.settings import node_settings, parameters

OF_RCLPY = {"/rosout", "/parameter_events"}


def kind(message: type) -> str:
    return f"{message.__module__.partition('.')[0]}/msg/{message.__name__}"


@pytest.mark.parametrize("make", [control, vla, learner, sim, gym, operator])
def test_a_node_has_names_types_and_quality_of_the_table(graph, models, tmp_path, make):
    """That it has all of them is the policy's test."""
    node, _ = make(graph, models, tmp_path)
    for way, ends in (("publishers", list(node.publishers)), ("subscribers", list(node.subscriptions))):
        for end in ends:
            if end.topic_name in OF_RCLPY or (way, end.topic_name) == ("subscribers", "/clock"):  # which rclpy takes for simulated time
                continue
            topic = row(end.topic_name.removeprefix("/")) or row(end.topic_name)
            assert topic is not None, end.topic_name
            assert node.get_name() in getattr(topic, way), end.topic_name
            assert kind(end.msg_type) in topic.all_types
            given = profile(topic.offered if way == "publishers" else topic.asked)
            has = end.qos_profile
            assert (has.reliability, has.durability, has.depth) == (given.reliability, given.durability, given.depth), end.topic_name


def test_services_are_those_of_control_node(graph, models, tmp_path):
    node, _ = control(graph, models, tmp_path)
    has = {service.srv_name.rpartition("/")[2]: service.srv_type for service in node.services}
    for service in SERVICES:
        assert has[service.name] is interface_class(service.type)


@pytest.mark.parametrize("topic", TABLE, ids=lambda topic: topic.name)
def test_what_we_publish_can_be_heard_by_what_we_subscribe(topic):
    if topic.publishers and topic.subscribers:
        assert topic.offered.reliability == "reliable" or topic.asked.reliability == "best_effort"
        assert topic.offered.durability == "transient_local" or topic.asked.durability == "volatile"


def test_types_follow_the_parameters_that_choose_them():
    fields = parameters.fields(node_settings.Control)
    assert tuple(BY_NAME["command"].types) and set(BY_NAME["command"].types) == set(fields["command_interface"][2]["choices"])
    assert set(BY_NAME["gripper/command"].types) | set(ACTIONS[0].types) == set(fields["gripper_interface"][2]["choices"])
    assert set(topics.CAMERA) == set(parameters.fields(node_settings.Vla)["image_transport"][2]["choices"])


def test_what_moves_hardware_cannot_be_marked_as_played():
    assert {topic.name for topic in TABLE if topic.actuates} == {"command", "gripper/command"}
    with pytest.raises(ValueError, match="moves hardware"):
        Topic("arm", POSE, "", actuates=True)


@pytest.mark.parametrize(
    "name, type_name, ours",
    [
        ("/joint_states", topics.JOINT_STATE, "joint_states"),
        ("/a/b/joint_states", topics.JOINT_STATE, "joint_states"),
        ("/a/leader/joint_states", topics.JOINT_STATE, "leader/joint_states"),
        ("/my_joint_states", topics.JOINT_STATE, ""),
        ("/joint_states", topics.POSE, ""),
        ("/left/command", topics.TRAJECTORY, "command"),
        ("/left/gripper/command", topics.TRAJECTORY, "gripper/command"),
        ("/gripper/command", topics.POSE, "command"),
        ("/camera/left wrist/image_raw", topics.IMAGE, "camera/left wrist/image_raw"),
        ("/camera/base/image_raw/compressed", topics.COMPRESSED, "camera/base/image_raw/compressed"),
        ("/camera/base/image_raw/compressed", topics.IMAGE, ""),
        ("/left/control_node/ticks", topics.TABLE_ROWS, "control_node/ticks"),
        ("/clock", "rosgraph_msgs/msg/Clock", "/clock"),
        ("/left/clock", "rosgraph_msgs/msg/Clock", ""),
    ],
)
def test_which_of_ours_a_topic_is(name, type_name, ours):
    assert our_name(name, type_name) == ours
    assert (row(ours) is not None) == bool(ours)
