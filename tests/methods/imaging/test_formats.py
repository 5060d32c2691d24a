"""Files as people bring them: every depth, transparency, colour space and piece of metadata."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
import torch
from picture_files import png, tiff16, with_chunks
from PIL import Image, ImageCms, features

from priorsr.methods.imaging.images import read, read_head, write

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
KEY = (4660, 0, 65535)


def samples(count, height=6, width=5, seed=0):
    return np.random.default_rng(seed).integers(0, 65536, (height, width, count), dtype=np.uint16)


def same(picture, expected):
    """Every level of H W C samples, colours and alpha."""
    planes = picture.pixels if picture.alpha is None else torch.cat([picture.pixels, picture.alpha], 1)
    found = (planes[0].double() * 65535).round().permute(1, 2, 0).numpy().astype(np.uint16)
    return picture.bits == 16 and np.array_equal(found, expected)


def photo_bytes(kind="JPEG", mode="RGB", **options):
    grey = np.add.outer(np.arange(32) * 3, np.arange(32) * 4).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.stack([grey, 255 - grey, grey // 2], -1)).convert(mode).save(file, kind, **options)
    return file.getvalue()


def put(folder, name, content):
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize(("colour", "count"), [(0, 1), (4, 2), (2, 3), (6, 4)])
def test_png_of_16_bits_keeps_every_level(tmp_path, colour, count):
    expected = samples(count)
    picture = read(put(tmp_path, "a.png", png(expected, 16, colour)))
    assert same(picture, expected)
    assert same(read(write(picture, tmp_path / "b.png")), expected)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "packing", [{}, {"packed": True}, {"packed": True, "predictor": 2}, {"planar": True}]
)
@pytest.mark.parametrize(
    ("photometric", "count", "extra"), [(1, 1, None), (1, 2, 2), (2, 3, None), (2, 4, 2)]
)
def test_tiff_of_16_bits_keeps_every_level(tmp_path, order, packing, photometric, count, extra):
    expected = samples(count)
    data = tiff16(expected, order, photometric, extra, **packing)
    assert same(read(put(tmp_path, "a.tif", data)), expected)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("count", [1, 2])
def test_white_may_be_zero_in_a_tiff(tmp_path, order, count):
    raw = samples(count)
    expected = raw.copy()
    expected[..., 0] = 65535 - raw[..., 0]
    data = tiff16(raw, order, 0, 2 if count == 2 else None)
    assert same(read(put(tmp_path, "a.tif", data)), expected)


def test_tiff_is_turned_and_its_premultiplied_colours_are_divided(tmp_path):
    raw = samples(3)
    turned = read(put(tmp_path, "a.tif", tiff16(raw, photometric=2, turn=6)))
    assert same(turned, np.rot90(raw, 3))
    raw = np.array([[[1000, 2000, 3000, 32768], [0, 0, 0, 0]]] * 2, np.uint16)
    picture = read(put(tmp_path, "b.tif", tiff16(raw, photometric=2, extra=1)))
    expected = torch.tensor([1000, 2000, 3000]) / 32768
    torch.testing.assert_close(picture.pixels[0, :, 0, 0], expected, atol=2e-5, rtol=0)
    assert picture.alpha[0, 0, 0].tolist() == pytest.approx([32768 / 65535, 0])


@pytest.mark.parametrize(("bits", "key"), [(1, 1), (2, 2), (4, 7), (8, 200), (16, 40_000)])
def test_a_grey_key_is_transparent_at_every_depth(tmp_path, bits, key):
    raw = np.random.default_rng(1).integers(0, 2**bits, (7, 9, 1))
    raw[0, 0] = key
    raw[0, 1] = key ^ 1
    data = png(raw, bits, 0, [(b"tRNS", key.to_bytes(2, "big"))])
    picture = read(put(tmp_path, "a.png", data))
    np.testing.assert_array_equal(picture.alpha[0, 0].numpy(), raw[..., 0] != key)
    np.testing.assert_allclose(picture.pixels[0, 0].numpy(), raw[..., 0] / (2**bits - 1), atol=1e-6)
    assert read_head(tmp_path / "a.png").alpha


@pytest.mark.parametrize("bits", [8, 16])
def test_an_rgb_key_is_transparent_where_all_three_agree(tmp_path, bits):
    key = [v >> (16 - bits) for v in KEY]
    raw = np.random.default_rng(1).integers(0, 2**bits, (5, 6, 3))
    raw[::2] = key
    raw[1, 0] = [key[0], key[1], key[2] - 1]
    data = png(raw, bits, 2, [(b"tRNS", b"".join(v.to_bytes(2, "big") for v in key))])
    picture = read(put(tmp_path, "a.png", data))
    np.testing.assert_array_equal(picture.alpha[0, 0].numpy(), (raw != key).any(-1))
    assert picture.bits == bits


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_keep_their_transparency(tmp_path, bits):
    raw = np.arange(8).reshape(2, 4, 1) % 2
    head = [(b"PLTE", bytes([10, 20, 30, 200, 100, 50])), (b"tRNS", bytes([0, 128]))]
    picture = read(put(tmp_path, "a.png", png(raw, bits, 3, head)))
    assert picture.alpha[0, 0, 0, :2].tolist() == pytest.approx([0, 128 / 255])
    assert (picture.pixels[0, :, 0, 1] * 255).tolist() == [200, 100, 50]


def test_ppm_of_16_bits_keeps_every_level(tmp_path):
    for name, count in (("P5", 1), ("P6", 3)):
        raw = samples(count)
        data = f"{name}\n5 6\n65535\n".encode() + raw.astype(">u2").tobytes()
        assert same(read(put(tmp_path, "a.ppm", data)), raw)


FORMATS = [("BMP", "bmp"), ("GIF", "gif"), ("PPM", "ppm"), ("TGA", "tga"), ("JPEG", "jfif"), ("WEBP", "webp")]
FORMATS += [("AVIF", "avif")] * bool(features.check("avif")) + [("JPEG2000", "jp2")] * features.check(
    "jpg_2000"
)


@pytest.mark.parametrize(("kind", "suffix"), FORMATS)
def test_formats_are_read(tmp_path, kind, suffix):
    path = put(tmp_path, f"a.{suffix}", photo_bytes(kind))
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal((read(path).pixels[0].permute(1, 2, 0) * 255).numpy().round(), expected)


@pytest.mark.parametrize("profile", [SRGB, b"not a profile", None])
@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", "jpg"), ("TIFF", "tif")])
def test_inks_with_any_profile(tmp_path, profile, kind, suffix, caplog):
    options = {"icc_profile": profile} if profile else {}
    path = put(tmp_path, f"a.{suffix}", photo_bytes(kind, "CMYK", **options))
    picture = read(path)
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal((picture.pixels[0].permute(1, 2, 0) * 255).numpy().round(), expected)
    assert picture.icc is None
    assert ("does not fit its inks" in caplog.text) == bool(profile)


def hard_exifs():
    yield b"Exif\0\0ZZ*\0\x08\0\0\0garbagegarbage"
    yield b"Exif\0\0II*\0\xff\xff\xff\x7f"
    yield b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\0\x07" * 40
    entry = b"\x1a\x01\x02\0\x04\0\0\0abc\0"  # XResolution as text
    yield b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + b"\0\0\0\0"
    entry = b"\x1a\x01\x05\0\x01\0\0\0\x1a\0\0\0"  # XResolution of 1 / 0
    yield b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + b"\0\0\0\0" + b"\1\0\0\0\0\0\0\0"
    entry = b"\x69\x87\x04\0\x01\0\0\0\x08\0\0\0"  # a directory inside itself
    yield b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + b"\0\0\0\0"


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("exif", hard_exifs())
def test_no_exif_refuses_pixels(tmp_path, suffix, exif):
    kind = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[suffix]
    path = put(tmp_path, f"a.{suffix}", photo_bytes(kind, exif=exif))
    picture = read(path)
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal((picture.pixels[0].permute(1, 2, 0) * 255).numpy().round(), expected)
    for name in ("b.png", "b.jpg", "b.webp"):
        read(write(picture, tmp_path / name))


@pytest.mark.parametrize("size", [3_000_000, 200])
def test_no_profile_refuses_pixels(tmp_path, size, caplog):
    data = with_chunks(photo_bytes("PNG"), (b"iCCP", b"x\0\0" + zlib.compress(bytes(size))))
    picture = read(put(tmp_path, "a.png", data))
    assert picture.icc is None
    assert "does not describe" in caplog.text


def test_a_large_profile_is_kept_where_readers_take_it(tmp_path, caplog):
    profile = SRGB + np.random.default_rng(0).bytes(3_000_000)
    data = with_chunks(photo_bytes("PNG"), (b"iCCP", b"x\0\0" + zlib.compress(profile)))
    picture = read(put(tmp_path, "a.png", data))
    assert picture.icc == profile
    assert read(write(picture, tmp_path / "b.jpg")).icc == profile
    with Image.open(write(picture, tmp_path / "b.png")) as image:
        assert "icc_profile" not in image.info
    assert "larger than PNG readers take" in caplog.text


@pytest.mark.parametrize("bits", [8, 16])
def test_workflows_stay_in_png_and_open_everywhere(tmp_path, bits, caplog):
    workflow = b'{"nodes": "' + b"x" * 3_000_000 + b'"}'
    texts = [(b"zTXt", b"workflow\0\0" + zlib.compress(workflow)), (b"tEXt", b"prompt\0{}")]
    texts += [(b"iTXt", b"title\0\1\0de\0Titel\0" + zlib.compress("Straße".encode()))]
    texts += [(b"zTXt", b"bad\0\0" + b"no zlib")]
    picture = read(put(tmp_path, "a.png", png(samples(3) >> 16 - bits, bits, 2, texts)))
    assert "'bad'" in caplog.text
    with Image.open(write(picture, tmp_path / "b.png")) as image:
        assert image.text == {"workflow": workflow.decode(), "prompt": "{}", "title": "Straße"}
    assert read(tmp_path / "b.png").text == picture.text
    write(picture, tmp_path / "b.webp")
    assert "texts, which only PNG can hold" in caplog.text


def test_a_damaged_chunk_costs_only_itself(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    raw = samples(3, 4, 7) >> 8
    good = png(raw, 8, 2)
    for bad in ((b"gAMA", b"\1"), (b"pHYs", b"\1\2"), (b"iCCP", b""), (b"acTL", b"\0"), (b"sRGB", b"")):
        chunk = (b"eXIf", exif.tobytes()[6:])
        picture = read(put(tmp_path, "a.png", with_chunks(good, chunk, bad)))
        assert picture.pixels.shape == (1, 3, 7, 4), bad  # upright
        assert Image.open(write(picture, tmp_path / "b.png", True)).getexif()[0x010F] == "Maker"


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_exif_and_resolution_stay_and_old_sizes_go(tmp_path, suffix):
    kind = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "tif": "TIFF"}[suffix]
    exif = Image.Exif()
    exif[0x010F], exif[0x0100], exif[0x0101] = "Maker", 32, 32
    exif[0x8769] = {0xA002: 32, 0xA003: 32, 0x9003: "2020:01:02 03:04:05"}
    path = put(tmp_path, f"a.{suffix}", photo_bytes(kind, exif=exif.tobytes(), dpi=(300, 300)))
    picture = read(path)
    for name in ("b.jpg", "b.png", "b.webp"):
        with Image.open(write(picture, tmp_path / name)) as image:
            found = image.getexif()
            assert found[0x010F] == "Maker"
            assert not {0x0100, 0x0101, 0x0111} & set(found)
            inside = found.get_ifd(0x8769)
            assert not {0xA002, 0xA003} & set(inside)
            assert inside.get(0x9003) == "2020:01:02 03:04:05"
            if suffix != "webp" and name != "b.webp":
                assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)


@pytest.mark.parametrize(
    ("kind", "suffix"), [("WEBP", "webp"), ("GIF", "gif"), ("PNG", "png"), ("TIFF", "tif")]
)
def test_frames_left_out_are_counted(tmp_path, kind, suffix, caplog):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green", "blue")]
    frames[0].save(tmp_path / f"a.{suffix}", kind, save_all=True, append_images=frames[1:])
    assert read(tmp_path / f"a.{suffix}").pixels[0, :, 8, 8].round().tolist() == [1, 0, 0]
    read(tmp_path / f"a.{suffix}")
    assert caplog.text.count("2 of its 3 frames") == 1


def test_a_depth_that_is_cut_is_said(tmp_path, caplog):
    if not features.check("jpg_2000"):
        pytest.skip("this Pillow reads no JPEG 2000")
    path = put(tmp_path, "a.jp2", photo_bytes("JPEG2000"))
    read(path)
    assert not caplog.text
    data = path.read_bytes()
    at = data.index(b"\xff\x4f\xff\x51") + 42
    path.write_bytes(
        data[:at]
        + b"\x0b"
        + data[at + 1 : at + 3]
        + b"\x0b"
        + data[at + 4 : at + 6]
        + b"\x0b"
        + data[at + 7 :]
    )
    read(path)
    assert "its 12 bits are read as 8" in caplog.text


def test_samples_without_a_range_are_read_and_said(tmp_path, caplog):
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    for name, array, top in (
        ("f", values, 1),
        ("g", values * 255, 255),
        ("i", (values * 60_000).astype(np.int32), 65535),
    ):
        Image.fromarray(array).save(tmp_path / f"{name}.tif")
        np.testing.assert_allclose(read(tmp_path / f"{name}.tif").pixels[0, 0], array / top, atol=1e-4)
        assert f"{name}.tif: left out: values outside 0 .. {top}" in caplog.text


def test_too_many_pixels_are_told_with_the_cure(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    data = photo_bytes("PNG")
    for name, content in (("a.png", data), ("b.tif", tiff16(samples(2, 30, 30), extra=2))):
        for look in (read, read_head):
            with pytest.raises(ValueError, match=rf"{name}.*exceeds limit of 200 pixels.*PRIORSR_MAX_PIXELS"):
                look(put(tmp_path, name, content))


def test_chunks_may_be_cut_anywhere(tmp_path):
    data = png(samples(3), 16, 2, [(b"tEXt", b"a\0b")])
    for end in range(1, len(data) - 16, 7):
        with pytest.raises(ValueError, match="cut"):
            read(put(tmp_path, "cut.png", data[:end]))
