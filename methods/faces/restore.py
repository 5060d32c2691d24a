"""Every face of a picture restored by any method and put back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..device import own_defaults
from ..imaging.alpha import fill_hidden
from ..imaging.region import Region
from ..imaging.resize import check_scale, enlarged_size, resize, size_of
from ..method import Upscaler
from ..metrics.identity import Identity
from .candidates import Candidates
from .detect import Detection, Detector, DetectSettings, Faces, colours, detect
from .enhance import OUTSIDE, enhance_outside
from .grey import is_grey
from .masks import box_mask
from .paint import FaceReport, Painter, Parser, Restorer, RestoreSettings, ZoomAware


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
                    f"{changed}{', ' * bool(r.kept)}{r.kept}"
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
    reference: Tensor | None = None,
    region: Region | None = None,
) -> Restored:
    """Restore the faces of B C H W in 0..1, grey or RGB, with or without alpha, any number of faces; without
    any, nothing changes.

    background: the pictures already enlarged, B 3 H' W'; otherwise they are enlarged bicubically, or by the
    cleaner, which also cleans what a ZoomAware restorer sees. Alpha is enlarged and kept. faces: those of
    each picture, in place of a detector's. seed: of all pictures, or one for each; face i has the seed plus
    i. on_face(done, all) counts the faces of all pictures, and those that have none as one; a recogniser adds
    identity distances, and picks candidates by identity, of the picture or of a reference: embeddings N D of
    the person. With `enhance_outside` (VisionRefine, Algorithm 4) what lies outside the faces' boxes is
    filtered at the end. region: beyond it pictures are as they were, enlarged bicubically, or the background.
    Memory beyond the pictures is that of one batch of faces. Raises ValueError.
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
    candidates = Candidates(settings.candidates, settings.pick, recogniser, reference)
    size = enlarged_size(size_of(x), check_scale(settings.scale))
    colour = visible(x)
    result = _canvas(x, size, background, colour)
    coloured = result[:, : 3 if x.shape[1] > 2 else 1]
    plain = None if region is None else coloured.clone()
    reports = []
    seeds = [seed] * len(x) if isinstance(seed, int) else list(seed)
    before, total = 0, sum(max(1, len(d.faces)) for d in detections)
    for i, detection in enumerate(detections):
        count = partial(_count, on_face, before, total)
        seen, canvas = colour[i : i + 1], coloured[i : i + 1]
        if cleaner:
            grey = settings.keep_grey and bool(is_grey(seen)[0])
            cleaned = _cleaned(cleaner, seen, 1.0, grey)
            if background is None:
                whole = settings.scale == 1
                large = cleaned if whole else _cleaned(cleaner, seen, settings.scale, grey)
                canvas[:] = large if canvas.shape[1] == 3 else large.mean(1, keepdim=True)
            if isinstance(restorer, ZoomAware):  # others were trained on faces as they come
                seen = cleaned
        if len(detection.faces) and canvas.shape[1] == 1:
            canvas = canvas.expand(-1, 3, -1, -1).contiguous()
        painter = Painter(seen, canvas, restorer, settings, parser, recogniser, candidates)
        reports.append(tuple(painter.paint(detection.faces, seeds[i], count)))
        if reports[-1]:  # a picture without faces stays as it is, to the last bit
            canvas.clamp_(0, 1)
            if chosen := OUTSIDE.get(settings.enhance_outside):
                mask = box_mask(detection.faces.boxes * settings.scale, size)
                shown = fill_hidden(canvas, result[i : i + 1, -1:]) if x.shape[1] in (2, 4) else canvas
                canvas.copy_(enhance_outside(shown, mask, chosen))
            if canvas.shape[1] != coloured.shape[1]:
                coloured[i] = canvas[0].mean(0, keepdim=True)
        before += max(1, len(detection.faces))
        _count(on_face, before, total, 0)
    if region is not None and plain is not None:
        coloured.copy_(region.limit(coloured, plain, size_of(x)))
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
