from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageOps

from priorsr.methods.imaging import images
from priorsr.methods.imaging.images import Picture, encode, read, to_uint8, write

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def levels(bits, *shape):
    top = 2**bits - 1
    return (torch.arange(int(np.prod(shape))) % (top + 1)).reshape(shape).float() / top


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("size", [(1, 1), (5, 7)])
def test_png_keeps_every_level(tmp_path, channels, alpha, bits, size):
    pixels = levels(bits, 1, channels, *size)
    written = Picture(pixels, levels(bits, 1, 1, *size) if alpha else None, bits, SRGB)
    back = read(write(written, tmp_path / "a.png"))
    assert torch.equal(back.pixels, pixels)
    assert (back.alpha is not None) == alpha
    assert not alpha or torch.equal(back.alpha, written.alpha)
    assert back.bits == bits
    assert back.icc == (SRGB if channels == 3 else None)  # it describes RGB


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_lossy_formats_come_close_and_keep_the_profile(tmp_path, photo, suffix):
    back = read(write(Picture(photo, icc=SRGB), tmp_path / f"a{suffix}", quality=95))
    assert (back.pixels - photo).abs().mean() < 0.01
    assert back.icc == SRGB


def test_webp_keeps_alpha_and_jpeg_refuses_it(tmp_path, photo):
    picture = Picture(photo, photo[:, :1])
    assert read(write(picture, tmp_path / "a.webp")).alpha is not None
    with pytest.raises(ValueError, match="transparency"):
        write(picture, tmp_path / "a.jpg")
    assert [p.name for p in tmp_path.iterdir()] == ["a.webp"]


def add_exif(path, exif):
    """Put an EXIF chunk into a PNG that was written without one."""
    body, data = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0"), path.read_bytes()
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    path.write_bytes(data[:33] + chunk + data[33:])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("bits", [8, 16])
def test_exif_orientation_is_applied_once(tmp_path, orientation, bits):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = levels(8, 1, 3, 2, 3)
    path = write(Picture(stored, bits=bits), tmp_path / "a.png")
    add_exif(path, exif)
    upright = read(path)
    with Image.open(path) as image:
        expected = np.array(ImageOps.exif_transpose(image)) / 255
    torch.testing.assert_close(
        upright.pixels[0].permute(1, 2, 0).double(), torch.from_numpy(expected), atol=1e-2, rtol=0
    )
    assert upright.bits == bits
    again = read(write(upright, tmp_path / "b.png"))
    assert torch.equal(again.pixels, upright.pixels)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_common_mode_is_read(tmp_path, mode):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    source = Image.fromarray((np.arange(48).reshape(4, 4, 3) * 5).astype(np.uint8))
    image = (
        Image.fromarray((np.arange(16).reshape(4, 4) * 4000).astype(np.uint16))
        if mode == "I;16"
        else source.convert(mode)
    )
    image.save(path)
    picture = read(path)
    assert picture.pixels.shape[1] in (1, 3)
    assert picture.pixels.shape[-2:] == (4, 4)
    assert 0 <= picture.pixels.min() <= picture.pixels.max() <= 1


def test_damaged_files_are_named(tmp_path, photo):
    good = write(Picture(photo), tmp_path / "good.png").read_bytes()
    for name, content in {
        "cut.png": good[: len(good) // 2],
        "text.png": b"hello",
        "empty.png": b"",
        "cut.jpg": b"\xff\xd8\xff\xe0",
    }.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ValueError, match=name):
            read(path)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        read(tmp_path / "nowhere.png")


def test_nothing_is_overwritten_without_leave(tmp_path, photo):
    path = write(Picture(photo), tmp_path / "a.png")
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="exists"):
        write(Picture(1 - photo), path)
    assert path.read_bytes() == before
    write(Picture(1 - photo), path, overwrite=True)
    assert path.read_bytes() != before


def test_a_failing_write_leaves_nothing_and_keeps_the_old_file(tmp_path, photo, monkeypatch):
    path = write(Picture(photo), tmp_path / "a.png")
    before = path.read_bytes()

    def full_disk(self, target, *_, **__):
        target.write_bytes(b"part of a picture")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(OSError, match=r"a\.png: No space left on device"):
        write(Picture(photo), path, overwrite=True)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path, photo):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="cannot write into"):
        write(Picture(photo), tmp_path / "file" / "a.png")


def test_unknown_suffix_and_broken_pixels_are_refused(tmp_path, photo):
    with pytest.raises(ValueError, match="choose a name ending in"):
        write(Picture(photo), tmp_path / "a.gif")
    with pytest.raises(ValueError, match="NaN"):
        write(Picture(photo * float("nan")), tmp_path / "a.png")
    with pytest.raises(ValueError, match="no pixels"):
        images.check_pixels(torch.zeros(1, 3, 0, 4))
    assert not list(tmp_path.iterdir())


def test_to_uint8_rounds_and_clips():
    assert to_uint8(torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0])).tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("channels", [1, 3])
def test_codecs_lose_more_at_lower_quality(photo, channels):
    x = photo[0, :channels]
    for kind in ("JPEG", "WEBP"):
        low, high = ((encode(x, kind, q) - x).abs().mean() for q in (5, 95))
        assert high < low
        assert encode(x, kind, 50).shape == x.shape


def test_pictures_of_another_program_are_not_started(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(ValueError, match="not a supported picture"):
        read(path)
