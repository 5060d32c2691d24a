"""Large pictures in strips of rows, between which a host can end the work."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

VALUES = 2**20  # of a strip


def strips(x: Tensor) -> tuple[Tensor, ...]:
    """Views of the rows of ... H W, as many at once as hold about VALUES; what has no rows is one strip."""
    return x.split(max(1, VALUES * x.shape[-2] // max(1, x.numel())), -2) if x.ndim > 1 else (x,)


def laid(parts: Iterable[Tensor], length: int, dim: int = -2) -> Tensor:
    """Parts beside each other, `length` along an axis, as torch.cat: each is put into its place as soon as it
    is made, so that they never lie beside the whole. A single one comes back as it is.
    """
    waiting = iter(parts)
    first = next(waiting)
    if first.shape[dim] == length:
        return first
    if first.requires_grad:  # writing into place would be followed step by step
        return torch.cat([first, *waiting], dim)
    shape = list(first.shape)
    shape[dim] = length
    whole = first.new_empty(shape)
    done = first.shape[dim]
    whole.narrow(dim, 0, done).copy_(first)
    for part in waiting:
        whole.narrow(dim, done, part.shape[dim]).copy_(part)
        done += part.shape[dim]
    return whole


def by_strips(work: Callable[..., Tensor], *pictures: Tensor) -> Tensor:
    """work(...) of pictures ... H W of one height, which gives each row by itself."""
    some = strips(pictures[0])
    if len(some) == 1:
        return work(*pictures)
    rows = zip(*(x.split(some[0].shape[-2], -2) for x in pictures), strict=True)
    return laid((work(*parts) for parts in rows), pictures[0].shape[-2])
