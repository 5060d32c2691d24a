"""What is told of many pictures: means of their figures, and figures of all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..imaging.datasets import FILE
from ..imaging.images import read
from ..metrics.bootstrap import Summary, summary, summary_of_set
from ..metrics.frechet import frechet_distance
from ..metrics.perceptual import inception, inception_distances
from ..metrics.recognition import Faces, equal_error_rate, identification, protocol_pairs, roc_auc
from .figures import Figure
from .pairs import Failure, Job
from .picture import EMBEDDING

WIDTH = 128  # of an embedding
TRUE = f"true {EMBEDDING}"


def each(
    figures: Sequence[Figure],
    pictures: Sequence[dict],
    seed: int,
    failures: list[Failure],
    lacking: dict[str, str],
    named: bool,
) -> dict[str, Summary]:
    """Means over pictures; a figure that all are too small for is a failure only where it was named."""
    found = {}
    for figure in (f for f in figures if not f.of_set):
        values = [row[figure.name] for row in pictures if row.get(figure.name) is not None]
        if values:
            found[figure.name] = summary(values, seed, figure.median)
        elif figure.smallest and not named:
            lacking[figure.name] = f"needs pictures of {figure.smallest} pixels"
        else:
            failures.append(
                Failure(f"all {len(pictures)} pictures", f"{figure.name} is defined for none of them")
            )
    return found


@dataclass
class Sets:
    """What is told of all pictures together; what cannot be is a failure with its reason.

    others: whether sets are compared with a reference, not with the truths.
    """

    others: bool
    seed: int
    pictures: Sequence[dict]
    rows: dict[str, dict]
    reference: Sequence[tuple[str, Path]]
    gallery: Sequence[tuple[str, Path]]
    people: dict[str, str]
    failures: list[Failure]

    def frechet(self, figures: Sequence[Figure]) -> dict[str, Summary]:
        if "frechet" not in {f.name for f in figures}:
            return {}
        own = _stacked(row.get(EMBEDDING) for row in self.pictures)
        other = (
            _stacked(self.rows.get(f"reference {name}", {}).get(EMBEDDING) for name, _ in self.reference)
            if self.reference
            else _stacked(row.get(TRUE) for row in self.pictures)
        )
        if min(len(own), len(other)) < 2:
            self._too_few("frechet", len(own), len(other))
            return {}
        # truths go with their results; a reference stays as it is
        together = not self.reference

        def measure(which: Tensor) -> float:
            return frechet_distance(own[which], other[which] if together else other)

        return {"frechet": summary_of_set(measure, len(own), self.seed)}

    def inception(
        self, figures: Sequence[Figure], jobs: Sequence[Job], device: torch.device | str
    ) -> dict[str, Summary]:
        wanted = {f.name for f in figures} & {"fid", "kid"}
        if not wanted:
            return {}
        judged = {row[FILE] for row in self.pictures}
        own = [job.result for job in jobs if job.name in judged]
        other = [p for _, p in self.reference] or [j.truth for j in jobs if j.name in judged and j.truth]
        if min(len(own), len(other)) < 2:
            for name in sorted(wanted):
                self._too_few(name, len(own), len(other))
            return {}
        features = [torch.cat([inception(read(p).pixels.to(device)) for p in some]) for some in (own, other)]
        values = inception_distances(*features)
        return {name: Summary(values[name], None, None, len(own)) for name in wanted}

    def recognition(self, figures: Sequence[Figure]) -> dict[str, Summary]:
        wanted = {f.name for f in figures if "people" in f.needs}
        if not wanted:
            return {}
        probes = self._faces([(row[FILE], row.get(EMBEDDING)) for row in self.pictures])
        gallery = self._faces(
            [(name, self.rows.get(f"gallery {name}", {}).get(EMBEDDING)) for name, _ in self.gallery]
            if self.gallery
            else [(row[FILE], row.get(TRUE)) for row in self.pictures]
        )
        found: dict[str, Summary] = {}
        try:
            genuine, impostor = protocol_pairs(probes, gallery)
            values = {"auc": roc_auc(genuine, impostor), "eer": equal_error_rate(genuine, impostor)}
            found |= {name: Summary(v, None, None, len(genuine)) for name, v in values.items()}
            ranks = identification(probes, gallery)
            found |= {
                name: Summary(ranks.rank(int(name[5:])), None, None, ranks.probes)
                for name in wanted
                if name.startswith("rank-")
            }
        except ValueError as error:
            self.failures.append(Failure("all pictures", f"no recognition: {error}"))
        return {name: one for name, one in found.items() if name in wanted}

    def _faces(self, some: Sequence[tuple[str, list[float] | None]]) -> Faces:
        kept, strange = [], []
        for name, vector in some:
            if vector is not None:
                (kept if name in self.people else strange).append((name, vector))
        self.failures += [Failure(name, "the table of people does not name it") for name, _ in strange]
        vectors = torch.tensor([v for _, v in kept], dtype=torch.float32, device="cpu").reshape(
            len(kept), WIDTH
        )
        return Faces(vectors, [n for n, _ in kept], [self.people[n] for n, _ in kept])

    def _too_few(self, name: str, own: int, other: int) -> None:
        why = f"no {name}: sets of {own} and {other} pictures have no spread, at least 2 each are needed"
        self.failures.append(Failure("all pictures", why))


def _stacked(vectors) -> Tensor:
    kept = [v for v in vectors if v is not None]
    return torch.tensor(kept, dtype=torch.float32, device="cpu").reshape(len(kept), WIDTH)
