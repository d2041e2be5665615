"""Twin critics with gradients written out by hand, in two forms: linear in the residual, or any function of it.

Shapes: B samples, S inputs of the state, R = K * A residuals, H hidden units, E = 2 critics.
"""

from __future__ import annotations

import itertools

import torch

from rl_token_ros.learning.networks import LAYER_NORM_EPS, Parameters, aten, uniform

CRITICS = 2


class Critic:
    """Q functions of [normalised inputs, residuals in units of the residual scale], B x (S + R): any function of both.

    Each: linear, LayerNorm (without affine part), ReLU per hidden layer, then linear. That the residual, not the action, is the
    input keeps the critic from ignoring it (docs/method.md, pitfall 3); LayerNorm bounds what it extrapolates (pitfall 9).

    Args:
        inputs: S.
        residuals: R.
        hidden: H.
        layers: hidden ones.
        batch: B.
        device: of all tensors.
        generator: of the first weights; None: zeros.
        first_of: share the parameters of that one's first critic; E is 1 then, for the actor's gradient.
    """

    def __init__(
        self, inputs: int, residuals: int, hidden: int, layers: int, batch: int, device: torch.device,
        generator: torch.Generator | None = None, first_of: Critic | None = None,
    ):  # fmt: skip
        count = CRITICS if first_of is None else 1
        self.residuals, self.layers, self.norm, self.count = residuals, layers, [hidden], count
        self.seen, head = self._widths(inputs)
        # An affine part that does nothing: with one the kernel is vectorised.
        self.affine = (torch.ones(hidden, device=device), torch.zeros(hidden, device=device))
        shapes: dict[str, tuple[int, ...]] = {}
        widths = [self.seen, *[hidden] * layers]
        for i, (rows, columns) in enumerate(itertools.pairwise(widths)):
            shapes |= {f"w{i}": (CRITICS, rows, columns), f"b{i}": (CRITICS, 1, columns)}
        shapes |= {f"w{layers}": self._head_shape(hidden, head), f"b{layers}": (CRITICS, 1, head)}
        self.parameters: Parameters = Parameters(shapes, device) if first_of is None else first_of.parameters
        p = self.parameters
        self.weights = [p[f"w{i}"][:count] for i in range(layers + 1)]
        self.transposed = [w.transpose(1, 2) for w in self.weights]
        self.biases = [p[f"b{i}"][:count] for i in range(layers + 1)]
        self.linear = [torch.empty(count, batch, hidden, device=device) for _ in range(layers)]
        self.upward = [torch.empty_like(h) for h in self.linear]
        self.hidden: list[torch.Tensor] = [torch.empty(0)] * layers
        self.moments: list[tuple[torch.Tensor, torch.Tensor]] = [(torch.empty(0), torch.empty(0))] * layers
        self.output = torch.empty(count, batch, head, device=device)
        if generator is not None:
            for i, fan_in in enumerate(widths):
                uniform(p[f"w{i}"], fan_in, generator)
                uniform(p[f"b{i}"], fan_in, generator)

    # ---- what the forms differ in

    def _widths(self, inputs: int) -> tuple[int, int]:
        """How many of S + R inputs the hidden layers are given, and how many outputs the last layer has."""
        return inputs + self.residuals, 1

    def _head_shape(self, hidden: int, outputs: int) -> tuple[int, ...]:
        return CRITICS, outputs, hidden  # a row, not a column: multiplying and adding up is three times as fast as products of width 1

    def _value(self, x: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """Q [E, B] from the last hidden layer [E, B, H]."""
        torch.mul(x, self.weights[-1], out=self.upward[-1])
        torch.sum(self.upward[-1], 2, keepdim=True, out=self.output)
        return self.output.add_(self.biases[-1]).squeeze(2)

    def _head_gradients(self, gradient: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """Fill those of the last layer from dL / dQ [E, B]; dL / d its outputs."""
        grads, last, delta = self.parameters.grads, self.layers, gradient.unsqueeze(2)
        torch.sum(torch.mul(self.hidden[-1], delta, out=self.upward[-1]), 1, keepdim=True, out=grads[f"w{last}"])
        torch.sum(delta, 1, keepdim=True, out=grads[f"b{last}"])
        return delta

    def _below_head(self, delta: torch.Tensor) -> torch.Tensor:
        """dL / d the last hidden layer [E, B, H]."""
        return torch.mul(delta, self.weights[-1], out=self.upward[-1])

    def residual_gradient(self, gradient: torch.Tensor) -> torch.Tensor:
        """dL / d residuals [E, B, R] from dL / dQ [E, B] of the last `forward`."""
        delta = self._through(self.layers - 1, self._below_head(gradient.unsqueeze(2)))
        for i in range(self.layers - 1, 0, -1):
            delta = self._through(i - 1, torch.bmm(delta, self.transposed[i], out=self.upward[i - 1]))
        return torch.bmm(delta, self.transposed[0][:, :, -self.residuals :])

    # ---- the hidden layers

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Q [E, B]; what the backward passes need stays in this object's buffers."""
        x = inputs[:, : self.seen].expand(self.count, -1, -1)
        for i, linear in enumerate(self.linear):
            torch.baddbmm(self.biases[i], x, self.weights[i], out=linear)
            x, mean, rstd = torch.native_layer_norm(linear, self.norm, *self.affine, LAYER_NORM_EPS)
            self.hidden[i] = x.relu_()
            self.moments[i] = (mean, rstd)
        return self._value(x, inputs)

    def _through(self, i: int, gradient: torch.Tensor) -> torch.Tensor:
        """dL / d linear[i] from dL / d hidden[i]."""
        gradient = aten.threshold_backward(gradient, self.hidden[i], 0)
        mean, rstd = self.moments[i]
        below: torch.Tensor = aten.native_layer_norm_backward(gradient, self.linear[i], self.norm, mean, rstd, None, None, [True, False, False])[0]
        return below

    def backward(self, inputs: torch.Tensor, gradient: torch.Tensor) -> None:
        """Fill the parameters' gradients from dL / dQ [E, B], for the inputs of the last `forward`."""
        grads = self.parameters.grads
        upward = self._below_head(self._head_gradients(gradient, inputs))
        for i in range(self.layers - 1, -1, -1):
            delta = self._through(i, upward)
            below = self.hidden[i - 1] if i else inputs[:, : self.seen].expand(self.count, -1, -1)
            torch.bmm(below.transpose(1, 2), delta, out=grads[f"w{i}"])
            torch.sum(delta, 1, keepdim=True, out=grads[f"b{i}"])
            if i:
                upward = torch.bmm(delta, self.transposed[i], out=self.upward[i - 1])


class LinearCritic(Critic):
    """Q = V(x) + g(x) . r: what a state is worth, and what each residual adds to it.

    A residual is small, and a chunk short: over one, a plane says of Q what the noise tells. Any function of both would have to learn from few
    episodes that each input's meaning turns with the residual's sign; here it is built in (docs/learning.md has what it brought).
    At the beginning g is 0: no residual is better than another.
    """

    def __init__(
        self, inputs: int, residuals: int, hidden: int, layers: int, batch: int, device: torch.device,
        generator: torch.Generator | None = None, first_of: Critic | None = None,
    ):  # fmt: skip
        super().__init__(inputs, residuals, hidden, layers, batch, device, generator, first_of)
        if generator is not None:
            for last in (self.parameters[f"w{layers}"], self.parameters[f"b{layers}"]):
                last[:, :, 1:] = 0.0

    def _widths(self, inputs: int) -> tuple[int, int]:
        return inputs, 1 + self.residuals

    def _head_shape(self, hidden: int, outputs: int) -> tuple[int, ...]:
        return CRITICS, hidden, outputs

    def _value(self, x: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        torch.baddbmm(self.biases[-1], x, self.weights[-1], out=self.output)
        return (self.output[:, :, 1:] * inputs[:, -self.residuals :]).sum(2).add_(self.output[:, :, 0])

    def _head_gradients(self, gradient: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        grads, last, delta = self.parameters.grads, self.layers, gradient.unsqueeze(2)
        delta = torch.cat([delta, delta * inputs[:, -self.residuals :]], 2)
        torch.bmm(self.hidden[-1].transpose(1, 2), delta, out=grads[f"w{last}"])
        torch.sum(delta, 1, keepdim=True, out=grads[f"b{last}"])
        return delta

    def _below_head(self, delta: torch.Tensor) -> torch.Tensor:
        return torch.bmm(delta, self.transposed[-1], out=self.upward[-1])

    def residual_gradient(self, gradient: torch.Tensor) -> torch.Tensor:
        return gradient.unsqueeze(2) * self.output[:, :, 1:]


FORMS = {"linear": LinearCritic, "any": Critic}  # by the parameter `critic_form`
