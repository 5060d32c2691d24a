"""Mutated picture files: a picture or one error that names the file, and never less than Pillow reads.

PRIORSR_FUZZ is how many are tried (200); each is made of its number alone, so that a failure can be repeated.
"""

from __future__ import annotations

import io
import os
import random
from contextlib import suppress

import numpy as np
import pytest
import torch
from picture_files import png, tiff16, with_chunks
from PIL import Image

from priorsr.methods.imaging.images import read, read_head, write

COUNT = int(os.environ.get("PRIORSR_FUZZ", "200"))
GROUPS = 20
SUFFIXES = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "TIFF": "tif", "GIF": "gif"}
OPTIONS = {"TIFF": [{}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}]}
MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB", "I;16", "F", "I"),
    "GIF": ("L", "P", "RGB"),
}


def sound(rng):
    """A small picture file of any kind, with or without metadata, and its suffix."""
    raw = np.random.default_rng(rng.randrange(1000)).integers(0, 65536, (9, 7, 4), dtype=np.uint16)
    if rng.random() < 0.2:
        count, colour = rng.choice(((1, 0), (2, 4), (3, 2), (4, 6)))
        key = (b"tRNS", raw[0, 0, :3].astype(">u2").tobytes())
        return png(raw[..., :count], 16, colour, [key] * rng.randrange(2)), "png"
    if rng.random() < 0.2:
        options = {
            "packed": rng.random() < 0.5,
            "planar": rng.random() < 0.3,
            "predictor": rng.choice((1, 2)),
        }
        return tiff16(raw, rng.choice("<>"), 2, rng.choice((None, 0, 1, 2)), **options), "tif"
    kind = rng.choice(list(SUFFIXES))
    mode = rng.choice(MODES[kind])
    image = Image.fromarray((raw[..., :3] >> 8).astype(np.uint8))
    if mode == "I;16":
        image = Image.fromarray(raw[..., 0])
    elif mode == "LAB":
        image = Image.frombytes("LAB", image.size, image.tobytes())
    else:
        image = image.convert(mode)
    exif = Image.Exif()
    exif[0x0112], exif[0x011A], exif[0x8769] = rng.randrange(10), 72.0, {0xA002: 7, 0x9286: b"ASCII\0\0\0hi"}
    options = rng.choice(OPTIONS.get(kind, [{}])).copy()
    if not options and rng.random() < 0.5:  # libtiff cannot write this EXIF
        options = {"exif": exif.tobytes(), "dpi": (72, 72)}
    if rng.random() < 0.3:
        options["icc_profile"] = rng.randbytes(200)
    if kind != "JPEG" and rng.random() < 0.2:
        options |= {"save_all": True, "append_images": [image]}
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue(), SUFFIXES[kind]


def mutated(data, rng):
    """The same with bytes changed, parts cut, repeated or put in, or chunks of nonsense."""
    data = bytearray(data)
    for _ in range(rng.randrange(4)):
        at = rng.randrange(min(len(data), rng.choice((64, 400, 10**9))))
        what = rng.randrange(6)
        if what == 0:
            data[at] = rng.randrange(256)
        elif what == 1:
            data[at : at + 4] = rng.choice(
                (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\xff\xff")
            )
        elif what == 2:
            del data[at : at + rng.randrange(1, 20)]
        elif what == 3:
            data[at:at] = rng.randbytes(rng.randrange(1, 20))
        elif what == 4:
            data[at:at] = data[at : at + rng.randrange(1, 60)]
        else:
            del data[max(at, 8) :]
        data = data or bytearray(b"\0")
    if data[:4] == b"\x89PNG" and rng.random() < 0.4:
        names = (
            b"iCCP",
            b"tEXt",
            b"zTXt",
            b"iTXt",
            b"eXIf",
            b"pHYs",
            b"tRNS",
            b"acTL",
            b"gAMA",
            b"cHRM",
            b"fcTL",
        )
        data = with_chunks(bytes(data), (rng.choice(names), rng.randbytes(rng.randrange(30))))
    return bytes(data)


def pillow(path):
    """Height and width of what Pillow alone makes of a file, as stored, or None."""
    with suppress(Exception), Image.open(path) as image:
        return image.convert("RGB").size[::-1]
    return None


def attempt(look, path):
    """What a function makes of a file, or its error."""
    try:
        return look(path)
    except (ValueError, OSError) as error:
        return error


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("group", range(GROUPS))
def test_a_picture_or_one_error_that_names_the_file(tmp_path, group):
    for number in range(group, COUNT, GROUPS):
        rng = random.Random(f"picture/{number}")
        data, suffix = sound(rng)
        path = tmp_path / f"fuzz{number}.{suffix}"
        path.write_bytes(mutated(data, rng))
        head, picture = attempt(read_head, path), attempt(read, path)
        size = pillow(path)
        for result in (head, picture):
            assert not isinstance(result, Exception) or path.name in str(result), number
        if isinstance(picture, Exception):
            assert size is None, f"{number}: Pillow reads it: {picture}"
            continue
        found = tuple(picture.pixels.shape[-2:])
        assert size is None or sorted(found) == sorted(size), number
        assert not isinstance(head, Exception), f"{number}: {head}"
        assert torch.isfinite(picture.pixels).all(), number
        again = read(write(picture, tmp_path / "out.png", overwrite=True))
        assert torch.equal(again.pixels, picture.pixels), number
        path.unlink()
