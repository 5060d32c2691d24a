"""Reading and writing pictures: 8 and 16 bits, alpha, orientation, colour profile; never a half-written file."""

from __future__ import annotations

import io
import os
import struct
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

READABLE = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
WRITABLE = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """One decoded image: pixels 1 C H W (C is 1 or 3) and alpha 1 1 H W or None, float32 in 0..1; bits of the file."""

    pixels: Tensor
    alpha: Tensor | None = None
    bits: int = 8
    icc: bytes | None = None
    exif: bytes | None = None


def check_pixels(x: Tensor, name: str = "the image") -> Tensor:
    """x, or ValueError when it has no pixels, is not float B C H W, or holds NaN or infinite values."""
    if x.ndim != 4 or not x.is_floating_point():
        raise ValueError(f"{name} must be a float tensor B C H W, not {x.dtype} of shape {tuple(x.shape)}")
    if x.numel() == 0:
        raise ValueError(f"{name} has no pixels (shape {tuple(x.shape)}): give at least one pixel")
    if not torch.isfinite(x).all():
        raise ValueError(f"{name} holds NaN or infinite values: repair or replace it first")
    return x


def read(path: str | os.PathLike) -> Picture:
    """Decode a picture file, upright and in RGB or grey. Animated files give their first frame.

    Raises FileNotFoundError, or ValueError naming the file when it is empty, truncated or no picture.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no picture file at {path}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes): replace it")
    try:
        with Image.open(path) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
            samples, rgb_profile = _samples(path, image, upright)
            icc = image.info.get("icc_profile") if rgb_profile else None
            exif = upright.getexif().tobytes() if upright.getexif() else None
    except (
        UnidentifiedImageError,
        OSError,
        SyntaxError,
        struct.error,
        zlib.error,
        EOFError,
        Image.DecompressionBombError,
    ) as error:
        raise ValueError(
            f"cannot read {path}: {error}. The file is damaged or not a supported picture ({', '.join(READABLE)})"
        ) from error
    bits = 16 if samples.dtype == np.uint16 else 8
    planes = torch.from_numpy(np.ascontiguousarray(np.moveaxis(samples, -1, 0), dtype=np.float32)) / (
        2**bits - 1
    )
    colours = len(planes) - (len(planes) in (2, 4))
    return Picture(
        planes[None, :colours], planes[None, colours:] if colours < len(planes) else None, bits, icc, exif
    )


def write(picture: Picture, path: str | os.PathLike, overwrite: bool = False, quality: int = 95) -> Path:
    """Encode to PNG, JPEG or WebP by suffix; 16 bits are kept in PNG. The file appears whole or not at all.

    Raises FileExistsError unless `overwrite`, ValueError for another suffix or alpha in JPEG, OSError when the folder
    cannot be written or the disk is full.
    """
    path = Path(path)
    kind = WRITABLE.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"cannot write {path.name}: choose a name ending in {', '.join(WRITABLE)}")
    if kind == "JPEG" and picture.alpha is not None:
        raise ValueError(f"{path.name} cannot hold the picture's transparency: write PNG or WebP instead")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists: choose another name or allow overwriting")
    samples = _quantise(picture, 16 if picture.bits == 16 and kind == "PNG" else 8)
    if samples.dtype == np.uint16 and samples.shape[-1] == 2:
        samples = samples[..., [0, 0, 0, 1]]  # no encoder at hand writes 16-bit grey with alpha
    with replacing(path) as partial:
        if samples.dtype == np.uint16:
            _write_png16(samples, partial, picture.icc)
        else:
            options = {
                "PNG": {},
                "JPEG": {"quality": quality, "subsampling": 0},
                "WEBP": {"quality": quality, "exact": True},
            }[kind]
            extra = {k: v for k, v in (("icc_profile", picture.icc), ("exif", picture.exif)) if v}
            Image.fromarray(samples.squeeze(-1) if samples.shape[-1] == 1 else samples).save(
                partial, kind, **options, **extra
            )
    return path


class replacing:
    """A temporary file beside `path` that takes its name when the block ends well, and vanishes otherwise."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> Path:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(
                prefix=f".{self.path.stem}-", suffix=".part", dir=self.path.parent
            )
        except OSError as error:
            raise OSError(
                f"cannot write into {self.path.parent}: {error.strerror or error}. Choose a folder you may write to"
            ) from error
        os.close(handle)
        self.partial = Path(name)
        return self.partial

    def __exit__(self, kind, error, trace) -> None:
        try:
            if kind is None:
                mask = os.umask(0)
                os.umask(mask)
                self.partial.chmod(0o666 & ~mask)  # mkstemp makes files private, results are ordinary ones
                os.replace(self.partial, self.path)
        finally:
            self.partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(
                f"cannot write {self.path}: {error.strerror or error}. Nothing was left behind"
            ) from error


def to_uint8(x: Tensor) -> Tensor:
    """Float in 0..1 to uint8, clipped and rounded to the nearest level."""
    return (x.float() * 255).clamp(0, 255).round().to(torch.uint8)


def encode(x: Tensor, kind: str, quality: int) -> Tensor:
    """C H W in 0..1 through a lossy codec (JPEG or WEBP, 4:2:0) and back."""
    array = to_uint8(x).permute(1, 2, 0).cpu().numpy()
    buffer = io.BytesIO()
    Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array).save(buffer, kind, quality=quality)
    decoded = Image.open(buffer).convert("L" if x.shape[0] == 1 else "RGB")
    back = torch.from_numpy(np.array(decoded, dtype=np.float32) / 255)
    return (back[None] if back.ndim == 2 else back.permute(2, 0, 1)).to(x)


def _samples(path: Path, image: Image.Image, upright: Image.Image) -> tuple[np.ndarray, bool]:
    """H W C samples, uint8 or uint16, and whether the file's colour profile still describes them."""
    deep = _png16_mode(path)
    if deep:
        array = np.asarray(_kornia_io().read_image_png_u16(str(path), deep))
        return _orient(array, image), True
    if upright.mode.startswith("I;16"):
        return np.asarray(upright).astype(np.uint16)[..., None], True
    if upright.mode in ("I", "F"):
        raise OSError(f"its {upright.mode!r} samples have no stated range; save it with 8 or 16 bits")
    if upright.mode == "CMYK":
        profile = image.info.get("icc_profile")
        if profile:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            upright = ImageCms.profileToProfile(
                upright, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        return np.asarray(upright.convert("RGB")), False
    transparent = upright.has_transparency_data
    grey = upright.mode in ("1", "L", "LA", "La")
    array = np.asarray(
        upright.convert(("LA" if transparent else "L") if grey else ("RGBA" if transparent else "RGB"))
    )
    return array[..., None] if array.ndim == 2 else array, True


def _png16_mode(path: Path) -> str | None:
    """The reader's name for a 16-bit RGB or RGBA PNG, which Pillow would reduce to 8 bits."""
    with path.open("rb") as file:
        head = file.read(26)
    if head[:8] == PNG_SIGNATURE and len(head) == 26 and head[24] == 16:
        return {2: "rgb", 6: "rgba"}.get(head[25])
    return None


def _orient(array: np.ndarray, image: Image.Image) -> np.ndarray:
    turns = {
        2: (0, True),
        3: (2, False),
        4: (2, True),
        5: (3, True),
        6: (3, False),
        7: (1, True),
        8: (1, False),
    }
    count, flip = turns.get(image.getexif().get(0x0112, 1), (0, False))
    array = np.rot90(array, count)
    return array[:, ::-1] if flip else array


def _quantise(picture: Picture, bits: int) -> np.ndarray:
    planes = picture.pixels if picture.alpha is None else torch.cat([picture.pixels, picture.alpha], 1)
    check_pixels(planes, "the picture to write")
    levels = (planes[0].double() * (2**bits - 1)).clamp(0, 2**bits - 1).round()
    return levels.permute(1, 2, 0).cpu().numpy().astype(np.uint16 if bits == 16 else np.uint8)


def _write_png16(samples: np.ndarray, path: Path, icc: bytes | None) -> None:
    mode = {1: "mono", 3: "rgb", 4: "rgba"}[samples.shape[-1]]
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.png"  # the encoder insists on the suffix
        _kornia_io().write_image_png_u16(str(plain), np.ascontiguousarray(samples), mode)
        data = plain.read_bytes()
    if icc:
        body = b"iCCP" + b"ICC\0\0" + zlib.compress(icc)
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        data = data[:33] + chunk + data[33:]  # right after the header, before any pixel
    path.write_bytes(data)


def _kornia_io():
    import kornia_rs

    try:
        from kornia_rs import io as codec
    except ImportError:  # before 0.1.11 the functions stood at the top
        codec = kornia_rs
    return codec
