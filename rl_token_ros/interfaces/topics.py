"""The one table of topics, actions and services: name, type, quality of service, who publishes and subscribes, and whether an arm moves by it.

Nodes, `check`, `record`, bags, the pages of docs/ and the policies of SROS 2 come from it. A topic is written in code by the name it has here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

TICKS, SETTINGS = "control_node/ticks", "control_node/settings"
SIMULATORS = ("sim_node", "gym_node")  # each speaks for a robot
SHELL = "shell"  # stands among publishers and subscribers for a person at a shell, with the operator's rights


@dataclass(frozen=True)
class Qos:
    """Quality of service, in the words of rmw, and messages that are kept for whoever is slow."""

    reliability: str = "reliable"  # or best_effort
    durability: str = "volatile"  # or transient_local
    depth: int = 10


SENSOR = Qos("best_effort", depth=5)
STATES = Qos("best_effort", depth=20)  # several drivers, and ticks of some ms between two looks; what waits longer is older, too
# Reliable where the publisher is. A third of a second of pictures: as long a busy machine may keep a node from taking them.
PICTURES = Qos("best_effort", depth=10)
LATCHED = Qos(durability="transient_local", depth=1)
NEWEST = Qos(depth=1)
DEEP = Qos(depth=1000)


@dataclass(frozen=True)
class Topic:
    """One row.

    Attributes:
        name: relative to the robot's namespace, ``{camera}`` stands for a camera's name; with a slash in front, of ROS itself. What a node
            calls ``~/x`` is ``node/x`` here, see :attr:`owner`.
        type: as in sensor_msgs/msg/Image; empty where ``types`` has it by the value of a parameter.
        meaning: what it says.
        publishers, subscribers: nodes of this package that may do so, :data:`SHELL` among them. Drivers and controllers are not listed.
        offered: what our publishers offer.
        asked: what our subscriptions ask for.
        types: by `command_interface` or `gripper_interface`.
        owner: the node that calls it ``~/x``, or nothing.
        actuates: hardware that listens moves.
        played: whether `replay_bag --play` publishes it unasked: nothing but our own nodes is moved by it.
        recorded: whether `record` takes it unasked.
    """

    name: str
    type: str
    meaning: str
    publishers: tuple[str, ...] = ()
    subscribers: tuple[str, ...] = ()
    offered: Qos = Qos()
    asked: Qos = Qos()
    types: dict[str, str] = field(default_factory=dict)
    owner: str = ""
    actuates: bool = False
    played: bool = True
    recorded: bool = True

    def __post_init__(self) -> None:
        if self.actuates and self.played:
            raise ValueError(f"'{self.name}' moves hardware: it cannot be played unasked")

    @property
    def own_name(self) -> str:
        """As its owner calls it."""
        return f"~/{self.name.removeprefix(self.owner + '/')}" if self.owner else self.name

    @property
    def all_types(self) -> tuple[str, ...]:
        """The types that it may have."""
        return tuple(self.types.values()) or (self.type,)

    def type_for(self, interface: str = "") -> str:
        """Its type, with this value of `command_interface` or `gripper_interface`."""
        return self.types[interface] if self.types else self.type


@dataclass(frozen=True)
class Action:
    """An action whose goals move hardware. A bag holds none of them, and `replay_bag --play` sends none: it publishes topics alone.

    Attributes:
        name: as that of a topic.
        meaning: what a goal says.
        types: by `gripper_interface`, as in control_msgs/action/GripperCommand.
        clients: nodes of this package that send goals.
    """

    name: str
    meaning: str
    types: dict[str, str]
    clients: tuple[str, ...]


@dataclass(frozen=True)
class Service:
    """A service of control_node: its name there without ``~/``, its type as in std_srvs/srv/Trigger, and what it does."""

    name: str
    type: str
    meaning: str


JOINT_STATE, TRAJECTORY, POSE = "sensor_msgs/msg/JointState", "trajectory_msgs/msg/JointTrajectory", "geometry_msgs/msg/PoseStamped"
TF = "tf2_msgs/msg/TFMessage"
WRENCH, TWIST = "geometry_msgs/msg/WrenchStamped", "geometry_msgs/msg/TwistStamped"
IMAGE, COMPRESSED, TABLE_ROWS = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/PointCloud2"
BOOL, CODE, TEXT = "std_msgs/msg/Bool", "std_msgs/msg/UInt8", "std_msgs/msg/String"
GRIPPER_TYPES = {"forward": "std_msgs/msg/Float64MultiArray", "trajectory": TRAJECTORY, "joint_state": JOINT_STATE}
GRIPPER_ACTIONS = {"gripper_command": "control_msgs/action/GripperCommand", "parallel_gripper": "control_msgs/action/ParallelGripperCommand"}
COMMAND_TYPES = {**GRIPPER_TYPES, "twist": TWIST, "pose": POSE}
# The camera's topic by `image_transport`.
CAMERA = {"raw": "camera/{camera}/image_raw", "compressed": "camera/{camera}/image_raw/compressed"}

TABLE = (
    # What moves the arm. control_node alone may say it.
    Topic(
        "command", "",
        "what moves the arm; the type follows `command_interface`: Float64MultiArray, JointTrajectory, JointState, TwistStamped, PoseStamped",
        ("control_node",), SIMULATORS, NEWEST, NEWEST, COMMAND_TYPES, actuates=True, played=False,
    ),
    Topic(
        "gripper/command", "", "positions of `gripper_names`; the type follows `gripper_interface`: Float64MultiArray, JointTrajectory, JointState",
        ("control_node",), ("gym_node",), NEWEST, NEWEST, GRIPPER_TYPES, actuates=True, played=False,
    ),
    # Measurements.
    Topic(
        "joint_states", JOINT_STATE, "joint by joint, by name: several drivers may each bring a part; two that bring the same joint are refused",
        SIMULATORS, ("vla_node", "control_node", SHELL), Qos(depth=5), STATES,
    ),
    Topic(
        "ee_pose", POSE,
        "pose of the tool in `base_frame`, where `proprioception` or Cartesian actions ask for it; with `ee_pose_source` tf or description from "
        "control_node",
        (*SIMULATORS, "control_node"), ("vla_node", "control_node"), Qos(depth=5), STATES,
    ),
    Topic(
        "robot_description", TEXT, "the robot's URDF, with `ee_pose_source: description`; what is made of it is `ee_pose`",
        (), ("control_node",), asked=LATCHED, recorded=False,
    ),
    Topic(
        "wrench", WRENCH, "force and torque at the tool, where `proprioception` asks for them",
        SIMULATORS, ("vla_node", "control_node"), Qos(depth=5), STATES,
    ),
    Topic(
        "extra", JOINT_STATE, "what no other topic measures: `position` by name, in any unit, of the groups extra/NAME of `proprioception`",
        ("gym_node",), ("vla_node", "control_node"), Qos(depth=5), STATES,
    ),
    Topic(
        CAMERA["raw"], IMAGE,
        "one per entry of `cameras`, reliable where the camera is; rgb8, bgr8, rgba8, bgra8, mono8, mono16, YUV 4:2:2 and 4:2:0, bayer of 8 bits",
        SIMULATORS, ("vla_node",), Qos(depth=2), PICTURES, recorded=False,
    ),
    Topic(
        CAMERA["compressed"], COMPRESSED, "with `image_transport: compressed`, in its place: JPEG, PNG",
        (), ("vla_node",), Qos(depth=2), PICTURES, recorded=False,
    ),
    # The VLA, the human and the scene.
    Topic("task", TEXT, "the language instruction; `task` is its default", (SHELL,), ("vla_node",), LATCHED, LATCHED),
    Topic(
        "vla/reference", TRAJECTORY, "H actions from the observation's stamp on; `joint_names` are action_names, then gripper_names",
        ("vla_node",), ("control_node",), NEWEST, NEWEST,
    ),
    Topic(
        "vla/embedding", IMAGE, "32FC1, one row per token of the VLA, under the observation's stamp; or, where its server made it, the RL token as "
        "one row, with `frame_id` `token:` and the encoder's SHA-256; with `token_size: 0` only while somebody subscribes",
        ("vla_node",), ("control_node",), NEWEST, NEWEST,
    ),
    Topic(
        "intervention", JOINT_STATE, "a human's action by action name (and gripper name); acts while it is fresh; with `frame_id` "
        "`residual` it is added to the VLA's",
        ("operator",), ("control_node",), NEWEST, SENSOR,
    ),
    Topic("critical_phase", BOOL, "True begins an episode, False ends one that has no outcome yet", (*SIMULATORS, SHELL), ("control_node",)),
    Topic("outcome", BOOL, "the task's end: True success, False failure", (*SIMULATORS, SHELL), ("control_node",)),
    # What control_node tells, and the learner.
    Topic(
        "episode_ended", CODE, "1 success, 2 failure, 3 time limit, 4 aborted; what resets a scene listens to it",
        ("control_node",), ("vla_node", *SIMULATORS, "operator"),
    ),
    Topic(
        "replay", TABLE_ROWS, "one row per control step of the critical phase: a table of typed columns; a bag of it is the data set",
        ("control_node",), ("learner_node", "monitor"), DEEP, DEEP,
    ),
    Topic(
        "actor/weights", "std_msgs/msg/UInt8MultiArray", "one safetensors blob; sent at once and repeated slowly for late joiners",
        ("learner_node",), ("control_node",), LATCHED, LATCHED,
    ),
    Topic(
        TICKS, TABLE_ROWS, "one row per tick and call: what was seen by stamp, who acted, what was sent",
        ("control_node",), ("operator",), DEEP, Qos(), owner="control_node",
    ),
    Topic(
        SETTINGS, TEXT, "the parameters in use as JSON, so that a bag explains itself",
        ("control_node",), ("operator",), LATCHED, LATCHED, owner="control_node",
    ),
    # Devices of a human's hand. Other programs may take these names for an arm's: they are not played unasked.
    Topic("joy", "sensor_msgs/msg/Joy", "the joystick: `joy_axes`, `joy_buttons`", (), ("operator",), asked=SENSOR, played=False, recorded=False),
    Topic("leader/joint_states", JOINT_STATE, "a leader arm: `leader_names`", (), ("operator",), asked=SENSOR, played=False, recorded=False),
    Topic("twist", TWIST, "a SpaceMouse, in `base_frame`: `twist_axes`", (), ("operator",), asked=SENSOR, played=False, recorded=False),
    # Of ROS itself.
    Topic(
        "/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", "state, rates, ages, percentiles and refusals with their reasons, once a second",
        ("vla_node", "control_node", "learner_node", *SIMULATORS, "record"), ("operator", "monitor"), Qos(), Qos(depth=100),
    ),
    Topic(
        "/tf", TF, "with `ee_pose_source: tf`; what is made of it is `ee_pose`",
        (), ("control_node",), asked=Qos(depth=100), played=False, recorded=False,
    ),
    Topic("/tf_static", TF, "likewise", (), ("control_node",), asked=Qos(durability="transient_local", depth=100), played=False, recorded=False),
    Topic("/clock", "rosgraph_msgs/msg/Clock", "simulated time, where it is not the wall's", SIMULATORS, (), NEWEST),
)  # fmt: skip

ACTIONS = (
    Action(
        "gripper/command",
        "position of the gripper of `gripper_names`, with `gripper_interface` gripper_command or parallel_gripper; of several each has its own, "
        "`gripper/<name>/command`",
        GRIPPER_ACTIONS, ("control_node",),
    ),
)  # fmt: skip

SERVICES = (
    Service("enable", "std_srvs/srv/SetBool", "let the arm move, or not; refused with the reasons"),
    Service("critical_phase", "std_srvs/srv/SetBool", "as the topic `critical_phase`"),
    Service("success", "std_srvs/srv/Trigger", "end the episode as a success"),
    Service("failure", "std_srvs/srv/Trigger", "end the episode as a failure"),
    Service("discard", "std_srvs/srv/Trigger", "end the episode without a verdict"),
    Service("stop", "std_srvs/srv/Trigger", "hold the measured position, latched"),
    Service("reset_stop", "std_srvs/srv/Trigger", "clear a latched stop; the arm is disabled then"),
    Service("rollback", "std_srvs/srv/Trigger", "return to the previous good weights"),
)

BY_NAME = {topic.name: topic for topic in TABLE}
TYPES = {topic.name: topic.type for topic in TABLE}
RECORDED = tuple(topic.name for topic in TABLE if topic.recorded)
# The longest first: `leader/joint_states` ends with `joint_states`, too.
_PATTERNS = [
    (re.compile(("" if name.startswith("/") else "(?:/.*)?/") + f"({re.escape(name).replace(re.escape('{camera}'), '[^/]+')})"), topic)
    for name, topic in sorted(BY_NAME.items(), key=lambda item: -item[0].count("/"))
]


def row(ours: str) -> Topic | None:
    """The row of one of our names, a camera's name filled in; None for any other name."""
    if (topic := BY_NAME.get(ours)) is not None:
        return topic
    return next((topic for pattern, topic in _PATTERNS if "{camera}" in topic.name and pattern.fullmatch(f"/{ours}")), None)


def our_name(full_name: str, type_name: str) -> str:
    """Which of ours a topic is by its name, in any namespace, and its type; empty for none, as for one that was remapped."""
    for pattern, topic in _PATTERNS:
        if type_name in topic.all_types and (match := pattern.fullmatch(full_name)):
            return match[1]
    return ""
