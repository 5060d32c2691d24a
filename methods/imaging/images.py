"""Reading and writing pictures: every level, alpha, metadata that stays true; never a half-written file."""

from __future__ import annotations

import io
import logging
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor

from . import LIMIT, png
from .decode import decode, open_head
from .files import READABLE
from .metadata import DAMAGE, fits
from .replacing import check_place, replacing
from .resize import size_of
from .strips import by_strips, strips

WRITABLE = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
LONGEST = {"JPEG": 65_500, "WEBP": 16_383}  # pixels of a side that the format can hold
MOST_EXIF = 65_500  # bytes of EXIF that a JPEG can hold
STRIP = 64  # rows that are quantised at once
COMPRESSION = 3  # of PNG: 6, zlib's own choice, takes three times as long for a tenth of the size

log = logging.getLogger("priorsr")


@dataclass(frozen=True)
class Picture:
    """One decoded image: pixels 1 C H W (C is 1 or 3), alpha 1 1 H W or None, in 0..1; bits of the file.

    icc, exif, text (PNG chunks) and dpi are what of its metadata is true of the picture at any size.
    """

    pixels: Tensor
    alpha: Tensor | None = None
    bits: int = 8
    icc: bytes | None = None
    exif: bytes | None = None
    text: tuple[tuple[bytes, bytes], ...] = ()
    dpi: tuple[float, float] | None = None


def is_finite(x: Tensor) -> bool:
    """Whether a tensor, not empty, holds neither NaN nor infinite values; without copies of its size."""
    found = [part.amin().isfinite() & part.amax().isfinite() for part in strips(x)]
    return bool(torch.stack(found).all())


def check_pixels(x: Tensor, name: str = "the image") -> Tensor:
    """x, or ValueError when it has no pixels, is not float B C H W, or holds NaN or infinite values."""
    if x.ndim != 4 or not x.is_floating_point():
        raise ValueError(f"{name} must be a float tensor B C H W, not {x.dtype} of shape {tuple(x.shape)}")
    if x.numel() == 0:
        raise ValueError(f"{name} has no pixels (shape {tuple(x.shape)}): give at least one pixel")
    if not is_finite(x):
        raise ValueError(f"{name} holds NaN or infinite values: repair or replace it first")
    return x


def read(path: str | os.PathLike) -> Picture:
    """Decode a picture file, upright and in RGB or grey; what of it is left out is said once in the log.

    Raises FileNotFoundError, or ValueError naming the file when it is empty, cut, too large or no picture.
    """
    path = Path(path)
    _check_there(path)
    try:
        decoded = decode(path)
    except (*DAMAGE, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error
    left_out = (*decoded.notes, *decoded.metadata.left_out)
    if left_out:
        _say_once(path, "; ".join(left_out))
    planes = torch.from_numpy(np.ascontiguousarray(np.moveaxis(decoded.samples, -1, 0), dtype=np.float32))
    planes = planes / decoded.top
    colours = len(planes) - (len(planes) in (2, 4))
    alpha = planes[None, colours:] if colours < len(planes) else None
    said = decoded.metadata
    return Picture(planes[None, :colours], alpha, decoded.bits, said.icc, said.exif, said.text, said.dpi)


@dataclass(frozen=True)
class Head:
    """What the beginning of a file tells: height and width when upright, whether it can be transparent."""

    size: tuple[int, int]
    alpha: bool


def read_head(path: str | os.PathLike) -> Head:
    """Size and transparency of a picture whose pixels are not read. Raises as `read`."""
    path = Path(path)
    _check_there(path)
    try:
        return Head(*open_head(path))
    except Image.DecompressionBombError as error:
        raise _unreadable(path, error) from error
    except DAMAGE:
        picture = read(path)  # which reads more kinds, and says what is wrong
        return Head(size_of(picture.pixels), picture.alpha is not None)


def check_writable(path: str | os.PathLike, alpha: bool = False, size: tuple[int, int] | None = None) -> None:
    """See before any work whether a picture, of a height and width if they are known, can be written.

    Raises ValueError for what the name or format does not allow, OSError where the folder cannot be written.
    """
    path = Path(path)
    kind = WRITABLE.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"cannot write {path.name}: choose a name ending in {', '.join(WRITABLE)}")
    if kind == "JPEG" and alpha:
        raise ValueError(f"{path.name} cannot hold the picture's transparency: write PNG or WebP instead")
    longest = LONGEST.get(kind)
    if size and longest and max(size) > longest:
        raise ValueError(
            f"{path.name} cannot hold {size[1]} x {size[0]} pixels, {kind} ends at {longest}: write PNG"
        )
    check_place(path)


def write(picture: Picture, path: str | os.PathLike, overwrite: bool = False, quality: int = 95) -> Path:
    """Encode to PNG, JPEG or WebP by suffix; 16 bits are kept in PNG. The file appears whole or not at all.

    Raises FileExistsError unless `overwrite`, even if the file appears meanwhile; else as `check_writable`,
    ValueError for broken pixels and OSError when the disk is full.
    """
    path = Path(path)
    check_writable(path, picture.alpha is not None, size_of(picture.pixels))
    kind = WRITABLE[path.suffix.lower()]
    if os.path.lexists(path) and not overwrite:
        raise FileExistsError(f"{path} exists: choose another name or allow overwriting")
    samples = _quantise(picture, 16 if picture.bits == 16 and kind == "PNG" else 8)
    said = _metadata(picture, path, kind)
    with replacing(path, overwrite) as partial:
        if samples.dtype == np.uint16:
            png.write16(samples, partial, *png.said(**said))
            return path
        if kind == "PNG":
            texts = PngImagePlugin.PngInfo()
            for name, content in said.pop("text", ()):
                texts.add(name, content)
            said |= {"pnginfo": texts, "compress_level": COMPRESSION}
        else:
            said |= {"JPEG": {"subsampling": 0}, "WEBP": {"exact": True}}[kind] | {"quality": quality}
        image = Image.fromarray(samples.squeeze(-1) if samples.shape[-1] == 1 else samples)
        image.save(partial, kind, **said)
    return path


def to_uint8(x: Tensor) -> Tensor:
    """Float in 0..1 to uint8, clipped and rounded to the nearest level."""
    return by_strips(lambda part: (part.float() * 255).clamp(0, 255).round().to(torch.uint8), x)


def encode(x: Tensor, kind: str, quality: int) -> Tensor:
    """C H W in 0..1 through a lossy codec (JPEG or WEBP, 4:2:0) and back."""
    array = to_uint8(x).permute(1, 2, 0).cpu().numpy()
    buffer = io.BytesIO()
    Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array).save(buffer, kind, quality=quality)
    decoded = Image.open(buffer).convert("L" if x.shape[0] == 1 else "RGB")
    back = torch.from_numpy(np.array(decoded)).float() / 255
    return (back[None] if back.ndim == 2 else back.permute(2, 0, 1)).to(x)


@lru_cache(4096)
def _say_once(path: Path, left_out: str) -> None:
    """Trainings read a file thousands of times."""
    log.warning("%s: left out: %s", path, left_out)


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"there is no picture file at {path}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes): replace it")


def _unreadable(path: Path, error: BaseException) -> Exception:
    if isinstance(error, Image.DecompressionBombError):
        return ValueError(
            f"cannot read {path}: {error} If you trust it, set the environment variable {LIMIT} to its "
            "number of pixels (in Python: PIL.Image.MAX_IMAGE_PIXELS)"
        )
    if isinstance(error, PermissionError):
        return error
    reason = str(error) or type(error).__name__
    kinds = ", ".join(READABLE)
    return ValueError(
        f"cannot read {path}: {reason}. The file is damaged or not a supported picture ({kinds})"
    )


def _metadata(picture: Picture, path: Path, kind: str) -> dict:
    """What a format can hold of a picture's metadata, as Pillow's options; the rest is said in the log."""
    said, left_out = {}, []
    if picture.icc and not fits(picture.icc, picture.pixels.shape[1]):
        left_out.append("the colour profile, which does not describe these pixels")
    elif picture.icc and kind == "PNG" and len(picture.icc) > png.LARGEST:
        left_out.append("the colour profile, which is larger than PNG readers take")
    elif picture.icc:
        said["icc_profile"] = picture.icc
    if picture.exif and kind == "JPEG" and len(picture.exif) > MOST_EXIF:
        left_out.append("EXIF, which is larger than JPEG can hold")
    elif picture.exif:
        said["exif"] = picture.exif
    if picture.text and kind == "PNG":
        said["text"] = picture.text
    elif picture.text:
        left_out.append("texts, which only PNG can hold")
    if picture.dpi and kind != "WEBP":
        said["dpi"] = picture.dpi
    if left_out:
        log.warning("%s: left out: %s", path, "; ".join(left_out))
    return said


def _quantise(picture: Picture, bits: int) -> np.ndarray:
    """H W C samples, made strip by strip so that nothing of the picture's size lies beside them.

    Raises ValueError for broken pixels.
    """
    parts = [x for x in (picture.pixels, picture.alpha) if x is not None]
    for x in parts:
        if x.ndim != 4 or not x.is_floating_point() or x.numel() == 0:
            check_pixels(x, "the picture to write")
    planes = [plane for x in parts for plane in x[0]]
    top = np.float32(2**bits - 1)
    height, width = planes[0].shape
    samples = np.empty((height, width, len(planes)), np.uint16 if bits == 16 else np.uint8)
    for row in range(0, height, STRIP):
        for i, plane in enumerate(planes):
            strip = plane[row : row + STRIP].float().cpu().numpy() * top
            if not np.isfinite(strip).all():
                raise ValueError(
                    "the picture to write holds NaN or infinite values: repair or replace it first"
                )
            np.rint(strip, out=strip)
            np.clip(strip, 0, top, out=strip)
            samples[row : row + STRIP, :, i] = strip
    return samples
