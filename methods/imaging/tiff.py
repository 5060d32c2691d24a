"""TIFF with 16 bits a sample, whatever its number of samples and photometric interpretation.

Pillow reads only some of these, and RGB with one byte of two. It reads all grey ones, and interleaved samples
are rows of a wider grey picture: the file is given another directory that says so, and Pillow unpacks it.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, TiffImagePlugin

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIPS, ORIENTATION, SAMPLES, ROWS, STRIP_SIZES = 273, 274, 277, 278, 279
PLANAR, PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILES, TILE_SIZES = 284, 317, 322, 323, 324, 325
EXTRA, FORMAT = 338, 339
SIZES = {1: 1, 3: 2, 4: 4}  # bytes of the whole numbers a directory may hold
COLOURS = {0: 1, 1: 1, 2: 3}  # samples of grey (0: white is zero) and RGB pictures
MOST = 1 << 20  # strips or tiles


@dataclass(frozen=True)
class Deep:
    """Samples H W C uint16 of a file's first picture: grey or RGB, perhaps alpha; how to turn it."""

    samples: np.ndarray
    orientation: int
    premultiplied: bool


def read16(data: bytes) -> Deep | None:
    """What a TIFF of unsigned 16-bit grey or RGB samples holds, None for any other file.

    Raises what Pillow raises for a damaged picture.
    """
    tags = _directory(data)
    colours = COLOURS.get(_first(tags, PHOTOMETRIC))
    count = _first(tags, SAMPLES, 1)
    if colours is None or count not in range(colours, 9) or set(tags.get(BITS, ())) != {16}:
        return None
    if not set(tags.get(FORMAT, (1,))) <= {1} or not (WIDTH in tags and HEIGHT in tags):
        return None
    if _first(tags, PREDICTOR, 1) not in (1, 2) or not (STRIPS in tags or TILES in tags):
        return None
    Image._decompression_bomb_check((tags[WIDTH][0], tags[HEIGHT][0]))
    planes = _planar(data, tags, count) if _first(tags, PLANAR, 1) == 2 else _chunky(data, tags, count)
    extra = tags.get(EXTRA, ())
    alpha = count > colours and (not extra or extra[0] in (1, 2))
    samples = planes[..., : colours + alpha]
    if tags[PHOTOMETRIC][0] == 0:
        samples[..., :1] = 65535 - samples[..., :1]
    return Deep(samples, _first(tags, ORIENTATION, 1), alpha and bool(extra) and extra[0] == 1)


def _first(tags: Mapping[int, Sequence[int]], tag: int, default: int = -1) -> int:
    return next(iter(tags.get(tag, ())), default)


def _directory(data: bytes) -> dict[int, tuple[int, ...]]:
    """Tags of whole numbers in the first directory; none for other files and for those above 4 GB."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None or len(data) < 10:
        return {}
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    if start + 2 > len(data):
        return {}
    (entries,) = struct.unpack_from(f"{order}H", data, start)
    tags = {}
    for at in range(start + 2, min(start + 2 + 12 * entries, len(data) - 11), 12):
        tag, kind, count = struct.unpack_from(f"{order}HHI", data, at)
        size = SIZES.get(kind, 0) * count
        if not 0 < size <= 4 * MOST:
            continue
        place = at + 8 if size <= 4 else struct.unpack_from(f"{order}I", data, at + 8)[0]
        if place + size <= len(data):
            tags[tag] = struct.unpack_from(f"{order}{count}{ {1: 'B', 3: 'H', 4: 'I'}[kind] }", data, place)
    return tags


def _chunky(data: bytes, tags: dict[int, tuple[int, ...]], count: int) -> np.ndarray:
    """Samples side by side: a grey picture `count` times as wide."""
    width = tags[WIDTH][0]
    tile = _first(tags, TILE_WIDTH, 0)
    grey = {WIDTH: (width * count,)} | ({TILE_WIDTH: (tile * count,)} if tile > 0 else {})
    array = _grey(data, tags | grey)
    return _summed(array.reshape(len(array), width, count), tags)


def _planar(data: bytes, tags: dict[int, tuple[int, ...]], count: int) -> np.ndarray:
    """Samples in planes, each with strips or tiles of its own: a grey picture each."""
    planes = []
    for i in range(count):
        own = {}
        for tag in (STRIPS, STRIP_SIZES, TILES, TILE_SIZES):
            values = tags.get(tag, ())
            each = len(values) // count
            own[tag] = values[i * each : (i + 1) * each]
        plane = _grey(data, tags | own)
        planes.append(_summed(plane[..., None], tags))
    return np.concatenate(planes, -1)


def _grey(data: bytes, tags: dict[int, tuple[int, ...]]) -> np.ndarray:
    """Pillow's pixels of the file as a plain grey picture with these sizes and places."""
    kept = (WIDTH, HEIGHT, COMPRESSION, FILL_ORDER, STRIPS, ROWS, STRIP_SIZES)
    kept += (TILE_WIDTH, TILE_HEIGHT, TILES, TILE_SIZES)
    own = {tag: tags[tag] for tag in kept if tags.get(tag)}
    own |= {BITS: (16,), PHOTOMETRIC: (1,), SAMPLES: (1,)}
    order = "<" if data[:2] == b"II" else ">"
    body, tail = b"", b""
    start = len(data) + len(data) % 2
    place = start + 6 + 12 * len(own)
    for tag in sorted(own):
        values = struct.pack(f"{order}{len(own[tag])}I", *own[tag])
        inline = len(values) == 4
        body += struct.pack(f"{order}HHI", tag, 4, len(own[tag]))
        body += values if inline else struct.pack(f"{order}I", place + len(tail))
        tail += b"" if inline else values
    directory = struct.pack(f"{order}H", len(own)) + body + b"\0\0\0\0" + tail
    head = data[:4] + struct.pack(f"{order}I", start)
    whole = io.BytesIO(head + data[8:] + b"\0" * (len(data) % 2) + directory)
    # not Image.open, whose limit of pixels would count every sample
    with TiffImagePlugin.TiffImageFile(whole) as image:
        return np.asarray(image).astype(np.uint16)


def _summed(array: np.ndarray, tags: dict[int, tuple[int, ...]]) -> np.ndarray:
    """H W C with differences of neighbours (predictor 2) turned into samples; each tile begins anew."""
    if _first(tags, PREDICTOR, 1) != 2:
        return np.array(array)
    step = max(1, _first(tags, TILE_WIDTH, array.shape[1]))
    tiles = [array[:, x : x + step].cumsum(1, dtype=np.uint16) for x in range(0, array.shape[1], step)]
    return np.concatenate(tiles, 1)
