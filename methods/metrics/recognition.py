"""Recognition as SRDG judges it: verification of pairs (1:1) and identification in a gallery (1:N)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..device import doubled
from .identity import identity_distance

RANKS = (1, 5, 10)


def roc_auc(genuine: Tensor, impostor: Tensor) -> float:
    """Area under the ROC curve of distances: how often a genuine pair is nearer than an impostor one, ties
    counting half (Hanley and McNeil 1982, Eq. 1). Raises ValueError without pairs of both kinds.
    """
    _both(genuine, impostor)
    others = doubled(impostor).sort().values
    pairs = doubled(genuine)
    above = len(others) - torch.searchsorted(others, pairs, right=True)
    ties = torch.searchsorted(others, pairs, right=True) - torch.searchsorted(others, pairs)
    return float((above.double() + ties.double() / 2).sum() / (len(pairs) * len(others)))


def equal_error_rate(genuine: Tensor, impostor: Tensor) -> float:
    """Where as many genuine pairs are refused as impostors are accepted, between the two thresholds around
    that point linearly. Raises ValueError without pairs of both kinds.
    """
    _both(genuine, impostor)
    levels = doubled(torch.cat([genuine, impostor])).unique()
    refused, accepted = [1.0], [0.0]
    for one, share in ((genuine, refused), (impostor, accepted)):
        below = torch.searchsorted(doubled(one).sort().values, levels, right=True).double() / len(one)
        share.extend((1 - below if one is genuine else below).tolist())
    for i in range(1, len(refused)):
        if accepted[i] >= refused[i]:
            gap, before = accepted[i] - refused[i], refused[i - 1] - accepted[i - 1]
            part = before / (before + gap) if before + gap else 0.0
            return refused[i - 1] + part * (refused[i] - refused[i - 1])
    raise AssertionError("the last threshold accepts every pair")


@dataclass(frozen=True)
class Identification:
    """Shares of probes whose person is among the nearest 1, 2, ... of the gallery (CMC); probes: how many had
    another picture of theirs in it.
    """

    cmc: tuple[float, ...]
    probes: int

    def rank(self, k: int) -> float:
        """Rank-k; of a gallery with fewer people, that of all of them."""
        return self.cmc[min(k, len(self.cmc)) - 1]


@dataclass(frozen=True)
class Faces:
    """Embeddings N D of pictures with their names and whom they show."""

    embeddings: Tensor
    names: Sequence[str]
    people: Sequence[str]

    def __post_init__(self):
        if not len(self.embeddings) == len(self.names) == len(self.people):
            raise ValueError(
                f"{len(self.embeddings)} embeddings, {len(self.names)} names and {len(self.people)} people "
                "do not pair"
            )


def protocol_pairs(probes: Faces, gallery: Faces, kind: str = "cosine") -> tuple[Tensor, Tensor]:
    """1:1: distances of every probe to every picture of the gallery but its own, of genuine and of impostor
    pairs.
    """
    distance = _distances(probes, gallery, kind)
    same, own = _same(probes.people, gallery.people), _same(probes.names, gallery.names)
    return distance[same & ~own], distance[~same]


def identification(probes: Faces, gallery: Faces, kind: str = "cosine") -> Identification:
    """1:N: the gallery's people by the distance of their nearest picture that is not the probe's own.

    Raises ValueError where nobody has another picture.
    """
    distance = _distances(probes, gallery, kind)
    distance = torch.where(_same(probes.names, gallery.names), torch.inf, distance)
    people = list(dict.fromkeys(gallery.people))
    nearest = torch.stack(
        [distance[:, [i for i, one in enumerate(gallery.people) if one == who]].amin(1) for who in people], 1
    )
    found = []
    for i, who in enumerate(probes.people):
        if who in people and torch.isfinite(own := nearest[i, people.index(who)]):
            found.append(int((nearest[i] < own).sum()))
    if not found:
        raise ValueError("no probe shows somebody of whom the gallery has another picture")
    ranks = torch.tensor(found, device="cpu")
    return Identification(tuple(float((ranks <= k).double().mean()) for k in range(len(people))), len(found))


def _distances(probes: Faces, gallery: Faces, kind: str) -> Tensor:
    return torch.stack(
        [
            identity_distance(one.expand_as(gallery.embeddings), gallery.embeddings, kind)
            for one in probes.embeddings
        ]
    )


def _same(a: Sequence[str], b: Sequence[str]) -> Tensor:
    numbers = {name: i for i, name in enumerate(dict.fromkeys([*a, *b]))}
    one, other = (torch.tensor([numbers[n] for n in names], device="cpu") for names in (a, b))
    return one[:, None] == other[None]


def _both(genuine: Tensor, impostor: Tensor) -> None:
    if not (len(genuine) and len(impostor)):
        raise ValueError(
            f"{len(genuine)} genuine and {len(impostor)} impostor pairs: the curve needs both kinds"
        )
