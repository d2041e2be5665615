"""The loop that runs faster than real time goes the way of a live run and of a replayed bag: its commands are made again, bit for bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("rosbags")

from test_bag_pipeline import STORE, M, header, replayed, table

from rl_token_ros.bags.writer import BagWriter
from rl_token_ros.control.tick_record import Event
from rl_token_ros.interfaces import images, measurements
from rl_token_ros.interfaces.codes import Ended, Source
from rl_token_ros.interfaces.stamps import stamp_to_ns
from rl_token_ros.interfaces.topics import SETTINGS, TICKS, TYPES
from rl_token_ros.policy import actor_weights
from rl_token_ros.policy.actor_weights import ActorWeights, Identity, WeightsError
from rl_token_ros.settings.files import config_file
from rl_token_ros.sim.closed_loop import ClosedLoop, NothingRecorded

FAST = {
    "sim_node": {"render_backend": "raycast", "start_height": 0.03, "start_range": 0.0, "hole_range": 0.0, "reset_time": 1.0},
    "control_node": {"episode_time_limit": 1.0, "rollout_ramp": 0.1},
}


def make(kind: type[ClosedLoop] = ClosedLoop, *args: Any) -> ClosedLoop:
    return kind(config_file("sim"), *args, overrides=FAST)


def blob(loop: ClosedLoop, version: int = 1, encoder_sha256: str = "") -> bytes:
    """Weights of an actor that does something."""
    architecture, encoder = dataclasses.replace(loop.controller.actor.architecture, hidden=8), loop.pipeline.encoder
    random = np.random.default_rng(version)
    tensors = {name: random.normal(0, 0.1, shape).astype(np.float32) for name, shape in architecture.shapes().items()}
    tensors["input_scale"] = np.abs(tensors["input_scale"])
    identity = Identity.of(loop.control_settings, encoder_sha256 or encoder.sha256, encoder.vla_sha256)
    return actor_weights.encode(ActorWeights(version, 1, architecture, identity, tensors, run="a"))


def recorded(topic: str, given: Any) -> Any:
    """What the loop handed over, as the message of which a recorder keeps the bytes."""
    head = header(stamp_to_ns(given.header.stamp), getattr(given.header, "frame_id", ""))
    if topic == "ee_pose":
        p, q = given.pose.position, given.pose.orientation
        turn = M["geometry_msgs/msg/Quaternion"](q.x, q.y, q.z, q.w)
        return M[TYPES[topic]](head, M["geometry_msgs/msg/Pose"](M["geometry_msgs/msg/Point"](p.x, p.y, p.z), turn))
    if topic == "wrench":
        force, torque = (M["geometry_msgs/msg/Vector3"](v.x, v.y, v.z) for v in (given.wrench.force, given.wrench.torque))
        return M[TYPES[topic]](head, M["geometry_msgs/msg/Wrench"](force, torque))
    if topic == "vla/embedding":
        matrix = images.to_matrix(given, topic)
        rows, width = matrix.shape
        return M[TYPES[topic]](head, rows, width, "32FC1", 0, 4 * width, np.ascontiguousarray(matrix).view(np.uint8).ravel())
    none = np.zeros(0)
    if topic in ("intervention", "extra"):
        return M[TYPES[topic]](head, given.name, np.asarray(given.position), none, none)
    duration, point = M["builtin_interfaces/msg/Duration"], M["trajectory_msgs/msg/JointTrajectoryPoint"]
    points = [point(np.array(p.positions), none, none, none, duration(p.time_from_start.sec, p.time_from_start.nanosec)) for p in given.points]
    return M[TYPES[topic]](head, given.joint_names, points)


class Recorded(ClosedLoop):
    """A loop of which everything that its pipeline is given, and what it logs, is in a bag."""

    bag: BagWriter

    def record(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bag, self.stepped, pipeline = BagWriter(folder), 0, self.pipeline
        self.write(SETTINGS, M["std_msgs/msg/String"](pipeline.settings_text()))
        for name, topic in (("propose", "vla/reference"), ("encode", "vla/embedding"), ("intervene", "intervention")):
            taken = getattr(pipeline, name)

            def handed(message: Any, *now: int, topic: str = topic, take: Any = taken) -> Any:
                self.write(topic, recorded(topic, message))
                return take(message, *now)

            monkeypatch.setattr(pipeline, name, handed)
        read = measurements.read

        def measured(reader: Any, topic: str, message: Any, now_ns: int) -> Any:
            if reader is self.controller.state.reader:
                self.write(topic, recorded(topic, message))
            return read(reader, topic, message, now_ns)

        monkeypatch.setattr(measurements, "read", measured)

    def write(self, topic: str, message: Any) -> None:
        kind = TYPES[topic]
        self.bag.write(f"/{topic}", kind, self.now_ns, bytes(STORE.serialize_cdr(message, kind)))

    def push(self, version: int) -> None:
        sent = blob(self, version)
        self.write("actor/weights", M["std_msgs/msg/UInt8MultiArray"](M["std_msgs/msg/MultiArrayLayout"]([], 0), np.frombuffer(sent, np.uint8)))
        self.pipeline.admit(sent)

    def step(self) -> None:
        super().step()
        for raw in self.ticks:
            self.write(TICKS, table(self.pipeline.layout, raw))
        self.stepped += 1


@pytest.mark.slow
def test_an_episode_of_which_nothing_is_recorded_is_an_error():
    """H = chunk_length, whose window exists for 20 ms; the answer comes after 30."""
    length = {"chunk_length": 50}
    overrides = {**FAST, "control_node": {**FAST["control_node"], "replan_interval": 10, **length}, "vla_node": length}
    loop = ClosedLoop(config_file("sim"), overrides=overrides)
    with pytest.raises(NothingRecorded, match="mostly for chunks that do not reach chunk_length steps"):
        for _ in range(5):
            loop.episode()


@pytest.mark.slow
def test_a_bag_of_the_loop_is_replayed_bit_for_bit(tmp_path, monkeypatch):
    loop = make(Recorded)
    with monkeypatch.context() as patched:
        loop.record(tmp_path / "bag", patched)
        loop.push(1)
        critical = [0]

        def happen() -> None:
            critical[0] += loop.controller.episode.active
            if critical[0] == 10:
                loop.push(2)
            elif critical[0] == 20:
                loop.intervene(np.array([0.0001, 0.0, 0.0]))
            elif critical[0] == 45:
                loop.intervene(np.array([1.0, 0.0, 0.0]), corrects=True)
            elif critical[0] == 70:
                loop.simulation.outcome = True

        results = [loop.episode(on_step=happen) for _ in range(2)]
    loop.simulation.close()
    loop.bag.close()
    steps, rows = replayed(tmp_path / "bag")
    assert [(step.row.seq, step.unchecked, step.differs) for step in steps if step.unchecked or step.differs or step.again is None] == []
    assert sum(step.row.event == Event.TICK for step in steps) == loop.stepped
    assert [result.ended for result in results] == [Ended.TIME_LIMIT, Ended.SUCCESS]
    assert {step.row.source for step in steps} >= {Source.VLA, Source.ACTOR, Source.HUMAN}
    assert {step.row.state.weights_version for step in steps} == {1, 2}
    assert b"".join(row.tobytes() for row in rows) == b"".join(result.rows.tobytes() for result in results)


@pytest.mark.slow
def test_a_token_of_before_the_critical_phase_that_nobody_needs_changes_nothing():
    """control_node encodes every embedding; the loop leaves out what would be forgotten unused."""
    ran = []
    for every in (False, True):
        loop = make()
        loop.pipeline.admit(blob(loop))
        encoded, run = [0], loop.pipeline.encoder.run

        def counted(embeddings: np.ndarray) -> np.ndarray:
            encoded[0] += 1
            return run(embeddings)

        loop.pipeline.encoder.run = counted
        result = loop.episode(on_step=loop._read if every else None)
        loop.simulation.close()
        ran.append((result.rows.tobytes(), encoded[0]))
    assert len(ran[0][0]) and ran[0][0] == ran[1][0]
    assert ran[0][1] < ran[1][1]


def test_what_the_pipeline_refuses_ends_the_loop():
    loop = make()
    with pytest.raises(WeightsError, match="encoder"):
        loop.pipeline.admit(blob(loop, encoder_sha256="f" * 64))
    loop.pipeline.encoder.shape = (1, 1)
    with pytest.raises(ValueError, match="the token encoder was made for"):
        loop.episode()
    loop.simulation.close()


@pytest.mark.slow
def test_an_arm_that_was_stopped_before_the_critical_phase_ends_the_episode():
    loop = make()
    steps = 0

    def stop() -> None:
        nonlocal steps
        steps += 1
        assert steps < 2000, "the episode has no end"
        if loop.simulation.critical:
            loop.pipeline.step(Event.STOP, loop.now_ns)

    result = loop.episode(on_step=stop)
    loop.simulation.close()
    assert result.ended == Ended.ABORTED and result.reached and not len(result.rows)
