"""TD3 (Fujimoto et al. 2018) for the residual actor: losses, targets and updates of docs/method.md, stage 2, with the gradients of `networks`.

State x = normalised [token, proprioception, reference window]; r = residual chunk in units of residual_scale. Reference and residual are
means over groups of steps, K x A values each (`temporal_basis`). Primes mark target networks.
    TD        sum_k gamma^k reward_k + discount * min(Q1', Q2')(x', mu'(x') + noise), x' with its own reference
    target    y = clip((1 - m) TD + m * the return that followed), m = monte_carlo_mix; TD alone where the episode has not ended
    critic    mean over the batch of (Q1(x, r) - y)^2 + (Q2(x, r) - y)^2
    actor     mean over the batch of -Q1(x, mu(x)) + bc_weight * mean over K x A of (mu(x) - b)^2
All learn from inputs with noise, drawn anew each time a window is: a critic tells few episodes apart by heart otherwise.
b is 0, the base policy, and where a human acted the human's residual, bounded like the actor's.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from rl_token_ros.learning.algorithm import Tensors
from rl_token_ros.learning.batch import RESIDUAL_LIMIT, Batch
from rl_token_ros.learning.critic import FORMS
from rl_token_ros.learning.networks import Actor, Adam
from rl_token_ros.learning.temporal_basis import TemporalBasis
from rl_token_ros.policy.actor_weights import Architecture
from rl_token_ros.settings.learner import Learner
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.proprioception_groups import least_deviations

INPUT_LIMIT = 10.0  # normalised inputs are clipped to this, as in the exported graph
ACTOR_DELAY = 2  # critic updates per actor update
SATURATED = 0.95  # a residual beyond this share of its bound


def choose_device(name: str) -> torch.device:
    """The torch device of the parameter `device`.

    Raises:
        ParameterError: cuda, where there is none.
    """
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ParameterError(
            f"parameter 'device' is cuda, but torch {torch.__version__} finds no CUDA device; write auto or cpu, or install a torch built for CUDA"
        )
    return torch.device(("cuda" if there else "cpu") if name == "auto" else name)


class Td3:
    """Networks, target networks and optimisers: an `Algorithm`.

    Args:
        settings: parameters of `learner_node`.
        architecture: sizes of the exported actor.
        blocks: most batches in a block.

    Raises:
        ParameterError: `device` is cuda, and there is none.
    """

    def __init__(self, settings: Learner, architecture: Architecture, blocks: int) -> None:
        self.settings = settings
        self.temporal_basis = TemporalBasis(architecture, settings.temporal_basis_size or architecture.chunk_length)
        self.architecture = architecture = self.temporal_basis.inner
        self.device = device = choose_device(settings.device)
        self.generator = torch.Generator(device).manual_seed(settings.seed)
        a, n = architecture, settings.batch_size
        critic, form = (a.inputs, a.outputs, settings.hidden_size, settings.critic_layers, n, device), FORMS[settings.critic_form]
        self.actor, self.actor_target = Actor(a, n, device, self.generator), Actor(a, n, device)
        self.critic, self.critic_target = form(*critic, self.generator), form(*critic)
        self.first_critic = form(*critic, first_of=self.critic)
        if settings.reference_dropout >= 1.0:  # never seen in training, so that these weights stay as they are
            self.actor.parameters["w0"][a.inputs - a.outputs :] = 0.0
        self.actor_target.parameters.flat.copy_(self.actor.parameters.flat)
        self.critic_target.parameters.flat.copy_(self.critic.parameters.flat)
        self.actor_adam = Adam(self.actor.parameters, settings.learning_rate, settings.gradient_norm)
        self.critic_adam = Adam(self.critic.parameters, settings.learning_rate, settings.gradient_norm)
        self.mean = torch.zeros(a.inputs, device=device)
        self.scale = torch.ones(a.inputs, device=device)
        self.updates = 0
        rows = (blocks * n, a.inputs + a.outputs)
        self.now, self.after = torch.empty(rows, device=device), torch.empty(rows, device=device)
        self.reward, self.discount, self.observed = (torch.empty(0, device=device) for _ in range(3))  # [n] of the block, by `load`
        self.unknown = self.decided = torch.empty(0, dtype=torch.bool, device=device)  # [n], whether `observed` is NaN; as of `Batch`
        self.executed = torch.empty(0)  # [n, C, A], residuals, on the CPU
        self.made: tuple[slice, torch.Tensor, torch.Tensor] | None = None  # rows of the newest critic update, its Q [2, B], dL / dQ [2, B]
        self.bc_target: torch.Tensor | None = None  # [n, K * A], what the penalty pulls the residual to; None: 0
        self.seen = torch.empty(n, a.inputs, device=device)
        self.noise, self.acted = torch.empty(n, a.outputs, device=device), torch.full((n, a.outputs), torch.nan, device=device)
        self.minus = torch.full((1, n), -1.0 / n, device=device)

    def normalise_from(self, token: npt.NDArray[np.float32], proprio: npt.NDArray[np.float32], reference: npt.NDArray[np.float32]) -> None:
        """Fix the normalisation of the inputs from the warm-up, [N, Dz], [N, P] and [N, C * A]; it is never changed again.

        A token's components share one scale: what varies little in it is mostly noise. A measurement that hardly varies is not blown up beyond
        what sensors can tell (`proprioception_groups.LEAST_DEVIATION`), a reference not to more than a tenth of the residual's bound.
        """
        settings = self.settings
        bound = np.tile(np.asarray(settings.step_residual_scale), self.architecture.chunk_length)
        reference = self.temporal_basis.mean(reference)
        spread = [token.std(0), proprio.std(0), reference.std(0)]
        spread[0] = np.full_like(spread[0], np.sqrt(np.sum(spread[0] ** 2) / max(spread[0].size, 1)))
        measured = np.array(least_deviations(settings.proprioception, len(settings.joint_names), settings.action_size))
        floor: list[npt.NDArray[np.float64] | float] = [0.0, measured, 0.1 * bound]
        deviation = np.concatenate([np.maximum(s, f) for s, f in zip(spread, floor)])
        mean = np.concatenate([token.mean(0), proprio.mean(0), reference.mean(0)])
        self.mean.copy_(torch.from_numpy(mean.astype(np.float32)))
        self.scale.copy_(torch.from_numpy((1.0 / np.maximum(deviation, 1e-6)).astype(np.float32)))

    @torch.no_grad()
    def load(self, block: Batch, input_noise: float = 0.0) -> None:
        """Bring a block to the device, normalised, with noise of that standard deviation, in standard deviations of each, on the inputs."""
        n, width = len(block.length), self.architecture.inputs
        tokens = self.architecture.token
        states = [
            (self.now, block.token, block.proprio, block.reference),
            (self.after, block.next_token, block.next_proprio, block.next_reference),
        ]
        for inputs, token, proprio, reference in states:
            inputs = inputs[:n]
            inputs[:, :tokens] = torch.from_numpy(token)
            inputs[:, tokens : tokens + self.architecture.proprio] = torch.from_numpy(proprio)
            inputs[:, tokens + self.architecture.proprio : width] = torch.from_numpy(self.temporal_basis.mean(reference))
            inputs[:, :width].sub_(self.mean).mul_(self.scale).clamp_(-INPUT_LIMIT, INPUT_LIMIT)
            if input_noise:
                noise = torch.randn(n, width, generator=self.generator, device=self.device)
                inputs[:, :width].add_(noise, alpha=input_noise)
        residual = torch.from_numpy(self.temporal_basis.mean(block.residual.reshape(n, -1)))
        self.now[:n, width:] = residual
        self.reward = torch.from_numpy(block.reward).to(self.device)
        self.discount = torch.from_numpy(block.discount).to(self.device)
        self.observed = torch.from_numpy(block.observed).to(self.device)
        self.unknown, self.decided = self.observed.isnan(), torch.from_numpy(block.decided).to(self.device)
        self.executed = torch.from_numpy(block.residual)
        bc_target = self.find_bc_target(block, residual)
        self.bc_target = None if bc_target is None else bc_target.to(self.device)

    def find_bc_target(self, block: Batch, residual: torch.Tensor) -> torch.Tensor | None:
        """b [n, K * A], on the CPU, for a block and its executed residuals [n, K * A]; None: 0 everywhere."""
        if not block.human.any():
            return None
        human = torch.from_numpy(self.temporal_basis.mean(np.repeat(block.human, self.architecture.action, axis=1)) > 0.5)
        return torch.where(human, residual.clamp(-1.0, 1.0), 0.0)

    @torch.no_grad()
    def update(self, index: int, bc_weight: float) -> None:
        """One critic update from batch ``index`` of the block, and every second time one of the actor and the target networks."""
        n = self.settings.batch_size
        rows = slice(index * n, (index + 1) * n)
        now, target = self.now[rows], self.td_target(rows)
        q = self.critic.forward(now)
        error = (q - target).mul_(2.0 / n)
        self.critic.backward(now, error)
        self.made = rows, q, error
        self.critic_adam.step()
        self.updates += 1
        if self.updates % ACTOR_DELAY:
            return
        self.update_actor(now, None if self.bc_target is None else self.bc_target[rows], bc_weight)
        self.actor_target.parameters.flat.lerp_(self.actor.parameters.flat, self.settings.polyak)
        self.critic_target.parameters.flat.lerp_(self.critic.parameters.flat, self.settings.polyak)

    def td_target(self, rows: slice) -> torch.Tensor:
        """y [B] for rows of the block; fills the residuals of ``after``."""
        s, width = self.settings, self.architecture.inputs
        after = self.after[rows]
        residual = self.actor_target.forward(after[:, :width], out=after[:, width:])
        if s.target_noise:
            self.noise.normal_(0.0, s.target_noise, generator=self.generator)
            residual.add_(self.noise.clamp_(-2 * s.target_noise, 2 * s.target_noise)).clamp_(-1.0, 1.0)
        value = self.critic_target.forward(after).amin(0)
        y = torch.addcmul(self.reward[rows], self.discount[rows], value)
        if s.monte_carlo_mix:
            y = torch.where(self.unknown[rows], y, y.lerp(self.observed[rows], s.monte_carlo_mix))
        return y.clamp_(s.return_min, s.return_max)

    def update_actor(self, now: torch.Tensor, bc_target: torch.Tensor | None, bc_weight: float) -> None:
        """One actor update from inputs with residuals [B, S + K * A] and b [B, K * A].

        Overwrites the residuals in ``now``, which this update's critic has already learned from.
        """
        width, outputs = self.architecture.inputs, self.architecture.outputs
        self.seen.copy_(now[:, :width])
        if self.settings.reference_dropout:
            chance = torch.rand(len(now), 1, generator=self.generator, device=self.device)
            self.seen[:, width - outputs :].mul_(chance >= self.settings.reference_dropout)
        residual = self.actor.forward(self.seen, out=now[:, width:])
        self.acted.copy_(residual)
        self.first_critic.forward(now)
        gradient = self.first_critic.residual_gradient(self.minus)[0]
        apart = residual if bc_target is None else residual - bc_target
        gradient.add_(apart, alpha=2.0 * bc_weight / (len(now) * outputs))
        self.actor.backward(self.seen, gradient)
        self.actor_adam.step()

    @torch.no_grad()
    def figures(self) -> dict[str, float]:
        """Figures that would have caught each pitfall of docs/method.md, from what the newest update of each network left behind; none before it.

        critic_loss: mean squared TD error. mean_q: mean of the two critics. mean_return, q_minus_return: mean of the return that followed,
        and of Q minus it, over windows whose episode ended in success or failure. action_sensitivity: standard deviation of Q over residuals drawn at
        random, to first order about those of the batch, divided by that over the batch; near 0 the critic ignores the action (pitfall 3).
        residual_mean: mean |r| of the actor. residual_saturated: share of |r| > 0.95. residual_clipped: share of executed residuals cut for the
        critic.
        """
        if self.made is None:
            return {}
        rows, q, error = self.made
        mean_q, n = q.mean(0), len(error[0])
        apart = (mean_q - self.observed[rows])[self.decided[rows]]
        slope = self.critic.residual_gradient(torch.full_like(q, 1.0 / len(q))).sum(0)  # d mean Q / d r, [B, R]
        over_actions = slope.square().sum(1).mean().div(3.0).sqrt()  # 1/3: the variance of what is drawn from -1 to 1
        residual = self.acted.abs()
        return {
            "critic_loss": float(error.mul(n / 2.0).square().mean()),
            "mean_q": float(mean_q.mean()),
            "mean_return": float(self.observed[rows][self.decided[rows]].mean()),
            "q_minus_return": float(apart.mean()),
            "action_sensitivity": float(over_actions / (mean_q.std() + 1e-8)),
            "residual_mean": float(residual.mean()),
            "residual_saturated": float((residual > SATURATED).where(~residual.isnan(), torch.nan).float().mean()),
            "residual_clipped": float((self.executed[rows].abs() >= RESIDUAL_LIMIT).float().mean()),
        }

    # ---- what is exported and kept

    def actor_tensors(self) -> Tensors:
        """The target actor, with the normalisation, under the names of :meth:`Architecture.shapes`."""
        tensors = {"input_mean": self.mean, "input_scale": self.scale, **self.actor_target.parameters.values}
        return self.temporal_basis.whole({name: tensor.cpu().numpy().copy() for name, tensor in tensors.items()})

    def _state(self) -> dict[str, torch.Tensor]:
        networks = dict(
            actor=self.actor.parameters, actor_target=self.actor_target.parameters,
            critic=self.critic.parameters, critic_target=self.critic_target.parameters,
        )  # fmt: skip
        state = {name: parameters.flat for name, parameters in networks.items()}
        for name, adam in (("actor", self.actor_adam), ("critic", self.critic_adam)):
            state.update({f"{name}.{key}": value for key, value in adam.state.items()})
        return {**state, "mean": self.mean, "scale": self.scale}

    def state(self) -> Tensors:
        """All that an exact continuation needs, but `updates`."""
        found = {name: tensor.detach().cpu().numpy().copy() for name, tensor in self._state().items()}
        return {**found, "generator": self.generator.get_state().numpy()}

    @torch.no_grad()
    def restore(self, state: Tensors, updates: int) -> None:
        """Take back what `state` gave, bit for bit, and the number of updates then.

        Raises:
            KeyError: a tensor is missing.
            ParameterError: it is of other networks.
        """
        mine = self._state()
        for name, tensor in mine.items():
            if state[name].shape != tensor.shape:
                raise ParameterError(
                    f"parameter 'run_directory': the run there has a {name} of {state[name].size} numbers, here it has {tensor.numel()}; write its "
                    "critic_form, critic_layers and temporal_basis_size, or another run_directory"
                )
        for name, tensor in mine.items():
            tensor.copy_(torch.from_numpy(np.array(state[name])))
        self.updates = updates
        if len(state["generator"]) == len(self.generator.get_state()):  # a CPU's and a GPU's differ; then exactness ends here
            self.generator.set_state(torch.from_numpy(np.array(state["generator"])))
