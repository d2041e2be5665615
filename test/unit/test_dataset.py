"""What an encoder is probed with: the state at the stamp of the observation that the embeddings are of."""

from __future__ import annotations

from types import SimpleNamespace as Message

import numpy as np
import pytest
import small_robot

from rl_token_ros.interfaces.codes import Ended
from rl_token_ros.interfaces.stamps import ns_to_stamp
from rl_token_ros.rl_token.dataset import Collector, NothingToLearn, Observations

MS = 1_000_000


def pose(stamp_ns: int, x: float) -> Message:
    of_tool = Message(position=Message(x=x, y=0.0, z=0.0), orientation=Message(x=0.0, y=0.0, z=0.0, w=1.0))
    return Message(header=Message(stamp=ns_to_stamp(stamp_ns)), pose=of_tool)


def collector(kept: list | None = None) -> Collector:
    made = Collector(["ee_position", "wrench_force"], ([] if kept is None else kept).append)
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


def test_what_float16_does_not_hold_is_left_out_and_counted():
    kept: list[np.ndarray] = []
    seen = collector(kept)
    for k, value in enumerate((1.0, np.nan, 7e4, -7e4, np.inf, 6e4)):
        seen.embedding(k * MS, np.full((1, 2), value, np.float32))
    assert seen.left_out == 4 and [each[0, 0] for each in kept] == [1.0, 6e4]
    assert len(seen.observations().held) == 2


def test_embeddings_of_another_shape_are_refused():
    seen = collector()
    seen.embedding(0, np.zeros((3, 2), np.float32))
    with pytest.raises(NothingToLearn, match=r"\(4, 2\) follow such of \(3, 2\)"):
        seen.embedding(1, np.zeros((4, 2), np.float32))


def test_a_part_of_every_episode_is_held_out():
    """Five episodes of ten observations, ten between them."""
    seen = collector()
    for k in range(100):
        seen.embedding(k * MS, np.zeros((1, 2), np.float32))
        if k // 10 % 2 == 0:
            seen.step(k * MS, Ended.SUCCESS if k % 10 == 9 else Ended.NO)
    found = seen.observations()
    assert (found.outcome[found.episode >= 0] == 1.0).all() and np.isnan(found.outcome[found.episode < 0]).all()
    within = [np.flatnonzero(found.held[found.episode == number]).tolist() for number in range(5)]
    assert within == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    np.testing.assert_array_equal(np.flatnonzero(found.held & (found.episode < 0)), range(90, 100))  # the last fifth of what is in none


def test_episodes_of_two_recordings_stay_apart():
    def recording() -> Observations:
        return Observations(outcome=np.ones(4), episode=np.array([-1, 0, 1, -1]), held=np.zeros(4, bool), measured={"ee_position": np.ones((4, 3))})

    whole = recording()
    whole.append(recording(), "second")
    whole.append(Observations(outcome=np.ones(1), episode=np.array([0]), held=np.zeros(1, bool)), "third")
    assert whole.episode.tolist() == [-1, 0, 1, -1, -1, 2, 3, -1, 4]
    assert np.isnan(whole.measured["ee_position"]).any(1).tolist() == [False] * 8 + [True]
