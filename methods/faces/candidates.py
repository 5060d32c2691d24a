"""Several restorations of a face from different noise, and which of them is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..device import doubled
from ..imaging.resize import resize, size_of
from ..metrics.identity import SMALLEST, Identity, available, identity_distance
from ..metrics.sharpness import gradient_energy
from .align import cut, similarity, template
from .detect import Detector, DetectSettings, colours, detect

PICKS = ("consistency", "identity", "sharpness")
NEEDED = f"give a recogniser, and a method whose faces have {SMALLEST} pixels or more"
STRIDE = 2**32  # between the seeds of a face's candidates, so that they meet those of no other face


@dataclass(frozen=True)
class Candidates:
    """How many restorations of each face are made, and how the best is told.

    pick: consistency, the peak signal-to-noise ratio in dB of the restoration, reduced to the detail that the
    face had, against the face reduced alike; identity, the distance of embeddings from the nearest of
    `reference` (N D), else from the face as it was; sharpness, the mean squared gradient. Raises ValueError
    where identity is asked for without a recogniser.
    """

    count: int = 1
    pick: str = PICKS[0]
    recogniser: Identity | None = None
    reference: Tensor | None = None

    def __post_init__(self):
        if self.count > 1 and self.pick == "identity" and self.recogniser is None:
            raise ValueError(f"to pick by identity faces must be recognised: {available() or NEEDED}")

    def best(
        self,
        restore: Callable[[Sequence[int]], Tensor],
        faces: Tensor,
        seeds: Sequence[int],
        zooms: Sequence[float],
    ) -> tuple[Tensor, list[str]]:
        """The best restoration of each face B 3 S S, by the seeds that restore takes, and which one it is in
        words. zooms: how many times fewer pixels than S a side hold its detail; none where that is not known.
        """
        if self.count == 1:
            return restore(seeds), [""] * len(seeds)
        person = self._person(faces)
        kept, best = None, []
        scores: list[list[float]] = []
        for number in range(self.count):
            restored = restore([(seed + number * STRIDE) % 2**64 for seed in seeds])
            scores.append(self._scores(restored, faces, zooms, person))
            if kept is None:
                kept, best = restored.clone(), list(scores[0])
            for i, score in enumerate(scores[-1]):
                if score > best[i]:
                    kept[i], best[i] = restored[i], score
        assert kept is not None
        return kept, [self._words([score[i] for score in scores]) for i in range(len(seeds))]

    def _person(self, faces: Tensor) -> Tensor | None:
        """Embeddings that candidates are compared with where identity decides: N D, or B D of the faces."""
        if self.pick != "identity" or self.recogniser is None:
            return None
        return self.recogniser(faces) if self.reference is None else self.reference

    def _scores(
        self, restored: Tensor, faces: Tensor, zooms: Sequence[float], person: Tensor | None
    ) -> list[float]:
        """Of every face, more being better; what is no number is worst."""
        done = restored.clamp(0, 1)
        if self.pick == "sharpness":
            found = gradient_energy(done.nan_to_num()).tolist()
        elif self.pick == "consistency":
            found = [
                _consistency(done[i : i + 1], faces[i : i + 1], zooms[i] if zooms else 1.0)
                for i in range(len(done))
            ]
        else:
            assert self.recogniser is not None
            assert person is not None
            embedded = self.recogniser(done.nan_to_num())
            if self.reference is None:
                distances = identity_distance(embedded, person)
            else:
                distances = torch.cdist(doubled(embedded), doubled(person)).amin(1)
            found = (-distances).tolist()
        sound = torch.isfinite(restored).flatten(1).all(1).tolist()
        return [score if good else -torch.inf for score, good in zip(found, sound, strict=True)]

    def _words(self, scores: list[float]) -> str:
        unit = {"consistency": "{:.1f} dB", "identity": "{:.3f}", "sharpness": "{:.4f}"}[self.pick]
        shown = [unit.format(abs(score)) for score in scores]
        best = scores.index(max(scores))
        return f"candidate {best + 1} of {len(scores)}, {self.pick} {shown[best]} of {', '.join(shown)}"


def _consistency(restored: Tensor, face: Tensor, zoom: float) -> float:
    side = max(1, round(size_of(face)[0] / zoom))
    error = resize(restored, (side, side)) - resize(face, (side, side))
    return -10 * error.square().mean().clamp(min=1e-10).log10().item()


def reference_embeddings(
    pictures: Iterable[Tensor], detector: Detector, recogniser: Identity, frame: str, size: int = 256
) -> Tensor:
    """Embeddings N D of the largest face of each picture 1 C H W in 0..1 that has one.

    Raises ValueError where no picture has a face.
    """
    found = []
    for picture in pictures:
        seen = colours(picture)
        faces = detect(seen, detector, DetectSettings())[0].faces
        if len(faces):
            one = faces[[int(faces.sides.argmax())]]
            aligned = cut(seen.float(), similarity(one.landmarks, template(size, frame)), size)
            found.append(recogniser(aligned))
    if not found:
        raise ValueError(
            "no face is found in the reference photographs: give some that show the person from the front"
        )
    return torch.cat(found)
