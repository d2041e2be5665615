"""Gradients written by hand against autograd; the exported actor against the graph that the robot runs."""

import math

import numpy as np
import pytest
import torch
from learning_helpers import PROPRIO, SHA, episodes, small_settings
from torch import nn

from rl_token_ros.learning.critic import FORMS
from rl_token_ros.learning.learner import Learner
from rl_token_ros.learning.networks import Actor, Adam, Parameters
from rl_token_ros.policy.actor import ResidualActor
from rl_token_ros.policy.actor_weights import Architecture

CPU = torch.device("cpu")
BATCH = 16


def architecture(layers=2):
    return Architecture(token=5, proprio=3, chunk_length=4, action=2, hidden=16, layers=layers)


def plain_actor(actor, arch):
    """The same actor as torch modules."""
    layers = []
    for i in range(arch.layers + 1):
        w, b = actor.parameters[f"w{i}"], actor.parameters[f"b{i}"]
        linear = nn.Linear(*w.shape)
        linear.weight.data, linear.bias.data = w.t().clone(), b.clone()
        layers += [linear, nn.ReLU() if i < arch.layers else nn.Tanh()]
    return nn.Sequential(*layers)


class PlainCritic(nn.Module):
    """One of the critics as torch modules."""

    def __init__(self, critic, which, form):
        super().__init__()
        self.form, self.residuals, modules = form, critic.residuals, []
        for i in range(critic.layers + 1):
            w, b = critic.parameters[f"w{i}"][which], critic.parameters[f"b{i}"][which]
            w = w.t() if form == "any" and i == critic.layers else w
            linear = nn.Linear(*w.shape)
            linear.weight.data, linear.bias.data = w.t().clone(), b[0].clone()
            modules.append(linear)
            if i < critic.layers:
                modules += [nn.LayerNorm(w.shape[1], elementwise_affine=False), nn.ReLU()]
        self.modules_ = nn.Sequential(*modules)

    def forward(self, x):
        if self.form == "any":
            return self.modules_(x)[:, 0]
        found = self.modules_(x[:, : -self.residuals])
        return found[:, 0] + (found[:, 1:] * x[:, -self.residuals :]).sum(1)

    @property
    def linears(self):
        return [module for module in self.modules_ if isinstance(module, nn.Linear)]


@pytest.mark.parametrize("layers", [2, 3])
def test_actor_gradients(layers):
    arch, generator = architecture(layers), torch.Generator().manual_seed(layers)
    actor = Actor(arch, BATCH, CPU, generator)
    actor.parameters.flat.add_(torch.randn(actor.parameters.flat.shape, generator=generator) * 0.1)
    x = torch.randn(BATCH, arch.inputs, generator=generator)
    upstream = torch.randn(BATCH, arch.outputs, generator=generator)
    plain = plain_actor(actor, arch)
    expected = plain(x)
    expected.backward(upstream)
    torch.testing.assert_close(actor.forward(x), expected.detach())
    actor.backward(x, upstream)
    for i, linear in enumerate(module for module in plain if isinstance(module, nn.Linear)):
        torch.testing.assert_close(actor.parameters.grads[f"w{i}"], linear.weight.grad.t(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(actor.parameters.grads[f"b{i}"], linear.bias.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("form", FORMS)
def test_critic_gradients(form, layers):
    generator, hidden, inputs, residuals = torch.Generator().manual_seed(layers), 16, 13, 8
    critic = FORMS[form](inputs, residuals, hidden, layers, BATCH, CPU, generator)
    critic.parameters.flat.add_(torch.randn(critic.parameters.flat.shape, generator=generator) * 0.1)
    first = FORMS[form](inputs, residuals, hidden, layers, BATCH, CPU, first_of=critic)
    x = torch.randn(BATCH, inputs + residuals, generator=generator)
    upstream = torch.randn(2, BATCH, generator=generator)
    q = critic.forward(x)
    critic.backward(x, upstream)
    for which in range(2):
        plain, leaf = PlainCritic(critic, which, form), x.clone().requires_grad_()
        expected = plain(leaf)
        expected.backward(upstream[which])
        torch.testing.assert_close(q[which], expected.detach(), rtol=1e-4, atol=1e-5)
        for i, linear in enumerate(plain.linears):
            found = critic.parameters.grads[f"w{i}"][which]
            found = found if form == "any" and i == layers else found.t()
            torch.testing.assert_close(found, linear.weight.grad, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(critic.parameters.grads[f"b{i}"][which, 0], linear.bias.grad, rtol=1e-4, atol=1e-5)
        if which == 0:
            torch.testing.assert_close(first.forward(x)[0], expected.detach(), rtol=1e-4, atol=1e-5)
            gradient = first.residual_gradient(upstream[:1])[0]
            torch.testing.assert_close(gradient, leaf.grad[:, -residuals:], rtol=1e-4, atol=1e-5)


def test_to_a_linear_critic_all_residuals_are_as_good_at_first():
    generator = torch.Generator().manual_seed(0)
    critic = FORMS["linear"](13, 8, 16, 2, BATCH, CPU, generator)
    x = torch.randn(BATCH, 21, generator=generator)
    q = critic.forward(x).clone()
    x[:, -8:] = torch.randn(BATCH, 8, generator=generator)
    assert torch.equal(critic.forward(x), q) and q.std() > 0


def test_adam_is_torch_adam_after_clipping():
    parameters = Parameters({"a": (7,), "b": (3, 2)}, CPU)
    parameters.flat.copy_(torch.linspace(-1, 1, 13))
    reference = parameters.flat.clone().requires_grad_()
    mine, theirs = Adam(parameters, 1e-2, 1.0), torch.optim.Adam([reference], 1e-2)
    for i in range(20):
        gradient = torch.sin(torch.arange(13.0) + i) * (i + 1) / 5
        parameters.grad.copy_(gradient)
        reference.grad = gradient.clone()
        nn.utils.clip_grad_norm_([reference], 1.0)
        with torch.no_grad():
            mine.step()
        theirs.step()
    torch.testing.assert_close(parameters.flat, reference.detach())
    assert math.isclose(float(mine.state["step"]), 20)


@pytest.mark.parametrize(("layers", "size"), [(2, 4), (3, 4), (2, 2), (2, 1)])
def test_exported_actor_is_what_the_robot_runs(layers, size):
    """The blob, through the control node's graph, gives what the learner's networks give, each coefficient held over its group of steps."""
    settings = small_settings(actor_layers=layers, temporal_basis_size=size)
    learner = Learner(settings, PROPRIO, **SHA)
    learner.add(episodes(settings, 8))
    learner.algorithm.actor_target.parameters.flat.normal_(0, 0.3, generator=torch.Generator().manual_seed(1))
    weights = learner.weights()
    robot = ResidualActor(settings.token_size, PROPRIO, settings.chunk_length, settings.action_size, layers)
    robot.weights = weights
    batch = learner.replay.sample(np.random.default_rng(0), learner._batches[1])
    learner.algorithm.load(batch)
    expected = learner.algorithm.actor_target.forward(learner.algorithm.now[: settings.batch_size, : learner.algorithm.architecture.inputs])
    for i in range(settings.batch_size):
        observation = np.concatenate([batch.token[i], batch.proprio[i], batch.reference[i]])
        held = np.repeat(expected[i].numpy().reshape(size, 2), 4 // size, axis=0)
        np.testing.assert_allclose(robot.run(observation), held, atol=1e-5)
