"""The adversarial term of a training: a discriminator that learns beside the network it judges."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GUARD = 1e-4  # added to a gradient's norm before it divides


class Discriminator(nn.Sequential):
    """Tells true pictures from made ones, patch by patch (PatchGAN, Isola et al. 2017):

    B 3 S S to scores B 1 s s, high for true.
    """

    def __init__(self, width: int = 64, layers: int = 3):
        blocks: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        channels = width
        for layer in range(1, layers + 1):
            out = width * min(2**layer, 8)
            blocks += [
                nn.Conv2d(channels, out, 4, 2 if layer < layers else 1, 1),
                nn.GroupNorm(8, out),
                nn.LeakyReLU(0.2),
            ]
            channels = out
        super().__init__(*blocks, nn.Conv2d(channels, 1, 4, 1, 1))


class Adversary(nn.Module):
    """The discriminator and how far it counts.

    Both sides learn in one step: each sees the other's weights as constants.

    weight: of the maker's term; 0 leaves both out. after: calls before it counts. balanced: the weight is
    scaled so that the term's gradient on the picture has the norm of the other terms' (Esser et al. 2021, Eq.
    7, at the picture in place of the last layer, which not every maker trains).
    """

    def __init__(self, weight: float, after: int, size: int, balanced: bool = True):
        super().__init__()
        self.weight, self.after, self.balanced = weight, after, balanced
        if weight:
            self.judge = Discriminator(layers=3 if size >= 64 else 1)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, made: Tensor, true: Tensor, others: Tensor) -> Tensor:
        """What to add to the other terms of the loss."""
        if not self.weight:
            return others.new_zeros(())
        hinge = F.relu(1 - self.judge(true)).mean() + F.relu(1 + self.judge(made.detach())).mean()
        self.calls += 1
        if self.calls <= self.after:
            return hinge
        constants = {name: p.detach() for name, p in self.judge.named_parameters()}
        fooled = -torch.func.functional_call(self.judge, constants, made).mean()
        return hinge + self.weight * (
            self._balance(made, others, fooled) * fooled if self.balanced else fooled
        )

    @staticmethod
    def _balance(made: Tensor, others: Tensor, fooled: Tensor) -> Tensor:
        pull, push = (
            torch.autograd.grad(term, made, retain_graph=True)[0].norm() for term in (others, fooled)
        )
        return (pull / (push + GUARD)).clamp(max=1e4).detach()
