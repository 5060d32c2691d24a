"""The pictures of faces.md and diffsr.md, of the samples: what is found, what masks cover, what is restored,
how the rest is sharpened, and what fixed noise levels forget.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

import priorsr
from priorsr.methods.faces.align import similarity, template
from priorsr.methods.faces.detect import Faces, detect
from priorsr.methods.faces.enhance import PAPER, RELEASED, EnhanceSettings, enhance_outside
from priorsr.methods.faces.load import load_detector
from priorsr.methods.faces.masks import MaskSettings, face_mask
from priorsr.methods.faces.overlay import overlay
from priorsr.methods.faces.paint import RestoreSettings
from priorsr.methods.faces.paste import place, to_picture
from priorsr.methods.faces.restore import restore_faces
from priorsr.methods.faces.restorers import restorer_of
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.imaging.resize import resize
from priorsr.methods.registry import method_named
from priorsr.methods.samples import FOLDER as SAMPLES

PORTRAIT, LEFT, TOP = 108, 222, 60  # where the portrait hangs on the wall, in pixels
SMALLER, LARGER = 4, 4  # restoration begins with a quarter of the picture and makes it four times larger
TINT = torch.tensor([1.0, 0.5, 0.0])[:, None, None]


def faces(folder: Path) -> None:
    """Write faces_found.png, faces_restored.png and faces_outside.png."""
    picture, detector = scene(), load_detector()
    (found,) = detect(picture, detector)
    masks = {"box": MaskSettings("box"), "hull": MaskSettings("hull", feather=4.0)}
    shown = [
        overlay(picture, found.faces),
        *(tinted(picture, face_mask(picture, found.faces, m)) for m in masks.values()),
    ]
    sheet(
        folder / "faces_found.png",
        [x[..., 20:230, :] for x in (*shown, tinted(picture, square(picture, found.faces)))],
    )
    sheet(folder / "faces_restored.png", [around(x) for x in restored(picture, found.faces)])
    kept = face_mask(picture, found.faces, MaskSettings("hull"))
    kinds = (None, RELEASED, PAPER, EnhanceSettings())
    outside = [picture if kind is None else enhance_outside(picture, kept, kind) for kind in kinds]
    sheet(
        folder / "faces_outside.png",
        [resize(x[..., 50:180, 120:], scale=1.5, method="nearest") for x in outside],
    )


def levels(path: Path) -> None:
    """A small face, bicubic, Diff-SR and the original above plain runs from fixed noise levels."""
    truth = resize(read(SAMPLES / "astronaut.png").pixels, (64, 64)).clamp(0, 1)
    low = resize(truth, (16, 16)).clamp(0, 1)
    plain = {"sampler": "ddim", "eta": 0, "consistency": 0}
    runs = [{}, *({**plain, "level": level} for level in (10, 30, 50, 70))]
    best, *forgot = (priorsr.upscale(low, "diffsr", 4, prior="face64", seed=1, **run) for run in runs)
    shown = [resize(low, (64, 64), method="nearest"), resize(low, (64, 64)).clamp(0, 1), best, truth]
    rows = [torch.cat(row, 3) for row in (shown, forgot)]
    write(Picture(resize(torch.cat(rows, 2), scale=3, method="nearest")), path, overwrite=True)


def scene() -> Tensor:
    """The portrait on the wall behind the dogs, which are no faces to a detector: 1 3 H W."""
    picture = read(SAMPLES / "dogs.png").pixels.clone()
    picture[..., TOP : TOP + PORTRAIT, LEFT : LEFT + PORTRAIT] = resize(
        read(SAMPLES / "astronaut.png").pixels, (PORTRAIT, PORTRAIT)
    ).clamp(0, 1)
    return picture


def square(picture: Tensor, some: Faces) -> Tensor:
    """What the square mask puts back of the faces, 1 1 H W."""
    mask = torch.zeros_like(picture[:, :1])
    for matrix in to_picture(similarity(some.landmarks, template(512, "ffhq"))):
        placed = place(torch.ones(1, 3, 512, 512), matrix, tuple(picture.shape[-2:]), 1.0)
        mask[..., placed.rows, placed.cols] = placed.mask
    return mask


def tinted(picture: Tensor, mask: Tensor) -> Tensor:
    return torch.lerp(picture * 0.6, TINT * 0.6 + picture * 0.4, mask)


def restored(picture: Tensor, found: Faces) -> list[Tensor]:
    """The reduced picture enlarged bicubically, the same with its face restored by Diff-SR, and the truth."""
    low = resize(picture, scale=1 / SMALLER).clamp(0, 1)
    restorer = restorer_of(method_named("diffsr").prepare(), method_named("diffsr").faces)
    settings = RestoreSettings(size=restorer.size, frame=restorer.frame, scale=LARGER)
    done = restore_faces(low, restorer, None, settings, faces=[found.scaled(1 / SMALLER)])
    if done.reports[0][0].outcome != "restored":
        raise RuntimeError(f"the portrait should have been restored: {done.describe()}")
    size = tuple(done.pictures.shape[-2:])
    return [resize(low, size).clamp(0, 1), done.pictures, resize(picture, size).clamp(0, 1)]


def around(picture: Tensor) -> Tensor:
    """The portrait, twice enlarged."""
    top, left, side = (round(n * LARGER / SMALLER) for n in (TOP - 6, LEFT - 6, PORTRAIT + 12))
    return resize(picture[..., top : top + side, left : left + side], scale=2.0, method="nearest")


def sheet(path: Path, pictures: list[Tensor]) -> None:
    """Pictures of one size side by side."""
    gap = torch.ones(*pictures[0].shape[:-1], 6)
    row = torch.cat([part for x in pictures for part in (x, gap)][:-1], 3)
    write(Picture(row.clamp(0, 1)), path, overwrite=True)
