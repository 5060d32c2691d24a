"""Guidance by a measurement: diffusion posterior sampling (Chung et al. 2023) on any transition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..run import Hook, Step
from ..schedule import Level

Operator = Callable[[Tensor], Tensor]


@dataclass
class MeasurementGuidance(Hook):
    """x <- x - scale * grad_{x_t} |y - A(x0(x_t))| after every step, the gradient through the network to the
    step's start.

    y: B ..., A: differentiable, from x0 to y's shape. squared: |.|^2 as in the paper's Eq. 16 in place of the
    norm of the code. weight: `plain`, or `inverse` for the mean of |y - A x0| / |y_j| that VisionRefine's
    script uses (|y_j| at least `floor`). One norm a sample, summed, so that a batch never couples, unless
    `joint` takes one over the batch as published. last: whether the step to clean data is guided too.
    `residuals` holds the norms of the run, one tensor (B,) a step.
    """

    operator: Operator
    y: Tensor
    scale: float = 1.0
    squared: bool = False
    weight: str = "plain"
    floor: float = 1e-3
    joint: bool = False
    last: bool = True
    residuals: list[Tensor] = field(default_factory=list)
    needs_grad = True

    def __post_init__(self):
        if self.weight not in ("plain", "inverse"):
            raise ValueError(f"weight {self.weight!r} is not one of plain, inverse")

    def begin(self, x: Tensor, levels: Sequence[Level]) -> None:
        self.residuals = []
        with torch.no_grad():
            shape = self.operator(x[:1]).shape[1:]
        if shape != self.y.shape[1:] or len(self.y) not in (1, len(x)):
            raise ValueError(
                f"the operator makes {len(x)} x {tuple(shape)}, the measurement is {tuple(self.y.shape)}: "
                "they must agree"
            )

    def loss(self, x0: Tensor) -> Tensor:
        """The weighted residual of each sample, (B,), or of the batch, (1,)."""
        y = self.y.to(x0)
        difference = (
            (y - self.operator(x0)).flatten(0 if self.joint else 1).view(1 if self.joint else len(x0), -1)
        )
        norm = difference.square().sum(1) if self.squared else torch.linalg.vector_norm(difference, dim=1)
        if self.weight == "plain":
            return norm
        inverse = 1 / y.abs().clamp(min=self.floor)
        return norm * (inverse.mean() if self.joint else inverse.flatten(1).mean(1))

    def gradient(self, step: Step) -> tuple[Tensor, Tensor]:
        """The residuals and the gradient of their sum with respect to the step's start."""
        residual = self.loss(step.pred.x0)
        # freed as it is walked, the graph costs half as much
        (gradient,) = torch.autograd.grad(residual.sum(), step.x, retain_graph=step.shared_graph)
        return residual.detach(), gradient

    def state(self, step: Step, x: Tensor) -> Tensor:
        if step.nxt.sigma == 0 and not self.last:
            return x
        residual, gradient = self.gradient(step)
        self.residuals.append(residual)
        return x - self.scale * gradient
