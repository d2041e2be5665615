"""train_phase on bags: approaches cut as the operator switched, figures on approaches held out, and a file that control_node takes."""

from __future__ import annotations

import json
import re
from dataclasses import asdict

import numpy as np
import pytest
import small_robot
from small_robot import HOME

pytest.importorskip("rosbags")

from test_bag_pipeline import STORE, M, embedding, pose, token, wrench

from rl_token_ros.bags.phase_samples import COLUMNS
from rl_token_ros.bags.writer import BagWriter
from rl_token_ros.commands import train_phase
from rl_token_ros.control import phase_switch
from rl_token_ros.control.phase_training import AFTER_SECONDS, ENTERS, Samples, approaches
from rl_token_ros.control.tick_record import Event
from rl_token_ros.interfaces.replay_table import POINT_FIELD
from rl_token_ros.interfaces.topics import SETTINGS, TICKS, TYPES
from rl_token_ros.policy.actor_weights import fingerprint
from rl_token_ros.rl_token.encoder import TokenEncoder

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
PERIOD = SECOND // 10


def ticks(ns: int, critical: bool):
    row = np.zeros(1, COLUMNS)
    row["event"], row["stamp_sec"], row["stamp_nanosec"], row["enabled"], row["critical"] = Event.TICK, ns // SECOND, ns % SECOND, 1, critical
    field = M["sensor_msgs/msg/PointField"]
    columns = [field(name, COLUMNS.fields[name][1], POINT_FIELD[COLUMNS[name].str.lstrip("<|")], 1) for name in COLUMNS.names]
    from test_bag_pipeline import header

    return M[TYPES[TICKS]](header(ns), 1, 1, columns, False, row.itemsize, row.itemsize, np.frombuffer(row.tobytes(), np.uint8), True)


def write_bag(folder, models, episodes: int, *, settings: bool = True, tokens: str = "") -> None:
    """An arm that approaches along x for three seconds, where the operator switches near x = 0.43, with a human's jitter.

    The embeddings show it, too.
    """
    random = np.random.default_rng(0)
    control, encoder = small_robot.settings(token_encoder=str(models["encoder"])), TokenEncoder(models["encoder"])
    now = START
    with BagWriter(folder) as bag:

        def write(ours: str, message) -> None:
            bag.write(f"/{ours}", TYPES[ours], now, bytes(STORE.serialize_cdr(message, TYPES[ours])))

        if settings:
            told = {"number": 0, "encoder_sha256": fingerprint(models["encoder"]), "vla_sha256": "", "parameters": asdict(control)}
            write(SETTINGS, M["std_msgs/msg/String"](json.dumps(told)))
        for _ in range(episodes):
            switch = 0.43 + random.normal(0.0, 0.001)
            for step in range(int(AFTER_SECONDS * 10) + 60):
                x = HOME[0] + 0.001 * min(step, 50)
                critical = x >= switch and step < 60
                now += PERIOD
                write("ee_pose", pose(now, np.array([x, 0.0, 0.1]) + random.normal(0, 2e-4, 3)))
                write("wrench", wrench(now, random.normal(size=3)))
                write(TICKS, ticks(now, critical))
                matrix = np.full((small_robot.ROWS, small_robot.WIDTH), 100 * x) + random.normal(0, 0.3, (3, 5))
                made = encoder.run(matrix.astype(np.float32))
                write("vla/embedding", token(now, made, tokens) if tokens else embedding(now, matrix))


def test_a_bag_gives_a_model_that_switches_as_the_operator_did(tmp_path, models, capsys):
    write_bag(tmp_path / "bag", models, 12)
    output = tmp_path / "phase.safetensors"
    assert train_phase.main([str(tmp_path / "bag"), "--output", str(output)]) == 0
    told = capsys.readouterr().out
    assert "held out, 12 approaches" in told and "missed: 0; more than 1 s early: 0, late: 0" in told
    late = float(re.search(r"switches ([+-][\d.]+) s after the operator", told)[1])
    assert -0.5 < late < 1.0  # CONFIRM tokens, 0.1 s apart, and the threshold
    robot = small_robot.settings(token_encoder=str(models["encoder"]), phase_model=str(output))
    model = phase_switch.load(robot, fingerprint(models["encoder"]))
    assert model.weights.shape == (small_robot.TOKEN + 6,) and model.enter in ENTERS


def test_tokens_of_the_server_are_learned_from_as_well(tmp_path, models, capsys):
    for name, sha256 in (("embeddings", ""), ("tokens", fingerprint(models["encoder"]))):
        write_bag(tmp_path / name, models, 4, tokens=sha256)
        assert train_phase.main([str(tmp_path / name), "--output", str(tmp_path / f"{name}.phase")]) == 0
    first, second = (re.sub(r"\S*(embeddings|tokens)\S*", "", line) for line in capsys.readouterr().out.splitlines() if "held out" in line)
    assert first == second


@pytest.mark.parametrize(
    "episodes, settings, says",
    [
        (1, True, "1 approach(es) to a critical phase in these bags; record at least 2"),
        (2, False, "has no 'control_node/settings' (std_msgs/msg/String); name the robot's parameter file with --config"),
    ],
)
def test_bags_without_what_it_takes_are_refused(tmp_path, models, capsys, episodes, settings, says):
    write_bag(tmp_path / "bag", models, episodes, settings=settings)
    assert train_phase.main([str(tmp_path / "bag"), "--output", str(tmp_path / "phase")]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "phase").exists()


def test_no_bag_is_refused(tmp_path, capsys):
    assert train_phase.main([str(tmp_path / "nothing")]) == 2
    assert "error: " in capsys.readouterr().err


def test_approaches_leave_out_what_follows_a_phase_and_a_disabled_arm():
    seconds = np.arange(0, 40, 0.1)
    critical = ((seconds > 5) & (seconds < 10)) | ((seconds > 25) & (seconds < 30))
    enabled = ~((seconds > 18) & (seconds < 20))
    stamps = [int(s * SECOND) for s in seconds]
    samples = Samples(stamps, [np.array([s]) for s in seconds], list(zip(stamps, critical.tolist(), enabled.tolist())))
    first, second = approaches(samples)
    assert first.values.min() == 0.0 and first.values.max() < 10.1 and abs(first.switched_ns / SECOND - 5.1) < 0.11
    assert 10 + AFTER_SECONDS - 0.1 < second.values.min() < 10 + AFTER_SECONDS + 0.2
    assert not ((second.values > 18.1) & (second.values < 19.9)).any()
    np.testing.assert_array_equal(second.labels, second.values[:, 0] > 25.05)
