"""Networks that a training asks and never changes."""

from __future__ import annotations

from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


class Frozen(Generic[Network]):
    """A network that is asked and never trained: no part of checkpoints or averages, and where its input
    is.
    """

    def __init__(self, network: Network):
        self.network = network.eval().requires_grad_(False)

    def __deepcopy__(self, memo: dict) -> Frozen:
        return self

    def beside(self, place: Tensor | torch.device) -> Network:
        """The network on a device, or on that of a tensor."""
        return self.network.to(place.device if isinstance(place, Tensor) else place)
