"""A bag of the simulation, pictures and rows included, made in this process and faster than real time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_bag_pipeline import M, header
from test_closed_loop import Recorded

from rl_token_ros.bags.row_writer import replay_cdr
from rl_token_ros.interfaces.topics import TYPES
from rl_token_ros.settings.files import config_file

CAMERA_RATE, CONTROL_RATE = 25.0, 50.0
QUICK = {
    "sim_node": {"render_backend": "raycast", "start_height": 0.03, "start_range": 0.0, "hole_range": 0.0, "reset_time": 1.0},
    "control_node": {"episode_time_limit": 3.0},
    "vla_node": {"query_rate": CAMERA_RATE},
}


class RecordedWithPictures(Recorded):
    """Cameras of 25 Hz, each picture of which the VLA is asked about, as each observation is recorded."""

    def record(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().record(folder, monkeypatch)
        taken = self.synchroniser.set_image

        def seen(camera: str, stamp_ns: int, picture: np.ndarray) -> None:
            height, width = picture.shape[:2]
            self.write_as(f"camera/{camera}/image_raw", "sensor_msgs/msg/Image", picture_message(stamp_ns, picture, height, width))
            taken(camera, stamp_ns, picture)

        monkeypatch.setattr(self.synchroniser, "set_image", seen)

    def write_as(self, topic: str, kind: str, message: Any) -> None:
        """A topic that is not in the table under this name."""
        from test_bag_pipeline import STORE

        self.bag.write(f"/{topic}", kind, self.now_ns, bytes(STORE.serialize_cdr(message, kind)))

    def run(self, episodes: int) -> np.ndarray:
        """Some episodes; all rows of `replay`."""
        rows = np.concatenate([self.episode().rows for _ in range(episodes)])
        for row in rows:
            stamp = int(row["stamp_sec"]) * 10**9 + int(row["stamp_nanosec"])
            self.bag.write("/replay", TYPES["replay"], stamp, replay_cdr(np.array([row])))
        self.simulation.close()
        self.bag.close()
        return rows


def picture_message(stamp_ns: int, picture: np.ndarray, height: int, width: int) -> Any:
    return M["sensor_msgs/msg/Image"](header(stamp_ns), height, width, "rgb8", 0, 3 * width, picture.ravel())


def record(folder: Path, episodes: int, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """The bag of some episodes of the simulation in ``folder``; gives the rows of `replay` that are in it."""
    loop = RecordedWithPictures(config_file("sim"), overrides=QUICK)
    with monkeypatch.context() as patched:
        loop.record(folder, patched)
        return loop.run(episodes)
