"""Pictures degraded, compared and written, of whatever kind a caller has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..degrade import PRESETS, Recipe, preset
from ..imaging import images
from ..imaging.alpha import upscale_with_alpha
from ..imaging.convert import as_planes
from ..imaging.images import Picture
from ..method import nearest
from ..metrics.compare import compare as compare_batches


def degrade(picture: Any, recipe: str | Path | Recipe = "bicubic", scale: float = 4.0, seed: int = 0) -> Any:
    """Degrade a picture, or each of a batch by the same draw, repeatably: the same kind of picture again.

    recipe: one of PRESETS, a Recipe, or a JSON file of one; `Recipe.draw(seed)` is what was done. scale: the
    reduction of bicubic, srdg and real-world. Raises ValueError, TypeError and FileNotFoundError.
    """
    if not isinstance(recipe, Recipe):
        recipe = _recipe(recipe, scale)
    given = as_planes(picture)
    drawn = recipe.draw(seed)

    def apply(x: Tensor) -> Tensor:
        return torch.stack([drawn(one) for one in x]).clamp(0, 1)

    return given.back(*upscale_with_alpha(given.pixels, given.alpha, apply))


def compare(a: Any, b: Any, channels: str = "rgb", border: int = 0) -> list[dict[str, float | None]]:
    """Figures of a against the reference b, for each picture: psnr in dB, ssim, mae in levels of 255, of
    pictures rounded to 8 bits.

    a, b: as for `upscale`, of one size; transparency does not count. Equal pictures have infinite psnr; ssim
    is None below 11 pixels. channels: rgb or luma; border: pixels cut from each side. Raises ValueError.
    """
    return compare_batches(as_planes(a).pixels, as_planes(b).pixels, channels, border)


def write(picture: Any, path: str | os.PathLike, overwrite: bool = False, quality: int = 95) -> Path:
    """Encode one picture of any kind to PNG, JPEG or WebP by the suffix; the file appears whole or not at
    all.

    16 bits of a Picture or an array are kept in PNG. Raises FileExistsError unless `overwrite`, ValueError
    for a name or pixels that do not go, and OSError.
    """
    if not isinstance(picture, Picture):
        given = as_planes(picture)
        if len(given.pixels) != 1:
            raise ValueError(f"a file holds one picture, not {len(given.pixels)}: write them one by one")
        again = given.back(given.pixels, given.alpha)  # of a path, what its file holds besides
        sixteen = isinstance(picture, np.ndarray) and picture.dtype == np.uint16
        picture = (
            again
            if isinstance(again, Picture)
            else Picture(given.pixels.cpu(), given.alpha, 16 if sixteen else 8)
        )
    return images.write(picture, path, overwrite, quality)


def _recipe(name: str | Path, scale: float) -> Recipe:
    if isinstance(name, str) and name in PRESETS:
        return preset(name, scale)
    path = Path(name)
    if path.suffix != ".json":
        raise ValueError(f"there is no degradation {str(name)!r}{nearest(str(name), list(PRESETS))}")
    return Recipe.from_json(path.read_text(encoding="utf-8"))
