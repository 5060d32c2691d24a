"""Depths that Pillow hands on as they are stored, or cuts to 8 bits without a word."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from picture_files import tiff_plain
from PIL import Image, features

from priorsr.methods.imaging.images import read

WIDTH, HEIGHT = 16, 3
RAMP = np.linspace(0, 1, WIDTH)


def rows(values, kind):
    return np.tile(values.astype(kind), (HEIGHT, 1)).tobytes()


def packed12(values):
    """Two samples in three bytes."""
    text = "".join(f"{int(v):012b}" for v in values)
    return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8)) * HEIGHT


FILES = {  # a black to white ramp, and how closely it comes back
    "12.tif": (tiff_plain(packed12((RAMP * 4095).round()), WIDTH, HEIGHT, 12, 1), 1 / 4095),
    "16.tif": (tiff_plain(rows(RAMP * 65535, "<u2"), WIDTH, HEIGHT, 16, 1), 1 / 65535),
    "16w.tif": (tiff_plain(rows(65535 - RAMP * 65535, "<u2"), WIDTH, HEIGHT, 16, 0), 1 / 65535),
    "32.tif": (tiff_plain(rows(RAMP * (2**32 - 1), "<u4"), WIDTH, HEIGHT, 32, 1), 1 / 65535),
    "float.tif": (tiff_plain(rows(RAMP, "<f4"), WIDTH, HEIGHT, 32, 1, 3), 1 / 65535),
    "floatw.tif": (tiff_plain(rows(1 - RAMP, "<f4"), WIDTH, HEIGHT, 32, 0, 3), 1 / 65535),
    "16.ppm": (b"P6 16 3 1023\n" + rows(np.repeat(RAMP * 1023, 3), ">u2"), 1 / 1023),
    "plain.ppm": (
        b"P3 16 3 1000 # ours\n" + b"".join(b"%d %d %d\n" % ((v * 1000,) * 3) for v in RAMP) * HEIGHT,
        1 / 1000,
    ),
    "plain.pgm": (b"P2 16 3 1000\n" + b"".join(b"%d\n" % (v * 1000) for v in RAMP) * HEIGHT, 1 / 1000),
}


@pytest.mark.parametrize("name", FILES)
def test_every_level_comes_back(tmp_path, name):
    data, near = FILES[name]
    (tmp_path / name).write_bytes(data)
    picture = read(tmp_path / name)
    assert picture.bits == 16
    for channel in picture.pixels[0].numpy():
        np.testing.assert_allclose(channel, np.tile(RAMP, (HEIGHT, 1)), rtol=0, atol=near)


def test_a_grey_jpeg_2000_of_any_depth_fills_the_range(tmp_path):
    if not features.check("jpg_2000"):
        pytest.skip("this Pillow reads no JPEG 2000")
    file = io.BytesIO()
    Image.fromarray(np.tile((RAMP * 65535).astype(np.uint16), (HEIGHT, 1))).save(file, "JPEG2000")
    (tmp_path / "a.jp2").write_bytes(file.getvalue())
    picture = read(tmp_path / "a.jp2")
    assert picture.bits == 16
    np.testing.assert_allclose(picture.pixels[0, 0, 0].numpy(), RAMP, rtol=0, atol=1e-3)


def test_two_bytes_that_become_one_are_said(tmp_path, caplog):
    head = struct.pack(">hBBHHHH", 474, 0, 2, 2, WIDTH, HEIGHT, 1).ljust(512, b"\0")
    (tmp_path / "a.sgi").write_bytes(head + rows(RAMP * 65535, ">u2"))
    assert read(tmp_path / "a.sgi").bits == 8
    assert "its 16 bits are read as 8" in caplog.text
