"""A bag's pictures are asked about as live: with the state of their moment, and decoded once they are chosen."""

from __future__ import annotations

from types import SimpleNamespace as Message

import numpy as np
import small_robot

from rl_token_ros.interfaces.images import ImageError
from rl_token_ros.interfaces.stamps import ns_to_stamp
from rl_token_ros.resimulation.vla_on_pictures import VlaOnPictures
from rl_token_ros.settings import parameters
from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla.backend import Answer, Observation

MS = 1_000_000
SECOND = 1000 * MS


class Noting:
    """A VLA that notes what it is asked about and stays where it is."""

    warning = ""

    def __init__(self) -> None:
        self.seen: list[Observation] = []

    def query(self, observation: Observation) -> Answer:
        self.seen.append(observation)
        return Answer(np.zeros((small_robot.CHUNK, 3), np.float32), None)

    def reset(self) -> None: ...

    def close(self) -> None: ...


def picture(stamp_ns: int, encoding: str = "rgb8", value: int = 0) -> Message:
    data = np.full((4, 4, 3), value, np.uint8).tobytes()
    return Message(header=Message(stamp=ns_to_stamp(stamp_ns)), height=4, width=4, step=12, encoding=encoding, is_bigendian=0, data=data)


def pose(stamp_ns: int, x: float) -> Message:
    of_tool = Message(position=Message(x=x, y=0.0, z=0.0), orientation=Message(x=0.0, y=0.0, z=0.0, w=1.0))
    return Message(header=Message(stamp=ns_to_stamp(stamp_ns)), pose=of_tool)


def test_pictures_of_a_bag_are_asked_about_with_the_state_of_their_moment():
    settings = parameters.build(Vla, small_robot.shared(cameras=["base", "wrist"], vla_proprioception=["ee_position"], query_rate=30.0))
    backend, refused = Noting(), []
    vla = VlaOnPictures(settings, backend, 0.001, refused.append)
    begin, frame = SECOND, 40 * MS
    for k in range(20):
        stamp = begin + k * frame
        vla.take("ee_pose", pose(stamp - 10 * MS, k - 0.25), stamp - 5 * MS, [])
        if k != 7:  # one lost frame of one camera
            vla.take("camera/base/image_raw", picture(stamp, value=k), stamp, [])
        vla.take("camera/wrist/image_raw", picture(stamp, "jpeg" if k == 12 else "bgr8", k), stamp + MS, [])
    assert vla.queries == len(backend.seen) == 17  # one is lost, one broken, and what the pose after the last one says is not known
    assert [type(error) for error in refused] == [ImageError] and "'jpeg'" in str(refused[0])
    for observation in backend.seen:
        k = (observation.stamp_ns - begin) // frame
        assert observation.images["base"].shape == (4, 4, 3) and {int(each.max()) for each in observation.images.values()} == {k}
        np.testing.assert_allclose(observation.proprio[0], k, atol=1e-6)
