"""From a picture file to samples: Pillow's, and every level where Pillow would cut 16 bits to 8."""

from __future__ import annotations

import io
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from . import png, tiff
from .metadata import DAMAGE, Metadata, orientation, read_metadata

TIFFS = (b"II*\0", b"MM\0*")
TURNS = {2: (0, True), 3: (2, False), 4: (2, True), 5: (3, True), 6: (3, False), 7: (1, True), 8: (1, False)}


@dataclass(frozen=True)
class Decoded:
    """Upright samples H W C in 0..top, what the file says of them, and what was left out or assumed."""

    samples: np.ndarray
    top: int
    metadata: Metadata
    notes: tuple[str, ...]

    @property
    def bits(self) -> int:
        return 8 if self.top == 255 else 16


def decode(path: Path) -> Decoded:
    """The first picture of a file. Raises what Pillow raises where its pixels cannot be read."""
    with path.open("rb") as file:
        start = file.read(8)
    parts = list(png.chunks(path.read_bytes())) if start == png.SIGNATURE else []
    deep = _deep_tiff(path) if start[:4] in TIFFS else None
    notes: list[str] = []
    try:
        count = _frames(path)
        if count > 1:
            notes.append(f"{count - 1} of its {count} frames or pages")
        with open_picture(path, parts) as image:
            samples, top, turn = deep or _samples(path, image, parts, notes)
            samples = _orient(samples, orientation(image) if turn is None else turn)
            channels = _colours(samples)
            metadata = read_metadata(image, parts, 0 if image.mode in ("CMYK", "LAB") else channels)
    except DAMAGE:
        if deep is None:
            raise
        samples, top, turn = deep  # Pillow does not know all that was read by other means
        return Decoded(_orient(samples, turn), top, Metadata(left_out=("all metadata",)), tuple(notes))
    return Decoded(samples, top, metadata, tuple(notes))


def open_picture(path: Path, parts: list[png.Chunk] | None = None) -> Image.Image:
    """A loaded picture; of a PNG without its metadata where they stop Pillow. Raises what Pillow raises."""
    if parts is None:
        parts = list(png.chunks(path.read_bytes())) if path.suffix.lower() in (".png", ".apng") else []
    sources = [path]
    if parts:
        # the orientation is worth most, the resolution little
        wanted = ((*png.PIXELS, b"eXIf", b"pHYs"), (*png.PIXELS, b"eXIf"), png.PIXELS)
        sources += [io.BytesIO(png.pixels_only(parts, kept)) for kept in wanted]
    refusal: Exception | None = None
    for source in sources:
        try:
            image = Image.open(source, formats=_formats())
        except Image.DecompressionBombError:
            raise
        except DAMAGE as error:
            refusal = refusal or error
            continue
        try:
            image.load()
        except DAMAGE as error:
            image.close()
            refusal = refusal or error
            continue
        return image
    raise refusal or ValueError("no part of it is a picture")


def _frames(path: Path) -> int:
    """How many pictures the file holds, as far as that can be told."""
    with suppress(*DAMAGE), Image.open(path, formats=_formats()) as image:
        return int(getattr(image, "n_frames", 1))
    return 1


def open_head(path: Path) -> tuple[tuple[int, int], bool]:
    """Height and width of the file's first picture, upright, and whether it can have transparent pixels.

    Raises what Pillow raises where the head cannot be read.
    """
    with Image.open(path, formats=_formats()) as image:
        width, height = image.size
        turned = image.format != "TIFF" and orientation(image) in (5, 6, 7, 8)
        return ((width, height) if turned else (height, width)), image.has_transparency_data


@lru_cache(1)
def _formats() -> tuple[str, ...]:
    """All of Pillow's but EPS, which it hands to another program."""
    Image.init()
    return tuple(name for name in Image.ID if name != "EPS")


def _deep_tiff(path: Path) -> tuple[np.ndarray, int, int] | None:
    try:
        deep = tiff.read16(path.read_bytes())
    except Image.DecompressionBombError:
        raise
    except DAMAGE:
        return None  # then Pillow may still make something of it
    if deep is None:
        return None
    samples = deep.samples
    if deep.premultiplied:
        colours, alpha = samples[..., :-1].astype(np.uint64), samples[..., -1:].astype(np.uint64)
        colours = np.minimum(65535, (colours * 65535 + alpha // 2) // np.maximum(alpha, 1))
        samples = np.concatenate([colours, alpha], -1).astype(np.uint16)
    return samples, 65535, deep.orientation


def _samples(
    path, image: Image.Image, parts: list[png.Chunk], notes: list[str]
) -> tuple[np.ndarray, int, None]:
    with suppress(*DAMAGE):
        found = _deep(path, image, parts, notes)
        if found is None:
            found = _shallow(image, parts, notes), 255
        return found[0], found[1], None
    notes.append("what is neither RGB nor grey")  # transparency, a profile of inks
    return np.asarray(image.convert("RGB")), 255, None


def _deep(
    path, image: Image.Image, parts: list[png.Chunk], notes: list[str]
) -> tuple[np.ndarray, int] | None:
    """Samples of more than 8 bits, None where there are none."""
    array = png.read16(parts)
    if array is not None:
        key = png.colour_key(parts)
        if key is not None:
            array = np.concatenate([array, _alpha(array, key, 65535)], -1)
        return array, 65535
    if image.format == "PPM" and image.mode == "RGB":
        return _ppm16(path)
    bits = _stored_bits(path, image)
    if image.mode.startswith("I;16"):
        array = np.asarray(image).astype(np.uint16)[..., None]
        packed = image.format == "TIFF" and bits < 16  # as stored; of other formats Pillow fills 16 bits
        return (_spread(array, 2**bits - 1) if packed else array), 65535
    if image.mode not in ("I", "F"):
        if bits > 8:
            notes.append(f"levels: its {bits} bits are read as 8")
        return None
    array, tags = np.asarray(image), getattr(image, "tag_v2", {})
    if image.mode == "I" and bits == 32 and set(tags.get(tiff.FORMAT, (1,))) == {1}:
        array = array.view(np.uint32)  # Pillow takes all for signed
    array = np.nan_to_num(array.astype(np.float64))
    if image.format == "PPM" and image.mode == "I":
        top = 65535
    else:
        tops = (1, 255, 65535) if image.mode == "F" else (255, 65535)
        top = next((t for t in tops if array.max() <= t), max(65535, float(array.max())))
        notes.append(f"values outside 0 .. {top:g}, which are taken for black and white")
    samples = _spread(array[..., None], top)
    return (65535 - samples if tags.get(tiff.PHOTOMETRIC) == 0 else samples), 65535


def _spread(array: np.ndarray, top: float) -> np.ndarray:
    """0..top over all 16 bits."""
    return (array.clip(0, top) * (65535 / top)).round().astype(np.uint16)


def _shallow(image: Image.Image, parts: list[png.Chunk], notes: list[str]) -> np.ndarray:
    """Samples of at most 8 bits."""
    if image.mode == "CMYK":
        return np.asarray(_from_inks(image, notes))
    if image.mode == "LAB":
        return np.asarray(_profiled(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))))
    key = png.colour_key(parts)
    if key is not None and image.mode in ("1", "L", "RGB"):
        # Pillow compares keys of 1, 2 and 4 bits with samples of 8
        plain = np.array(image.convert("L") if image.mode == "1" else image).reshape(
            image.height, image.width, -1
        )
        head = png.header(parts)
        scale = 255 // (2 ** (head[0] if head else 8) - 1)
        return np.concatenate([plain, _alpha(plain, tuple(k * scale for k in key), 255)], -1)
    clear = image.has_transparency_data
    grey = image.mode in ("1", "L", "LA", "La")
    array = np.asarray(image.convert(("LA" if clear else "L") if grey else ("RGBA" if clear else "RGB")))
    return array[..., None] if array.ndim == 2 else array


def _alpha(array: np.ndarray, key: tuple[int, ...], top: int) -> np.ndarray:
    """0 where all samples of a pixel are those of the key, else opaque."""
    return np.where((array == np.array(key)).all(-1, keepdims=True), 0, top).astype(array.dtype)


def _from_inks(image: Image.Image, notes: list[str]) -> Image.Image:
    icc = image.info.get("icc_profile")
    if icc:
        with suppress(*DAMAGE, ImageCms.PyCMSError):
            return _profiled(image, ImageCms.ImageCmsProfile(io.BytesIO(icc)))
        notes.append("a colour profile that does not fit its inks")
    return image.convert("RGB")


def _profiled(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    done = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    return image.convert("RGB") if done is None else done


def _ppm16(path: Path) -> tuple[np.ndarray, int] | None:
    """RGB of two bytes a sample, of which Pillow keeps one."""
    with Image.open(path) as image:  # not loaded, so that it still says where the pixels begin
        name, _, offset, arguments = image.tile[0][:4]
        if name not in ("ppm", "ppm_plain") or arguments[1] < 256:
            return None
        count, data = image.width * image.height * 3, path.read_bytes()
        if name == "ppm":
            array = np.frombuffer(data, ">u2", count, offset)
        else:
            words = re.sub(rb"#[^\n]*", b" ", data[offset:]).split()
            array = np.array(words[:count]).astype(np.uint32)
        return _spread(array.reshape(image.height, image.width, 3), arguments[1]), 65535


def _stored_bits(path: Path, image: Image.Image) -> int:
    """Bits of a sample in formats that Pillow reduces to 8 without a word."""
    if image.format == "TIFF":
        return max(getattr(image, "tag_v2", {}).get(tiff.BITS, (8,)))
    if image.format not in ("AVIF", "JPEG2000", "SGI"):
        return 8
    head = path.read_bytes()[:4096]
    if image.format == "SGI":
        return 8 * head[3]
    if image.format == "AVIF":
        at = head.find(b"pixi")  # its box: name, version and flags, channels, bits of each
        return head[at + 9] if 0 <= at < len(head) - 9 else 8
    at = head.find(b"\xff\x4f\xff\x51")  # start of the codestream and its size marker
    return (head[at + 42] & 127) + 1 if 0 <= at < len(head) - 42 else 8


def _orient(array: np.ndarray, turn: int) -> np.ndarray:
    count, flip = TURNS.get(turn, (0, False))
    array = np.rot90(array, count)
    return array[:, ::-1] if flip else array


def _colours(samples: np.ndarray) -> int:
    return 3 if samples.shape[-1] > 2 else 1
