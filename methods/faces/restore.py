"""Every face of a picture restored by any method and put back."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..device import own_defaults
from ..imaging.alpha import fill_hidden
from ..imaging.resize import check_scale, enlarged_size, resize, size_of
from ..method import Upscaler
from ..metrics.identity import Identity, identity_distance
from ..settings import option
from .align import FRAMES, SIDE, cut, similarity, template
from .detail import detail_side
from .detect import Detection, Detector, DetectSettings, Faces, colours, detect
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


@dataclass(frozen=True)
class FaceReport:
    """One face: its number, box and score in the picture, side of its square in pixels, and what became of
    it.

    detail: side that would hold what the face shows, in pixels, where it was measured. identity: distance of
    the restored face's embedding from the input's, where it was asked for and could be told.
    """

    number: int
    box: tuple[float, float, float, float]
    score: float
    side: float
    outcome: str = "restored"
    identity: float | None = None
    detail: float | None = None


@dataclass(frozen=True)
class Restored:
    """Pictures B C H' W' in 0..1, and for each its faces (in pixels of the input), a report of every face,
    and notes on those left out.
    """

    pictures: Tensor
    detections: tuple[Detection, ...]
    reports: tuple[tuple[FaceReport, ...], ...]
    cleaned: bool = False

    def describe(self) -> str:
        """The report in words, a line for each picture and face."""
        lines = []
        for i, (detection, reports) in enumerate(zip(self.detections, self.reports, strict=True)):
            left_out = f"; left out: {', '.join(detection.notes)}" if detection.notes else ""
            done = sum(r.outcome == "restored" for r in reports)
            nothing = "no face found, cleaned" if self.cleaned else "no face found, unchanged"
            outcome = f"{done} of {len(reports)} faces restored" if reports else nothing
            lines.append(f"picture {i}: {outcome}{left_out}")
            for r in reports:
                soft = r.detail is not None and r.detail < 0.95 * r.side
                shown = f" with the detail of {r.detail:.0f}" if soft else ""
                changed = "" if r.identity is None else f", identity distance {r.identity:.3f}"
                lines.append(
                    f"  face {r.number}: {r.outcome}, {r.side:.0f} px wide{shown}, score {r.score:.2f}"
                    f"{changed}"
                )
        return "\n".join(lines)


@own_defaults()
def restore_faces(
    x: Tensor,
    restorer: Restorer | ZoomAware,
    detector: Detector | None,
    settings: RestoreSettings = RestoreSettings(),
    which: DetectSettings = DetectSettings(),
    seed: int | Sequence[int] = 0,
    background: Tensor | None = None,
    parser: Parser | None = None,
    recogniser: Identity | None = None,
    faces: Sequence[Faces] | None = None,
    on_face: Callable[[int, int], None] | None = None,
    cleaner: Upscaler | None = None,
) -> Restored:
    """Restore the faces of B C H W in 0..1, grey or RGB, with or without alpha, any number of faces; without
    any, nothing changes.

    background: the pictures already enlarged, B 3 H' W'; otherwise they are enlarged bicubically, or by the
    cleaner, which also cleans what a ZoomAware restorer sees. Alpha is enlarged and kept. faces: those of
    each picture, in place of a detector's. seed: of all pictures, or one for each; face i has the seed plus
    i. on_face(done, all) counts the faces of all pictures, and those that have none as one; a recogniser adds
    identity distances. Memory beyond the pictures is that of one batch of faces. Raises ValueError.
    """
    if settings.mask == "parse" and parser is None:
        raise ValueError(
            "the parse mask needs ParseNet (parsing_parsenet.pth): load it, or choose the square mask"
        )
    if faces is not None and len(faces) != len(x):
        raise ValueError(f"{len(x)} pictures need as many sets of faces, not {len(faces)}")
    if faces is not None:
        detections = [Detection(f) for f in faces]
    elif detector is not None:
        detections = detect(x, detector, which)
    else:
        raise ValueError("give a detector, or the faces of every picture")
    size = enlarged_size(size_of(x), check_scale(settings.scale))
    colour = visible(x)
    result = _canvas(x, size, background, colour)
    coloured = result[:, : 3 if x.shape[1] > 2 else 1]
    reports = []
    seeds = [seed] * len(x) if isinstance(seed, int) else list(seed)
    before, total = 0, sum(max(1, len(d.faces)) for d in detections)
    for i, detection in enumerate(detections):
        count = partial(_count, on_face, before, total)
        seen, canvas = colour[i : i + 1], coloured[i : i + 1]
        if cleaner:
            grey = is_grey(seen)[0] and settings.keep_grey
            cleaned = _cleaned(cleaner, seen, 1.0, grey)
            if background is None:
                whole = settings.scale == 1
                large = cleaned if whole else _cleaned(cleaner, seen, settings.scale, grey)
                canvas[:] = large if canvas.shape[1] == 3 else large.mean(1, keepdim=True)
            if isinstance(restorer, ZoomAware):  # others were trained on faces as they come
                seen = cleaned
        if len(detection.faces) and canvas.shape[1] == 1:
            canvas = canvas.expand(-1, 3, -1, -1).contiguous()
        painter = _Painter(seen, canvas, restorer, settings, parser, recogniser)
        reports.append(tuple(painter.paint(detection.faces, seeds[i], count)))
        if reports[-1]:  # a picture without faces stays as it is, to the last bit
            canvas.clamp_(0, 1)
            if canvas.shape[1] != coloured.shape[1]:
                coloured[i] = canvas[0].mean(0, keepdim=True)
        before += max(1, len(detection.faces))
        _count(on_face, before, total, 0)
    return Restored(result, tuple(detections), tuple(reports), cleaner is not None)


def _cleaned(cleaner: Upscaler, x: Tensor, scale: float, grey: bool) -> Tensor:
    """One picture 1 3 H W through the cleaner, which sees grey ones as such."""
    done = cleaner(x[:, :1] if grey else x, scale).to(x)
    return done.expand(-1, 3, -1, -1)


def _count(on_face: Callable[[int, int], None] | None, before: int, total: int, done: int) -> None:
    if on_face:
        on_face(before + done, total)


def visible(x: Tensor) -> Tensor:
    """B 3 H W as `colours` gives them; where alpha hides some, those beside them."""
    return fill_hidden(colours(x), x[:, -1:]) if x.shape[1] in (2, 4) else colours(x)


def usable(faces: Faces) -> list[int]:
    """Numbers of the faces that are large enough to be restored."""
    return torch.nonzero(faces.eye_distances >= EYES)[:, 0].tolist()


def _canvas(x: Tensor, size: tuple[int, int], background: Tensor | None, seen: Tensor) -> Tensor:
    """What faces are painted on: a copy of x, enlarged to `size` as far as it is `seen`, its colours replaced
    by the background's.
    """
    if size_of(x) == size:
        result = x.float().clone()
    else:
        count = 3 if x.shape[1] > 2 else 1
        result = resize(torch.cat([seen[:, :count], x[:, count:]], 1).float(), size).clamp_(0, 1)
    if background is None:
        return result
    channels = 3 if x.shape[1] > 2 else 1
    if (
        background.shape[0] != len(x)
        or background.shape[1] not in (channels, 3)
        or size_of(background) != size
    ):
        raise ValueError(
            f"the background must be {len(x)} pictures of {size[0]} x {size[1]} (H x W), not "
            f"{tuple(background.shape)}"
        )
    result[:, :channels] = background if background.shape[1] == channels else background.mean(1, keepdim=True)
    return result


@dataclass(frozen=True)
class _Painter:
    """Restores the faces of one picture 1 3 H W and paints them on its canvas."""

    picture: Tensor
    canvas: Tensor
    restorer: Restorer | ZoomAware
    settings: RestoreSettings
    parser: Parser | None
    recogniser: Identity | None

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
                detail = self._detail(matrix)
                zooms[i] = self.settings.size / detail
                own = self.settings.size / _zoom(matrix)
                reports[i] = _with(reports[i], detail=reports[i].side * detail / own)
                if why := self.restorer.leaves(zooms[i]):
                    reports[i] = _with(reports[i], outcome=f"left as it is: {why}")
                    del matrices[i]
        numbers = list(matrices)
        keep_grey = self.settings.keep_grey and bool(is_grey(self.picture)[0])
        for start in range(0, len(numbers), self.settings.batch):
            some = numbers[start : start + self.settings.batch]
            distances = self._batch(
                torch.stack([matrices[i] for i in some]),
                [seed + i for i in some],
                keep_grey,
                [zooms[i] for i in some if i in zooms],
            )
            for i, distance in zip(some, distances, strict=True):
                changed = {"identity": distance}
                if distance is BROKEN:
                    changed = {"outcome": "left as it is: the restorer answers what is no number"}
                reports[i] = _with(reports[i], **changed)
            if start + len(some) < len(numbers):  # the last batch ends the picture
                count(start + len(some))
        return reports

    def _detail(self, matrix: Tensor) -> float:
        """Pixels across of the detail that a face has, at most those it has."""
        own = self.settings.size / _zoom(matrix)
        side = min(SIDE, round(own))
        enlarged = matrix * (side / self.settings.size)
        face = cut(self.picture.float(), enlarged[None], side, method="bicubic")
        return min(own, detail_side(face) * own / side)

    def _batch(
        self, matrices: Tensor, seeds: list[int], keep_grey: bool, zooms: list[float]
    ) -> Sequence[float | None]:
        s = self.settings
        aware = isinstance(self.restorer, ZoomAware)
        # what is reduced again to its own pixels must keep them; what sees the aligned face was trained on
        # bilinear ones
        aligned = cut(self.picture.float(), matrices, s.size, method="bicubic" if aware else "bilinear")
        restored = self.restorer(aligned, seeds, *((zooms,) if aware else ())).to(aligned)
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
        restored = restored.expand(-1, 3, -1, -1)
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
        added = s.blend == "difference"
        painted = restored - shown if added else restored
        back = to_picture(matrices, restored.shape[-1] / s.size, s.scale)
        for i, (face, matrix) in enumerate(zip(painted, back, strict=True)):
            if not sound[i]:
                continue
            some = None if parts is None else parts[i : i + 1]
            place(face[None], matrix, size_of(self.canvas), s.scale, s, some).onto(
                self.canvas, s.strength, added
            )
        distances = [None] * len(seeds)
        if self.recogniser is not None:
            faces = self.recogniser(aligned), self.recogniser(restored.clamp(0, 1))
            distances = identity_distance(*faces).tolist()
        return [d if good else BROKEN for d, good in zip(distances, sound, strict=True)]


def _zoom(matrix: Tensor) -> float:
    """Pixels of the aligned face to a pixel of the picture, along a side."""
    return matrix[:, :2].det().sqrt().item()


def _with(report: FaceReport, **changes: Any) -> FaceReport:
    return replace(report, **changes)
