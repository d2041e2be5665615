"""`extra`: values that no other topic measures, by name; into proprioception, through a bag, and refused where one is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import small_robot
from reach import Reach, parameter_file

from rl_token_ros.adapters import lerobot_columns
from rl_token_ros.control.measurement_check import MeasurementCheck
from rl_token_ros.interfaces import measurements, plain_messages
from rl_token_ros.interfaces.graph_check import expectations
from rl_token_ros.robot.history import StateHistory
from rl_token_ros.robot.proprioception import RobotState
from rl_token_ros.robot.readings import Reader, StateError
from rl_token_ros.settings import node_settings
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.proprioception_groups import least_deviations, places, size

GROUPS = ["extra/current", "wrench_force", "extra/gap"]
SECOND = 1_000_000_000


class Gauged(Reach):
    """What is left to the table, and how far the point went, are measured, too."""

    def measured(self) -> dict[str, np.ndarray]:
        gauges = {"extra/gap": self.observation[2:3], "extra/way": np.linalg.norm(self.observation - small_robot.HOME, keepdims=True)}
        return {**super().measured(), **gauges}


def message(stamp_ns: int, **values: float) -> Any:
    return plain_messages.measurement("extra", stamp_ns, [], {f"extra/{name}": np.array([value]) for name, value in values.items()})


def test_values_are_taken_by_name():
    state = RobotState([], GROUPS)
    assert measurements.topics(GROUPS) == ["wrench", "extra"] and state.missing(GROUPS) == GROUPS
    assert "check the topics extra, wrench" in state.why_missing(GROUPS)
    measurements.take(state, "extra", message(SECOND, gap=2.0, other=9.0, current=1.0), SECOND)
    state.update_wrench(SECOND, (3.0, 4.0, 5.0), (0.0, 0.0, 0.0))
    assert state.vector(GROUPS).tolist() == [1.0, 3.0, 4.0, 5.0, 2.0] and state.missing(GROUPS) == []
    measurements.take(state, "extra", message(SECOND, gap=7.0, current=7.0), SECOND)
    assert state.out_of_order == 1 and state.values["extra/gap"] == 2.0
    assert state.age_ns(GROUPS, SECOND + 5) == 5
    state.forget("extra")
    assert state.missing(GROUPS) == ["extra/current", "extra/gap"]


@pytest.mark.parametrize(
    "values, why", [({"gap": 1.0}, "has no current, with a position; it has gap"), ({"gap": np.nan, "current": 1.0}, "not finite")]
)
def test_a_message_without_what_is_needed_is_refused(values, why):
    with pytest.raises(StateError, match=why):
        measurements.read(Reader([], GROUPS), "extra", message(SECOND, **values), SECOND)


def test_the_value_of_a_moment_is_interpolated():
    history, reader = StateHistory(0), Reader([], ["extra/gap"])
    for stamp, value in ((SECOND, 1.0), (2 * SECOND, 2.0)):
        reading = measurements.read(reader, "extra", message(stamp, gap=value), stamp)
        assert reading is not None
        history.accept(reading)
    moment = history.at(SECOND + SECOND // 4, ["extra/gap"])
    assert moment is not None and moment.values["extra/gap"] == pytest.approx(1.25)


def test_groups_of_one_value():
    assert size(GROUPS, 7, 3) == 5 and places(GROUPS, 7)["extra/gap"] == slice(4, 5)
    assert least_deviations(["extra/gap", "command_lead"], 7, 2) == [1e-3, 1e-4, 1e-4]
    assert small_robot.settings(proprioception=GROUPS).needed_groups == ["ee_position", *GROUPS]
    for wrong in ("extra", "extra/", "extras/gap"):
        with pytest.raises(ParameterError, match=f"names '{wrong}'; write some of .*extra/NAME"):
            small_robot.settings(proprioception=[wrong])
    assert lerobot_columns.measured_column("extra/gap") == "measured.extra.gap" and lerobot_columns.group_names("extra/gap", []) == ["extra/gap"]


def test_check_knows_the_topic_and_says_what_is_missing_of_it():
    control = small_robot.settings(proprioception=["extra/gap"])
    vla = node_settings.parameters.build(node_settings.Vla, {**small_robot.shared(), "vla_proprioception": ["extra/current"]})
    expected = {found.topic: found for found in expectations(control, vla)}
    assert expected["extra"].kind == "sensor_msgs/msg/JointState"
    checked = MeasurementCheck(control, "extra", ["extra/gap", "extra/current"])
    checked.hear(message(SECOND, gap=1.0), SECOND, 1.0, {})
    assert "'extra' has no current" in checked.complaint
    checked = MeasurementCheck(control, "extra", ["extra/gap"])
    checked.hear(message(SECOND, gap=1.0), SECOND, 1.0, {})
    assert checked.complaint == ""


def test_a_bag_with_it_is_replayed_bit_for_bit(tmp_path, models, monkeypatch):
    pytest.importorskip("rosbags")
    from test_bag_pipeline import replayed
    from test_closed_loop import Recorded

    groups = ["extra/way", "command_lead", "extra/gap"]
    config = parameter_file(tmp_path, models, "test_extra:Gauged", proprioception=groups, rollout_ramp=0.0)
    loop = Recorded(config)
    with monkeypatch.context() as patched:
        loop.record(tmp_path / "bag", patched)
        loop.push(1)
        results = [loop.episode() for _ in range(3)]
    loop.close()
    loop.bag.close()
    seen = np.concatenate([result.rows for result in results])["proprio"]
    assert len(seen) > 20 and (np.diff(seen[:10, 4]) < 0.0).all()  # it came down
    steps, rows = replayed(tmp_path / "bag")
    assert [(step.row.seq, step.unchecked, step.differs) for step in steps if step.unchecked or step.differs or step.again is None] == []
    assert all(step.row.inputs.get("extra") for step in steps) and len(steps) > 50
    assert b"".join(row.tobytes() for row in rows) == b"".join(result.rows.tobytes() for result in results)
