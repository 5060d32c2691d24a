from __future__ import annotations

import pytest
import torch

from priorsr.methods.imaging.color import BT601, BT601_SRCNN, luma, rgb_to_ycbcr, ycbcr_to_rgb
from priorsr.methods.imaging.resize import Resampler


def colours(*rgb):
    return torch.tensor(rgb, dtype=torch.float64)[:, :, None, None]


def test_bt601_landmarks():
    black, white, red = rgb_to_ycbcr(colours((0, 0, 0), (255, 255, 255), (255, 0, 0)))[..., 0, 0]
    assert black.tolist() == pytest.approx([16, 128, 128])
    assert white.tolist() == pytest.approx([235, 128, 128])
    assert red.tolist() == pytest.approx([81.481, 90.203, 240], abs=1e-3)


def test_round_trip_is_exact_to_rounding_and_the_published_one_is_not():
    x = torch.rand(2, 3, 5, 7) * 255
    torch.testing.assert_close(ycbcr_to_rgb(rgb_to_ycbcr(x)), x, rtol=0, atol=1e-3)
    published = (ycbcr_to_rgb(rgb_to_ycbcr(x, BT601_SRCNN), BT601_SRCNN) - x).abs().max()
    assert 1e-3 < published < 2


def test_luma_is_the_first_channel_and_grey_is_equal_channels():
    x = torch.rand(1, 3, 4, 4) * 255
    torch.testing.assert_close(luma(x), rgb_to_ycbcr(x)[:, :1])
    grey = torch.rand(1, 1, 4, 4) * 255
    torch.testing.assert_close(luma(grey), luma(grey.expand(1, 3, 4, 4)))
    torch.testing.assert_close(luma(grey, BT601), 16 + grey * 219 / 255)


@pytest.mark.parametrize(
    "x", [torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.zeros(3)]
)
def test_anything_but_float_rgb_is_refused(x):
    with pytest.raises(ValueError, match="float tensor"):
        rgb_to_ycbcr(x)


def test_what_is_cached_in_inference_mode_serves_gradients_later():
    x = torch.rand(1, 3, 6, 6, dtype=torch.float64)
    smaller = Resampler((6, 6), (3, 4))
    with torch.inference_mode():
        expected = smaller(luma(x * 255))
    again = x.clone().requires_grad_()
    result = smaller(luma(again * 255))
    (gradient,) = torch.autograd.grad(result.sum(), again)
    assert torch.equal(result, expected)
    assert gradient.abs().sum() > 0
