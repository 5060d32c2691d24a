"""One picture's faces cut out, restored by any method, and painted on what lies behind them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..imaging.resize import resize, size_of
from ..metrics.identity import Identity, identity_distance
from ..settings import option
from .align import FRAMES, SIDE, cut, similarity, template
from .candidates import PICKS, Candidates
from .detail import detail_side
from .detect import Faces
from .enhance import OUTSIDE
from .grey import as_grey, is_grey
from .paste import PasteSettings, place, to_picture

Restorer = Callable[
    [Tensor, Sequence[int]], Tensor
]  # aligned faces B 3 S S in 0..1, and a seed for each, to B 3 S' S' or B 1 S' S'
Parser = Callable[[Tensor], Tensor]  # faces B 3 S S in 0..1 to classes B 512 512
BROKEN = math.inf  # in place of the identity distance of a face that cannot be pasted
EYES = 5.0  # least distance between the eyes in pixels, as published


class ZoomAware(ABC):
    """A restorer that is also told how many times more pixels a side than it has detail each face was given
    when it was cut out, and may leave some as they are.
    """

    @abstractmethod
    def __call__(self, faces: Tensor, seeds: Sequence[int], zooms: Sequence[float]) -> Tensor: ...

    @abstractmethod
    def leaves(self, zoom: float) -> str | None:
        """Why a face is not restored, None for one that is."""


@dataclass(frozen=True)
class RestoreSettings(PasteSettings):
    """How faces are cut out and put back."""

    size: int = option(
        SIDE, "Side of an aligned face in pixels: what the restorer was made for", low=16, high=4096
    )
    frame: str = option("ffhq", "How tightly a face fills its square", choices=tuple(FRAMES))
    scale: float = option(1.0, "Enlargement of the whole picture", low=1, high=64)
    robust: bool = option(
        True, "Align by the landmarks that agree, dropping outliers as published; otherwise by all of them"
    )
    blend: str = option(
        "replace",
        "replace puts the restored face there as published; difference adds what the restorer changed and "
        "keeps detail finer than the aligned face",
        choices=("replace", "difference"),
    )
    keep_grey: bool = option(True, "Keep faces of grey pictures grey")
    batch: int = option(4, "Faces restored at once; changes memory, not the result", low=1, high=256)
    candidates: int = option(
        1, "Restorations of each face, from different noise, the best of which is kept", low=1, high=64
    )
    pick: str = option(
        "consistency",
        "The best candidate: nearest to the picture when reduced again, to the person, or sharpest",
        choices=PICKS,
    )
    enhance_outside: str = option(
        "none",
        "What is done outside the boxes of the faces once they are put back: unsharp adds detail; "
        "released and "
        "paper are VisionRefine's Algorithm 4, a blur of 3 pixels and a strong kernel",
        choices=("none", *OUTSIDE),
    )


@dataclass(frozen=True)
class FaceReport:
    """One face: its number, box and score in the picture, side of its square in pixels, and what became of
    it.

    detail: side that would hold what the face shows, in pixels, where it was measured. identity: distance of
    the restored face's embedding from the input's, where it was asked for and could be told. kept: which of
    several candidates, and the figures of all.
    """

    number: int
    box: tuple[float, float, float, float]
    score: float
    side: float
    outcome: str = "restored"
    identity: float | None = None
    detail: float | None = None
    kept: str = ""


def usable(faces: Faces) -> list[int]:
    """Numbers of the faces that are large enough to be restored."""
    return torch.nonzero(faces.eye_distances >= EYES)[:, 0].tolist()


@dataclass(frozen=True)
class Painter:
    """Restores the faces of one picture 1 3 H W and paints them on its canvas."""

    picture: Tensor
    canvas: Tensor
    restorer: Restorer | ZoomAware
    settings: RestoreSettings
    parser: Parser | None
    recogniser: Identity | None
    candidates: Candidates

    def paint(self, faces: Faces, seed: int, count: Callable[[int], None]) -> list[FaceReport]:
        reports = [
            FaceReport(i, tuple(box), score, side)
            for i, (box, score, side) in enumerate(
                zip(faces.boxes.tolist(), faces.scores.tolist(), faces.sides.tolist(), strict=True)
            )
        ]
        numbers = usable(faces)
        reports = [
            r if r.number in numbers else _with(r, outcome=f"left as it is: eyes closer than {EYES:g} pixels")
            for r in reports
        ]
        if not numbers:
            return reports
        found = similarity(
            faces[numbers].landmarks, template(self.settings.size, self.settings.frame), self.settings.robust
        )
        matrices = dict(zip(numbers, found, strict=True))
        zooms: dict[int, float] = {}
        if isinstance(self.restorer, ZoomAware):
            for i, matrix in zip(numbers, found, strict=True):
                own = self.settings.size / _zoom(matrix)
                detail = self._detail(matrix, own)
                zooms[i] = self.settings.size / detail
                reports[i] = _with(reports[i], detail=reports[i].side * detail / own)
                if why := self.restorer.leaves(zooms[i]):
                    reports[i] = _with(reports[i], outcome=f"left as it is: {why}")
                    del matrices[i]
        numbers = list(matrices)
        keep_grey = self.settings.keep_grey and bool(is_grey(self.picture)[0])
        for start in range(0, len(numbers), self.settings.batch):
            some = numbers[start : start + self.settings.batch]
            distances, kept = self._batch(
                torch.stack([matrices[i] for i in some]),
                [seed + i for i in some],
                keep_grey,
                [zooms[i] for i in some if i in zooms],
            )
            for i, distance, words in zip(some, distances, kept, strict=True):
                changed: dict[str, Any] = {"identity": distance, "kept": words}
                if distance is BROKEN:
                    changed = {"outcome": "left as it is: the restorer answers what is no number"}
                reports[i] = _with(reports[i], **changed)
            if start + len(some) < len(numbers):  # the last batch ends the picture
                count(start + len(some))
        return reports

    def _detail(self, matrix: Tensor, own: float) -> float:
        """Pixels across of the detail that a face of `own` has, at most those."""
        side = min(SIDE, round(own))
        enlarged = matrix * (side / self.settings.size)
        face = cut(self.picture.float(), enlarged[None], side, method="bicubic")
        return min(own, detail_side(face) * own / side)

    def _batch(
        self, matrices: Tensor, seeds: list[int], keep_grey: bool, zooms: list[float]
    ) -> tuple[Sequence[float | None], Sequence[str]]:
        """Restore some faces and paint them; the identity distance of each, and which candidate was kept."""
        s = self.settings
        aware = isinstance(self.restorer, ZoomAware)
        # what is reduced again to its own pixels must keep them; what sees the aligned face was trained on
        # bilinear ones
        aligned = cut(self.picture.float(), matrices, s.size, method="bicubic" if aware else "bilinear")

        def restore(seeds: Sequence[int]) -> Tensor:
            restored = self.restorer(aligned, seeds, *((zooms,) if aware else ())).to(aligned)
            return _checked(restored, aligned)

        restored, kept = self.candidates.best(restore, aligned, seeds, zooms)
        sound = torch.isfinite(restored).flatten(1).all(1).tolist()
        shown = resize(aligned, size_of(restored))
        if not all(sound):
            restored = torch.where(
                torch.tensor(sound, device=shown.device)[:, None, None, None], restored, shown
            )
        if keep_grey:  # beyond the picture's border the face was filled with a colour
            restored, shown = (
                x.mean(1, keepdim=True).expand_as(x) for x in (as_grey(restored, shown), shown)
            )
        parts = self.parser(restored) if self.parser and s.mask == "parse" else None
        # of faces finer than they are made, what is beyond stays
        finer = [zoom < 1 for zoom in zooms] or [False] * len(seeds)
        added = [s.blend == "difference" or one for one in finer]
        back = to_picture(matrices, restored.shape[-1] / s.size, s.scale)
        for i, (face, matrix) in enumerate(zip(restored, back, strict=True)):
            if not sound[i]:
                continue
            some = None if parts is None else parts[i : i + 1]
            painted = face - shown[i] if added[i] else face
            place(painted[None], matrix, size_of(self.canvas), s.scale, s, some).onto(
                self.canvas, s.strength, added[i]
            )
        distances = [None] * len(seeds)
        if self.recogniser is not None:
            faces = self.recogniser(aligned), self.recogniser(restored.clamp(0, 1))
            distances = identity_distance(*faces).tolist()
        return [d if good else BROKEN for d, good in zip(distances, sound, strict=True)], kept


def _checked(restored: Tensor, aligned: Tensor) -> Tensor:
    """What a restorer answered, with three channels. Raises ValueError for another number or form of
    faces.
    """
    if (
        restored.ndim != 4
        or len(restored) != len(aligned)
        or restored.shape[1] not in (1, 3)
        or restored.shape[2] != restored.shape[3]
    ):
        raise ValueError(
            f"the restorer turned faces {tuple(aligned.shape)} into {tuple(restored.shape)}: it must "
            "keep their number and shape"
        )
    return restored.expand(-1, 3, -1, -1)


def _zoom(matrix: Tensor) -> float:
    """Pixels of the aligned face to a pixel of the picture, along a side."""
    return matrix[:, :2].det().sqrt().item()


def _with(report: FaceReport, **changes: Any) -> FaceReport:
    return replace(report, **changes)
