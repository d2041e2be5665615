"""Updates per second of the learner, beside a plain eager TD3 of the same sizes and what this machine's matrix products allow.

    python benchmark/learner.py [--seconds 2] [--device cpu] [--rounds 5]

The three are measured in turns, a round of each after the other, so that what else the machine does falls on all alike; the table
gives medians over the rounds. `limit` runs the update's own matrix products, of the same shapes, and nothing else.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from rl_token_ros.learning.batch import Batch
from rl_token_ros.learning.learner import Learner
from rl_token_ros.learning.td3 import ACTOR_DELAY, choose_device
from rl_token_ros.settings import parameters
from rl_token_ros.settings.learner import Learner as Settings


@dataclass(frozen=True)
class Size:
    """One configuration."""

    name: str
    token: int
    proprio: int
    chunk: int
    action: int
    hidden: int
    layers: int
    batch: int


SIZES = (
    Size("simulated robot: token 128, 2 x 128, batch 128", 128, 9, 10, 3, 128, 2, 128),
    Size("token 128, 2 x 256, batch 256", 128, 9, 10, 3, 256, 2, 256),
    Size("paper: token 2048, 14-D, 3 x 512, batch 256", 2048, 28, 10, 14, 512, 3, 256),
)
STEPS = 4000


def make_learner(size: Size, device: str) -> Learner:
    """A learner in training, with a replay of random content."""
    names = [f"joint_{i}" for i in range(size.action)]
    groups = ["joint_position", "joint_velocity", "joint_effort"][: size.proprio // size.action]
    settings = parameters.build(
        Settings,
        dict(
            joint_names=names, action_names=names, proprioception=groups,
            residual_scale=[1.0] * size.action, chunk_length=size.chunk, token_size=size.token,
            hidden_size=size.hidden, actor_layers=size.layers, critic_layers=size.layers, batch_size=size.batch, device=device,
            warmup_episodes=10, pretrain_updates=0, updates_owed_max=10**9, updates_per_step=0.0,
        ),
    )  # fmt: skip
    learner = Learner(settings, size.proprio, "", "")
    random = np.random.default_rng(0)
    rows = np.zeros(STEPS, learner.row_dtype)
    rows["seq"], rows["episode"], rows["step"] = np.arange(STEPS), np.arange(STEPS) // 200, np.arange(STEPS) % 200
    for name in ("proprio", "reference", "action"):
        rows[name] = random.normal(size=rows[name].shape)
    rows["token"] = np.repeat(random.normal(size=(STEPS // 5, size.token)), 5, axis=0)
    rows["ended"][199::200], rows["reward"][199::200] = 1, 1.0
    learner.add(rows)
    learner.owed = 1e9
    return learner


class PlainTd3:
    """The same algorithm as one would first write it: nn.Sequential, autograd, torch.optim.Adam, batches copied from the replay."""

    def __init__(self, learner: Learner) -> None:
        s, a, self.device = learner.settings, learner.architecture, choose_device(learner.settings.device)
        self.learner, self.settings, self.updates = learner, s, 0
        self.batch = Batch.empty(s.batch_size, s.token_size, a.proprio, s.chunk_length, a.action)
        self.random = np.random.default_rng(0)
        exported = learner.algorithm.actor_tensors()
        self.mean, self.scale = (torch.from_numpy(exported[name]).to(self.device) for name in ("input_mean", "input_scale"))

        def network(inputs: int, outputs: int, norm: bool, last: list[nn.Module], layers: int) -> nn.Sequential:
            modules: list[nn.Module] = []
            for _ in range(layers):
                modules += [nn.Linear(inputs, s.hidden_size), *([nn.LayerNorm(s.hidden_size)] if norm else []), nn.ReLU()]
                inputs = s.hidden_size
            return nn.Sequential(*modules, nn.Linear(inputs, outputs), *last).to(self.device)

        self.actor = network(a.inputs, a.outputs, False, [nn.Tanh()], s.actor_layers)
        self.critics = [network(a.inputs + a.outputs, 1, True, [], s.critic_layers) for _ in range(2)]
        self.actor_target, self.critic_targets = copy.deepcopy(self.actor), copy.deepcopy(self.critics)
        self.critic_parameters = [p for critic in self.critics for p in critic.parameters()]
        self.actor_adam = torch.optim.Adam(self.actor.parameters(), s.learning_rate)
        self.critic_adam = torch.optim.Adam(self.critic_parameters, s.learning_rate)

    def update(self) -> None:
        """One critic update, and every second time one of the actor and the target networks."""
        s = self.settings
        b = self.learner.replay.sample(self.random, self.batch)

        def state(*parts: np.ndarray) -> torch.Tensor:
            x = torch.cat([torch.from_numpy(part) for part in parts], 1).to(self.device)
            return ((x - self.mean) * self.scale).clamp(-10, 10)

        x, after = state(b.token, b.proprio, b.reference), state(b.next_token, b.next_proprio, b.next_reference)
        residual = torch.from_numpy(b.residual.reshape(len(x), -1)).to(self.device)
        reward, discount = torch.from_numpy(b.reward).to(self.device), torch.from_numpy(b.discount).to(self.device)
        with torch.no_grad():
            noise = (torch.randn_like(residual) * s.target_noise).clamp(-2 * s.target_noise, 2 * s.target_noise)
            action = (self.actor_target(after) + noise).clamp(-1, 1)
            inputs = torch.cat([after, action], 1)
            value = torch.min(*(critic(inputs) for critic in self.critic_targets)).squeeze(1)
            target = (reward + discount * value).clamp(s.return_min, s.return_max)
        inputs = torch.cat([x, residual], 1)
        loss = sum(nn.functional.mse_loss(critic(inputs).squeeze(1), target) for critic in self.critics)
        self.critic_adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.critic_parameters, s.gradient_norm)
        self.critic_adam.step()
        self.updates += 1
        if self.updates % ACTOR_DELAY:
            return
        seen = x.clone()
        seen[:, -residual.shape[1] :] *= torch.rand(len(x), 1, device=self.device) >= s.reference_dropout
        action = self.actor(seen)
        loss = (-self.critics[0](torch.cat([x, action], 1)).squeeze(1) + 0.1 * action.square().mean(1)).mean()
        self.actor_adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.actor.parameters(), s.gradient_norm)
        self.actor_adam.step()
        with torch.no_grad():
            for network, target in zip([self.actor, *self.critics], [self.actor_target, *self.critic_targets]):
                for p, q in zip(network.parameters(), target.parameters()):
                    q.lerp_(p, s.polyak)


def products(size: Size) -> list[tuple[float, tuple[int, int, int, int]]]:
    """The matrix products of an update as (times per update, (count, rows, inner, columns))."""
    outputs = size.chunk * size.action
    state = size.token + size.proprio + outputs
    b, h = size.batch, size.hidden
    actor = list(zip([state, *[h] * size.layers], [*[h] * size.layers, outputs]))
    critic = list(zip([state + outputs, *[h] * (size.layers - 1)], [h] * size.layers))  # the last, of width 1, is no matrix product
    found = [(1.0, (1, b, i, o)) for i, o in actor]  # target action
    found += [(1.0, (2, b, i, o)) for i, o in critic]  # target value
    found += [(1.0, (2, b, i, o)) for i, o in critic]  # value
    found += [(1.0, (2, i, b, o)) for i, o in critic]  # its weights' gradient
    found += [(1.0, (2, b, o, i)) for i, o in critic[1:]]  # and its inputs'
    half = 1.0 / ACTOR_DELAY
    found += [(half, (1, b, i, o)) for i, o in actor] + [(half, (1, b, i, o)) for i, o in critic]
    found += [(half, (1, b, o, i)) for i, o in critic[1:]] + [(half, (1, b, h, outputs))]  # down to the residual
    found += [(half, (1, i, b, o)) for i, o in actor] + [(half, (1, b, o, i)) for i, o in actor[1:]]
    return found


class Limit:
    """The products of an update and nothing else."""

    def __init__(self, size: Size, device: torch.device) -> None:
        self.needed = products(size)
        self.flops = sum(times * 2 * n * r * i * c for times, (n, r, i, c) in self.needed)
        make = lambda *shape: torch.randn(shape, device=device)  # noqa: E731
        self.tensors = [(make(n, r, i), make(n, i, c), make(n, r, c)) for _, (n, r, i, c) in self.needed]
        self.updates = 0

    def update(self) -> None:
        """All products that fall on one update."""
        self.updates += 1
        for (times, _), (a, b, out) in zip(self.needed, self.tensors):
            if times == 1.0 or self.updates % ACTOR_DELAY == 0:
                torch.bmm(a, b, out=out)


def rate(update: Callable[[int], None], seconds: float, device: torch.device) -> float:
    """Updates per second over some seconds, by the wall clock."""
    synchronise = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    made, begun = 0, time.perf_counter()
    while (passed := time.perf_counter() - begun) < seconds:
        update(16)
        synchronise()
        made += 16
    return made / passed


def measure(size: Size, device: str, seconds: float, rounds: int) -> None:
    """One line of the table for each of the three."""
    learner = make_learner(size, device)
    where = choose_device(device)
    plain, limit = PlainTd3(learner), Limit(size, where)

    def times(update: Callable[[], None]) -> Callable[[int], None]:
        return lambda count: [update() for _ in range(count)] and None

    subjects = {"learner": learner.update, "plain eager TD3": times(plain.update), "limit": torch.no_grad()(times(limit.update))}
    rates: dict[str, list[float]] = {name: [] for name in subjects}
    for update in subjects.values():
        update(16)
    for _ in range(rounds):
        for name, update in subjects.items():
            rates[name].append(rate(update, seconds, where))
    print(f"\n{size.name}, {device}: {limit.flops / 1e6:.0f} MFLOP per update")
    print(f"  {'':16} {'updates/s':>10} {'min':>8} {'max':>8} {'GFLOP/s':>8} {'of limit':>9} {'x plain':>8}")
    for name, found in rates.items():
        middle = statistics.median(found)
        of_limit = statistics.median(a / b for a, b in zip(found, rates["limit"]))
        of_plain = statistics.median(a / b for a, b in zip(found, rates["plain eager TD3"]))
        gflops = middle * limit.flops / 1e9
        print(f"  {name:16} {middle:10.0f} {min(found):8.0f} {max(found):8.0f} {gflops:8.1f} {of_limit:9.2f} {of_plain:8.2f}", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="per measurement")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--device", choices=("all", "cpu", "cuda"), default="all", help="all: CPU, and CUDA if it is there")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    devices = [arguments.device] if arguments.device != "all" else ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    how = f"medians of {arguments.rounds} rounds of {arguments.seconds:g} s, in turns"
    print(f"torch {torch.__version__}, {arguments.threads} thread(s), {how}")
    for device in devices:
        for size in SIZES:
            measure(size, device, arguments.seconds, arguments.rounds)


if __name__ == "__main__":
    main()
