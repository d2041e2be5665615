"""What an encoder is probed with: the state at the stamp of the observation that the embeddings are of."""

from __future__ import annotations

from types import SimpleNamespace as Message

import numpy as np
import small_robot

from rl_token_ros.interfaces.stamps import ns_to_stamp
from rl_token_ros.rl_token.dataset import Collector

MS = 1_000_000


def pose(stamp_ns: int, x: float) -> Message:
    of_tool = Message(position=Message(x=x, y=0.0, z=0.0), orientation=Message(x=0.0, y=0.0, z=0.0, w=1.0))
    return Message(header=Message(stamp=ns_to_stamp(stamp_ns)), pose=of_tool)


def collector(most_bytes: float = 1e6) -> Collector:
    made = Collector(["ee_position", "wrench_force"], most_bytes)
    made.settings(small_robot.settings(), "")
    return made


def test_embeddings_are_probed_with_the_state_at_their_stamp():
    """Ten poses a second, and a VLA that answers before the next one comes."""
    seen = collector()
    for k in range(10):
        seen.measurement("ee_pose", pose(k * 100 * MS, float(k)), k * 100 * MS)
        if k != 5:  # of the tenth nothing is known that came after it
            seen.embedding(k * 100 * MS + 40 * MS, np.full((1, 2), k, np.float32))
    found = seen.observations()
    assert set(found.measured) == {"ee_position"}  # no wrench was ever measured
    np.testing.assert_allclose([each[0] for each in found.measured["ee_position"]], [0.4, 1.4, 2.4, 3.4, 4.4, 6.4, 7.4, 8.4, 9.0])


def test_what_is_far_from_any_measurement_is_not_probed_with_one():
    seen = collector()
    for stamp in (0, 1000 * MS):
        seen.measurement("ee_pose", pose(stamp, 1.0), stamp)
    for stamp in (20 * MS, 500 * MS, 960 * MS):
        seen.embedding(stamp, np.zeros((1, 2), np.float32))
    assert np.isnan([each[0] for each in seen.observations().measured["ee_position"]]).tolist() == [False, True, False]


def test_what_is_dropped_for_memory_takes_its_state_with_it():
    seen = collector(most_bytes=5 * 8)
    for k in range(40):
        seen.measurement("ee_pose", pose(k * 10 * MS, float(k)), k * 10 * MS)
        if not seen.passes():
            seen.embedding(k * 10 * MS, np.full((1, 2), k, np.float32))
    found = seen.observations()
    assert 2 < len(found.embeddings) <= 5
    assert [each[0] for each in found.measured["ee_position"]] == [each[0, 0] for each in found.embeddings]
