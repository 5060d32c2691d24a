"""Pictures of whatever kind a caller has: files, Picture, tensors, Pillow images and arrays, in and out."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .images import Picture, check_pixels, read, to_uint8

LEVELS = {np.dtype("uint8"): 255, np.dtype("uint16"): 65_535}
DIRECT = ("L", "LA", "RGB", "RGBA")  # modes of Pillow that hold the levels themselves
COLOURS = ("CMYK", "YCbCr", "HSV")


@dataclass(frozen=True)
class Planes:
    """Colours B C H W (C is 1 or 3) and alpha B 1 H W or None, float32 in 0..1.

    back: the same kind of picture as was given, from colours and alpha of any size.
    """

    pixels: Tensor
    alpha: Tensor | None
    back: Callable[[Tensor, Tensor | None], Any]


def as_planes(picture: Any) -> Planes:
    """A path, a Picture, a tensor C H W or B C H W in 0..1, a Pillow image, or an array H W, H W C or
    B H W C: uint8, uint16 or float in 0..1. One, three, and with alpha two or four channels.

    A path gives a Picture back, whatever else the kind that was given (arrays in their dtype, tensors in
    float32 on their device). Raises TypeError for other kinds, ValueError for pixels that cannot be used,
    FileNotFoundError.
    """
    if isinstance(picture, str | os.PathLike):
        picture = read(picture)
    if isinstance(picture, Picture):
        given = picture
        return Planes(
            given.pixels, given.alpha, lambda pixels, alpha: replace(given, pixels=pixels, alpha=alpha)
        )
    if isinstance(picture, Tensor):
        return _of_tensor(picture)
    if isinstance(picture, Image.Image):
        planes = _of_array(np.asarray(_plain(picture)))
        return Planes(planes.pixels, planes.alpha, lambda *parts: Image.fromarray(planes.back(*parts)))
    if isinstance(picture, np.ndarray):
        return _of_array(picture)
    raise TypeError(
        f"a picture is a path, a Picture, a tensor, a Pillow image or an array, not {type(picture).__name__}"
    )


def _of_tensor(x: Tensor) -> Planes:
    if x.ndim not in (3, 4):
        raise ValueError(f"a picture is a tensor C H W or B C H W, not one of shape {tuple(x.shape)}")
    check_pixels(x if x.ndim == 4 else x[None], "the picture")
    pixels, alpha = _parted(x if x.ndim == 4 else x[None])

    def back(pixels: Tensor, alpha: Tensor | None) -> Tensor:
        whole = _joined(pixels, alpha).to(x.device)
        return whole if x.ndim == 4 else whole[0]

    return Planes(pixels, alpha, back)


def _of_array(x: np.ndarray) -> Planes:
    top = LEVELS.get(x.dtype, 1)
    if top == 1 and x.dtype.kind != "f":
        raise ValueError(f"an array of {x.dtype} is no picture: give uint8, uint16, or float in 0..1")
    if x.ndim not in (2, 3, 4):
        raise ValueError(f"a picture is an array H W, H W C or B H W C, not one of shape {x.shape}")
    shown = x[None, ..., None] if x.ndim == 2 else x[None] if x.ndim == 3 else x
    planes = torch.from_numpy(np.ascontiguousarray(np.moveaxis(shown, -1, 1), dtype=np.float32)) / top
    pixels, alpha = _parted(check_pixels(planes, "the picture"))

    def back(pixels: Tensor, alpha: Tensor | None) -> np.ndarray:
        whole = _joined(pixels, alpha).cpu().movedim(1, -1)
        if x.ndim == 2:
            whole = whole[..., 0] if whole.shape[-1] == 1 else whole
        whole = whole if x.ndim == 4 else whole[0]
        if top == 255:
            return to_uint8(whole).numpy()
        array = whole.numpy()
        return array.astype(x.dtype) if top == 1 else (array.clip(0, 1) * top).round().astype(x.dtype)

    return Planes(pixels, alpha, back)


def _plain(image: Image.Image) -> Image.Image:
    """An image of one of the modes DIRECT, with 8 bits."""
    if image.mode in DIRECT:
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    if image.mode in COLOURS:
        return image.convert("RGB")
    raise ValueError(
        f"a Pillow image of mode {image.mode} is not taken: convert it to one of {', '.join(DIRECT)}, or "
        "give the path of its file, of which every level is kept"
    )


def _parted(planes: Tensor) -> tuple[Tensor, Tensor | None]:
    """Colours and alpha. Raises ValueError for other numbers of channels."""
    channels = planes.shape[1]
    if channels not in (1, 2, 3, 4):
        raise ValueError(f"a picture has 1 to 4 channels, not {channels} (shape {tuple(planes.shape)})")
    colours = channels - (channels in (2, 4))
    return planes[:, :colours].float(), planes[:, colours:].float() if colours < channels else None


def _joined(pixels: Tensor, alpha: Tensor | None) -> Tensor:
    return pixels if alpha is None else torch.cat([pixels, alpha.to(pixels)], 1)
