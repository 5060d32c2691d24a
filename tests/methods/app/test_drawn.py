"""A region painted over a picture becomes the mask of a command."""

from __future__ import annotations

import pytest

pytest.importorskip("gradio", reason="gradio is not installed (extra app)")

import numpy as np
import torch

from priorsr.methods.app.drawn import DRAWN, ground, mask_name, mask_of
from priorsr.methods.imaging.images import Picture, read, write


def painted(left, right):
    layer = np.zeros((20, 30, 4), np.uint8)
    layer[:, left:right] = (255, 60, 60, 100)
    return layer


def test_the_mask_is_white_where_any_layer_is_painted(tmp_path):
    at = tmp_path / "mask.png"
    assert mask_of({"layers": [painted(0, 4), painted(10, 20)]}, at) == str(at)
    mask = read(at).pixels[:, :1]
    assert mask.shape == (1, 1, 20, 30)
    wanted = torch.zeros(30)
    wanted[:4] = wanted[10:20] = 1
    assert torch.equal(mask[0, 0], wanted.expand(20, 30))


@pytest.mark.parametrize("drawing", [None, {"layers": []}, {"layers": [painted(5, 5)]}])
def test_nothing_painted_is_no_mask(drawing, tmp_path):
    assert mask_of(drawing, tmp_path / "mask.png") == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.png", "a.b.jpg", "a_region.png", "picture"])
def test_the_mask_of_a_picture_bears_another_name(name):
    assert mask_name(name) not in (name, name.lower())
    assert mask_name(name).endswith(".png")


def test_large_pictures_are_painted_on_in_small(tmp_path, photo):
    source = write(Picture(photo[..., :4].repeat(1, 1, 1, 500)), tmp_path / "wide.png")
    assert read(ground(source, tmp_path / "ground.png")).pixels.shape[-1] == DRAWN
