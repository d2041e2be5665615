"""Makes the stand-in VLA again: demonstrations, cloning, export. `python -m rl_token_ros.sim.train_vla [--task plug]`, about 10 minutes.

Everything is seeded. The result is one ONNX file that the `onnx` backend of vla_node runs.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import math
import multiprocessing
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from rl_token_ros.rl_token import onnx_file
from rl_token_ros.settings import node_settings
from rl_token_ros.settings.files import config_file
from rl_token_ros.settings.sim_task import SimParameters
from rl_token_ros.sim import demonstrator
from rl_token_ros.sim.scene import CENTRE, SURFACE, Scene
from rl_token_ros.sim.simulation import CAMERAS, SCENES
from rl_token_ros.sim.vla_model import VisionPolicy
from rl_token_ros.system.progress import Progress

SLIP = 0.0003  # m: the most that the peg had slipped on the day of the demonstrations
ACTION_SCALE = (5e-5, 5e-5, 1e-4, 1.5e-3)  # m and rad per step: typical actions, sideways, down and in yaw
# Middle and scale of what the VLA may see of the robot.
PROPRIO = {"ee_position": ((*CENTRE, SURFACE + 0.03), 0.02), "ee_orientation": ((1.0, 0.0, 0.0, 0.0), 0.1)}
CONFIGS = {"peg": "sim", "plug": "sim_plug"}  # parameter files
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


def vary(images: torch.Tensor) -> torch.Tensor:
    """Another exposure, another white balance and noise for each image: uint8 [N, h, w, 3] -> float of 0..255."""
    n = len(images)
    gain = torch.empty(n, 1, 1, 1).uniform_(0.85, 1.15) * torch.empty(n, 1, 1, 3).uniform_(0.95, 1.05)
    return (images.to(torch.float32) * gain + 2.0 * torch.randn(images.shape)).clamp_(0.0, 255.0)


def clone(scene: Scene, data: demonstrator.Demonstrations, iterations: int, batch: int, rate: float) -> VisionPolicy:
    """Behaviour cloning with a Huber loss; one demonstration in ten is kept aside and its loss printed."""
    middle = torch.tensor([value for group in scene.proprioception for value in PROPRIO[group][0]])
    scale = torch.tensor([PROPRIO[group][1] for group in scene.proprioception for _ in PROPRIO[group][0]])
    model = VisionPolicy(demonstrator.CHUNK, middle, scale, torch.tensor(ACTION_SCALE[: len(scene.actions)]))
    images = [torch.from_numpy(data.images[name]) for name in CAMERAS]
    proprio, actions = torch.from_numpy(data.proprio), torch.from_numpy(data.actions)
    held = torch.from_numpy(data.episode % 10 == 9)
    train, test = (~held).nonzero()[:, 0], held.nonzero()[:, 0][::4]
    # Near the hole steps are short and matter most.
    weight = torch.from_numpy(np.where(data.height < 0.008, 2.0, 1.0).astype(np.float32))

    def loss_of(at: torch.Tensor, seen: list[torch.Tensor]) -> torch.Tensor:
        steps, _ = model(*seen, proprio[at])
        error = functional.smooth_l1_loss(steps / model.action_scale, actions[at] / model.action_scale, reduction="none", beta=0.2)
        return (error.mean((1, 2)) * weight[at]).mean()

    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-4)
    warm = max(1, iterations // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min((i + 1) / warm, 0.5 * (1.0 + math.cos(math.pi * min(1.0, i / iterations))) + 0.002)
    )
    progress, order, smooth = Progress("cloning", iterations), torch.randperm(len(train)), None
    for i in range(iterations):
        if len(order) < batch:
            order = torch.randperm(len(train))
        at, order = train[order[:batch]], order[batch:]
        loss = loss_of(at, [vary(view[at]) for view in images])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        progress(i + 1, f"(loss {smooth:.4f})")
    model.eval()
    with torch.no_grad():
        kept = [loss_of(at, [view[at] for view in images]).item() for at in test.split(256)]
    print(f"loss {smooth:.4f}, on demonstrations kept aside {np.mean(kept):.4f}")
    return model


def export(scene: Scene, model: VisionPolicy, size: int, path: Path) -> None:
    """Write the ONNX file with the metadata that the nodes check; images are `size` pixels wide and high."""
    image = torch.zeros(1, size, size, 3, dtype=torch.uint8)
    onnx_file.write(
        model,
        {**{f"image_{name}": image for name in CAMERAS}, "proprio": torch.zeros(1, len(model.proprio_mean))},
        ["actions", "embeddings"],
        path,
        cameras=list(CAMERAS),
        action_names=list(scene.actions),
        action_type="delta",
        dt=demonstrator.STEP,
        horizon=model.horizon,
        proprioception=list(scene.proprioception),
    )


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
    model = clone(scene, data, options.iterations, options.batch, options.rate)
    export(scene, model, data.images["base"].shape[1], output)
    print(f"wrote {output} ({output.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
