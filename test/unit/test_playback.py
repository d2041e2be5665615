"""Which topics of a bag are ours, by the role that `record` wrote, by name and by remap, and which of them are played."""

from __future__ import annotations

import pytest

from rl_token_ros.bags.playback import PlaybackError, select
from rl_token_ros.bags.reader import Bag, Topic
from rl_token_ros.bags.topic_names import Names
from rl_token_ros.bags.writer import BagWriter
from rl_token_ros.interfaces.topics import COMMAND_TYPES, COMPRESSED, IMAGE, JOINT_STATE, POSE

FORWARD, TF = COMMAND_TYPES["forward"], "tf2_msgs/msg/TFMessage"


def bag(*topics: Topic) -> dict[str, Topic]:
    return {topic.name: topic for topic in topics}


def one(name: str, kind: str, role: str = "") -> Topic:
    return Topic(name, kind, role=role)


def played(topics: dict[str, Topic], *remaps: str, commands: bool = False, also: tuple[str, ...] = ()) -> set[str]:
    selection = select(topics, Names(topics, list(remaps)), commands, also)
    names = {topic.name for topic in selection.topics}
    assert len(selection.left_out) == len(topics) - len(names)  # one sentence each
    return names


@pytest.mark.parametrize("kind", COMMAND_TYPES.values())
@pytest.mark.parametrize(
    "name, role", [("/command", ""), ("/left/command", ""), ("/arm/goal", "command"), ("/ee_pose", "command"), ("/arm/goal", "")]
)
def test_no_command_is_played_unasked_whatever_its_name_and_type(name, role, kind):
    topics = bag(one(name, kind, role))
    assert played(topics) == set()
    assert played(topics, commands=True) == {name}


def test_a_role_tells_a_command_from_an_input_of_its_name():
    assert played(bag(one("/x/ee_pose", POSE))) == {"/x/ee_pose"}
    assert played(bag(one("/x/ee_pose", POSE, role="command")), "ee_pose:=/x/ee_pose") == set()  # a remap cannot make an input of it


def test_what_an_action_left_in_a_bag_is_no_goal_and_not_played():
    """Goals are requests of a service, which no bag holds; what recorders keep beside them is left out, whatever is asked for but its name."""
    of = "/hand/gripper/command/_action"
    topics = bag(
        one(f"{of}/status", "action_msgs/msg/GoalStatusArray"),
        one(f"{of}/feedback", "control_msgs/action/GripperCommand_FeedbackMessage"),
        one(f"{of}/send_goal/_service_event", "control_msgs/action/GripperCommand_SendGoal_Event"),
    )
    assert played(topics, commands=True) == set()


def test_inputs_under_other_names_are_played_by_role_or_remap():
    topics = bag(one("/rgb", IMAGE, role="camera/base/image_raw"), one("/tool", POSE), one("/jpeg", COMPRESSED))
    assert played(topics) == {"/rgb"}
    assert played(topics, "ee_pose:=/tool") == {"/rgb", "/tool"}
    assert played(topics, "ee_pose:=/jpeg") == {"/rgb"}  # of another type


def test_what_nobody_knows_is_played_by_its_name_alone():
    topics = bag(one("/tf", TF), one("/left/leader/joint_states", JOINT_STATE), one("/later", FORWARD, role="a role of a later version"))
    assert played(topics) == set()
    assert played(topics, commands=True) == {"/later"}
    assert played(topics, also=("tf", "/left/leader/joint_states")) == {"/tf", "/left/leader/joint_states"}
    with pytest.raises(PlaybackError, match="--also /nothing: the bag has no such topic; it has /later, /left"):
        played(topics, also=("/nothing",))


# --- roles --------------------------------------------------------------------------------------------------------------


def test_a_role_is_believed_before_a_name():
    topics = bag(
        one("/tool", POSE, "ee_pose"),
        one("/ee_pose", POSE),
        one("/x/joint_states", JOINT_STATE, "leader/joint_states"),
        one("/joint_states", JOINT_STATE),
    )
    names = Names(topics)
    assert names.find("ee_pose").name == "/tool"
    assert names.find("joint_states").name == "/joint_states"
    assert Names(topics, ["ee_pose:=/ee_pose"]).find("ee_pose").name == "/ee_pose"
    taken = Names(bag(one("/left/joint_states", JOINT_STATE, "leader/joint_states")))
    assert taken.find("joint_states") is None and "--remap" not in taken.missing("joint_states")


def test_a_command_is_found_by_its_role():
    topics = bag(one("/forward/commands", FORWARD, "command"), one("/other", FORWARD))
    assert Names(topics).find("command", FORWARD).name == "/forward/commands"
    assert Names(topics).find("command", POSE) is None


def test_two_topics_of_one_role_are_a_question():
    """A bag that was continued with another remapping."""
    names = Names(bag(one("/a", POSE, "ee_pose"), one("/b", POSE, "ee_pose")))
    assert names.find("ee_pose") is None
    assert "more than once; if '/a' (or /b) is it, write --remap ee_pose:=/a" in names.missing("ee_pose")


def test_roles_are_kept_by_a_bag_whole_cut_and_continued(tmp_path):
    folder = tmp_path / "bag"
    for _ in range(2):
        with BagWriter(folder) as writer:
            writer.add_topic("/forward/commands", FORWARD, role="command")
            for i in range(3):
                writer.write("/forward/commands", FORWARD, i, bytes(16))
                writer.write("/else", POSE, i, bytes(16))
    roles = {"/forward/commands": "command", "/else": ""}
    assert {topic.name: topic.role for topic in Bag(folder).topics.values()} == roles
    first = next(folder.glob("*.mcap"))
    first.write_bytes(first.read_bytes()[:-300])  # no index
    assert {topic.name: topic.role for topic in Bag(first).topics.values()} == roles


def test_a_role_is_not_lost_when_a_bag_is_continued_without_it(tmp_path):
    for role in ("command", ""):
        with BagWriter(tmp_path / "bag") as writer:
            writer.add_topic("/x/ee_pose", POSE, role=role)
            writer.write("/x/ee_pose", POSE, 1, bytes(16))
    assert Bag(tmp_path / "bag").topics["/x/ee_pose"].role == "command"
