"""A small LeRobot data set, made with LeRobot itself, of the arm and the cameras of `lerobot_act`: a square that moves with the joints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot_act import CAMERAS, HEIGHT, JOINTS, MEAN, RATE, WIDTH

TASK = "put the peg into the hole"


def picture(camera: str, joints: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3]: a square on a grey ground, whose place two joints say."""
    pixels = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    first = CAMERAS.index(camera)
    row, column = (int(size * np.clip(0.4 + 0.5 * value, 0.0, 0.8)) for size, value in zip((HEIGHT, WIDTH), joints[first : first + 2]))
    pixels[row : row + 16, column : column + 16] = (220, 60, 30)
    return pixels


def save(folder: Path, *, episodes: int = 3, frames: int = 60, videos: bool = False, successes: list[bool] | None = None) -> None:
    """Into ``folder``, which must not exist: episodes of a smooth motion about the middle of the arm.

    Args:
        successes: how each episode ended, if the data set is to say it.
    """
    names = [f"{joint}.pos" for joint in JOINTS]
    kind = "video" if videos else "image"
    features = {f"observation.images.{camera}": _feature(kind, (HEIGHT, WIDTH, 3), ["height", "width", "channels"]) for camera in CAMERAS}
    features |= {"observation.state": _feature("float32", (len(JOINTS),), names), "action": _feature("float32", (len(JOINTS),), names)}
    if successes is not None:
        features["next.success"] = _feature("bool", (1,), None)
    data = LeRobotDataset.create("me/cube", RATE, features, root=folder, use_videos=videos)
    random = np.random.default_rng(0)
    for episode in range(episodes):
        phase, turn = random.uniform(0.0, 6.0, len(JOINTS)), random.uniform(0.5, 2.0, len(JOINTS))
        for k in range(frames):
            joints = (np.array(MEAN) + 0.4 * np.sin(phase + turn * 6.0 * k / frames)).astype(np.float32)
            frame = {f"observation.images.{camera}": picture(camera, joints) for camera in CAMERAS}
            frame |= {"observation.state": joints, "action": joints + np.float32(0.01), "task": TASK}
            if successes is not None:
                frame["next.success"] = np.array([successes[episode] and k == frames - 1])
            data.add_frame(frame)
        data.save_episode()
    data.finalize()


def _feature(kind: str, shape: tuple[int, ...], names: list[str] | None) -> dict:
    return {"dtype": kind, "shape": shape, "names": names}


if __name__ == "__main__":
    import sys

    save(Path(sys.argv[1]), videos="--videos" in sys.argv)
