from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from priorsr.methods.imaging.resize import BORDERS, METHODS, PILLOW, Resampler, modcrop, resize, resize_uint8

SIDES = st.integers(1, 40)


def picture(height, width, channels=1):
    return torch.linspace(0, 1, channels * height * width).sin().abs().reshape(1, channels, height, width)


def pillow(x, size, method):
    return torch.from_numpy(
        np.array(Image.fromarray(x[0, 0].numpy()).resize((size[1], size[0]), PILLOW[method]))
    )[None, None]


@pytest.mark.parametrize("method", ["bilinear", "bicubic", "lanczos"])
@given(SIDES, SIDES, SIDES, SIDES)
@settings(max_examples=30, deadline=None)
def test_equals_pillow_in_floating_point(method, height, width, out_height, out_width):
    x = picture(height, width)
    torch.testing.assert_close(
        resize(x, (out_height, out_width), method=method),
        pillow(x, (out_height, out_width), method),
        rtol=0,
        atol=2e-6,
    )


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
@given(*[st.integers(2, 40)] * 4)  # torch itself misreads RGB images one pixel wide
@settings(max_examples=30, deadline=None)
def test_equals_torch_with_antialiasing(method, height, width, out_height, out_width):
    x = picture(height, width, 3)
    expected = F.interpolate(x, (out_height, out_width), mode=method, antialias=True, align_corners=False)
    torch.testing.assert_close(resize(x, (out_height, out_width), method=method), expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize(("ours", "theirs"), [("bilinear", "bilinear"), ("bicubic-0.75", "bicubic")])
def test_without_antialiasing_equals_torch(ours, theirs):
    x = picture(23, 31, 2)
    expected = F.interpolate(x, (11, 40), mode=theirs, align_corners=False)
    torch.testing.assert_close(
        resize(x, (11, 40), method=ours, antialias=False, border="edge"), expected, rtol=0, atol=1e-5
    )


@given(SIDES, SIDES)
def test_nearest_takes_the_pixel_under_each_centre(width, out_width):
    x = picture(1, width)
    under = (2 * np.arange(out_width) + 1) * width // (2 * out_width)
    assert torch.equal(resize(x, (1, out_width), method="nearest"), x[..., under])


def test_area_is_the_exact_mean_over_each_pixel():
    x = picture(12, 18)
    torch.testing.assert_close(resize(x, (4, 6), method="area"), F.avg_pool2d(x, 3))
    torch.testing.assert_close(resize(x, (5, 7), method="area").mean(), x.mean())


@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from(METHODS), st.sampled_from(BORDERS), st.booleans())
@settings(max_examples=120, deadline=None)
def test_every_filter_keeps_a_constant_and_has_an_exact_adjoint(
    height, width, out_height, out_width, method, border, antialias
):
    operator = Resampler(
        (height, width), (out_height, out_width), method=method, border=border, antialias=antialias
    )
    torch.testing.assert_close(
        operator(torch.full((1, height, width), 0.7)), torch.full((1, out_height, out_width), 0.7)
    )
    x, g = (
        torch.rand(2, height, width, dtype=torch.float64),
        torch.rand(2, out_height, out_width, dtype=torch.float64),
    )
    torch.testing.assert_close((operator(x) * g).sum(), (x * operator.adjoint(g)).sum())
    x.requires_grad_()
    (gradient,) = torch.autograd.grad((operator(x) * g).sum(), x)
    torch.testing.assert_close(gradient, operator.adjoint(g))


@given(SIDES, SIDES, st.integers(1, 90), st.integers(1, 90), st.data())
@settings(max_examples=60, deadline=None)
def test_a_window_equals_that_part_of_the_whole(height, width, out_height, out_width, data):
    operator = Resampler((height, width), (out_height, out_width), border=data.draw(st.sampled_from(BORDERS)))
    top, left = data.draw(st.integers(0, out_height - 1)), data.draw(st.integers(0, out_width - 1))
    bottom, right = data.draw(st.integers(top + 1, out_height)), data.draw(st.integers(left + 1, out_width))
    x = torch.rand(1, height, width)
    torch.testing.assert_close(
        operator.window(x, (top, bottom), (left, right)), operator(x)[:, top:bottom, left:right]
    )


def test_long_axes_are_banded_without_a_seam():
    x = torch.rand(1, 3, 700)
    torch.testing.assert_close(resize(x, (3, 1500)), resize(x.double(), (3, 1500)).float())
    torch.testing.assert_close(
        resize(x, (3, 1500))[None], pillow(x[None], (3, 1500), "bicubic"), atol=2e-6, rtol=0
    )


@pytest.mark.parametrize("method", sorted(PILLOW))
def test_uint8_is_pillows_result_bit_for_bit(method):
    x = (torch.rand(3, 19, 23) * 255).to(torch.uint8)
    expected = np.array(Image.fromarray(x.permute(1, 2, 0).numpy()).resize((31, 11), PILLOW[method]))
    assert torch.equal(resize_uint8(x, (11, 31), method), torch.from_numpy(expected).permute(2, 0, 1))


def test_matlab_mirror_border_differs_only_near_the_border():
    x = torch.rand(1, 64, 64)
    pillows, matlabs = resize(x, (16, 16)), resize(x, (16, 16), border="mirror")
    torch.testing.assert_close(pillows[:, 2:-2, 2:-2], matlabs[:, 2:-2, 2:-2])
    assert not torch.allclose(pillows, matlabs)


def test_half_precision_is_summed_in_float32():
    x = torch.rand(1, 40, 40)
    torch.testing.assert_close(resize(x.half(), (10, 10)), resize(x.half().float(), (10, 10)).half())


def test_modcrop():
    assert modcrop(torch.zeros(1, 10, 11), 4).shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": float("nan")}, "outside 1/64 .. 64"),
        ({"scale": -2}, "outside 1/64 .. 64"),
        ({"scale": 1e9}, "outside 1/64 .. 64"),
        ({"size": (0, 5)}, "between 1 and"),
        ({"size": (100_000, 5)}, "between 1 and"),
        ({}, "either a size or a scale"),
        ({"scale": 2, "method": "cubic"}, "unknown resize method"),
        ({"scale": 2, "border": "wrap"}, "unknown border"),
    ],
)
def test_bad_requests_are_refused_with_the_cure(arguments, message):
    with pytest.raises(ValueError, match=message):
        resize(torch.rand(1, 4, 4), **arguments)


def test_an_image_without_pixels_or_of_another_size_or_type_is_refused():
    with pytest.raises(ValueError, match="no pixels"):
        resize(torch.rand(1, 0, 4), (2, 2))
    with pytest.raises(ValueError, match="built for 4x4"):
        Resampler((4, 4), scale=2)(torch.rand(1, 5, 4))
    with pytest.raises(ValueError, match="float tensor"):
        resize(torch.zeros(1, 4, 4, dtype=torch.uint8), (2, 2))
