"""A run of the small robot in simulated time, in this process: a perfect arm, a camera, its VLA, a hand; and the bag that `record` makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import small_robot
from small_robot import HOME, IMAGE
from test_bag_pipeline import PERIOD, START, STORE, M, header, pose, table, wrench

from rl_token_ros.bags.row_writer import replay_cdr, text_cdr
from rl_token_ros.bags.writer import BagWriter
from rl_token_ros.control.pipeline import Pipeline
from rl_token_ros.control.tick_record import Event
from rl_token_ros.interfaces import replay_table
from rl_token_ros.interfaces.topics import IMAGE as IMAGE_TYPE
from rl_token_ros.interfaces.topics import SETTINGS, TICKS, TYPES
from rl_token_ros.resimulation.vla_on_pictures import VlaOnPictures
from rl_token_ros.settings import parameters
from rl_token_ros.settings.proprioception_groups import size
from rl_token_ros.settings.robot import Robot
from rl_token_ros.settings.vla import Vla
from rl_token_ros.vla.make_backend import make_backend

CAMERA = 2  # control steps between two pictures
RATE = 25.0  # pictures per second


def models(folder: Path) -> dict[str, str]:
    """Parameters that name a VLA and its encoder."""
    vla = small_robot.write_vla(folder / "vla.onnx", vla_proprioception=["ee_position"])
    return {"vla_model": str(vla), "token_encoder": str(small_robot.write_encoder(folder / "encoder.onnx", vla))}


def row_dtype(robot: Robot) -> np.dtype:
    proprio = size(robot.proprioception, len(robot.joint_names), robot.action_size)
    return replay_table.row_dtype(robot.token_size, proprio, robot.chunk_length, robot.action_size)


def vla_settings(**changes: Any) -> Vla:
    own = {"vla_proprioception": ["ee_position"], "query_rate": RATE, "task": "insert"}
    return parameters.build(Vla, small_robot.shared(**{**own, **changes}))


class SmallRun:
    """Steps in time; what happens is in the bag, the rows of `replay` in ``rows``."""

    def __init__(self, folder: Path, named: dict[str, str], seed: int = 0, picture: int = IMAGE, **changes: Any) -> None:
        self.random = np.random.default_rng(seed)
        self.control = small_robot.settings(**named, chunk_timeout=0.5, **changes)
        self.vla = vla_settings(**named)
        self.bag, self.now, self.position, self.steps = BagWriter(folder), START, HOME.copy(), 0
        self.pipeline = Pipeline(self.control, self._refuse)
        self.asked = VlaOnPictures(self.vla, make_backend(self.vla), 0.03, self._refuse)
        self.rows: list[np.ndarray] = []
        self.hand = np.zeros(3)
        self.size = picture
        self.write(SETTINGS, text_cdr(self.pipeline.settings_text()))

    def _refuse(self, error: Exception) -> None:
        raise error

    def write(self, topic: str, cdr: bytes, kind: str = "") -> None:
        self.bag.write(f"/{topic}", kind or TYPES[topic], self.now, cdr)

    def message(self, topic: str, message: Any, kind: str = "") -> None:
        """Record a measurement or a picture, and hand it to whoever takes it."""
        kind = kind or TYPES[topic]
        self.write(topic, bytes(STORE.serialize_cdr(message, kind)), kind)
        self.asked.take(topic, message, self.now, [self.pipeline])
        if topic in ("ee_pose", "wrench"):
            self.pipeline.measure(topic, message, self.now)

    def step(self, by_hand: bool = False, camera: bool = True) -> None:
        """One control step."""
        self.now += PERIOD
        self.message("ee_pose", pose(self.now, self.position))
        self.message("wrench", wrench(self.now, self.random.normal(size=3)))
        if camera and self.steps % CAMERA == 0:
            shade = self.random.integers(0, 255, (self.size, self.size, 3), np.uint8)
            picture = M[IMAGE_TYPE](header(self.now), self.size, self.size, "rgb8", 0, 3 * self.size, shade.ravel())
            self.message("camera/base/image_raw", picture, IMAGE_TYPE)
        if by_hand:
            self.hand = 0.9 * self.hand + self.random.normal(0.0, 0.00005, 3)
            given = M[TYPES["intervention"]](header(self.now), ["x", "y", "z"], self.hand, np.zeros(0), np.zeros(0))
            self.pipeline.intervene(given, self.now)
        command = self.call(Event.TICK).command
        if command is not None:
            self.position = self.position + 0.5 * (command.position - self.position)
        self.steps += 1

    def call(self, event: Event) -> Any:
        outputs = self.pipeline.step(event, self.now)
        for raw in outputs.ticks:
            self.write(TICKS, bytes(STORE.serialize_cdr(table(self.pipeline.layout, raw), TYPES[TICKS])))
        for row in outputs.rows:
            self.rows.append(row)
            self.write("replay", replay_cdr(row))
        return outputs

    def episode(self, steps: int, end: Event | None, by_hand: bool = True, camera: bool = True) -> None:
        """A critical phase of so many steps and its end (None: it goes on), after an approach by the VLA, and a step after it."""
        for _ in range(10):
            self.step()
        self.call(Event.ENABLE)
        for _ in range(10):
            self.step()
        self.call(Event.CRITICAL)
        for _ in range(steps):
            self.step(by_hand, camera)
        if end is not None:
            self.call(end)
            self.step()
            self.position = HOME.copy()
            self.call(Event.DISABLE)
            while self.call(Event.TICK).command is not None:
                self.now += PERIOD

    def close(self) -> np.ndarray:
        """End the bag; all rows."""
        self.bag.close()
        return np.concatenate([np.zeros(0, self.pipeline.controller.row_dtype), *self.rows])
