"""Makes the stand-in VLA again: demonstrations, cloning, export. `python -m rl_token_ros.sim.train_vla [--task plug]`, about 10 minutes.

Everything is seeded. The result is one ONNX file that the `onnx` backend of vla_node runs.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from rl_token_ros.cloning.network import PATCH, VisionPolicy
from rl_token_ros.cloning.policy import Form, export
from rl_token_ros.cloning.training import Settings, clone, judge
from rl_token_ros.settings import node_settings
from rl_token_ros.settings.files import config_file
from rl_token_ros.settings.sim_task import SimParameters
from rl_token_ros.sim import demonstrator
from rl_token_ros.sim.scene import CENTRE, SURFACE, Scene
from rl_token_ros.sim.simulation import CAMERAS, SCENES
from rl_token_ros.system.progress import Progress

SLIP = 0.0003  # m: the most that the peg had slipped on the day of the demonstrations
ACTION_SCALE = (5e-5, 5e-5, 1e-4, 1.5e-3)  # m and rad per step: typical actions, sideways, down and in yaw
# Middle and scale of what the VLA may see of the robot.
PROPRIO = {"ee_position": ((*CENTRE, SURFACE + 0.03), 0.02), "ee_orientation": ((1.0, 0.0, 0.0, 0.0), 0.1)}
CONFIGS = {"peg": "sim", "plug": "sim_plug"}  # parameter files
PATCHES = SimParameters().image_size // PATCH  # per side and camera
MODELS = Path(__file__).resolve().parent.parent / "models"


def robot(task: str, backend: str) -> SimParameters:
    """The robot that is shown the task: the plug's is that of its parameter file, started as high as the peg's."""
    if task == "peg":
        return SimParameters(render_backend=backend)
    return node_settings.load("sim_node", config_file(CONFIGS[task]), render_backend=backend, start_height=SimParameters().start_height)


def demonstrate(task: str, episodes: int, backend: str, workers: int) -> demonstrator.Demonstrations:
    """Demonstrations from `workers` processes; the same whatever their number."""
    parameters = demonstrator.that_day(robot(task, backend), SLIP)
    parts = [range(i, min(i + 8, episodes)) for i in range(0, episodes, 8)]
    progress, taken = Progress("demonstrations", len(parts)), []
    with concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        for part in pool.map(demonstrator.record, [parameters] * len(parts), parts):
            taken.append(part)
            progress(len(taken))

    def join(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in taken])

    return demonstrator.Demonstrations(
        images={name: np.concatenate([part.images[name] for part in taken]) for name in CAMERAS},
        **{name: join(name) for name in ("proprio", "actions", "offset", "height", "episode", "seconds")},
    )


@dataclass(frozen=True)
class Shown:
    """Demonstrations as training takes them: each frame has the chunk that the demonstrator meant from there on."""

    data: demonstrator.Demonstrations

    @property
    def proprio(self) -> np.ndarray:
        return self.data.proprio

    @functools.cached_property
    def weight(self) -> np.ndarray:
        """Near the hole steps are short and matter most."""
        return np.where(self.data.height < 0.008, 2.0, 1.0).astype(np.float32)

    def pictures(self, at: np.ndarray) -> list[np.ndarray]:
        """As :meth:`training.Samples.pictures`."""
        return [self.data.images[name][at] for name in CAMERAS]

    def chunks(self, at: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
        """As :meth:`training.Samples.chunks`."""
        return self.data.actions[at, :horizon], np.ones((len(at), horizon), bool)


def network(scene: Scene, view: tuple[int, int]) -> VisionPolicy:
    """The policy before training, for pictures of that size."""
    middle = torch.tensor([value for group in scene.proprioception for value in PROPRIO[group][0]])
    scale = torch.tensor([PROPRIO[group][1] for group in scene.proprioception for _ in PROPRIO[group][0]])
    return VisionPolicy(demonstrator.CHUNK, [view] * len(CAMERAS), middle, scale, torch.tensor(ACTION_SCALE[: len(scene.actions)]))


def write(model: VisionPolicy, scene: Scene, view: tuple[int, int], path: Path) -> None:
    """The ONNX file, for pictures of that size."""
    form = Form(tuple(CAMERAS), tuple(scene.actions), "delta", demonstrator.STEP, tuple(scene.proprioception))
    export(model, form, [view] * len(CAMERAS), [view] * len(CAMERAS), path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", choices=tuple(SCENES), default="peg")
    parser.add_argument("--episodes", type=int, default=120, help="demonstrations to record")
    parser.add_argument("--iterations", type=int, default=850, help="gradient steps")
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--rate", type=float, default=1.5e-3, help="learning rate")
    parser.add_argument("--backend", default="auto", help="renderer of the demonstrations' images")
    parser.add_argument("--workers", type=int, default=2, help="processes that record demonstrations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="default: that of the task's parameter file")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)  # two are slower beside anything else
    scene, output = SCENES[options.task], options.output or MODELS / f"{CONFIGS[options.task]}_vla.onnx"
    data = demonstrate(options.task, options.episodes, options.backend, options.workers)
    print(f"{len(data.height)} frames; critical phase of undisturbed demonstrations: median {np.median(data.seconds):.1f} s")
    view = data.images["base"].shape[1:3]
    shown, held, model = Shown(data), data.episode % 10 == 9, network(scene, view)
    loss = clone(model, shown, held, Settings(options.iterations, options.batch, options.rate, options.seed))
    print(f"loss {loss:.4f}, on demonstrations kept aside {judge(model, shown, held).loss:.4f}")
    write(model, scene, view, output)
    print(f"wrote {output} ({output.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
