"""Adam, and Muon beside it, as one optimizer of a network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Optimizers:
    """Adam, and Muon (Jordan et al. 2024) on matrices that share their storage with the convolutions'
    weights.
    """

    def __init__(self, network: nn.Module, lr: float, muon: float, betas: tuple[float, float]):
        matrices = [p for p in network.parameters() if muon and p.ndim > 1 and p.shape[0] > 1]
        known = {id(p) for p in matrices}
        self.pairs = [(p, nn.Parameter(_matrix(p.detach(), p))) for p in matrices]
        others = [p for p in network.parameters() if id(p) not in known]
        rates = [(torch.optim.Adam(others, lr=lr, betas=betas), lr)]
        if self.pairs:
            made: Any = getattr(torch.optim, "Muon", None)
            if made is None:
                raise ValueError(
                    f"Muon needs torch 2.9 or newer, this is {torch.__version__}: upgrade, or train with "
                    "--muon 0"
                )
            rates.append((made([m for _, m in self.pairs], lr=muon, weight_decay=0.0), muon))
        self.rates = rates

    def step(self, share: float) -> None:
        for weight, matrix in self.pairs:
            matrix.grad = None if weight.grad is None else _matrix(weight.grad, weight)
        for optimizer, rate in self.rates:
            for group in optimizer.param_groups:
                group["lr"] = rate * share
            optimizer.step()

    def state_dict(self) -> list:
        return [optimizer.state_dict() for optimizer, _ in self.rates]

    def load_state_dict(self, states: list) -> None:
        for (optimizer, _), state in zip(self.rates, states, strict=True):
            optimizer.load_state_dict(state)


def _matrix(x: Tensor, weight: Tensor) -> Tensor:
    """A weight or its gradient as (out, rest), columns in the weight's memory order:

    Muon does not mind which.
    """
    return x.flatten(1) if weight.is_contiguous() else x.permute(0, 2, 3, 1).flatten(1)
