"""A region limits any restorer, the same in Python, on the command line and in nodes."""

from __future__ import annotations

import pytest
import torch

import priorsr
from priorsr.methods.cli.main import main
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.imaging.region import Box, Region, faded, within
from priorsr.methods.imaging.resize import resize
from priorsr.samplers.noise import Noise


def picture(channels=3, height=20, width=24):
    return Noise([1])((1, channels, height, width)).mul(0.2).add(0.5).clamp(0, 1)


def left(height=10, width=12):
    """White in its left half, half as large as the pictures."""
    mask = torch.zeros(1, 1, height, width)
    mask[..., : width // 2] = 1
    return mask


def test_an_edge_fades_over_its_pixels_and_no_further():
    hard = torch.zeros(1, 1, 40, 60)
    hard[..., :30] = 1
    soft = faded(hard, 6.0)
    changed = ((soft - hard).abs() > 1e-6).any(2)[0, 0].nonzero()[:, 0]
    assert changed.min() >= 30 - 6
    assert changed.max() < 30 + 6
    assert (soft[..., 1:] <= soft[..., :-1]).all()
    assert soft[0, 0, 0, 29:31].mean() == pytest.approx(0.5, abs=0.01)
    assert faded(hard, 0.0) is hard


@pytest.mark.parametrize("scale", [1, 3])
def test_beyond_a_region_pictures_are_plain(scale):
    x = picture()
    size = (20 * scale, 24 * scale)
    plain = x if scale == 1 else resize(x, size).clamp(0, 1)
    done = Region(left(), 2.0).limit(1 - plain, x)
    edge, reach = 12 * scale, 2 + 2 * scale  # the feather, and as far as the mask itself is enlarged
    assert torch.equal(done[..., edge + reach :], plain[..., edge + reach :])
    torch.testing.assert_close(done[..., : edge - reach], (1 - plain)[..., : edge - reach])


def test_a_region_of_everything_changes_nothing_and_an_empty_one_says_so():
    x, other = picture(), picture(1)
    whole = Region(torch.ones(1, 1, 3, 5))
    torch.testing.assert_close(whole.limit(1 - x, x), 1 - x)
    assert whole.said() == ""
    empty = Region(torch.zeros(1, 1, 64, 64))
    assert torch.equal(empty.limit(1 - x, other), other.expand_as(x))
    assert "the region is empty" in empty.said()
    assert within(None, torch.neg) is torch.neg


def test_each_picture_may_have_its_own():
    x = picture().expand(2, -1, -1, -1)
    both = Region(torch.stack([torch.ones(1, 4, 4), torch.zeros(1, 4, 4)]), 0).limit(1 - x, x)
    assert torch.equal(both, torch.cat([1 - x[:1], x[1:]]))


@pytest.mark.parametrize(
    ("mask", "feather", "message"),
    [
        (torch.ones(3, 1, 4, 4), 0.0, "3 masks for 2 pictures: give one region"),
        (torch.ones(1, 3, 4, 4), 0.0, "a region is a mask B 1 H W"),
        (torch.full((1, 1, 4, 4), torch.nan), 0.0, "the region holds NaN"),
        (torch.ones(1, 1, 4, 4), -1.0, "feather -1.0 is outside"),
    ],
)
def test_bad_regions_are_named(mask, feather, message):
    x = picture().expand(2, -1, -1, -1)
    with pytest.raises(ValueError, match=message):
        Region(mask, feather).limit(x, x)


def test_python_and_the_command_limit_upscaling_alike(tmp_path):
    write(Picture(picture(), torch.ones(1, 1, 20, 24)), tmp_path / "in.png")
    write(Picture(left()), tmp_path / "region.png")
    given = [str(tmp_path / "in.png"), str(tmp_path / "out.png"), "--scale", "2"]
    limits = ["--region", str(tmp_path / "region.png"), "--feather", "3"]
    assert main(["upscale", "srcnn", *given, *limits]) == 0
    mine = priorsr.upscale(tmp_path / "in.png", "srcnn", scale=2, region=tmp_path / "region.png", feather=3.0)
    written, small = read(tmp_path / "out.png").pixels, read(tmp_path / "in.png").pixels
    assert (written - mine.pixels).abs().max() <= 0.51 / 255
    free, plain = priorsr.upscale(small, "srcnn", scale=2), resize(small, scale=2.0).clamp(0, 1)
    assert torch.equal(mine.pixels[..., 30:], plain[..., 30:])
    torch.testing.assert_close(mine.pixels[..., :18], free[..., :18])
    assert (free - plain)[..., 30:].abs().max() > 0.01


def test_an_empty_region_is_said(tmp_path, caplog):
    write(Picture(picture()), tmp_path / "in.png")
    write(Picture(torch.zeros(1, 1, 8, 8)), tmp_path / "black.png")
    said = []
    priorsr.upscale(tmp_path / "in.png", "bicubic", region=tmp_path / "black.png", report=said.append)
    assert any("the region is empty" in text for text in said)
    given = [str(tmp_path / "in.png"), str(tmp_path / "out.png"), "--region", str(tmp_path / "black.png")]
    assert main(["upscale", "bicubic", *given]) == 0
    assert "black.png: the region is empty" in caplog.text


@pytest.mark.parametrize("name", ["missing.png", "text.png"])
def test_a_file_that_is_no_region_is_said(tmp_path, caplog, name):
    write(Picture(picture()), tmp_path / "in.png")
    (tmp_path / "text.png").write_text("no picture")
    given = [str(tmp_path / "in.png"), str(tmp_path / "out.png"), "--region", str(tmp_path / name)]
    assert main(["upscale", "bicubic", *given]) != 0
    assert name in caplog.text
    assert not (tmp_path / "out.png").exists()


def test_a_box_is_the_mask_that_is_white_in_it(tmp_path):
    low = picture()
    mask = torch.zeros(1, 1, 20, 24)
    mask[..., 5:15, 3:11] = 1
    done = torch.ones(1, 3, 40, 48)
    box = Region.of("3,5,8,10", 2.0)
    assert box.mask == Box(3, 5, 8, 10)
    assert torch.equal(box.limit(done, low), Region(mask, 2.0).limit(done, low))
    assert torch.equal(box.limit(done, done * 0.5, (20, 24)), Region(mask, 2.0).limit(done, done * 0.5))
    beyond = Region.of("3,5,900,900", 0).limit(done, low)
    torch.testing.assert_close(beyond[..., 12:, 8:], done[..., 12:, 8:])
    assert box.said() == ""


@pytest.mark.parametrize(
    ("text", "said"), [("3,5,0,10", "the region 3,5,0,10 is empty"), ("24,0,5,5", "which is 24 x 20 pixels")]
)
def test_a_box_that_holds_nothing_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        Region.of(text).limit(picture(), picture())


def test_a_box_of_a_command_is_a_mask_of_a_file(tmp_path, caplog):
    write(Picture(picture()), tmp_path / "a.png")
    mask = torch.zeros(1, 1, 20, 24)
    mask[..., 5:15, 3:11] = 1
    write(Picture(mask), tmp_path / "mask.png")
    for name, region in (("box.png", "3,5,8,10"), ("file.png", str(tmp_path / "mask.png"))):
        command = ["upscale", "srcnn", str(tmp_path / "a.png"), str(tmp_path / name), "--scale", "2"]
        assert main([*command, "--region", region]) == 0
    assert (tmp_path / "box.png").read_bytes() == (tmp_path / "file.png").read_bytes()
    assert main([*command[:3], str(tmp_path / "none.png"), "--region", "90,90,4,4"]) == 1
    assert "the region 90,90,4,4 lies beyond the picture, which is 24 x 20 pixels" in caplog.text
    assert not (tmp_path / "none.png").exists()
