"""What a picture file says besides its pixels: no damage of it reaches them, what stays true is kept."""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass, field

from PIL import ExifTags, Image

from . import png

# what Pillow raises for damaged metadata, beside its own errors
DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
ORIENTATION = 0x0112
# tags of how the old file stored its pixels, not of the picture: sizes, strips, tiles, colours, profile, XMP
STALE = {
    *(
        0x00FE,
        0x00FF,
        0x0100,
        0x0101,
        0x0102,
        0x0103,
        0x0106,
        0x010A,
        0x0111,
        ORIENTATION,
        0x0115,
        0x0116,
        0x0117,
    ),
    *(0x0118, 0x0119, 0x011C, 0x0120, 0x0121, 0x0122, 0x0123, 0x012D, 0x013D, 0x0140, 0x0142, 0x0143, 0x0144),
    *(0x0145, 0x014A, 0x014C, 0x0152, 0x0153, 0x0154, 0x0155, 0x015B, 0x0200, 0x0201, 0x0202, 0x0211, 0x0212),
    *(0x0213, 0x0214, 0x02BC, 0x83BB, 0x8649, 0x8773),
}
STALE_INSIDE = {0xA002, 0xA003, 0xA005}  # PixelXDimension, PixelYDimension, interoperability
SPACES = {b"GRAY": 1, b"RGB ": 3}  # channels of a colour profile's pictures
ICC_HEADER = 128


@dataclass(frozen=True)
class Metadata:
    """What stays true of a picture, in the words of `Picture`, and what was left out of it."""

    icc: bytes | None = None
    exif: bytes | None = None
    text: tuple[png.Chunk, ...] = ()
    dpi: tuple[float, float] | None = None
    left_out: tuple[str, ...] = field(default=())


def read_metadata(image: Image.Image, parts: list[png.Chunk], channels: int) -> Metadata:
    """Of an opened file, whose chunks are `parts` if it is a PNG; channels 0: converted from others."""
    left_out: list[str] = []
    text, lost = png.texts(parts)
    left_out += lost
    icc = png.profile(parts) if parts else image.info.get("icc_profile")
    if icc is None and any(name == b"iCCP" for name, _ in parts):
        left_out.append("damaged colour profile")
    if not channels:
        icc = None  # it was of inks, and is done with
    if icc and not fits(icc, channels):
        left_out.append("colour profile that does not describe these pixels")
        icc = None
    exif = _exif(image, left_out)
    return Metadata(icc or None, exif, text, _dpi(image), tuple(left_out))


def fits(icc: object, channels: int) -> bool:
    """Whether it is a colour profile of pictures with so many channels."""
    if not isinstance(icc, bytes) or len(icc) <= ICC_HEADER or icc[36:40] != b"acsp":
        return False
    return SPACES.get(icc[16:20]) == channels


def orientation(image: Image.Image) -> int:
    """1 to 8, as EXIF counts them; 1 where it cannot be told."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
        return int(value) if value in range(1, 9) else 1
    except DAMAGE:
        return 1


def _exif(image: Image.Image, left_out: list[str]) -> bytes | None:
    raw = image.info.get("exif")
    try:
        exif = image.getexif()
        tags = list(exif)
        # reading these now brings out their damage; a thumbnail (IFD1) is never written back
        inside: dict[int, dict] = {
            ifd: dict(exif.get_ifd(ifd)) for ifd in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo) if ifd in exif
        }
    except DAMAGE:
        left_out.append("damaged EXIF")
        return None
    kept, bad = Image.Exif(), []
    for tag in tags:
        if tag in STALE:
            continue
        try:
            value = inside.get(tag, exif[tag])
        except DAMAGE:
            bad.append(tag)
            continue
        if isinstance(value, dict):
            value = {k: v for k, v in value.items() if k not in STALE_INSIDE and _encodes({k: v}, tag)}
            bad += sorted(set(inside[tag]) - set(value) - STALE_INSIDE)
        if value != {} and _encodes(value, tag):
            kept[tag] = value
        elif value != {}:
            bad.append(tag)
    if bad:
        left_out.append(f"damaged EXIF tags {', '.join(f'{tag:#06x}' for tag in bad)}")
    elif raw and not tags:
        left_out.append("damaged EXIF")
    return kept.tobytes() if len(kept) else None


def _encodes(value: object, tag: int) -> bool:
    alone = Image.Exif()
    alone[tag] = value
    try:
        return bool(alone.tobytes())
    except DAMAGE:
        return False


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    """Pixels per inch, where the file states them in a unit."""
    if "jfif" in image.info and not image.info.get("jfif_unit"):
        return None
    if image.format == "TIFF" and image.info.get("resolution") == image.info.get("dpi") == (1, 1):
        return None  # which is how Pillow shows files that state none
    try:
        dpi = tuple(float(v) for v in image.info["dpi"])
    except DAMAGE:
        return None
    return dpi if len(dpi) == 2 and all(math.isfinite(v) and 1 <= v <= 65535 for v in dpi) else None
