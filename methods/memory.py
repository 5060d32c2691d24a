"""How much memory a call of a network needs, and a gradient through it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

GRADIENT_SHARE = 14  # how much more a gradient keeps than a plain call needs (ADM-FFHQ at 256 pixels)


@torch.inference_mode(False)
def gradient_bytes(network: nn.Module, shape: Sequence[int], pictures: int = 1) -> int:
    """The bytes that autograd keeps of network(x, t) for x B C H W, counted on the meta device, where nothing
    is computed.

    pictures: 2 for a network that sees another one, network(x, t, y).
    """
    meta = {
        name: tensor.to("meta") for name, tensor in (*network.named_parameters(), *network.named_buffers())
    }
    fixed = {_storage(tensor) for tensor in meta.values()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in fixed:
            kept[_storage(tensor)] = tensor
        return tensor

    float32 = {"dtype": torch.float32, "device": "meta"}
    x, *more = (torch.empty(shape, **float32, requires_grad=True) for _ in range(pictures))
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        torch.func.functional_call(network, meta, (x, torch.empty(len(x), **float32), *more))
    total = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    kept.clear()  # the hook itself lives as long as the graph does, and must not hold tensors until then
    return total


def call_bytes(network: nn.Module, shape: Sequence[int], pictures: int = 1, gradient: bool = False) -> int:
    """The bytes that a call needs beside the weights: what its gradient keeps, or without one a share of
    that.
    """
    kept = gradient_bytes(network, shape, pictures)
    return kept if gradient else kept // GRADIENT_SHARE


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
