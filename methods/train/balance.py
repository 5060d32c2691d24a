"""Which pictures a draw takes and what their errors weigh, so that rare classes count as much as others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .labels import UNKNOWN


def chances(members: Mapping[str, Sequence[Tensor]], count: int) -> Tensor:
    """How likely each of `count` pictures is drawn where all attributes learn from one: half of a draw is any
    picture, half one of any group of any attribute, so that rare classes are seen.
    """
    drawn = torch.full((count,), 0.5 / count, dtype=torch.float64)
    for groups in members.values():
        for group in groups:
            drawn[group] += 0.5 / (len(members) * len(groups) * len(group))
    return drawn


def class_weights(labels: Tensor, groups: Sequence[Tensor], together: Tensor | None) -> Tensor:
    """What each class weighs so that all weigh the same in the mean, (K,): 1 where the draw itself sees to
    it, or nothing shall.
    """
    if together is None or len(groups) < 2:
        return torch.ones(int(labels.max()) + 1)
    return torch.stack([1 / (len(groups) * together[group].sum()) for group in groups]).float()


def groups_of(labels: Tensor, balanced: bool) -> list[Tensor]:
    """The numbers of the pictures among which a draw chooses first: those of each class, or all that are
    known.
    """
    if not balanced:
        return [(labels != UNKNOWN).nonzero()[:, 0]]
    return [(labels == k).nonzero()[:, 0] for k in range(int(labels.max()) + 1)]


def drawn_of(groups: Sequence[Tensor], count: int, generator: torch.Generator) -> Tensor:
    """Numbers of pictures, (count,), every group as likely as any other."""
    which = torch.randint(len(groups), (count,), generator=generator).tolist()
    place = torch.empty(count, dtype=torch.float64).uniform_(generator=generator).tolist()
    return torch.stack([groups[k][int(u * len(groups[k]))] for k, u in zip(which, place, strict=True)])
