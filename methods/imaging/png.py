"""PNG where Pillow does too little: chunks read apart from each other, and samples of 16 bits."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
LARGEST = 1 << 20  # bytes of a text or profile that Pillow unpacks
UNPACKED = 1 << 26  # bytes of a text that we unpack
BLOCK = 1 << 20  # bytes of samples that are filtered at once
# samples of a colour type, and Pillow's names for the first and the second byte of its 16-bit ones
HALVES = {2: (3, "RGB;16B", "RGB;16L"), 6: (4, "RGBA;16B", "RGBA;16L")}

Chunk = tuple[bytes, bytes]


def chunks(data: bytes) -> Iterator[Chunk]:
    """Names and contents of a PNG's chunks as far as they go, whatever their checksums."""
    at = len(SIGNATURE)
    while data.startswith(SIGNATURE) and at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        name = data[at + 4 : at + 8]
        yield name, data[at + 8 : at + 8 + length]
        at += 12 + length
        if name == b"IEND":
            return


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def pixels_only(parts: Iterable[Chunk], kept: Container[bytes] = PIXELS) -> bytes:
    """The same picture without what only says something about it."""
    return SIGNATURE + b"".join(chunk(name, content) for name, content in parts if name in kept)


def header(parts: Iterable[Chunk]) -> tuple[int, int] | None:
    """Bits of a sample and colour type, or None where there is no whole header."""
    for name, content in parts:
        return (content[8], content[9]) if name == b"IHDR" and len(content) == 13 else None
    return None


def colour_key(parts: Iterable[Chunk]) -> tuple[int, ...] | None:
    """The sample or three that stand for "transparent" in a grey or RGB picture."""
    parts = list(parts)
    head = header(parts)
    count = {0: 1, 2: 3}.get(head[1]) if head else None
    for name, content in parts:
        if head and name == b"tRNS" and count and len(content) >= 2 * count:
            return tuple(v & (2 ** head[0] - 1) for v in struct.unpack_from(f">{count}H", content))
    return None


def read16(parts: list[Chunk]) -> np.ndarray | None:
    """H W C samples uint16 of a picture with 16 bits, else None; Pillow gives one byte of each at a time.

    Raises what Pillow raises for a damaged picture.
    """
    head = header(parts)
    if head is None or head[0] != 16:
        return None
    plain = pixels_only(parts)
    if head[1] == 0:
        with Image.open(io.BytesIO(plain)) as image:
            return np.asarray(image).astype(np.uint16)[..., None]
    if head[1] == 4:  # grey with alpha: two samples of two bytes lie as four of one
        return _raw(plain, "RGBA").view(">u2").astype(np.uint16)
    if head[1] not in HALVES:
        return None
    count, first, second = HALVES[head[1]]
    high = _raw(plain, first)[..., :count].astype(np.uint16)
    return high << 8 | _raw(plain, second)[..., :count]


def _raw(data: bytes, name: str) -> np.ndarray:
    """Samples as Pillow unpacks them by another of its raw modes."""
    with Image.open(io.BytesIO(data)) as image:
        image.tile = [(*image.tile[0][:3], name)]
        return np.array(image)


def write16(
    samples: np.ndarray,
    path: Path,
    before: Iterable[Chunk] = (),
    after: Iterable[Chunk] = (),
    compression: int = 1,
) -> None:
    """H W C samples uint16 as a PNG, with other chunks before and after the pixels.

    compression: zlib's level; the low bytes of photographs hardly shrink by more. Raises OSError.
    """
    height, width, count = samples.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[count]
    pack = zlib.compressobj(compression)
    with path.open("wb") as file:
        head = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
        file.write(SIGNATURE + chunk(b"IHDR", head))
        for name, content in before:
            file.write(chunk(name, content))
        rows = max(1, BLOCK // (2 * width * count))
        above = np.zeros((1, width * count * 2), np.uint8)
        for top in range(0, height, rows):
            raw = np.ascontiguousarray(samples[top : top + rows].astype(">u2")).view(np.uint8)
            raw = raw.reshape(len(raw), -1)
            packed = pack.compress(_filtered(raw, np.concatenate([above, raw[:-1]]), 2 * count).tobytes())
            above = raw[-1:]
            if packed:
                file.write(chunk(b"IDAT", packed))
        file.write(chunk(b"IDAT", pack.flush()))
        for name, content in after:
            file.write(chunk(name, content))
        file.write(chunk(b"IEND", b""))


def _filtered(raw: np.ndarray, above: np.ndarray, step: int) -> np.ndarray:
    """Rows with the filter in front that leaves the smallest differences (PNG specification, 12.8)."""
    left, corner = (np.pad(x, ((0, 0), (step, 0)))[:, : x.shape[1]] for x in (raw, above))
    candidates = {1: raw - left, 2: raw - above, 4: raw - _paeth(left, above, corner)}
    # the size of a difference that is read with its sign, without leaving bytes
    costs = np.stack([np.minimum(x, -x).sum(1, dtype=np.int64) for x in candidates.values()])
    best = np.array(list(candidates), np.uint8)[costs.argmin(0)]
    out = np.empty((len(raw), raw.shape[1] + 1), np.uint8)
    out[:, 0] = best
    for kind, x in candidates.items():
        out[best == kind, 1:] = x[best == kind]
    return out


def _paeth(left: np.ndarray, above: np.ndarray, corner: np.ndarray) -> np.ndarray:
    a, b, c = (x.astype(np.int16) for x in (left, above, corner))
    from_left, from_above = b - c, a - c  # how far the estimate a + b - c is from each
    to_corner = np.abs(from_left + from_above)
    to_left, to_above = np.abs(from_left, out=from_left), np.abs(from_above, out=from_above)
    nearest = np.where(to_above <= to_corner, above, corner)
    return np.where(to_left <= np.minimum(to_above, to_corner), left, nearest)


def texts(parts: Iterable[Chunk]) -> tuple[tuple[Chunk, ...], list[str]]:
    """Texts that any picture of the same scene may carry, such as ComfyUI's workflows, and what was left out.

    Long ones are unpacked, for Pillow does not read packed ones above 1 MB.
    """
    kept, left_out = [], []
    for name, content in parts:
        if name not in TEXTS:
            continue
        key = content.partition(b"\0")[0]
        shown = key.decode("latin-1")
        plain = _plain_text(name, content)
        if plain is None or not 1 <= len(key) <= 79:
            left_out.append(f"damaged text {shown[:40]!r}")
        elif key.startswith(b"Raw profile type") or _says_size(key, plain[1]):
            left_out.append(f"text {shown[:40]!r}, which tells of the old size or orientation")
        else:
            kept.append(plain if len(plain[1]) > LARGEST else (name, content))
    return tuple(kept), left_out


def _says_size(key: bytes, content: bytes) -> bool:
    words = (b"PixelXDimension", b"ImageWidth", b"Orientation")
    return key == b"XML:com.adobe.xmp" and any(word in content for word in words)


def _plain_text(name: bytes, content: bytes) -> Chunk | None:
    """The chunk without packing, or None where it is damaged."""
    key, zero, rest = content.partition(b"\0")
    if not zero:
        return None
    if name == b"tEXt":
        return name, content
    if name == b"zTXt":
        text = _unpacked(rest[1:])
        return None if text is None else (b"tEXt", key + b"\0" + text)
    flags, tail = rest[:2], rest[2:]
    if len(flags) < 2 or tail.count(b"\0") < 2:
        return None
    language, translated, text = tail.split(b"\0", 2)
    if flags[0]:
        text = _unpacked(text)
    return None if text is None else (name, b"\0".join([key, b"\0\0" + language, translated, text]))


def _unpacked(content: bytes) -> bytes | None:
    unpack = zlib.decompressobj()
    try:
        text = unpack.decompress(content, UNPACKED)
    except zlib.error:
        return None
    return text if unpack.eof else None


def profile(parts: Iterable[Chunk]) -> bytes | None:
    """The colour profile, however large, or None where there is none or a damaged one."""
    for name, content in parts:
        if name == b"iCCP":
            return _unpacked(content.partition(b"\0")[2][1:])
    return None


def said(
    icc_profile: bytes | None = None,
    exif: bytes | None = None,
    text: Iterable[Chunk] = (),
    dpi: tuple[float, float] | None = None,
) -> tuple[list[Chunk], list[Chunk]]:
    """Pillow's options of the same names as the chunks that stand before and after the pixels."""
    before = []
    if icc_profile:
        before.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc_profile)))
    if exif:
        before.append((b"eXIf", exif.removeprefix(b"Exif\0\0")))
    if dpi:
        metre = (round(v / 0.0254) for v in dpi)
        before.append((b"pHYs", struct.pack(">IIB", *metre, 1)))
    return before, list(text)
