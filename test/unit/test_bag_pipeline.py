"""Whatever happens to a pipeline, its rows of `~/ticks` and the messages are enough to make every command again, bit for bit."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import small_robot
from phase_models import along_x
from small_robot import CHUNK, DOWN, HOME, HORIZON, ROWS, TOKEN, WIDTH

pytest.importorskip("rosbags")

from rl_token_ros.bags import message_types
from rl_token_ros.bags.reader import Bag, Record
from rl_token_ros.bags.run_settings import control_of
from rl_token_ros.bags.topic_names import Names
from rl_token_ros.bags.writer import BagWriter
from rl_token_ros.commands import replay_bag
from rl_token_ros.control import phase_switch, tick_record
from rl_token_ros.control.arming import Refused
from rl_token_ros.control.command import Outputs
from rl_token_ros.control.phase_switch import PhaseModel
from rl_token_ros.control.pipeline import Pipeline
from rl_token_ros.control.resumable import ResumablePipeline
from rl_token_ros.control.tick_record import Event
from rl_token_ros.interfaces import correction, token_frame
from rl_token_ros.interfaces.codes import Source
from rl_token_ros.interfaces.replay_table import POINT_FIELD
from rl_token_ros.interfaces.topics import SETTINGS, TICKS, TYPES
from rl_token_ros.policy import actor_weights
from rl_token_ros.policy.actor_weights import WeightsError, fingerprint
from rl_token_ros.resimulation.pending import header_stamp_ns
from rl_token_ros.resimulation.resimulator import Resimulator, Step
from rl_token_ros.settings import parameters
from rl_token_ros.settings.control import Control

STORE = message_types.known()
M = STORE.types
PERIOD = 20_000_000
DESCRIBED = "8192b86c3e6b7ef07e483561536b359373aaebdc4d3add093faf58582a1f112c"  # of the columns for three actions in chunks of ten
START = 1_700_000_000_123_456_789  # not a number that a float holds


def stamp(ns: int):
    return M["builtin_interfaces/msg/Time"](ns // 10**9, ns % 10**9)


def header(ns: int, frame: str = "base_link"):
    return M["std_msgs/msg/Header"](stamp(ns), frame)


def pose(ns: int, position: np.ndarray):
    point, turn = M["geometry_msgs/msg/Point"](*map(float, position)), M["geometry_msgs/msg/Quaternion"](*DOWN)
    return M[TYPES["ee_pose"]](header(ns), M["geometry_msgs/msg/Pose"](point, turn))


def wrench(ns: int, force: np.ndarray):
    vector = M["geometry_msgs/msg/Vector3"]
    return M[TYPES["wrench"]](header(ns), M["geometry_msgs/msg/Wrench"](vector(*map(float, force)), vector(0.0, 0.0, 0.0)))


def reference(ns: int, actions: np.ndarray, names: tuple[str, ...] = ("x", "y", "z")):
    none = np.zeros(0)
    duration = M["builtin_interfaces/msg/Duration"]
    points = [M["trajectory_msgs/msg/JointTrajectoryPoint"](a, none, none, none, duration(0, i * PERIOD)) for i, a in enumerate(actions)]
    return M[TYPES["vla/reference"]](header(ns), list(names), points)


def embedding(ns: int, matrix: np.ndarray):
    return M[TYPES["vla/embedding"]](header(ns), ROWS, WIDTH, "32FC1", 0, 4 * WIDTH, matrix.astype("<f4").view(np.uint8).ravel())


def token(ns: int, values: np.ndarray, encoder_sha256: str):
    made = M["std_msgs/msg/Header"](stamp(ns), token_frame.frame_of(encoder_sha256))
    return M[TYPES["vla/embedding"]](made, 1, len(values), "32FC1", 0, 4 * len(values), values.astype("<f4").view(np.uint8))


def intervention(ns: int, action: np.ndarray, names: tuple[str, ...] = ("x", "y", "z"), frame: str = ""):
    return M[TYPES["intervention"]](header(ns, frame), list(names), action, np.zeros(0), np.zeros(0))


def table(layout: tick_record.Layout, raw: bytes):
    row = layout.unpack(raw)
    field = M["sensor_msgs/msg/PointField"]
    columns = []
    for name in layout.dtype.names:
        kind, at = layout.dtype.fields[name][:2]
        columns.append(field(name, at, POINT_FIELD[kind.base.str.lstrip("<|")], int(np.prod(kind.shape))))
    return M[TYPES[TICKS]](header(row.now_ns), 1, 1, columns, False, len(raw), len(raw), np.frombuffer(raw, np.uint8), True)


class Run:
    """A run in simulated time in which everything happens, and its bag.

    ``pushes``: chance of weights in each control step, beside; ``tokens``: the VLA's server makes the token.
    """

    def __init__(self, folder: Path, models: dict, seed: int, pushes: float = 0.0, tokens: bool = False, **changes) -> None:
        self.random = np.random.default_rng(seed)
        self.pushes, self.tokens = pushes, tokens
        settings = small_robot.settings(
            **{"token_encoder": str(models["encoder"]), **changes},
            mode="actor", exploration_sigma=0.5, exploration_gain=2.0, replan_interval=2, rollout_ramp=0.5, rollback_seconds=0.3,
            state_timeout=0.1, chunk_timeout=0.3, hold_timeout=0.3, episode_time_limit=3.0, weights_change_limit=2.0,
        )  # fmt: skip
        self.pipeline = Pipeline(settings, lambda error: None)
        self.grippers = tuple(settings.gripper_names)
        self.bag = BagWriter(folder)
        self.now, self.position, self.version = START, HOME.copy(), 0
        self.transitions: list[np.ndarray] = []
        self.grips = 0  # commands to the grippers
        self._tell_settings()

    def _write(self, ours: str, message) -> None:
        kind = TYPES[ours]
        late = int(self.random.integers(0, 3_000_000))  # the recorder's own order
        self.bag.write(f"/{ours}", kind, self.now + late, bytes(STORE.serialize_cdr(message, kind)))

    def _tell_settings(self) -> None:
        self._write(SETTINGS, M["std_msgs/msg/String"](self.pipeline.settings_text()))

    def _sense(self) -> None:
        random, pipeline, now = self.random, self.pipeline, self.now
        for topic, message in (("ee_pose", pose(now - 1, self.position)), ("wrench", wrench(now - 2, random.normal(size=3)))):
            if random.random() > 0.01:
                self._write(topic, message)
                pipeline.measure(topic, message, now)
        if random.random() < 0.3:
            actions = random.normal(0, 0.0005, (HORIZON, 3))
            grips = random.uniform(-0.2, 1.0, (HORIZON, len(self.grippers)))
            message = reference(now - 40_000_000, np.hstack([actions, grips]), ("x", "y", "z", *self.grippers))
            self._write("vla/reference", message)
            pipeline.propose(message, now)
            message = embedding(now - 40_000_000, random.normal(size=(ROWS, WIDTH)))
            if self.tokens:
                message = token(now - 40_000_000, random.normal(size=TOKEN), pipeline.encoder.sha256)
            self._write("vla/embedding", message)
            pipeline.encode(message)
        if random.random() < 0.02:
            action = random.normal(0, 0.001, 3)
            named = self.grippers if random.random() < 0.5 else ()
            frame = correction.FRAME if random.random() < 0.5 else ""
            message = intervention(now, np.append(action, random.uniform(0.0, 0.8, len(named))), ("x", "y", "z", *named), frame)
            self._write("intervention", message)
            pipeline.intervene(message, now)

    def _push(self) -> None:
        self.version += int(self.random.integers(1, 3))
        identity = small_robot.identity(encoder_sha256=self.pipeline.encoder.sha256, vla_sha256=self.pipeline.encoder.vla_sha256)
        tensors = {name: self.random.normal(0, 0.1, shape).astype(np.float32) for name, shape in small_robot.architecture().shapes().items()}
        tensors["input_scale"] = np.abs(tensors["input_scale"])
        if self.random.random() < 0.3:  # these change nothing
            tensors["w2"][:], tensors["b2"][:] = 0.0, 0.0
        blob = actor_weights.encode(small_robot.make_weights(self.version, identity=identity, tensors=tensors, created_ns=1))
        dimension = M["std_msgs/msg/MultiArrayLayout"]([], 0)
        self._write("actor/weights", M["std_msgs/msg/UInt8MultiArray"](dimension, np.frombuffer(blob, np.uint8)))
        try:
            self.pipeline.admit(blob)
        except WeightsError:
            pass

    def _happen(self) -> None:
        """Something an operator, a learner or the world does between two ticks."""
        random, pipeline = self.random, self.pipeline
        what = random.integers(0, 60)
        try:
            if what == 0:
                self._push()
            elif what in (1, 2, 3):
                self._call(Event.CRITICAL)
            elif what == 4:
                self._call(Event.SUCCESS if random.random() < 0.5 else Event.FAILURE)
            elif what == 5 and random.random() < 0.3:
                self._call(Event.STOP)
            elif what in (6, 7) and pipeline.controller.stop_reason:
                self._call(Event.RESET_STOP)
            elif what == 8 and random.random() < 0.3:
                self._call(Event.DISABLE)
            elif what == 9:
                self._call(Event.ROLLBACK)
            elif what == 10:
                changes = {"mode": str(random.choice(["vla", "shadow", "actor", "actor"])), "replan_interval": int(random.integers(1, CHUNK + 1))}
                values = {**dataclasses.asdict(pipeline.controller.settings), **changes, "exploration_sigma": float(random.random())}
                pipeline.change(parameters.build(Control, values))
                self._tell_settings()
            elif what == 11 and random.random() < 0.1:
                self.now -= 2 * 10**9 + 11  # somebody sets the clock; to the nanosecond no stamp comes twice
            elif what == 12:
                self.now += 200_000_000  # a stall
            if not pipeline.controller.enabled:
                self._call(Event.ENABLE)
                if random.random() < 0.5:
                    self._call(Event.AWAIT_HANDSHAKE)
            if pipeline.controller.handshake.steps > 1 and random.random() < 0.2:
                self._call(Event.HANDSHAKE)
        except (Refused, WeightsError):
            pass

    def go(self, ticks: int) -> None:
        """Run for so many ticks."""
        for _ in range(ticks):
            self.now += PERIOD
            self._sense()
            self._happen()
            if self.pushes and self.random.random() < self.pushes:
                self._push()
            command = self._call(Event.TICK).command
            if command is not None:
                self.position = command.position + self.random.normal(0, 1e-4, 3)
        self.bag.close()

    def _call(self, event: Event) -> Outputs:
        outputs = self.pipeline.step(event, self.now)
        self.transitions += outputs.rows
        self.grips += outputs.grippers is not None
        for raw in outputs.ticks:
            self._write(TICKS, table(self.pipeline.layout, raw))
        return outputs


def replayed(
    folder: Path, lost: Callable[[Record], bool] = lambda record: False, change: Callable[[Record], Record] = lambda record: record
) -> tuple[list[Step], list[np.ndarray]]:
    """Steps and transitions of a bag without the messages that are lost, and with those that are changed."""
    bag = Bag(folder)
    names = Names(bag.topics)
    wanted = (*tick_record.NAMED, "actor/weights", TICKS, SETTINGS)
    replayer = Resimulator(
        {ours: topic for ours in wanted if (topic := names.find(ours))},
        lambda told, layout: ResumablePipeline(control_of(told), lambda error: None, layout),
    )
    steps = [step for record in bag.read() if not lost(record) for step in replayer.take(change(record))]
    return steps + list(replayer.finish()), replayer.rows


def checked(steps: list[Step]) -> list[Step]:
    return [step for step in steps if not step.unchecked and step.again is not None]


def by_stamp(rows: list[np.ndarray]) -> dict[tuple, bytes]:
    return {(int(row["stamp_sec"][0]), int(row["stamp_nanosec"][0])): row.tobytes()[4:] for row in rows}  # seq counts from the start


@pytest.fixture(scope="module")
def runs(tmp_path_factory, models) -> list[tuple[Path, dict[tuple, bytes]]]:
    """Wild runs: bag and transitions of each."""
    made = []
    for seed in range(4):
        folder = tmp_path_factory.mktemp(f"wild{seed}") / "bag"
        run = Run(folder, models, seed)
        run.go(400)
        made.append((folder, by_stamp(run.transitions)))
    return made


@pytest.mark.slow
def test_every_call_of_wild_runs_comes_out_the_same(runs):
    steps: list[Step] = []
    for folder, transitions in runs:
        again, rows = replayed(folder)
        assert len(again) == sum(1 for _ in Bag(folder).read({f"/{TICKS}"}))
        assert by_stamp(rows) == transitions
        assert [(s.row.seq, s.unchecked, s.differs) for s in again if s.unchecked or s.differs] == []
        steps += again
    assert {step.row.source for step in steps} == {0, 1, 2, 3, 4}  # VLA, actor, human, hold, none
    assert {Event(step.row.event).label for step in steps} == {event.label for event in Event} - {"not critical", "discard"}


def test_a_run_with_tokens_of_the_server_comes_out_the_same_without_the_encoders_file(models, tmp_path):
    fingerprints = {"encoder_sha256": fingerprint(models["encoder"]), "vla_sha256": fingerprint(models["vla"])}
    run = Run(tmp_path / "bag", models, seed=0, pushes=0.05, tokens=True, token_encoder="", **fingerprints)
    run.go(200)
    again, rows = replayed(tmp_path / "bag")
    assert by_stamp(rows) == by_stamp(run.transitions) and rows
    assert [(s.row.seq, s.unchecked, s.differs) for s in again if s.unchecked or s.differs] == []
    assert any(step.row.source == Source.ACTOR for step in again)


def test_the_encoders_file_may_be_gone_where_the_bag_holds_tokens(models, tmp_path, monkeypatch, capsys):
    gone = tmp_path / "encoder.onnx"
    for name, tokens in (("tokens", True), ("embeddings", False)):
        shutil.copy(models["encoder"], gone)
        Run(tmp_path / name, models, seed=0, tokens=tokens, token_encoder=str(gone)).go(100)
        gone.unlink()
        monkeypatch.setattr("sys.argv", ["replay_bag", str(tmp_path / name)])
        status, said = replay_bag.main(), capsys.readouterr()
        assert (status == 0 and "refused" not in said.out) if tokens else (status == 2 and "which does not exist" in said.err), said


@pytest.mark.slow
def test_a_wild_run_from_the_middle_is_in_step_from_its_second_row(runs):
    folder, _ = runs[1]
    stamps = [record.stamp_ns for record in Bag(folder).read()]
    middle = stamps[len(stamps) // 2]
    kept = {f"/{SETTINGS}", "/actor/weights"}  # what is latched comes to every recorder
    steps, _ = replayed(folder, lambda record: record.stamp_ns < middle and record.topic not in kept)
    sure = checked(steps)
    assert len(sure) > 0.9 * len(steps)
    assert [(step.row.seq, step.differs) for step in sure if step.differs] == []


@pytest.mark.parametrize(
    "topic, share, least",
    [
        ("vla/embedding", 0.1, 0.7), ("vla/reference", 0.1, 0.7), ("ee_pose", 0.05, 0.85), ("wrench", 0.05, 0.85), ("intervention", 0.2, 0.8),
        (TICKS, 0.05, 0.85), ("actor/weights", 0.4, 0.5), (SETTINGS, 0.3, 0.3),
    ],
)  # fmt: skip
@pytest.mark.slow
def test_what_was_lost_leaves_only_the_steps_unchecked_that_used_it(runs, topic, share, least):
    steps, made, sent = [], {}, {}
    for seed, (folder, transitions) in enumerate(runs[:2]):
        random = np.random.default_rng(seed)
        first = [True]  # the first set of parameters: without it nothing could be made

        def lost(record: Record) -> bool:
            if record.topic != f"/{topic}" or (topic == SETTINGS and first.pop()):
                first.append(False)
                return False
            return random.random() < share

        again, rows = replayed(folder, lost)
        steps += again
        made.update({(seed, *key): row for key, row in by_stamp(rows).items()})
        sent.update({(seed, *key): row for key, row in transitions.items()})
    assert any(step.unchecked for step in steps)
    sure = checked(steps)
    assert [(step.row.seq, step.differs) for step in sure if step.differs] == []
    assert len(sure) > least * len(steps)
    assert made and {key: row for key, row in made.items() if sent.get(key) != row} == {}


@pytest.mark.parametrize("lost", ["ee_pose", TICKS, "actor/weights"])
@pytest.mark.slow
def test_weights_that_are_pushed_faster_than_they_take_over_are_known_as_long_as_rows_name_them(models, tmp_path, lost):
    """Outside the critical phase nothing acts: the version that was left stays the same while dozens of newer ones come and go."""
    run = Run(tmp_path / "bag", models, seed=5, pushes=0.5)
    run.go(400)
    random = np.random.default_rng(0)
    steps, _ = replayed(tmp_path / "bag", lambda record: record.topic == f"/{lost}" and random.random() < 0.05)
    sure = checked(steps)
    assert [(step.row.seq, step.differs) for step in sure if step.differs] == []
    assert len(sure) > 0.7 * len(steps)
    if lost != "actor/weights":
        assert not any("weights" in step.unchecked for step in steps), Counter(step.unchecked for step in steps)


def test_where_a_driver_leaves_stamps_zero_steps_with_a_wrong_guess_are_not_judged(runs):
    random = np.random.default_rng(0)

    def unstamped(record: Record) -> Record:
        if record.topic != "/ee_pose":
            return record
        late = int(random.integers(0, PERIOD))
        return record._replace(stamp_ns=record.stamp_ns + late, data=record.data[:4] + bytes(8) + record.data[12:])

    steps, _ = replayed(runs[0][0], change=unstamped)
    sure = checked(steps)
    assert any("have no stamps" in step.unchecked for step in steps)
    assert [(step.row.seq, step.differs) for step in sure if step.differs] == []
    assert len(sure) > 0.2 * len(steps)


@pytest.mark.parametrize("topic", ["vla/embedding", "vla/reference", "ee_pose", "wrench", "intervention", TICKS, "actor/weights", SETTINGS])
@pytest.mark.slow
def test_damaged_messages_are_as_good_as_lost(runs, topic):
    random = np.random.default_rng(0)

    def cut(record: Record) -> Record:
        if record.topic != f"/{topic}" or random.random() > 0.1:
            return record
        return record._replace(data=record.data[: random.integers(0, len(record.data) - 4)])

    steps, _ = replayed(runs[0][0], change=cut)
    sure = checked(steps)
    assert [(step.row.seq, step.differs) for step in sure if step.differs] == []
    assert len(sure) > 0.3 * len(steps)


def test_only_steps_that_used_what_was_changed_differ(runs, tmp_path):
    folder, _ = runs[0]
    bag = Bag(folder)
    poses = list(bag.read({"/ee_pose"}))
    victims = {header_stamp_ns(record.data) for record in poses[:: len(poses) // 10]}  # some while an actor acts that looks at the pose
    with BagWriter(tmp_path / "broken") as writer:
        for record in bag.read():
            data = record.data
            if record.topic == "/ee_pose" and (stamp := header_stamp_ns(data)) in victims:
                data = bytes(STORE.serialize_cdr(pose(stamp, HOME + 0.05), TYPES["ee_pose"]))
            writer.write(record.topic, bag.topics[record.topic].type, record.stamp_ns, data)
    steps, _ = replayed(tmp_path / "broken")
    differ = [step.row for step in steps if step.differs]
    assert differ and all(row.inputs["ee_pose"] in victims for row in differ)


def test_a_row_survives_its_bytes():
    layout = tick_record.Layout(tick_record.Sizes(2, 4))
    state = (2, 0.5, 3, 4, 5, True, False, True, 6, 8, START - 9, 10, 1, 12, START + 1, START - 3, 13, 14, (1.5, -0.0), (0.1, 0.2, 0.3, 0.4))
    inputs = [0, START - 1, START - 2, 5, 0, 1]
    raw = layout.pack((7, 1, START, inputs, 3, 4, 1, 9, [0.1, -0.0], [np.nan, 1e-300]), state)
    row = layout.unpack(raw)
    assert dataclasses.astuple(row.state) == (*state[:-2], False, 0, 0, *state[-2:])
    assert (row.seq, row.event, row.now_ns, row.weights_offered, row.parameters, row.source, row.clipped) == (7, 1, START, 3, 4, 1, 9)
    assert row.inputs == {"ee_pose": START - 1, "wrench": START - 2, "vla/reference": 5, "intervention": 1}
    assert layout.differing(raw, raw) == [] and np.frombuffer(raw, layout.dtype)["command"].tolist() == [[0.1, -0.0]]
    other = layout.pack((8, 1, START, inputs, 3, 4, 1, 9, [0.1, 0.0], [np.nan, 1e-300]), state)
    assert layout.differing(raw, other) == ["command"]  # -0.0 is not 0.0, bit for bit; seq is not compared


@pytest.mark.slow
def test_grippers_and_a_phase_that_begins_by_itself_come_out_the_same(tmp_path, models):
    model = along_x(begin=HOME[0], enter=0.5)
    sha = fingerprint(models["encoder"])
    phase_switch.save(PhaseModel(model.weights, model.bias, model.enter, sha, model.proprioception), tmp_path / "phase")
    run = Run(tmp_path / "bag", models, seed=5, gripper_names=["finger"], gripper_min=[0.0], gripper_max=[0.8], phase_model=str(tmp_path / "phase"))
    run.go(1500)
    steps, transitions = replayed(tmp_path / "bag")
    assert run.grips > 200
    gripped = [step for step in checked(steps) if np.isfinite(step.row.gripper).all()]
    assert len(gripped) > 200 and all(0.0 <= step.row.gripper[0] <= 0.8 for step in gripped)
    begun = [
        step for step in checked(steps) if step.row.event == Event.TICK and step.row.state.critical and step.row.state.begun_ns == step.row.now_ns
    ]
    assert begun, "no episode that a tick began"
    assert not [step.differs for step in checked(steps) if step.differs]
    made, sent = by_stamp(transitions), by_stamp(run.transitions)
    assert made and all(sent[at] == row for at, row in made.items())

    # In the middle, too: half of the bag is gone, and the state in the first row that is left is enough.
    half = run.now - 750 * PERIOD
    steps, _ = replayed(tmp_path / "bag", lost=lambda record: record.topic != "/" + SETTINGS and record.stamp_ns < half)
    assert sum(np.isfinite(step.row.gripper).all() for step in checked(steps)) > 50
    assert not [step.differs for step in checked(steps) if step.differs]


def test_a_bag_of_before_grippers_were_in_it_comes_out_the_same(tmp_path, models):
    """Its rows have no such columns, and a phase that began by itself is a call of its own."""
    run = Run(tmp_path / "bag", models, seed=6, gripper_names=["finger"], gripper_min=[0.0], gripper_max=[0.8])
    run.pipeline.layout = tick_record.Layout(dataclasses.replace(run.pipeline.layout.sizes, gripper=0))
    run.go(300)
    steps, _ = replayed(tmp_path / "bag")
    assert len(checked(steps)) > 250 and not [step.differs for step in checked(steps) if step.differs]


def test_the_columns_of_before_are_where_they_were():
    """Those of version 0.1.0, byte for byte: its bags are run again."""
    dtype = tick_record.Layout(tick_record.Sizes(3, 30)).dtype
    assert dtype.itemsize == 458 and (dtype.names[:4], dtype.names[-2:]) == (("seq", "event", "stamp_sec", "stamp_nanosec"), ("hold", "plan"))
    assert hashlib.sha256(str(dtype.descr).encode()).hexdigest() == DESCRIBED


def test_a_row_comes_back_as_it_was_packed():
    layout = tick_record.Layout(tick_record.Sizes(2, 4, gripper=1, phase=1))
    state = (
        1,
        0.5,
        2,
        3,
        4,
        True,
        False,
        True,
        5,
        6,
        7 * 10**9 + 8,
        9,
        10,
        11,
        12 * 10**9,
        13,
        14,
        15,
        True,
        2,
        16 * 10**9 + 1,
        [0.1, 0.2],
        [1.0, 2.0, 3.0, 4.0],
    )
    values = (7, Event.TICK, 3 * 10**9 + 4, [1, 2, 3, 0, 5, 6 * 10**9], 8, 9, 1, 2, [0.3, 0.4], [0.5, 0.6], [0.7])
    row = layout.unpack(layout.pack(values, state))
    assert dataclasses.astuple(row.state)[:-2] == state[:-2] and (list(row.state.hold), list(row.state.plan)) == (state[-2], state[-1])
    assert (row.seq, row.event, row.now_ns, row.inputs["intervention"], "vla/reference" in row.inputs) == (7, 0, 3 * 10**9 + 4, 6 * 10**9, False)
    assert (row.command.tolist(), row.velocity.tolist(), row.gripper.tolist()) == values[-3:]
    assert layout.differing(layout.pack(values, state), layout.pack((*values[:-1], [0.8]), state)) == ["gripper"]


def test_parameters_that_have_another_name_since_count_in_a_bag_of_before():
    values = dataclasses.asdict(small_robot.settings(rollout_ramp=0.25))
    values["authority_ramp"] = values.pop("rollout_ramp")
    assert control_of({"parameters": values}).rollout_ramp == 0.25
