from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from priorsr.methods.imaging.alpha import fill_hidden, upscale_with_alpha
from priorsr.methods.imaging.resize import resize
from priorsr.methods.visionrefine.srcnn import load_srcnn, srcnn_upscale


def bicubic(x):
    return resize(x, tuple(2 * n for n in x.shape[-2:])).clamp(0, 1)


def srcnn(x):
    network, native = load_srcnn(2.0)
    with torch.no_grad():
        return srcnn_upscale(network, x, 2.0, native)


def far_looking(x):
    """Not linear, and every pixel looks 5 pixels far."""
    return bicubic(F.max_pool2d(x, 11, stride=1, padding=5))


METHODS = pytest.mark.parametrize("enlarge", [bicubic, srcnn, far_looking])


def disc(size=32, soft=1.0):
    """The alpha of a disc, with an antialiased edge."""
    y, x = torch.meshgrid(
        torch.arange(size) - size / 2 + 0.5, torch.arange(size) - size / 2 + 0.5, indexing="ij"
    )
    return ((size * 0.33 - (x**2 + y**2).sqrt()) / soft + 0.5).clamp(0, 1)[None, None]


@METHODS
@pytest.mark.parametrize("soft", [0.01, 1.0, 4.0])
@pytest.mark.parametrize("size", [32, 33])
def test_a_white_disc_on_white_has_no_dark_fringe(enlarge, soft, size):
    alpha = disc(size, soft)
    white = (alpha > 0).float().expand(-1, 3, -1, -1)  # black where it cannot be seen
    colour, wide = upscale_with_alpha(white, alpha, enlarge)
    assert (colour * wide + 1 - wide).min() * 255 >= 245


@METHODS
def test_hidden_colours_have_no_influence(enlarge, photo):
    pixels, alpha = photo[..., :32, :32], disc()
    results = []
    for hidden in (torch.zeros_like(pixels), torch.ones_like(pixels), torch.rand_like(pixels)):
        results.append(upscale_with_alpha(torch.where(alpha > 0, pixels, hidden), alpha, enlarge))
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


@METHODS
def test_even_alpha_changes_no_colour(enlarge, photo):
    for level in (1.0, 0.5, 1 / 255):
        alpha = torch.full_like(photo[:, :1], level)
        colour, wide = upscale_with_alpha(photo, alpha, enlarge)
        assert torch.equal(colour, enlarge(photo))
        torch.testing.assert_close(wide, torch.full_like(wide, level))
    colour, wide = upscale_with_alpha(photo, None, enlarge)
    assert torch.equal(colour, enlarge(photo))
    assert wide is None


def test_bicubic_comes_close_to_premultiplied_bicubic(photo):
    pixels, alpha = photo[..., :32, :32], disc(soft=3.0)
    colour, wide = upscale_with_alpha(pixels, alpha, bicubic)
    truth = resize(pixels * alpha, (64, 64))
    assert (colour * wide - truth).abs().max() < 0.06
    assert (colour * wide - truth).abs().mean() < 0.004


def test_a_faint_shadow_beside_an_opaque_object_keeps_its_colour():
    pixels, alpha = torch.ones(1, 3, 12, 12), torch.ones(1, 1, 12, 12)
    pixels[..., 6:], alpha[..., 6:] = 0, 0.1
    assert torch.equal(fill_hidden(pixels, alpha), pixels)


def test_visible_colours_stay_and_hidden_ones_are_their_continuation():
    pixels, alpha = torch.rand(2, 3, 9, 14), torch.zeros(2, 1, 9, 14)
    alpha[0, :, 2:4, 3:6] = 1
    filled = fill_hidden(pixels, alpha)
    assert torch.equal(filled[0, :, 2:4, 3:6], pixels[0, :, 2:4, 3:6])
    visible = pixels[0, :, 2:4, 3:6].flatten(1)
    assert (filled[0] <= visible.amax(1)[:, None, None] + 1e-6).all()
    assert (filled[0] >= visible.amin(1)[:, None, None] - 1e-6).all()
    assert torch.equal(filled[1], torch.zeros_like(filled[1]))  # nothing can be seen
