"""Figures that would have caught each pitfall of METHOD.md: measured on a batch of their own, changing nothing.

They draw from their own random numbers, so that a run is the same with and without anyone looking.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from rl_token_ros.learning.replay_buffer import RESIDUAL_LIMIT

if TYPE_CHECKING:
    from rl_token_ros.learning.learner import Learner

SATURATED = 0.95  # a residual beyond this share of its bound


@torch.no_grad()
def measure(learner: Learner) -> dict[str, float]:
    """Figures of the networks on one batch of the replay.

    critic_loss: mean squared TD error. mean_q: mean of the two critics. q_minus_return: mean of Q minus the return that followed, over
    windows whose episode has ended. action_sensitivity: standard deviation of Q over residuals drawn at
    random, divided by that over the batch; near 0 the critic ignores the action (pitfall 3). residual_mean: mean |r| of the
    averaged actor. residual_saturated: share of |r| > 0.95. residual_clipped: share of executed residuals cut for the critic.
    """
    td3, s = learner.td3, learner.settings
    random = np.random.default_rng(learner.updates)
    n, width = s.batch_size, td3.architecture.inputs
    generator = td3.generator.get_state()
    block = learner.replay.sample(random, learner._batches[1])
    td3.load(block, learner.input_noise)
    rows = slice(0, n)
    target = td3.target(rows).clone()
    td3.generator.set_state(generator)
    now = td3.now[rows]
    q = td3.critic.forward(now).clone()
    mean_q = q.mean(0)
    observed = torch.from_numpy(block.observed).to(td3.device)
    known = ~torch.isnan(observed)
    error = (mean_q - observed)[known]
    values = []
    for _ in range(4):
        uniform = random.uniform(-1.0, 1.0, (n, td3.architecture.outputs)).astype(np.float32)
        now[:, width:] = torch.from_numpy(uniform)
        values.append(td3.critic.forward(now).mean(0).clone())
    over_actions = torch.stack(values).var(0).mean().sqrt()
    residual = td3.actor_average.forward(now[:, :width]).abs()
    return {
        "critic_loss": float((q - target).square().mean()),
        "mean_q": float(mean_q.mean()),
        "mean_return": float(observed[known].mean()) if len(error) else float("nan"),
        "q_minus_return": float(error.mean()) if len(error) else float("nan"),
        "action_sensitivity": float(over_actions / (mean_q.std() + 1e-8)),
        "residual_mean": float(residual.mean()),
        "residual_saturated": float((residual > SATURATED).float().mean()),
        "residual_clipped": float((np.abs(block.residual) >= RESIDUAL_LIMIT).mean()),
    }
