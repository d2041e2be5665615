"""The residual actor, and what it shares with the critics (`critic.py`): gradients written out by hand.

At these sizes (two layers of 128, batches of 128) most of an autograd update is bookkeeping, not arithmetic. Here every parameter and
every gradient is a view of one vector, so that Adam, clipping and Polyak averaging are one operation each, and every product
writes into a buffer that exists already. `test_learning_networks.py` pins each gradient against autograd.

Shapes: B samples, S = Dz + P + C * A inputs, C * A residuals, H hidden units.
"""

from __future__ import annotations

import math

import torch

from rl_token_ros.policy.actor_weights import Architecture

LAYER_NORM_EPS = 1e-5
aten = torch.ops.aten


class Parameters:
    """Named tensors that are views of one vector ``flat``, with their gradients as views of ``grad``."""

    def __init__(self, shapes: dict[str, tuple[int, ...]], device: torch.device):
        size = sum(math.prod(shape) for shape in shapes.values())
        self.flat = torch.zeros(size, device=device)
        self.grad = torch.zeros(size, device=device)
        self.shapes = shapes
        self.values = self._views(self.flat)
        self.grads = self._views(self.grad)

    def _views(self, vector: torch.Tensor) -> dict[str, torch.Tensor]:
        parts = torch.split(vector, [math.prod(shape) for shape in self.shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts)}

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.values[name]


class Adam:
    """Adam on one vector, after clipping the norm of its gradient."""

    def __init__(self, parameters: Parameters, learning_rate: float, max_norm: float) -> None:
        self.flat, self.gradient = parameters.flat, parameters.grad
        self.learning_rate, self.max_norm = learning_rate, max_norm
        self.state = {
            "step": torch.zeros((), device=self.flat.device),
            "first": torch.zeros_like(self.flat),
            "second": torch.zeros_like(self.flat),
        }

    def step(self) -> None:
        """One step along the gradient that the backward pass left."""
        self.gradient.mul_((self.max_norm / (torch.linalg.vector_norm(self.gradient) + 1e-6)).clamp_(max=1.0))
        step, first, second = self.state.values()
        step.add_(1.0)
        # The kernel itself: what torch.optim does around it takes as long again here.
        torch._fused_adam_(
            [self.flat], [self.gradient], [first], [second], [], [step], amsgrad=False, beta1=0.9, beta2=0.999,
            lr=self.learning_rate, weight_decay=0.0, eps=1e-8, maximize=False,
        )  # fmt: skip


def uniform(tensor: torch.Tensor, fan_in: int, generator: torch.Generator) -> None:
    """PyTorch's default for linear layers: uniform within 1 / sqrt(fan_in)."""
    bound = 1.0 / math.sqrt(fan_in)
    tensor.copy_(torch.rand(tensor.shape, generator=generator, device=tensor.device) * (2 * bound) - bound)


class Actor:
    """MLP with ReLU from normalised inputs [B, S] to residuals [B, C * A] in (-1, 1); its last layer starts at zero.

    So it starts exactly at the base policy (docs/method.md, pitfall 1).
    """

    def __init__(self, architecture: Architecture, batch: int, device: torch.device, generator: torch.Generator | None = None):
        self.layers = architecture.layers
        shapes = {name: shape for name, shape in architecture.shapes().items() if name[0] in "wb"}
        self.parameters = Parameters(shapes, device)
        self.hidden = [torch.empty(batch, architecture.hidden, device=device) for _ in range(self.layers)]
        self.upward = [torch.empty_like(h) for h in self.hidden]
        self.output = self.result = torch.empty(batch, architecture.outputs, device=device)
        if generator is not None:
            for i in range(self.layers):
                fan_in = shapes[f"w{i}"][0]
                uniform(self.parameters[f"w{i}"], fan_in, generator)
                uniform(self.parameters[f"b{i}"], fan_in, generator)

    def forward(self, inputs: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Residuals [B, C * A], in ``out`` if given; what `backward` needs stays in this object's buffers."""
        p, x = self.parameters, inputs
        for i, h in enumerate(self.hidden):
            torch.addmm(p[f"b{i}"], x, p[f"w{i}"], out=h)
            x = h.relu_()
        last = self.layers
        self.result = self.output if out is None else out
        return torch.addmm(p[f"b{last}"], x, p[f"w{last}"], out=self.result).tanh_()

    def backward(self, inputs: torch.Tensor, gradient: torch.Tensor) -> None:
        """Fill the parameters' gradients from dL / d residuals [B, C * A], for the inputs of the last `forward`."""
        p, grads = self.parameters, self.parameters.grads
        delta = aten.tanh_backward(gradient, self.result)
        for i in range(self.layers, -1, -1):
            below = self.hidden[i - 1] if i else inputs
            torch.mm(below.t(), delta, out=grads[f"w{i}"])
            torch.sum(delta, 0, out=grads[f"b{i}"])
            if i:
                torch.mm(delta, p[f"w{i}"].t(), out=self.upward[i - 1])
                delta = aten.threshold_backward(self.upward[i - 1], below, 0)
